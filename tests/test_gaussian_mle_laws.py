"""Laws of `GaussianMLE`: constant columns, rounding of what is published, changed parameters."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skelbo import EMGaussianMixture, GaussianMLE, SingularCovarianceWarning

KINDS = ["full", "diag", "spherical"]
ignore_singular = pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")


def with_constant(value, missing=0.0, n=1000):
    """Return two columns of noise and a constant one, some cells of which are missing."""
    rng = np.random.default_rng(0)
    X = np.c_[rng.standard_normal((n, 2)), np.full(n, value)]
    X[rng.random(n) < missing, 2] = np.nan
    return X


@ignore_singular
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("value", [98.6, -1 / 3, 6.02e23, 1e-30])
def test_the_value_of_a_constant_column_changes_nothing(kind, missing, value):
    expected = GaussianMLE(kind).fit(with_constant(0.0, missing)).lower_bound_
    X = with_constant(value, missing)
    assert GaussianMLE(kind).fit(X).lower_bound_ == pytest.approx(expected, rel=1e-12)
    model = EMGaussianMixture(1, covariance_type=kind, max_iter=1000).fit(X)
    assert model.lower_bound_ == pytest.approx(expected, rel=1e-9)


@ignore_singular
@pytest.mark.parametrize("kind", KINDS)
def test_weights_repetitions_and_batches_of_a_constant_column(kind):
    X = with_constant(98.6, n=300)
    weights = np.random.default_rng(1).integers(0, 5, 300)
    model = GaussianMLE(kind).fit(X, sample_weight=weights)
    repeated = GaussianMLE(kind).fit(np.repeat(X, weights, axis=0))
    stream = GaussianMLE(kind)
    for part in np.array_split(np.arange(300), 7):
        stream.partial_fit(X[part], sample_weight=weights[part])
    for other in (repeated, stream):
        assert other.lower_bound_ == pytest.approx(model.lower_bound_, rel=1e-12)
        assert_allclose(other.covariance_, model.covariance_, rtol=1e-10, atol=1e-14)
    assert model.mean_[2] == 98.6


@ignore_singular
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-70, 1e-6, 1e9, 1e70])
def test_a_common_unit_is_a_constant_of_the_score(kind, scale):
    X = with_constant(98.6)
    expected = GaussianMLE(kind).fit(X).lower_bound_ - 3 * np.log(scale)
    assert GaussianMLE(kind).fit(scale * X).lower_bound_ == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    ("dtype", "offset", "scale", "digits"),
    [
        (np.float64, 1e12, 1.0, 1e-12),
        (np.float64, 1e6, 1e-9, 1e-12),
        (np.float32, 1e6, 1.0, 1e-6),
        (np.float32, 1e4, 0.1, 1e-6),
    ],
)
def test_the_bound_is_that_of_the_published_parameters(kind, gaps, dtype, offset, scale, digits):
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((300, 3)) @ rng.standard_normal((3, 3)) * scale + offset).astype(dtype)
    X[rng.random(X.shape) < 0.1 * gaps] = np.nan
    model = GaussianMLE(kind).fit(X)
    assert model.mean_.dtype == dtype
    assert model.score(X) == pytest.approx(model.lower_bound_, rel=digits, abs=digits)
    assert model.lower_bounds_[-1] == model.lower_bound_


def test_a_row_of_any_weight_with_gaps_is_incomplete():
    model = GaussianMLE("diag").fit([[1.0], [2.0], [np.nan]], sample_weight=[1, 1, 1e-13])
    assert_allclose(model.mean_, 1.5)
    assert_allclose(model.covariance_, 0.25)


def test_a_changed_type_is_refused(iris):
    model = GaussianMLE("full").fit(iris).set_params(covariance_type="diag")
    for call in (model.score, model.partial_fit, model.bic, model.impute):
        with pytest.raises(ValueError, match="covariance_type='diag' is not that of the fit"):
            call(iris)
    assert model.fit(iris).covariance_.shape == (4,)


def test_a_refused_update_leaves_the_fit_as_it_was(iris):
    model = GaussianMLE().fit(iris[:100])
    before = model.score(iris)
    for X in (np.full((3, 4), np.nan), np.full((3, 4), 1e200) * [[1], [-1], [1]], iris[:, :2]):
        with pytest.raises(ValueError):
            model.partial_fit(X)
        assert model.score(iris) == before
    with pytest.raises(ValueError, match="squares overflow"):
        model.fit(np.array([[1e200, 0.0, 0.0, 0.0], [-1e200, 1.0, 2.0, 3.0]]))
    assert model.score(iris) == before
    whole = GaussianMLE().fit(iris)
    assert_allclose(model.partial_fit(iris[100:]).covariance_, whole.covariance_, rtol=1e-10)


def test_attributes_set_by_hand():
    model = GaussianMLE("diag")
    model.mean_, model.precision_cholesky_, model.n_features_in_ = np.zeros(2), np.ones(2), 2
    assert_allclose(model.score_samples(np.zeros((1, 2))), -np.log(2 * np.pi))


def test_a_warning_made_an_error_leaves_the_fit_before():
    X = with_constant(98.6)
    model = GaussianMLE().fit(X[:, :2])
    with pytest.raises(SingularCovarianceWarning):
        model.fit(X)
    assert model.n_features_in_ == 2 and np.isfinite(model.score(X[:, :2]))


@ignore_singular
@pytest.mark.parametrize("gaps", [False, True])
def test_a_singular_covariance_far_from_zero(gaps):
    """The floor is not below the rounding of the values, nor then that of the mean."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 2))[:, [0, 1, 0]] + 1e12
    X[rng.random(X.shape) < 0.1 * gaps] = np.nan
    model = GaussianMLE().fit(X)
    assert model.score(X) == pytest.approx(model.lower_bound_, rel=1e-9)
    assert np.diff(model.lower_bounds_).min(initial=0.0) > -1.5  # half a nat for each column
    assert model.lower_bound_ > GaussianMLE().fit(X[:, :2]).lower_bound_ + 5


def test_a_ridge_that_leaves_incomplete_rows_singular_is_refused():
    column = np.random.default_rng(0).standard_normal((30, 1))
    X = np.c_[column, 2 * column, -column]
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        GaussianMLE(reg_covar=0.0).fit(X)
