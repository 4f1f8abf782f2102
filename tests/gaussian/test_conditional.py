"""Conditional distributions against the textbook formula, in any unit."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skelbo.gaussian.conditional import conditionals


@pytest.mark.parametrize("unit", [1.0, 1e-100, 1e100])
def test_against_the_formula(unit):
    rng = np.random.default_rng(0)
    A, mean = rng.standard_normal((5, 5)), rng.standard_normal(5)
    covariance, X = A @ A.T, rng.standard_normal((40, 5))
    X[rng.random(X.shape) < 0.4] = np.nan
    X[0], X[1] = np.nan, 0.0
    seen = []
    for given in conditionals(unit * X, unit * mean, unit**2 * covariance):
        m, o = given.missing, np.setdiff1d(np.arange(5), given.missing)
        gain = covariance[np.ix_(m, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
        expected = mean[m] + (X[np.ix_(given.rows, o)] - mean[o]) @ gain.T
        root, spread = given.root / unit, covariance[np.ix_(m, m)] - gain @ covariance[np.ix_(o, m)]
        assert_allclose(given.mean / unit, expected, rtol=1e-9, atol=1e-9)
        assert_allclose(root @ root.T, spread, atol=1e-9)
        symmetric = root / np.sqrt(np.diagonal(covariance))[m, None]
        assert_allclose(symmetric, symmetric.T, atol=1e-9)
        seen.extend(given.rows)
    assert sorted(seen) == list(np.flatnonzero(np.isnan(X).any(axis=1)))
