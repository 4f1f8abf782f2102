"""Starts of EM: none fails, units and order of the rows do not matter, and several differ."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from skelbo import EMGaussianMixture, SingularCovarianceWarning
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.initialization import STARTS

KINDS = list(STRUCTURES)
ISOTROPIC = {"spherical", "tied_spherical"}


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_start_dies(init, kind, faithful):
    """Without any ridge, every start of every kind lives and ends at a finite bound."""
    model = EMGaussianMixture(
        3, covariance_type=kind, init_params=init, n_init=5, reg_covar=0, random_state=0, max_iter=5
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(faithful)
    assert model.failed_starts_ == []
    assert np.isfinite(model.lower_bound_)


@pytest.mark.parametrize(("init", "n_init"), [*((init, 1) for init in STARTS), ("kmeans", 4)])
def test_starts_depend_on_neither_order_nor_repetition(init, n_init, iris):
    counts = np.random.default_rng(0).integers(0, 4, 150)
    order = np.random.default_rng(1).permutation(counts.sum())
    options = {"init_params": init, "n_init": n_init, "random_state": 3, "max_iter": 0}
    weighted = EMGaussianMixture(3, **options).fit(iris, sample_weight=counts)
    repeated = EMGaussianMixture(3, **options).fit(np.repeat(iris, counts, axis=0)[order])
    assert_allclose(weighted.means_, repeated.means_, rtol=1e-10)
    assert_allclose(weighted.covariances_, repeated.covariances_, rtol=1e-8, atol=1e-12)


def test_fewer_distinct_rows_than_components():
    X = np.repeat([[0.0, 1.0], [2.0, 3.0]], 10, axis=0)
    with pytest.warns(SingularCovarianceWarning):
        model = EMGaussianMixture(5, random_state=0).fit(X)
    assert np.all(np.isfinite(model.score_samples(X)))
    assert model.weights_.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_init", [1, 4])
def test_units_change_scores_by_the_jacobian_only(kind, n_init, iris):
    """Isotropic types, whose one variance has one unit, for one factor in all columns."""
    c = np.full(4, 1e3) if kind in ISOTROPIC else np.array([1e3, 1.0, 1.0, 1e-3])
    options = {"covariance_type": kind, "n_init": n_init, "max_iter": 30, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        plain = EMGaussianMixture(3, **options).fit(iris)
        scaled = EMGaussianMixture(3, **options).fit(iris * c)
    # Factor models magnify rounding along the ridge on which they climb.
    tolerance = 1e-3 if kind == "factor" else 1e-6
    expected = plain.score_samples(iris) - np.log(c).sum()
    assert_allclose(scaled.score_samples(iris * c), expected, atol=tolerance)


def test_units_of_a_table_longer_than_the_sample():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((9000, 3)) + 3 * rng.integers(3, size=(9000, 1))
    c = np.array([1e3, 0.3, 1e-7])
    options = {"n_init": 3, "random_state": 0, "covariance_type": "diag"}
    plain = EMGaussianMixture(3, **options).fit(X)
    scaled = EMGaussianMixture(3, **options).fit(X * c)
    expected = plain.score(X) - np.log(c).sum()
    assert scaled.score(X * c) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_several_starts_find_what_k_means_misses(seed, iris):
    """The highest mode of three diagonal Gaussians on iris is none of k-means' neighbours."""
    options = {"covariance_type": "diag", "random_state": seed, "max_iter": 300}
    one = EMGaussianMixture(3, **options).fit(iris)
    ten = EMGaussianMixture(3, n_init=10, **options).fit(iris)
    assert one.lower_bound_ < -2.0475
    assert ten.lower_bound_ == pytest.approx(-2.045736, abs=1e-6)


def test_user_parameters_are_in_every_start(faithful):
    means = np.array([[2.0, 54.0], [4.3, 80.0]])
    model = EMGaussianMixture(2, means_init=means, n_init=3, max_iter=0, random_state=0)
    assert_allclose(model.fit(faithful).means_, means)


@pytest.mark.parametrize("init_params", STARTS)
def test_a_start_is_that_of_the_content_of_the_table(init_params, iris):
    """Repeated, weighted and reordered rows: the same parameters, those of `max_iter=0`."""
    model = EMGaussianMixture(3, init_params=init_params, max_iter=0, random_state=0)
    X = np.unique(iris, axis=0)
    expected = model.fit(X).means_
    order = np.random.default_rng(0).permutation(len(X))
    assert_allclose(model.fit(X[order]).means_, expected, rtol=1e-10)
    assert_allclose(model.fit(np.tile(X, (2, 1))).means_, expected, rtol=1e-10)
    assert_allclose(model.fit(X, sample_weight=np.full(len(X), 2.0)).means_, expected, rtol=1e-10)
