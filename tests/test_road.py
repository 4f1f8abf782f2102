"""Each step of the road contains the last."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skelbo import EMGaussianMixture, GaussianMLE

KINDS = ["full", "diag", "spherical"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("holes", [False, True])
def test_one_component_is_mle(kind, holes, iris):
    X = iris.copy()
    if holes:
        X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    mle = GaussianMLE(kind, tol=1e-13).fit(X)
    em = EMGaussianMixture(1, covariance_type=kind, tol=1e-13, max_iter=1000, random_state=0).fit(X)
    assert_allclose(em.means_[0], mle.mean_, rtol=1e-6)
    assert_allclose(em.covariances_[0], mle.covariance_, rtol=1e-5)
    assert em.lower_bound_ == pytest.approx(mle.lower_bound_, rel=1e-11)
    assert em.n_parameters_ == mle.n_parameters_


def dense_precisions(kind, precisions):
    """Return precisions of any kind for three components as (3, 4, 4) matrices."""
    if kind == "tied":
        return np.array([precisions] * 3)
    columns = precisions[:, None] if kind == "spherical" else precisions
    return np.broadcast_to(columns, (3, 4))[:, :, None] * np.eye(4)


PRECISIONS = {
    "full": lambda dense: dense,
    "tied": lambda dense: dense[0],
    "diag": lambda dense: np.diagonal(dense, axis1=1, axis2=2),
    "tied_diag": lambda dense: np.diagonal(dense[0]),
    "spherical": lambda dense: dense[:, 0, 0],
}


def test_mle_is_numpys(iris):
    mle = GaussianMLE().fit(iris)
    assert_allclose(mle.mean_, iris.mean(axis=0))
    assert_allclose(mle.covariance_, np.cov(iris.T, bias=True))
    assert_allclose(mle.precision_ @ mle.covariance_, np.eye(4), atol=1e-10)
    Z = mle.transform(iris)
    assert_allclose(np.cov(Z.T, bias=True), np.eye(4), atol=1e-10)
    assert_allclose(mle.inverse_transform(Z), iris)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["gem", "gradient"])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical", "tied_diag"])
@pytest.mark.parametrize("data", ["iris", "faithful"])
def test_every_solver_reaches_the_mode_of_em(solver, kind, data, request):
    X = request.getfixturevalue(data)
    K = 3 if data == "iris" else 2
    options = {"covariance_type": kind, "random_state": 0, "max_iter": 500}
    em = EMGaussianMixture(K, **options).fit(X)
    other = EMGaussianMixture(K, solver=solver, **options).fit(X)
    assert other.lower_bound_ == pytest.approx(em.lower_bound_, abs=1e-6)
    assert np.all(np.diff(other.lower_bounds_) >= -1e-12)
    order, theirs = np.argsort(em.means_[:, 0]), np.argsort(other.means_[:, 0])
    assert_allclose(other.means_[theirs], em.means_[order], rtol=2e-2)


@pytest.mark.parametrize("solver", ["gem", "gradient"])
def test_every_solver_takes_missing_cells_and_weights(solver, iris):
    X = iris.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    weights = np.random.default_rng(1).integers(1, 4, len(X))
    options = {"covariance_type": "tied", "random_state": 0, "max_iter": 500}
    em = EMGaussianMixture(2, **options).fit(X, sample_weight=weights)
    other = EMGaussianMixture(2, solver=solver, **options).fit(X, sample_weight=weights)
    assert other.lower_bound_ == pytest.approx(em.lower_bound_, abs=1e-6)


@pytest.mark.parametrize("small", ["tied_spherical", "tied_diag", "spherical", "diag", "tied"])
def test_larger_families_contain_smaller_ones(small, iris):
    """From the smaller family's mode, EM in the larger one starts no lower and ends no lower."""
    larger = {
        "tied_spherical": ["spherical", "tied_diag"],
        "tied_diag": ["diag", "tied"],
        "spherical": ["diag"],
        "diag": ["full"],
        "tied": ["full"],
    }
    mode = EMGaussianMixture(3, covariance_type=small, random_state=0, max_iter=500).fit(iris)
    for kind in larger[small]:
        flat = PRECISIONS[kind](dense_precisions(small, mode.precisions_))
        start = EMGaussianMixture(
            3,
            covariance_type=kind,
            weights_init=mode.weights_,
            means_init=mode.means_,
            precisions_init=flat,
            max_iter=0,
        ).fit(iris)
        assert start.lower_bound_ == pytest.approx(mode.lower_bound_, rel=1e-9)
        grown = start.set_params(max_iter=500, warm_start=True).fit(iris)
        assert grown.lower_bound_ >= mode.lower_bound_ - 1e-12


def test_sampled_data_give_the_parameters_back():
    truth = EMGaussianMixture(
        2,
        weights_init=[0.3, 0.7],
        means_init=[[-3.0, 0.0], [3.0, 1.0]],
        precisions_init=[[[1.0, 0.3], [0.3, 1.0]], [[2.0, -0.5], [-0.5, 0.7]]],
        max_iter=0,
    ).fit(np.random.default_rng(0).standard_normal((10, 2)))
    X, labels = truth.sample(20000, random_state=0)
    fitted = EMGaussianMixture(2, random_state=0).fit(X)
    order = np.argsort(fitted.means_[:, 0])
    assert_allclose(fitted.weights_[order], truth.weights_, atol=0.01)
    assert_allclose(fitted.means_[order], truth.means_, atol=0.05)
    assert_allclose(fitted.covariances_[order], truth.covariances_, atol=0.06)
    assert np.mean(fitted.predict(X) == order[labels]) > 0.99
