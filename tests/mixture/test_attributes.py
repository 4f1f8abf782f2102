"""Public arrays are the parameters that score: as rounded, as set by hand, never those of another
covariance type."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning

from skelbo import EMGaussianMixture, EMMixture, GaussianMLE
from skelbo.gaussian.structures import STRUCTURES

KINDS = list(STRUCTURES)
C = np.array([[2.0, 0.9], [0.9, 1.0]])


def two_clouds(offset=0.0, scale=1.0, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3)) + 3 * rng.integers(2, size=(300, 1))
    return (offset + scale * X).astype(dtype)


# ------------------------------------------------------------------------------------------ rounded


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("offset", "scale", "dtype"),
    [(0, 1, "f4"), (1e4, 1, "f4"), (1e6, 1, "f4"), (1e12, 1, "f8"), (1e6, 1e-9, "f8")],
)
def test_the_bound_is_the_score_of_the_published_parameters(kind, offset, scale, dtype):
    """In float32 and at offsets where means are rounded by parts of a standard deviation."""
    X = two_clouds(offset, scale, dtype)
    model = EMGaussianMixture(2, covariance_type=kind, n_factors=1, max_iter=500, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X)
    exact = model.score(X.astype(np.float64))
    assert model.lower_bound_ == model.lower_bounds_[-1] == pytest.approx(exact, abs=1e-11)
    assert model.means_.dtype == X.dtype
    rows = model.score_samples(X)
    assert_allclose(rows, model.score_samples(X.astype(np.float64)), rtol=2e-6, atol=2e-6)


# ------------------------------------------------------------------------------------- set by hand


def by_hand(**arrays):
    """Return one Gaussian with covariance C whose attributes a user has set."""
    model = EMGaussianMixture(1, random_state=0)
    model.weights_, model.means_, model.n_features_in_ = np.ones(1), np.array([[1.0, -1.0]]), 2
    for name, array in arrays.items():
        setattr(model, name, np.asarray(array)[None])
    return model


P = np.linalg.inv(C)
LOWER = np.linalg.cholesky(P)
UPPER = np.linalg.cholesky(P[::-1, ::-1])[::-1, ::-1]
TURN = np.array([[0.6, -0.8], [0.8, 0.6]])
ROOTS = {"lower": LOWER, "upper": UPPER, "negative": -UPPER, "no triangle": LOWER @ TURN}


@pytest.mark.parametrize("root", ROOTS)
def test_any_root_of_the_precision_is_used_throughout(root):
    model = by_hand(precisions_cholesky_=ROOTS[root], covariances_=C)
    X = np.array([[1.0, 2.0], [0.0, -3.0], [np.nan, 1.0], [2.0, np.nan]])
    expected = [
        *multivariate_normal([1, -1], C).logpdf(X[:2]),
        multivariate_normal(-1, C[1, 1]).logpdf(1.0),
        multivariate_normal(1, C[0, 0]).logpdf(2.0),
    ]
    assert_allclose(model.score_samples(X), expected, rtol=1e-12)
    assert_allclose(model.elbo(X), expected, rtol=1e-12)
    assert_allclose(model.impute(X)[2:], [[1 + 0.9 * 2, 1.0], [2.0, -1 + 0.45]], rtol=1e-12)
    drawn = model.sample(200_000)[0]
    assert_allclose(np.cov(drawn.T), C, atol=0.03)


@pytest.mark.parametrize(
    "arrays", [{"covariances_": C}, {"precisions_": P}, {"precisions_": P, "covariances_": C}]
)
def test_any_of_the_three_matrices_is_enough(arrays):
    X = np.array([[1.0, 2.0], [0.0, -3.0]])
    expected = multivariate_normal([1, -1], C).logpdf(X)
    assert_allclose(by_hand(**arrays).score_samples(X), expected, rtol=1e-12)


def test_a_singular_root_is_refused():
    with pytest.raises(ValueError, match="precisions_cholesky_ has a singular matrix"):
        by_hand(precisions_cholesky_=np.ones((2, 2))).score_samples([[0.0, 1.0]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["covariances_", "precisions_", "precisions_cholesky_"])
def test_edited_matrices_are_obeyed(kind, name, iris):
    """Twice the standard deviations, by whichever array, are those of rows half as far apart."""
    model = EMGaussianMixture(2, covariance_type=kind, n_factors=1, random_state=0).fit(iris)
    rows = model.means_[0] + 0.5 * (iris - model.means_[0])
    model.means_ = np.tile(model.means_[0], (2, 1))
    expected = model.score_samples(rows) - 4 * np.log(2)
    power = {"covariances_": 2, "precisions_": -2, "precisions_cholesky_": -1}[name]
    setattr(model, name, getattr(model, name) * 2.0**power)
    assert_allclose(model.score_samples(iris), expected, rtol=1e-9)
    assert_allclose(model.elbo(iris), expected, rtol=1e-9)
    model.fit(iris)
    assert model.lower_bound_ == pytest.approx(model.score(iris), rel=1e-12)


@pytest.mark.parametrize("name", ["covariances_", "precisions_", "precisions_cholesky_"])
def test_matrices_of_factors_are_not_edited_in_place(name, iris):
    """They are computed on access, and a change of the result would be lost."""
    model = EMGaussianMixture(2, covariance_type="factor", random_state=0).fit(iris)
    with pytest.raises(ValueError, match="read-only"):
        getattr(model, name)[0] *= 2


def test_a_factor_fit_does_not_go_on_from_matrices(iris):
    model = EMGaussianMixture(2, covariance_type="factor", warm_start=True, random_state=0)
    model.fit(iris).covariances_ = np.tile(np.eye(4), (2, 1, 1))
    with pytest.raises(ValueError, match="set loadings_ and noise_variances_, or delete"):
        model.fit(iris)
    del model.covariances_
    assert model.fit(iris).converged_


def test_matrices_edited_to_nonsense_are_named(iris):
    model = EMGaussianMixture(2, random_state=0).fit(iris)
    model.covariances_[0] = -np.eye(4)
    with pytest.raises(ValueError, match="covariances_ was set to what is not symmetric"):
        model.predict(iris)
    model.covariances_ = np.eye(4)
    with pytest.raises(ValueError, match=r"array of shape \(4, 4\), expected \(2, 4, 4\)"):
        model.predict(iris)


# ------------------------------------------------------------------------- parameters changed later


CHANGES = {"covariance_type": "diag", "n_components": 3, "n_factors": 3}
METHODS = ["score", "predict", "transform", "elbo", "impute", "bic", "partial_fit", "fit"]


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("method", METHODS)
def test_a_parameter_changed_after_the_fit_is_named(name, method, iris):
    model = EMGaussianMixture(
        2, covariance_type="factor", n_factors=1, random_state=0, max_iter=3, tol=1.0
    ).fit(iris)
    X = iris.copy()
    X[0, 0] = np.nan
    model.set_params(warm_start=True, **{name: CHANGES[name]})
    with pytest.raises(ValueError, match=f"{name}={CHANGES[name]!r} is not that of the fit"):
        getattr(model, method)(X)
    with pytest.raises(ValueError, match=f"{name}="):
        _ = model.n_parameters_


def test_a_fit_from_anew_takes_changed_parameters(iris):
    model = EMGaussianMixture(2, random_state=0).fit(iris)
    model.set_params(covariance_type="tied", n_components=3).fit(iris)
    fresh = EMGaussianMixture(3, covariance_type="tied", random_state=0).fit(iris)
    assert model.score(iris) == fresh.score(iris)


def test_parameters_that_shape_nothing_may_change(iris):
    model = EMGaussianMixture(2, random_state=0).fit(iris)
    before = model.score(iris)
    assert model.set_params(n_factors=5, max_iter=7, tol=0.1).score(iris) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights_", [0.5, 0.6]),
        ("weights_", [np.nan, 1.0]),
        ("weights_", [-0.5, 1.5]),
        ("means_", [[np.nan, 0.0], [0.0, 0.0]]),
        ("means_", [[np.inf, 0.0], [0.0, 0.0]]),
    ],
)
@pytest.mark.parametrize("estimator", [EMGaussianMixture, EMMixture])
def test_weights_and_means_that_are_none_are_refused(estimator, name, value):
    """A mean of NaN made log p(x) zero, as in a row without an observed cell."""
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = estimator(2, random_state=0).fit(X)
    setattr(model, name, np.array(value))
    with pytest.raises(ValueError, match=f"{name} (has|was set)"):
        model.score_samples(X)


def test_a_mean_that_is_none_is_refused_of_one_gaussian():
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = GaussianMLE().fit(X)
    model.mean_ = np.array([np.nan, 0.0])
    with pytest.raises(ValueError, match="mean_ was set"):
        model.score_samples(X)
