"""Rotations leave p(x) as it is; the convention makes loadings unique; gradients match it."""

import numpy as np
import pytest
from scipy import stats

from skelbo.models import FactorModel
from skelbo.models.factor_model.rotation import principal_axes
from tests.tables import real

MODEL = FactorModel(3)


def theta(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "loadings": rng.standard_normal((5, 3)),
        "intercepts": rng.standard_normal(5),
        "noise_variance": rng.uniform(0.5, 2, 5),
    }


def covariance(parameters):
    W = parameters["loadings"]
    return W @ W.T + np.diag(parameters["noise_variance"])


def flat(parameters):
    return np.concatenate([value.ravel() for value in parameters.values()])


@pytest.mark.parametrize("seed", range(3))
def test_the_convention_is_unique_and_keeps_the_density(seed):
    start = theta(seed)
    rotation = stats.special_ortho_group.rvs(3, random_state=seed) * [1, -1, 1]
    one, other = principal_axes(start), principal_axes(MODEL.rotate(start, rotation))
    np.testing.assert_allclose(one["loadings"], other["loadings"], atol=1e-12)
    np.testing.assert_allclose(covariance(one), covariance(start), atol=1e-12)
    W = one["loadings"]
    gram = W.T @ (W / start["noise_variance"][:, None])
    np.testing.assert_allclose(gram, np.diag(np.diagonal(gram)), atol=1e-12)
    assert np.all(np.diff(np.diagonal(gram)) < 0)


def test_directions_of_rotations_leave_the_covariance():
    start = theta()
    for direction in MODEL.invariant_directions(start):
        moved = {**start, "loadings": start["loadings"] + 1e-6 * direction[:15].reshape(5, 3)}
        change = covariance(moved) - covariance(start)
        assert np.abs(change).max() < 1e-10
    assert len(MODEL.invariant_directions(start)) == 3


def test_gradients_of_the_convention_are_differences():
    """Each gradient is that of one entry of W' D W off its diagonal."""
    start = principal_axes(theta())
    step = 1e-6 * np.random.default_rng(1).standard_normal(25)

    def off_diagonal(vector):
        W, noise = vector[:15].reshape(5, 3), vector[20:]
        return (W.T @ (W / noise[:, None]))[np.triu_indices(3, 1)]

    vector = flat(start)
    change = (off_diagonal(vector + step) - off_diagonal(vector - step)) / 2
    np.testing.assert_allclose(MODEL.constraint_jacobian(start) @ step, change, atol=1e-12)


def test_without_intercept_its_entries_are_fixed():
    model = FactorModel(1, fit_intercept=False)
    start = model.initialize(real(20), np.random.RandomState(0))
    fixed = model.constraint_jacobian(start)
    p = len(start["intercepts"])
    assert fixed.shape == (p, 3 * p)
    np.testing.assert_array_equal(fixed[:, p : 2 * p], np.eye(p))
