"""The theta step of linear models: a maximum of its objective, from draws, moments and points."""

import numpy as np
import pytest

from skelbo import VariationalEM
from skelbo.models import FactorModel
from tests.tables import answers, counts, real

TABLES = {"gaussian": real(30), "bernoulli": answers(30), "poisson": counts(30)}


def step(name, fit_intercept=True, missing=False):
    """Return a model, its objective as a function of theta, and theta after many steps."""
    X = TABLES[name].copy()
    if missing:
        X[0, 1] = X[3, 2] = np.nan
    model = FactorModel(2, likelihood=name, fit_intercept=fit_intercept)
    rng = np.random.RandomState(0)
    start = model.start(X, np.ones(30), rng, 1)
    Z, weights = rng.standard_normal((4, 30, 2)), rng.random_sample((4, 30))
    theta = model.maximize(start, X, weights, Z, n_steps=30)

    def objective(parameters):
        return (weights * model.joint(X, parameters).log_likelihood(Z)).sum()

    return model, start, objective, theta


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("missing", [True, False])
def test_no_parameter_can_be_moved_uphill(name, fit_intercept, missing):
    _, start, objective, theta = step(name, fit_intercept, missing)
    best = objective(theta)
    assert best > objective(start)
    for key, value in theta.items():
        if key == "intercepts" and not fit_intercept:
            assert not value.any()
            continue
        for index in np.ndindex(value.shape):
            for sign in (1e-4, -1e-4):
                moved = value.copy()
                moved[index] += sign
                assert objective({**theta, key: moved}) < best


def test_draws_and_moments_agree_for_gaussian_columns():
    """A quadratic log-density needs the moments of q alone."""
    X = TABLES["gaussian"]
    model, rng = FactorModel(2), np.random.RandomState(0)
    start = model.start(X, np.ones(30), rng, 0)
    mean, root = rng.standard_normal((30, 2)), rng.standard_normal((30, 2, 2))
    signs = np.sqrt(2) * np.array([[1, 0], [-1, 0], [0, 1], [0, -1.0]])
    draws = mean + np.einsum("nij,sj->sni", root, signs)
    by_draws = model.maximize(start, X, np.full((4, 30), 0.25), draws)
    covariance = root @ root.transpose(0, 2, 1)
    by_moments = model.maximize(start, X, np.ones((1, 30)), mean[None], covariance)
    for key in by_draws:
        np.testing.assert_allclose(by_draws[key], by_moments[key], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["bernoulli", "poisson"])
def test_shared_points_agree_with_draws(name):
    X = TABLES[name]
    model, rng = FactorModel(1, likelihood=name), np.random.RandomState(0)
    theta = model.start(X, np.ones(30), rng, 1)
    points, share = np.linspace(-2, 2, 7)[:, None], rng.dirichlet(np.ones(7), 30)
    totals, counted = model.joint(X, theta).expected_sums(share)
    at_points = model.maximize_at(theta, points, share.sum(0), totals, counted)
    draws = np.broadcast_to(points[:, None], (7, 30, 1))
    by_draws = model.maximize(theta, X, share.T, draws, n_steps=4, expand=True)
    for key in theta:
        np.testing.assert_allclose(at_points[key], by_draws[key], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", TABLES)
def test_the_unit_of_the_weights_moves_no_maximum(name):
    X, model = TABLES[name], FactorModel(2, likelihood=name)
    rng = np.random.RandomState(0)
    weights = rng.random_sample(30) + 0.1
    Z = rng.standard_normal((4, 30, 2))
    start = model.start(X, weights, np.random.RandomState(0), 0)
    share = rng.random_sample((4, 30))
    theta = model.maximize(start, X, share, Z, n_steps=50)
    for size in (1e-3, 1e-13):
        tiny = model.start(X, size * weights, np.random.RandomState(0), 0)
        moved = model.maximize(tiny, X, size * share, Z, n_steps=50)
        for key, value in theta.items():
            np.testing.assert_allclose(moved[key], value, rtol=1e-5, atol=1e-6)
            assert np.all(np.abs(tiny[key] - start[key]) <= 5), key


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", TABLES)
def test_fits_do_not_depend_on_the_unit_of_the_weights(name):
    weights = np.random.RandomState(0).random_sample(30) + 0.1
    fits = [
        VariationalEM(1, model=name).fit(TABLES[name], sample_weight=size * weights)
        for size in (1.0, 1e-3, 1e-13)
    ]
    for fit in fits[1:]:
        assert fit.lower_bound_ == pytest.approx(fits[0].lower_bound_, abs=1e-6)


@pytest.mark.filterwarnings("ignore::skelbo.models.boundary_warnings.HeywoodWarning")
@pytest.mark.parametrize("value", [6.02e23, 1.7e100], ids=str)
@pytest.mark.parametrize("share_missing", [0.0, 0.2], ids=["complete", "missing"])
@pytest.mark.parametrize("noise", ["diag", "isotropic"])
def test_constant_column_has_no_residual_whatever_its_value(value, share_missing, noise):
    # Its mean was rounded: what was left of the column, 1e84, became its noise variance.
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(61, 3)) + rng.normal(size=(61, 1)), np.zeros(61)]
    X[rng.random(X.shape) < share_missing] = np.nan
    far = X + np.array([0.0, 0.0, 0.0, value])
    model = VariationalEM(model=FactorModel(1, noise=noise))
    want = model.fit(X).score(X)
    fitted = model.fit(far)
    np.testing.assert_allclose([fitted.score(far), fitted.lower_bound_], want, rtol=1e-6)
