"""Joint moments of rows and factors: additive, and independent of the unit of z."""

import numpy as np
from numpy.testing import assert_allclose

from skelbo.data.rows import Rows
from skelbo.gaussian.factor_analysis.covariance import FactorCovariance
from skelbo.gaussian.moments import Moments, Scatter
from skelbo.gaussian.regularization import Ridge
from skelbo.gaussian.structures import STRUCTURES
from tests.gaussian.factor_analysis.models import K, Q, make


def test_moments_add_up_and_align():
    """Two halves are the whole; the M-step does not depend on how z is measured."""
    X, theta = make()
    whole, half = (theta.expected(b).moments for b in (_block(X), _block(X[:30])))
    added = half + theta.expected(_block(X[30:])).moments
    aligned = theta.components.covariance.aligned(whole)
    for name in ("weight", "mean", "scatter", "factor_mean", "cross", "factor_scatter"):
        assert_allclose(getattr(added, name), getattr(whole, name), rtol=1e-10, atol=1e-10)
    assert_allclose(aligned.factor_mean, 0, atol=1e-12)
    unit = aligned.factor_scatter / aligned.weight[:, None, None]
    assert_allclose(unit, [np.eye(Q)] * K, atol=1e-12)
    one, other = (
        FactorCovariance.from_moments(m, Ridge(0.0)) for m in (whole, aligned.scaled(0.5))
    )
    assert_allclose(one.loadings, other.loadings, atol=1e-12)
    assert_allclose(one.noise, other.noise)


def _block(X):
    return next(Rows(X).blocks())


def test_the_start_shares_axes_where_clusters_are_small(iris):
    """Projected on the factors: the scatters of the pooled and of the total covariance."""
    resp = np.zeros((3, 150))
    resp[np.repeat([0, 1, 2], 50), np.arange(150)] = 1
    means = np.array([iris[i : i + 50].mean(axis=0) for i in (0, 50, 100)])
    full = Moments.of_block(Scatter.FULL, iris.T, resp, means)
    mine = STRUCTURES["factor"].configured(4, 3).label_moments(iris.T, resp, means, own=False)
    for name in ("with_shared_scatter", "with_total_scatter"):
        fitted = FactorCovariance.from_moments(getattr(mine, name)(), Ridge(0.0))
        target = getattr(full, name)().scatter / 50
        assert_allclose(
            fitted.loadings @ fitted.loadings.swapaxes(1, 2) + fitted.noise[:, :, None] * np.eye(4),
            target,
            rtol=0.1,
            atol=0.03,
        )
