"""Directions that a movement of z undoes are found at points of z, without any expectation."""

import numpy as np
import pytest
import torch

from skelbo import VariationalEM
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.information import observed_information
from skelbo.inference.model_names import adapt
from skelbo.inference.undone_directions import undone_directions
from skelbo.models import LatentVariableModel
from tests.own_models import Counts
from tests.tables import counts


class Shifted(LatentVariableModel):
    """Latents of free mean and scale: both are undone by intercepts and loadings."""

    constraints = {"spread": "positive"}
    n_latents = 1

    def initialize(self, X, rng):
        p = X.shape[1]
        return {"w": rng.standard_normal(p), "b": np.zeros(p), "m": np.zeros(1), "spread": [1.0]}

    def log_likelihood(self, X, Z, theta):
        eta = Z * theta["w"] + theta["b"]
        return torch.distributions.Bernoulli(logits=eta).log_prob(X).sum(-1)

    def log_prior(self, Z, theta):
        return torch.distributions.Normal(theta["m"], theta["spread"]).log_prob(Z).sum(-1)


def at_start(model, X):
    """Return an adapted model, its rows and random parameters."""
    model, rng = adapt(model, None), np.random.RandomState(0)
    theta = model.start(X, np.ones(len(X)), rng, 0)
    moved = {k: np.abs(v + 0.3 * rng.standard_normal(np.shape(v))) for k, v in theta.items()}
    return model, DistinctRows.of_table(X, np.ones(len(X))), moved


@pytest.mark.parametrize("d", [1, 2, 3])
def test_rotations_of_a_users_latents_are_flat_whether_or_not_expectations_are_sampled(d):
    model, data, theta = at_start(Counts(d), counts(40, 6, 3))
    information = observed_information(model, theta, data, 0)
    n_rotations = d * (d - 1) // 2
    undone = undone_directions(model, theta, data.X, information.units)
    assert undone.shape[1] == information.unseen(np.zeros((0, len(undone)))).shape[1] == n_rotations
    # The derivative of loadings W (d, p) along a rotation is A W with A antisymmetric.
    for direction in (undone * information.units[:, None]).T:
        levels, step = direction[:6], direction[6:].reshape(theta["W"].shape)
        turn = step @ np.linalg.pinv(theta["W"])
        assert np.allclose(turn, -turn.T, atol=1e-7) and np.allclose(levels, 0)


def test_mean_and_scale_of_latents_are_undone_by_intercepts_and_loadings():
    X = (np.random.default_rng(0).random((60, 5)) < 0.5) * 1.0
    model, data, theta = at_start(Shifted(), X)
    information = observed_information(model, theta, data, 0)
    assert undone_directions(model, theta, data.X, information.units).shape[1] == 2


def test_errors_of_what_a_rotation_moves_are_infinite():
    X = counts(60, 6, 3)
    model = VariationalEM(model=Counts(2), posterior="full", max_iter=3, tol=0.5, random_state=0)
    errors = model.fit(X).standard_errors_
    assert np.isinf(errors["W"]).all() and np.isfinite(errors["b"]).all()
