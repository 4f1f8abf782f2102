"""Leaving out what no sum shows changes no sum; whatever the rows, nothing else is left out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from skelbo.data.rows import Rows
from skelbo.gaussian.mahalanobis import MARGIN, MahalanobisTerms
from skelbo.gaussian.moments import Moments
from skelbo.gaussian.regularization import Ridge
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.mixture import Mixture

K, P, N = 4, 40, 600


def gaussians(apart, p=P, seed=0):
    """Return rows (p, n) of K Gaussians, and these: `apart` standard deviations in each column."""
    rng = np.random.default_rng(seed)
    means = apart * rng.standard_normal((K, p))
    factors = np.triu(rng.standard_normal((K, p, p))) / p + np.eye(p)
    values = means[rng.integers(K, size=N)] + rng.standard_normal((N, p))
    return values.T.copy(), MahalanobisTerms(means, factors), np.log(rng.dirichlet(np.ones(K)))


def plainly(values, whitening, constants):
    """Return the log-joint by the formula."""
    pairs = zip(whitening.precision_cholesky, whitening.means, strict=True)
    white = [factor.T @ (values - mean[:, None]) for factor, mean in pairs]
    return constants[:, None] - 0.5 * (np.array(white) ** 2).sum(axis=1)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize(("apart", "share"), [(0.0, 0.0), (0.5, 0.0), (8.0, 0.75), (50.0, 0.75)])
def test_only_what_no_sum_shows_is_left_out(apart, share, layout):
    values, whitening, constants = gaussians(apart)
    expected = plainly(values, whitening, constants)
    log_joint = whitening.log_joint(layout(values), constants)
    left_out = np.isneginf(log_joint)
    assert np.mean(left_out) == pytest.approx(share, abs=0.05)
    assert_allclose(log_joint[~left_out], expected[~left_out], rtol=1e-10)
    assert np.all((expected < expected.max(axis=0) - MARGIN)[left_out])
    assert_allclose(logsumexp(log_joint, axis=0), logsumexp(expected, axis=0), rtol=1e-13)


@pytest.mark.parametrize("p", [1, 7, 23, 24, 32, 65])
@pytest.mark.parametrize("n", [1, 100])
def test_any_shape(p, n):
    values, whitening, constants = gaussians(8.0, p)
    expected = logsumexp(plainly(values[:, :n], whitening, constants), axis=0)
    log_joint = whitening.log_joint(values[:, :n], constants)
    assert_allclose(logsumexp(log_joint, axis=0), expected, rtol=1e-12)


def test_the_last_columns_may_say_nothing():
    """Components that differ in the first columns only are not lost, nor those of another scale."""
    values, whitening, constants = gaussians(0.0)
    whitening.means[:, 0] = 30.0 * np.arange(K)
    values[0] += 30.0 * np.random.default_rng(1).integers(K, size=N)
    whitening.precision_cholesky[1] *= 1e-3
    expected = logsumexp(plainly(values, whitening, constants), axis=0)
    assert_allclose(logsumexp(whitening.log_joint(values, constants), axis=0), expected, rtol=1e-12)


def test_a_few_rows_mislead_about_the_others():
    """The rows that say whether most components are far may all lie apart, or none of them."""
    near, whitening, constants = gaussians(0.0)
    for step in (1, -1):
        values = np.concatenate([near[:, :100] + 300.0, near[:, 100:]], axis=1)[:, ::step]
        whitening.means[0] = 300.0
        expected = logsumexp(plainly(values, whitening, constants), axis=0)
        log_joint = whitening.log_joint(np.ascontiguousarray(values), constants)
        assert_allclose(logsumexp(log_joint, axis=0), expected, rtol=1e-12)


def test_float32_stays_float32():
    values, whitening, constants = gaussians(8.0)
    single = MahalanobisTerms(
        *(a.astype(np.float32) for a in (whitening.means, whitening.precision_cholesky))
    )
    log_joint = single.log_joint(values.astype(np.float32), constants)
    assert log_joint.dtype == np.float32
    expected = logsumexp(plainly(values, whitening, constants), axis=0)
    assert_allclose(logsumexp(log_joint, axis=0), expected, atol=1e-3)


def test_rows_that_cannot_be_seen_show():
    """No density of a missing or infinite cell is finite; of one too large, all are -inf."""
    values, whitening, constants = gaussians(8.0)
    values[3, 0], values[4, 1], values[5, 2] = np.nan, np.inf, 1e200
    with np.errstate(over="ignore", invalid="ignore"):
        top = whitening.log_joint(values, constants).max(axis=0)
    assert not np.isfinite(top[:3]).any() and np.isneginf(top[2])
    assert np.isfinite(top[3:]).all()


def test_impossible_components_stay_so():
    values, whitening, _ = gaussians(8.0)
    constants = np.array([-np.inf, 0.0, 0.0, 0.0])
    assert np.isneginf(whitening.log_joint(values, constants)[0]).all()


def test_e_step_is_that_of_all_components():
    values, whitening, constants = gaussians(8.0)
    X, labels = values.T, plainly(values, whitening, constants).argmax(axis=0)
    moments = Moments.of_block(STRUCTURES["full"].scatter, values, np.eye(K)[:, labels])
    theta = Mixture.from_moments(STRUCTURES["full"], moments, Ridge(0.1))
    (block,) = Rows(X).blocks()
    density = theta.components.density(block, theta.log_weights)
    assert np.isneginf(density.log_joint()).any()
    log_joint = density.log_prob + theta.log_weights[:, None]
    bound, moments = theta.e_step(Rows(X))
    assert bound == pytest.approx(logsumexp(log_joint, axis=0).mean(), rel=1e-13)
    expected = density.moments(np.exp(log_joint - logsumexp(log_joint, axis=0)))
    assert_allclose(moments.weight, expected.weight, rtol=1e-10, atol=1e-25)
    assert_allclose(moments.mean, expected.mean, rtol=1e-10, atol=1e-10)
    assert_allclose(moments.scatter, expected.scatter, rtol=1e-9, atol=1e-9)
