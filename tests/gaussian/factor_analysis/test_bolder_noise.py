"""The bolder step for noise variances: its fixed points, and Heywood cases."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from skelbo.data.rows import Rows
from skelbo.gaussian.factor_analysis.bolder_noise import bolder_noise
from skelbo.mixture.attributes import mixture_of
from tests.gaussian.factor_analysis.models import K, P, fit, make


def test_bold_noise_by_dense_matrices():
    """psi b / a, read off the moments of x and z, against inverses of p x p matrices."""
    X, theta = make()
    factor, rows = theta.components.covariance, Rows(X)
    (block,) = rows.blocks()
    resp = theta.posterior(block).resp
    expected = []
    for k, dense in enumerate(factor.dense(K, P)):
        scatter = np.cov(X.T, aweights=resp[k], bias=True)
        inverse = np.linalg.inv(dense)
        squares = np.diagonal(inverse @ scatter @ inverse)
        expected.append(factor.noise[k] * squares / np.diagonal(inverse))
    assert_allclose(bolder_noise(factor, theta.e_step(rows)[1]), expected, rtol=1e-10)


def heywood_maximum(X, latents):
    """Return the largest log-density per row if `latents` are the factors, the rest regressed."""
    covariance = np.cov(X.T, bias=True)
    others = np.setdiff1d(np.arange(len(covariance)), latents)
    inner, cross = covariance[np.ix_(latents, latents)], covariance[np.ix_(latents, others)]
    rest = covariance.diagonal()[others] - (cross * np.linalg.solve(inner, cross)).sum(axis=0)
    log_det = np.linalg.slogdet(inner)[1] + np.log(rest).sum()
    return -0.5 * (len(covariance) * (np.log(2 * np.pi) + 1) + log_det)


@pytest.mark.slow
def test_heywood_cases_end_in_few_iterations(iris, wine):
    """Where noise runs to zero plain EM is not there in thousands; the bound never falls.

    It ends within ten times the climb that the stopping rule leaves: along the ridge to the edge
    that is extrapolated from steps of uneven size.
    """
    for X, q, best in ((iris, 2, heywood_maximum(iris, [1, 2])), (wine, 5, None)):
        model = fit(X, n_factors=q)
        assert model.converged_
        assert model.n_iter_ < 300
        assert np.diff(model.lower_bounds_).min() >= -1e-12
        noise = model.noise_variances_[0] / X.var(axis=0)
        assert noise.min() < 1e-4
        assert best is None or best - 1e-6 < model.lower_bound_ < best + 1e-12
        slow = fit_quietly(X, n_factors=q, acceleration=None)
        assert slow.lower_bound_ < model.lower_bound_ - 1e-5
        # At rest: EM's own next step is short where a variance is not at zero.
        free = noise > 1e-3
        arrays = model.weights_, model.means_, model.loadings_, model.noise_variances_
        theta = mixture_of("factor", *arrays).about(X.mean(axis=0))
        moments = theta.e_step(Rows(X, None, X.mean(axis=0)))[1]
        bold = bolder_noise(theta.components.covariance, moments)[0] / X.var(axis=0)
        assert_allclose(bold[free], noise[free], rtol=2e-2)


def fit_quietly(X, **options):
    with pytest.warns(ConvergenceWarning):
        return fit(X, **options)
