"""Draws of missing cells have the conditional distribution, and keep what is observed."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skelbo import (
    EMGaussianMixture,
    EMHiddenMarkovModel,
    GaussianMLE,
    VAEEstimator,
    VariationalEM,
)
from skelbo.gaussian.structures import STRUCTURES
from skelbo.models import BinaryFeatureModel, FactorModel
from tests.own_models import TwoParameterLogistic


def conditional(mean, covariance, row):
    """Return the mean and the covariance of the missing cells given the observed ones."""
    m, o = np.isnan(row), ~np.isnan(row)
    gain = covariance[np.ix_(m, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
    spread = covariance[np.ix_(m, m)] - gain @ covariance[np.ix_(o, m)]
    return mean[m] + gain @ (row[o] - mean[o]), spread


ROW = np.array([5.0, np.nan, 2.0, np.nan])


def check_moments(draws, mean, covariance):
    """Compare the moments of draws with those of a Gaussian, at five standard errors."""
    n = len(draws)
    errors = np.sqrt(np.diag(covariance) / n)
    assert np.all(np.abs(draws.mean(0) - mean) < 5 * errors)
    assert_allclose(np.cov(draws.T), covariance, atol=7 * np.max(covariance) / np.sqrt(n))


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_draws_of_one_gaussian_have_the_conditional_moments(kind, iris):
    model = GaussianMLE(kind).fit(iris)
    covariance = model.covariance_ if kind == "full" else np.eye(4) * model.covariance_
    draws = model.impute(ROW[None], n_draws=4000, random_state=0)[:, 0]
    check_moments(draws[:, [1, 3]], *conditional(model.mean_, covariance, ROW))
    assert_array_equal(draws[:, [0, 2]], np.tile(ROW[[0, 2]], (4000, 1)))


@pytest.mark.parametrize("kind", STRUCTURES)
def test_draws_of_a_mixture_average_to_the_expectation(kind, faithful):
    model = EMGaussianMixture(2, covariance_type=kind, n_factors=1, random_state=0).fit(faithful)
    row = np.array([[3.0, np.nan]])  # between the clusters
    draws = model.impute(row, n_draws=4000, random_state=0)[:, 0, 1]
    assert abs(draws.mean() - model.impute(row)[0, 1]) < 5 * draws.std() / np.sqrt(4000)
    # The law of total variance over the two labels.
    covariances = model._fitted().theta.components.covariance.dense(2, 2)
    pairs = zip(model.means_, covariances, strict=True)
    moments = [conditional(m, S, row[0]) for m, S in pairs]
    mean, spread = np.array([(mean[0], spread[0, 0]) for mean, spread in moments]).T
    resp = model.predict_proba(row)[0]
    variance = resp @ spread + resp @ (mean - resp @ mean) ** 2
    assert draws.var() == pytest.approx(variance, rel=0.15)


def test_draws_of_a_gaussian_factor_model_are_those_of_its_gaussian(iris):
    model = VariationalEM(model=FactorModel(1, noise="isotropic")).fit(iris)
    theta = model.params_
    covariance = theta["loadings"] @ theta["loadings"].T + theta["noise_variance"] * np.eye(4)
    draws = model.impute(ROW[None], n_draws=4000, random_state=0)[:, 0]
    check_moments(draws[:, [1, 3]], *conditional(theta["intercepts"], covariance, ROW))


@pytest.mark.parametrize("kind", ["bernoulli", "poisson"])
def test_draws_by_importance_resampling_average_to_the_expectation(kind):
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((300, 1))
    X = rng.poisson(np.exp(0.5 * Z + np.array([0.5, 1.0, 0.0]))).astype(float)
    X = np.minimum(X, 1.0) if kind == "bernoulli" else X
    model = VariationalEM(1, model=kind, posterior="exact").fit(X)
    row = np.array([[1.0, np.nan, 0.0]])
    draws = model.impute(row, n_draws=4000, random_state=0)[:, 0, 1]
    assert abs(draws.mean() - model.impute(row)[0, 1]) < 5 * draws.std() / np.sqrt(4000)
    assert set(draws) <= {0.0, 1.0} if kind == "bernoulli" else np.all(draws == draws.round())


def test_draws_of_binary_features_have_every_state():
    rng = np.random.default_rng(0)
    Z = rng.random((400, 1)) < 0.5
    X = np.c_[Z, Z] * 4.0 + 0.3 * rng.standard_normal((400, 2)) @ np.diag([10, 1])
    model = VariationalEM(model=BinaryFeatureModel(1, noise="diag"), random_state=0).fit(X)
    draws = model.impute([[2.0, np.nan]], n_draws=2000, random_state=0)[:, 0, 1]
    assert 0.2 < np.mean(draws > 2) < 0.8
    assert abs(draws.mean() - model.impute([[2.0, np.nan]])[0, 1]) < 0.25


@pytest.mark.slow
def test_draws_of_a_vae_average_to_the_expectation(iris):
    model = VAEEstimator(1, max_iter=20, early_stopping=False, random_state=0).fit(iris)
    draws = model.impute(ROW[None], n_draws=4000, random_state=0)[:, 0]
    errors = draws.std(0)[[1, 3]] / np.sqrt(4000)
    expected = model.impute(ROW[None])[0, [1, 3]]
    # Both rest on the same 500 weighted draws of z.
    assert np.all(np.abs(draws.mean(0)[[1, 3]] - expected) < 5 * errors)


ESTIMATORS = [
    GaussianMLE(),
    EMGaussianMixture(2, random_state=0),
    VariationalEM(1, model="gaussian"),
    VAEEstimator(1, max_iter=3, early_stopping=False, random_state=0),
]


@pytest.mark.filterwarnings("ignore::skelbo.HeywoodWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_shapes_seeds_and_containers(estimator, iris):
    X = iris.copy()
    X[::3, 1], X[::5, 2] = np.nan, np.nan
    model = estimator.fit(X.astype(np.float32))
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    draws = model.impute(X.astype(np.float32), n_draws=3, random_state=1)
    assert draws.shape == (3, *X.shape) and draws.dtype == np.float32
    assert np.isfinite(draws).all()
    seen = ~np.isnan(X)
    assert_array_equal(draws[:, seen], np.tile(X[seen].astype(np.float32), (3, 1)))
    again = model.impute(X.astype(np.float32), n_draws=3, random_state=1)
    assert_array_equal(draws, again)
    assert np.any(draws != model.impute(X.astype(np.float32), n_draws=3))
    assert_array_equal(np.random.get_state()[1], state)
    assert np.any(draws[0] != draws[1])
    for wrong in (0, -1, 1.5, "two"):
        with pytest.raises(ValueError, match="Invalid value for 'n_draws'"):
            model.impute(X, n_draws=wrong)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_a_dataframe_where_x_is_one_and_set_output_asks_for_it(frame, iris):
    X = iris.copy()
    X[::3, 1] = np.nan
    table = frame(dict(zip("abcd", X.T, strict=True)))
    model = GaussianMLE().fit(table)
    plain = model.impute(table)
    assert isinstance(plain, np.ndarray)
    for kind, expected in (("pandas", pd.DataFrame), ("polars", pl.DataFrame)):
        filled = model.set_output(transform=kind).impute(table)
        assert isinstance(filled, expected) and list(filled.columns) == list("abcd")
        assert_array_equal(filled.to_numpy(), plain)


def test_the_index_of_a_dataframe_is_kept(iris):
    table = pd.DataFrame(iris, columns=list("abcd"), index=np.arange(150) + 1000)
    table.iloc[0, 0] = np.nan
    filled = GaussianMLE().fit(table).set_output(transform="pandas").impute(table)
    assert list(filled.index) == list(table.index)


def test_draws_of_dask_are_refused(iris):
    array = pytest.importorskip("dask.array")
    with pytest.raises(ValueError, match="n_draws=2 got a Dask collection, expected a table"):
        GaussianMLE().fit(iris).impute(array.from_array(iris), n_draws=2)


@pytest.mark.slow
def test_a_model_without_draws_of_x_given_z_is_named():
    X = (np.random.default_rng(0).random((80, 3)) < 0.5).astype(float)

    class Marginal(TwoParameterLogistic):
        def log_likelihood(self, X, Z, theta):
            known = ~X.isnan()
            eta = (Z * theta["a"] + theta["d"]) * known
            return (X.nan_to_num() * eta - torch.nn.functional.softplus(eta) * known).sum(-1)

    model = VariationalEM(1, model=Marginal()).fit(X)
    with pytest.raises(NotImplementedError, match=r"sample_given\(self, Z, theta, rng\)"):
        model.impute([[np.nan, 0.0, 1.0]], n_draws=2)


@pytest.mark.parametrize("n_draws", [0, -1, 1.5, True, "2"])
@pytest.mark.parametrize("model", [GaussianMLE(), EMHiddenMarkovModel(1)], ids=["mle", "hmm"])
def test_number_of_draws_is_a_positive_integer(model, n_draws):
    fitted = model.fit(np.random.default_rng(0).standard_normal((20, 1)))
    with pytest.raises(ValueError, match="'n_draws': .*, expected an integer of at least 1"):
        fitted.impute([[np.nan]], n_draws=n_draws)
