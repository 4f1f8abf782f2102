"""Points that stand for a Gaussian q."""

import numpy as np
from numpy.testing import assert_allclose

from skelbo.inference.user_model.joint import q_points


def test_points_of_a_covariance_that_is_singular_to_rounding():
    """Counts of 1e10 leave one direction with a variance below the rounding of the other."""
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    covariance = turn @ np.diag([1.0, -1e-17]) @ turn.T
    Z, weights = q_points(np.ones((1, 2)), covariance[None])
    steps = Z[:, 0] - 1
    assert_allclose((weights[:, None] * steps).T @ steps, covariance, atol=1e-6)
