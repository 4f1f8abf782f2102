"""Properties of `GaussianMLE` alone: exact batches, and EM for missing cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from skelbo import GaussianMLE, SingularCovarianceWarning

KINDS = ["full", "diag", "spherical"]
SHAPES = {"full": (4, 4), "diag": (4,), "spherical": ()}


@pytest.mark.parametrize("kind", KINDS)
def test_attributes(kind, iris):
    model = GaussianMLE(kind).fit(iris)
    assert model.mean_.shape == (4,)
    for name in ("covariance_", "precision_", "precision_cholesky_"):
        assert np.shape(getattr(model, name)) == SHAPES[kind]
    assert model.n_iter_ == 1 and model.converged_
    assert model.n_parameters_ == 4 + {"full": 10, "diag": 4, "spherical": 1}[kind]
    names = [f"gaussianmle{i}" for i in range(4)]
    assert list(model.get_feature_names_out()) == names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["covariance_", "precision_", "precision_cholesky_"])
def test_edited_matrices_are_obeyed(kind, name, iris):
    """Twice the standard deviations, by whichever array, are those of rows half as far apart."""
    model = GaussianMLE(kind).fit(iris)
    X = iris.copy()
    X[::3, 1] = np.nan
    expected = model.score_samples(model.mean_ + 0.5 * (X - model.mean_))
    expected -= np.log(2) * np.isfinite(X).sum(axis=1)
    filled, drawn = model.impute(X), model.sample(5, random_state=0)[0] - model.mean_
    power = {"covariance_": 2, "precision_": -2, "precision_cholesky_": -1}[name]
    setattr(model, name, getattr(model, name) * 2.0**power)
    assert_allclose(model.score_samples(X), expected, rtol=1e-9)
    assert_allclose(model.impute(X), filled, rtol=1e-9)
    assert_allclose(model.sample(5, random_state=0)[0] - model.mean_, 2 * drawn, rtol=1e-9)
    assert_allclose(model.inverse_transform(model.transform(iris)), iris, rtol=1e-9)


def test_a_matrix_edited_in_place_is_obeyed_or_named(iris):
    model = GaussianMLE().fit(iris)
    model.covariance_[0, 0] *= 100
    assert model.impute([[9.0, np.nan, np.nan, np.nan]])[0, 2] < 4  # the slope is a hundredth
    model.covariance_[0, 0] *= -1
    with pytest.raises(ValueError, match="covariance_ was set to what is not symmetric"):
        model.score(iris)
    model.covariance_ = np.ones(4)
    with pytest.raises(
        ValueError, match=r"covariance_ was set to an array of shape \(4,\), expected \(4, 4\)"
    ):
        model.score(iris)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["covariance_", "precision_", "precision_cholesky_"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
def test_a_matrix_without_a_density_is_named(kind, name, value, iris):
    model = GaussianMLE(kind).fit(iris)
    edited = np.array(getattr(model, name))
    edited[(0,) * edited.ndim] = value
    setattr(model, name, edited)
    if (kind, name, value) == ("full", "precision_cholesky_", -1.0):  # a root of a precision
        expected = multivariate_normal(model.mean_, np.linalg.inv(edited @ edited.T)).logpdf(iris)
        assert_allclose(model.score_samples(iris), expected, rtol=1e-10)
        return
    with pytest.raises(ValueError, match=f"{name} was set to what is not symmetric and positive-d"):
        model.score_samples(iris)


@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")  # of the first few rows
@pytest.mark.parametrize("kind", KINDS)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5), offset=st.sampled_from([0, 1e6]))
@settings(max_examples=15, deadline=None)
def test_batches_are_one_fit(kind, sizes, offset, iris):
    """partial_fit over any batches gives the fit to all rows, to rounding."""
    X = np.random.default_rng(0).permutation(iris)[: sum(sizes)] + offset
    weights = np.arange(len(X)) % 5 + 1.0
    model, start = GaussianMLE(kind), 0
    for size in sizes:
        part = slice(start, start + size)
        if len(X[part]) >= (1 if start else 2):  # one row is enough once there are others
            model.partial_fit(X[part], sample_weight=weights[part])
            start += size
    if not start:
        return
    whole = GaussianMLE(kind).fit(X[:start], sample_weight=weights[:start])
    digits = {"rtol": 1e-6, "atol": 1e-8} if offset else {"rtol": 1e-9, "atol": 1e-12}
    assert_allclose(model.mean_, whole.mean_, rtol=1e-12)
    assert_allclose(model.covariance_, whole.covariance_, **digits)


def test_partial_fit_goes_on_after_fit(iris):
    model = GaussianMLE().fit(iris[:100]).partial_fit(iris[100:])
    assert_allclose(model.covariance_, GaussianMLE().fit(iris).covariance_, rtol=1e-10)


def test_partial_fit_passes_over_missing_cells_in_rows_of_weight_zero(iris):
    X, weights = iris.copy(), np.ones(150)
    X[:9], weights[:9] = np.nan, 0.0
    model = GaussianMLE().partial_fit(X[:100], sample_weight=weights[:100])
    model.partial_fit(X[100:]).partial_fit(X[:20], sample_weight=weights[:20])
    whole = GaussianMLE().fit(np.vstack([iris[9:], iris[9:20]]))
    assert_allclose(model.covariance_, whole.covariance_, rtol=1e-12)


def test_partial_fit_refuses_missing_cells(iris):
    X = iris.copy()
    X[3, 0] = np.nan
    with pytest.raises(ValueError, match="partial_fit got missing cells .* use fit"):
        GaussianMLE().partial_fit(X)
    with pytest.raises(ValueError, match="partial_fit got missing cells"):
        GaussianMLE().fit(X).partial_fit(iris)


def test_diagonal_fit_with_missing_cells_is_column_by_column(iris):
    X = iris.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.3] = np.nan
    model = GaussianMLE("diag", tol=1e-14).fit(X)
    assert_allclose(model.mean_, np.nanmean(X, axis=0), rtol=1e-7)
    assert_allclose(model.covariance_, np.nanvar(X, axis=0), rtol=1e-6)


def test_missing_cells_maximise_the_observed_likelihood(iris):
    """No small change of mean or covariance raises the likelihood of the observed cells."""
    X = iris[:, :3].copy()
    X[np.random.default_rng(0).random(X.shape) < 0.3] = np.nan
    model = GaussianMLE(tol=1e-13).fit(X)
    best, rng = model.score(X), np.random.default_rng(1)
    mean, root = model.mean_, model.precision_cholesky_
    for _ in range(10):
        model.mean_ = mean + 1e-3 * rng.standard_normal(3)
        change = np.eye(3) + 1e-3 * np.tril(rng.standard_normal((3, 3)))
        model.precision_cholesky_ = np.linalg.inv(change).T @ root
        assert model.score(X) < best


@pytest.mark.parametrize("kind", KINDS)
def test_a_ridge_is_absolute(kind, iris):
    plain, ridged = GaussianMLE(kind).fit(iris), GaussianMLE(kind, reg_covar=0.5).fit(iris)
    change = np.asarray(ridged.covariance_ - plain.covariance_)
    assert_allclose(change, 0.5 * np.eye(4) if kind == "full" else 0.5 + 0 * change, atol=1e-12)
    assert ridged.lower_bound_ == pytest.approx(ridged.score(iris))


def test_a_singular_covariance_is_said(iris):
    X = np.c_[iris, iris[:, 0]]
    with pytest.warns(SingularCovarianceWarning, match="The covariance of the data is numerically"):
        GaussianMLE().fit(X)
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        GaussianMLE(reg_covar=0).fit(np.c_[iris, np.ones(150)])


def test_not_converged_is_said(iris):
    X = iris.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.5] = np.nan
    with pytest.warns(match="did not converge.*max_iter=2"):
        model = GaussianMLE(max_iter=2).fit(X)
    assert not model.converged_ and model.n_iter_ == 2


def test_sample_moments(iris):
    model = GaussianMLE().fit(iris)
    X, Z = model.sample(50_000, random_state=0)
    assert_allclose(X.mean(axis=0), model.mean_, atol=0.03)
    assert_allclose(np.cov(X.T), model.covariance_, atol=0.06)
    assert_allclose(model.transform(X), Z, atol=1e-9)
    with pytest.raises(ValueError, match="Invalid value for 'n_samples': 0"):
        model.sample(0)
