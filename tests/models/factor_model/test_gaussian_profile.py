"""The profile likelihood against densities, the closed form of PPCA, and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA, FactorAnalysis

from skelbo.models.factor_model.gaussian_information import expected_information
from skelbo.models.factor_model.gaussian_profile import GaussianProfile
from tests.tables import real


def profile(X, *, isotropic, weights=None):
    weights = np.ones(len(X)) if weights is None else weights
    return GaussianProfile.of_rows(X, weights, 2, isotropic=isotropic, fit_intercept=True)


def log_prob(X, theta):
    W, noise = theta["loadings"], theta["noise_variance"]
    covariance = W @ W.T + np.diag(np.broadcast_to(noise, len(W)))
    return stats.multivariate_normal(theta["intercepts"], covariance).logpdf(X).mean()


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("shape", [(50, 5), (12, 20)])
def test_its_value_is_the_mean_log_density(shape, isotropic):
    X = real(*shape)
    climbing = profile(X, isotropic=isotropic)
    noise = climbing.start()
    for _ in range(5):
        value, loadings = climbing.e_step(noise)
        assert np.isclose(value, log_prob(X, climbing.theta(noise)), rtol=1e-12)
        better = climbing.m_step(loadings, noise)
        assert climbing.e_step(better)[0] >= value - 1e-12
        noise = better


def test_axes_of_wide_tables_are_found_among_the_rows():
    X, weights = real(12, 20), np.arange(12.0)
    wide = profile(X, isotropic=False, weights=weights)
    noise, tall = wide.start(), profile(X, isotropic=False, weights=weights)
    tall.root = None
    (value, loadings), (same, others) = wide.e_step(noise), tall.e_step(noise)
    assert np.isclose(value, same, rtol=1e-12)
    assert np.allclose(loadings @ loadings.T, others @ others.T, rtol=1e-9, atol=1e-12)


def test_isotropic_is_probabilistic_pca_at_once():
    X = real(50)
    climbing = profile(X, isotropic=True)
    value = climbing.e_step(climbing.start())[0]
    scaled = PCA(2).fit(X)  # divides by n - 1
    covariance = np.cov(X.T, bias=True)
    values = np.linalg.eigvalsh(covariance)[::-1]
    noise = values[2:].mean()
    p = X.shape[1]
    trace = np.log(values[:2]).sum() + (p - 2) * np.log(noise) + p
    assert np.isclose(value, -0.5 * (p * np.log(2 * np.pi) + trace), rtol=1e-12)
    assert np.allclose(scaled.explained_variance_ * 49 / 50, values[:2])


def test_it_ends_where_scikit_learn_ends():
    X = real(200)
    climbing = profile(X, isotropic=False)
    noise = climbing.start()
    for _ in range(3):
        noise = climbing.m_step(climbing.e_step(noise)[1], noise)
    reference = FactorAnalysis(2, tol=1e-12, max_iter=10_000, svd_method="lapack").fit(X)
    assert climbing.e_step(noise)[0] >= reference.score(X) - 1e-9


def test_weights_are_repetition():
    X, weights = real(20), np.arange(20.0) % 3
    one = profile(X, isotropic=False, weights=weights)
    other = profile(np.repeat(X, weights.astype(int), axis=0), isotropic=False)
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(one.floor, other.floor, rtol=1e-12)


def test_information_is_the_covariance_of_the_score():
    X = real(50)
    climbing = profile(X, isotropic=False)
    theta = climbing.theta(climbing.start())
    W, noise = theta["loadings"], theta["noise_variance"]
    p, d = W.shape
    sigma = W @ W.T + np.diag(noise)

    def slope(k):
        """Return the derivative of the covariance in entry k of loadings or noise."""
        change = np.zeros((p, p))
        if k < p * d:
            j, a = divmod(k, d)
            change[j] += W[:, a]
            change[:, j] += W[:, a]
        else:
            change[k - p * d, k - p * d] = 1.0
        return np.linalg.solve(sigma, change)

    slopes = [slope(k) for k in range(p * d + p)]
    expected = 0.5 * 7 * np.array([[np.trace(a @ b) for b in slopes] for a in slopes])
    got = expected_information(theta, 7.0)
    keep = np.r_[: p * d, p * d + p : p * d + 2 * p]
    np.testing.assert_allclose(got[np.ix_(keep, keep)], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("columns", [(0, 1, 2, 3, 6), (0, 1, 2, 6, 12), (0, 1, 6, 7, 8)])
def test_heywood_ridges_end_at_their_maximum_in_any_units(columns):
    """Two latents on five correlated columns of wine: EM was not done after 1000 iterations."""
    X = load_wine().data[:, columns]
    climbing, scaled = profile(X, isotropic=False), profile(1024 * X, isotropic=False)
    noise, there = two_steps(climbing), two_steps(scaled)
    np.testing.assert_array_equal(there, 1024**2 * noise)
    value, loadings = climbing.e_step(noise)
    at_floor = noise <= climbing.floor * (1 + 1e-12)
    slope = 1 - (np.diagonal(climbing.covariance) - (loadings**2).sum(1)) / noise
    assert np.abs(slope[~at_floor]).max() < 1e-4  # rounding: columns at the floor count 1e6-fold
    assert np.all(slope[at_floor] > 0)
    assert value > log_prob_of_long_em(climbing) - 1e-9


def test_rounding_does_not_choose_between_heywood_cases():
    """Of two maxima, each with another column at the floor, a shift of the table chose one."""
    X = load_wine().data[:, (0, 1, 6, 7, 8)]
    shifts = [0.0, X.mean(0), 1.0, 100.0 * X.std(0)]
    tables = [profile(X - shift, isotropic=False) for shift in shifts]
    ends = [table.e_step(two_steps(table))[0] for table in tables]
    np.testing.assert_allclose(ends, ends[0], rtol=0, atol=1e-8)


def two_steps(climbing):
    noise = climbing.start()
    for _ in range(2):
        noise = climbing.m_step(climbing.e_step(noise)[1], noise)
    return noise


def log_prob_of_long_em(climbing):
    noise = climbing.start()
    for _ in range(3000):
        noise = climbing.unexplained(climbing.e_step(noise)[1])
    return climbing.e_step(noise)[0]
