"""Densities and moments of factor analysers against dense matrices, row by row."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skelbo.data.rows import Block
from skelbo.gaussian.factor_analysis.covariance import FactorCovariance
from skelbo.gaussian.regularization import FLOOR
from tests.gaussian.factor_analysis.models import K, N, P, Q, fit, make, with_holes


@pytest.mark.parametrize("noise", [1.0, 1e-3, 1e-6])
def test_density_is_scipys(noise):
    """Both branches, with noise down to where expanded squares would lose all digits."""
    X, theta = make(noise=noise)
    means, factor = theta.components.means, theta.components.covariance
    assert factor.is_safe(means) == (noise > 1e-6)
    X = X[:, :Q] @ factor.loadings[0].T + np.sqrt(noise) * X  # near one component's plane
    expected = [
        stats.multivariate_normal(m, S).logpdf(X)
        for m, S in zip(means, factor.dense(K, P), strict=True)
    ]
    assert_allclose(factor.log_prob(X.T, means), expected, rtol=1e-12 / noise)


def test_density_keeps_its_digits_in_the_plane():
    """On the plane itself, with noise at the floor, the distance is that of the scores."""
    rng = np.random.default_rng(0)
    loadings, noise = rng.standard_normal((1, P, Q)), np.full((1, P), FLOOR)
    Z = rng.standard_normal((5, Q))
    factor = FactorCovariance(loadings, noise, np.zeros(1, dtype=bool))
    _, log_det = np.linalg.slogdet(loadings[0].T @ loadings[0])
    log_det += (P - Q) * np.log(FLOOR)
    expected = -0.5 * (P * np.log(2 * np.pi) + log_det + (Z**2).sum(axis=1))
    found = factor.log_prob(loadings[0] @ Z.T, np.zeros((1, P)))[0]
    assert_allclose(found, expected, rtol=1e-7)


def test_exact_and_expanded_densities_agree():
    X, theta = make()
    weights = np.random.default_rng(2).random((K, N))
    means, factor = theta.components.means, theta.components.covariance
    log_weights, index = np.zeros(K), np.arange(N)
    plain = factor.density(means, Block(X.T, np.ones(N), index), log_weights)
    seen = np.ones((P, N), dtype=bool)
    careful = factor.density(means, Block(X.T, np.ones(N), index, seen), log_weights)
    assert type(plain) is not type(careful)
    assert_allclose(plain.log_prob, careful.log_prob, rtol=1e-12)
    one, other = plain.moments(weights), careful.moments(weights)
    for name in ("weight", "mean", "scatter", "factor_mean", "cross", "factor_scatter"):
        assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-11, atol=1e-11)


def test_missing_cells_by_brute_force():
    """Densities and all expected moments of [x, z], row by row from the joint Gaussian of both."""
    X, theta = make()
    X = with_holes(X)[:30]
    X[0] = np.nan
    means, factor = theta.components.means, theta.components.covariance
    weights = np.random.default_rng(2).random((K, 30))
    block = Block(X.T, np.ones(30), np.arange(30), ~np.isnan(X).T)
    density = factor.density(means, block, np.zeros(K))
    found = density.moments(weights)
    for k in range(K):
        L = factor.loadings[k]
        joint = np.block([[factor.dense(K, P)[k], L], [L.T, np.eye(Q)]])
        centre = np.concatenate([means[k], np.zeros(Q)])
        first, second = np.zeros(P + Q), np.zeros((P + Q, P + Q))
        for i, row in enumerate(X):
            o = np.concatenate([~np.isnan(row), np.zeros(Q, dtype=bool)])
            inverse = np.linalg.inv(joint[np.ix_(o, o)])
            gain = joint[:, o] @ inverse
            step = gain @ (row[o[:P]] - centre[o])
            first += weights[k, i] * step
            second += weights[k, i] * (np.outer(step, step) + joint - gain @ joint[o])
            normal = stats.multivariate_normal(centre[o], joint[np.ix_(o, o)]) if o.any() else None
            log_prob = normal.logpdf(row[o[:P]]) if normal else 0.0
            assert density.log_prob[k, i] == pytest.approx(log_prob, abs=1e-10)
            assert_allclose(density.values[k, :, i], (centre + step)[:P], atol=1e-10)
        weight = weights[k].sum()
        scatter = second - np.outer(first, first) / weight
        assert_allclose(found.mean[k], means[k] + first[:P] / weight)
        assert_allclose(found.factor_mean[k], first[P:] / weight)
        assert_allclose(found.scatter[k], np.diagonal(scatter)[:P])
        assert_allclose(found.cross[k], scatter[:P, P:], atol=1e-10)
        assert_allclose(found.factor_scatter[k], scatter[P:, P:])


@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_noise_at_the_floor_with_missing_cells_leaves_the_bound_its_digits():
    """As many factors as columns less one leave no noise: the factors' precision is 1e10.

    Rounding of the moments, times that, is all by which a bound may fall.
    """
    rng = np.random.default_rng(0)
    for _ in range(8):
        X = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 3))
        X[:, 0] = 1e-30
        X[rng.random(X.shape) < 0.3] = np.nan
        model = fit(X, n_factors=2, acceleration=None, max_iter=40)
        assert np.diff(model.lower_bounds_).min() > -2e-6
