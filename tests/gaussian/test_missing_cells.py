"""Incomplete rows against the partitioned matrix, row by row."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skelbo.data.rows import Block
from skelbo.gaussian.missing_cells import DenseCompletion, IndependentCompletion

K, P, N = 2, 6, 40


def make(share, seed=0):
    """Return covariances, means and rows (p, n), of which this share of the cells is missing."""
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((K, P, P))
    X = rng.standard_normal((N, P))
    X[rng.random(X.shape) < share] = np.nan
    X[0] = np.nan
    return roots @ roots.swapaxes(1, 2), rng.standard_normal((K, P)), X.T


def block_of(values):
    return Block(values, np.ones(N), np.arange(N), ~np.isnan(values))


def upper(covariances):
    """Return U with precision U U^T."""
    return np.linalg.inv(np.linalg.cholesky(covariances)).swapaxes(1, 2)


def partitioned(x, mean, covariance):
    """Return log-density, expected row and conditional covariance (p, p) of a row."""
    o, m = ~np.isnan(x), np.isnan(x)
    gain = covariance[np.ix_(m, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
    expected, spread = x.copy(), np.zeros((P, P))
    expected[m] = mean[m] + gain @ (x[o] - mean[o])
    spread[np.ix_(m, m)] = covariance[np.ix_(m, m)] - gain @ covariance[np.ix_(o, m)]
    if not o.any():
        return 0.0, expected, spread
    normal = stats.multivariate_normal(mean[o], covariance[np.ix_(o, o)])
    return normal.logpdf(x[o]), expected, spread


def check(found, covariances, means, values, rtol=1e-9):
    weights = np.random.default_rng(1).random((K, N))
    scatter = found.scatter(weights)
    for k in range(K):
        rows = [partitioned(x, means[k], covariances[k]) for x in values.T]
        log_prob, expected, spread = zip(*rows, strict=True)
        assert_allclose(found.log_prob[k], log_prob, rtol=rtol, atol=rtol)
        assert_allclose(found.values[k].T, expected, rtol=rtol, atol=rtol)
        total = np.einsum("n,nij->ij", weights[k], spread)
        total = total if scatter.ndim == 3 else np.diagonal(total)
        assert_allclose(scatter[k], total, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_dense(share):
    """Few gaps are conditioned by the precision, many by the covariance."""
    covariances, means, values = make(share)
    found = DenseCompletion(covariances, upper(covariances), means, block_of(values))
    check(found, covariances, means, values)


@pytest.mark.parametrize("share", [0.1, 0.8])
def test_independent(share):
    covariances, means, values = make(share)
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    found = IndependentCompletion(variances, means, block_of(values))
    check(found, variances[:, :, None] * np.eye(P), means, values)


@pytest.mark.parametrize("share", [0.1, 0.8])
def test_a_nearly_singular_covariance_keeps_its_digits(share):
    """Variances from 1 to 1e-8 along no axis, the rows being of this kind."""
    covariances, means, values = make(share)
    sizes = np.diag(10.0 ** -np.linspace(0, 4, P))
    rotation = np.linalg.qr(covariances[0])[0]
    covariances = np.array([rotation @ sizes**2 @ rotation.T] * K)
    rows = np.random.default_rng(2).standard_normal((N, P)) @ sizes @ rotation.T
    means = np.zeros((K, P))
    values = np.where(np.isnan(values), np.nan, rows.T)
    found = DenseCompletion(covariances, upper(covariances), means, block_of(values))
    check(found, covariances, means, values, rtol=1e-5)
