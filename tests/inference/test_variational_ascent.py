"""An ascent ends at a maximum: past saddle points, and as high as the built-in model's."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from skelbo import VariationalEM
from skelbo.models import FactorModel
from tests.own_models import Factors


def two_factors(likelihood):
    """Rows of two factors with three columns each."""
    rng = np.random.default_rng(0)
    eta = rng.standard_normal((150, 2)) @ np.kron(np.eye(2), 1.5 * np.ones((1, 3)))
    if likelihood == "bernoulli":
        return (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(float)
    if likelihood == "poisson":
        return rng.poisson(np.exp(0.5 * eta)).astype(float)
    X = eta + rng.standard_normal(eta.shape)
    X[0, 0] = np.nan  # without a missing cell the profile likelihood has no saddle there
    return X


@pytest.mark.parametrize("posterior", ["mean_field", "full"])
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "poisson"])
def test_a_factor_without_effect_is_no_maximum(likelihood, posterior):
    X, options = two_factors(likelihood), {"model": likelihood, "posterior": posterior}
    best = VariationalEM(2, **options, random_state=0).fit(X)
    one = VariationalEM(1, **options, random_state=0).fit(X)
    start = {**one.params_, "loadings": np.c_[one.params_["loadings"], np.zeros(6)]}
    fit = VariationalEM(2, **options, params_init=start, random_state=0).fit(X)
    assert fit.converged_ and best.lower_bound_ > one.lower_bound_ + 0.05
    assert fit.lower_bound_ == pytest.approx(best.lower_bound_, abs=1e-6)
    assert np.diff(fit.lower_bounds_).min() > -1e-9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the noise variance")
@pytest.mark.parametrize(("d", "start", "unit"), [(1, 0.0, 1.0), (1, 0.3, 100.0)])
def test_an_own_factor_model_ends_where_the_built_in_one_does(d, start, unit):
    X = load_iris().data * [1.0, unit, 1.0, 1 / unit]
    X = X + 0.3 * X.std(axis=0) * np.random.default_rng(0).standard_normal(X.shape)
    fit = VariationalEM(model=Factors(d, start), random_state=0).fit(X)
    built = VariationalEM(d, model="gaussian", random_state=0).fit(X)
    assert fit.converged_ and fit.lower_bound_ == pytest.approx(built.lower_bound_, abs=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("posterior", ["mean_field", "full"])
def test_a_warm_start_does_not_fall_where_columns_have_one_value(posterior):
    """Scores of such a column are 1e-5 and less: their inverses are no scale of a perturbation."""
    X = np.array([[1.0, 1.0, 1.0], [1.0, np.nan, np.nan], [np.nan, np.nan, np.nan]])
    fit = VariationalEM(3, model="bernoulli", posterior=posterior, warm_start=True)
    ends = [fit.fit(X, sample_weight=[1e3, 1e1, 1e11]).lower_bound_ for _ in range(3)]
    assert np.all(np.diff(ends) > -1e-9)
    assert np.abs(fit.params_["loadings"]).max() < 100


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("noise", ["diag", "isotropic"])
def test_the_bound_of_a_profile_far_from_zero_is_that_of_the_rows(noise):
    """Without an intercept squares of 1e24 hide variances of 1e6."""
    rng = np.random.default_rng(0)
    X = 1e3 * rng.standard_normal((20, 3)) + np.array([1e12, 0.0, 0.0])
    model = FactorModel(1, noise=noise, fit_intercept=False)
    fit = VariationalEM(1, model=model, posterior="exact").fit(X)
    np.testing.assert_allclose(fit.lower_bound_, fit.score(X), rtol=1e-9)
