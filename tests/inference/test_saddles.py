"""Degenerate starts: no fit is certified, or stays, at a saddle of log p(X)."""

import numpy as np
import pytest
import torch

from skelbo import MCEM, VariationalEM
from skelbo.models import BinaryFeatureModel, LatentVariableModel


def two_factors(kind):
    """Return a table with two factors of three columns each, and one factor's parameters."""
    rng = np.random.default_rng(0)
    loadings = np.kron(np.eye(2), np.full((3, 1), 1.5))
    eta = rng.standard_normal((300, 2)) @ loadings.T
    X = eta + rng.standard_normal((300, 6))
    if kind == "poisson":
        X = rng.poisson(np.exp(0.6 * eta)).astype(float)
    if kind == "missing":
        X[rng.random(X.shape) < 0.1] = np.nan
    model = "poisson" if kind == "poisson" else "gaussian"
    return X, model, VariationalEM(1, model=model, posterior="full").fit(X).params_


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["zero", "equal"])
@pytest.mark.parametrize("kind", ["complete", "missing", "poisson"])
@pytest.mark.long
def test_monte_carlo_em_leaves_a_factor_that_does_nothing(kind, shape):
    X, model, one = two_factors(kind)
    w = one["loadings"]
    pair = np.hstack([w, 0 * w]) if shape == "zero" else np.hstack([w, w]) / np.sqrt(2)
    best = VariationalEM(2, model=model, posterior="full").fit(X).score(X)
    fit = MCEM(2, model=model, params_init={**one, "loadings": pair}, random_state=0).fit(X)
    assert fit.converged_
    assert len(X) * (best - fit.score(X)) < 0.1


@pytest.mark.slow
def test_monte_carlo_em_leaves_a_feature_without_loadings():
    rng = np.random.default_rng(0)
    features = (rng.random((300, 2)) < 0.4) @ np.array([[2, 2, 0, 0, 1.0], [0, -1, 3, 1, 0]])
    X = features + 0.5 * rng.standard_normal((300, 5))
    pair, single = BinaryFeatureModel(2), BinaryFeatureModel(1)
    best = VariationalEM(2, model=pair, posterior="full", random_state=0).fit(X).score(X)
    start = VariationalEM(1, model=single, posterior="full", random_state=0).fit(X).params_
    start["loadings"] = np.hstack([start["loadings"], np.zeros((5, 1))])
    start["probabilities"] = np.append(start["probabilities"], 0.5)
    fit = MCEM(2, model=pair, params_init=start, random_state=0).fit(X)
    assert fit.converged_
    assert 300 * (best - fit.score(X)) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.0, 1e-9])
@pytest.mark.parametrize("kind", ["complete", "bernoulli"])
@pytest.mark.long
def test_monte_carlo_em_leaves_loadings_that_are_all_zero(kind, size):
    X, model, one = two_factors("complete")
    if kind == "bernoulli":
        X, model = 1.0 * (X > 0), kind
        one = VariationalEM(1, model=model).fit(X).params_
    best = VariationalEM(2, model=model, posterior="full").fit(X).score(X)
    start = {**one, "loadings": np.full((6, 2), size)}
    fit = MCEM(2, model=model, params_init=start, random_state=0).fit(X)
    assert fit.converged_
    assert len(X) * (best - fit.score(X)) < 0.1


class OwnFactor(LatentVariableModel):
    """One factor with a standard deviation per column, which has no lower limit."""

    n_latents = 1
    constraints = {"s": "positive"}

    def initialize(self, X, rng):
        ones = torch.ones(X.shape[1], dtype=torch.float64)
        return {"m": X.mean(0), "w": ones, "s": ones}

    def log_likelihood(self, X, Z, theta):
        return (
            torch.distributions.Normal(theta["m"] + Z * theta["w"], theta["s"]).log_prob(X).sum(-1)
        )


@pytest.mark.slow
def test_monte_carlo_em_does_not_take_rounding_for_an_edge():
    """With a constant column EM's steps stall, as the other scales still fall to zero."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    X[:, 1], X[:, 2] = 3.0, X[:, 0]
    with pytest.warns(UserWarning, match=r"s of OwnFactor went to zero|was not certified"):
        fit = MCEM(model=OwnFactor(), random_state=0, max_iter=40).fit(X)
    assert not fit.converged_ or fit.params_["s"].max() < 1e-6
