"""Binary features: the quadratic form is the density."""

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine

from skelbo import MCEM, GaussianMLE, VariationalEM
from skelbo.inference.posteriors.bernoulli_posterior import all_states
from skelbo.models import BinaryFeatureModel
from skelbo.models.binary_features import nearest_flips
from tests.tables import real


def test_quadratic_form_of_binary_features():
    X = real(6)
    X[1, 2] = np.nan
    model = BinaryFeatureModel(3)
    theta = model.start(X, np.ones(6), np.random.RandomState(0), 0)
    for z in all_states(3):
        mean = theta["intercepts"] + theta["loadings"] @ z
        cells = stats.norm.logpdf(X, mean, np.sqrt(theta["noise_variance"]))
        got = model.joint(X, theta).log_likelihood(z[None, None])[0]
        assert np.allclose(got, np.nansum(cells, axis=1))


def far_from_zero(missing):
    """Return two features that differ little beside their size, and rows that have one of them."""
    loadings = np.array([[1e12, 1e12 + 2.0], [3.0, 5.0]])
    X = np.array([[1e12, 3.0], [1e12 + 2.0, 5.0], [1e12 + 1.0, 4.0]])
    if missing:
        X[0, 1] = np.nan
    theta = {
        "loadings": loadings,
        "intercepts": np.zeros(2),
        "noise_variance": np.array([0.25, 0.5]),
        "probabilities": np.array([0.5, 0.25]),
    }
    return X, theta


@pytest.mark.parametrize("missing", [True, False])
def test_large_loadings_lose_no_digits(missing):
    X, theta = far_from_zero(missing)
    joint = BinaryFeatureModel(2, fit_intercept=False).joint(X, theta)
    states = all_states(2)
    got = joint.log_likelihood(states[:, None])
    for z, values in zip(states, got, strict=True):
        cells = stats.norm.logpdf(X, theta["loadings"] @ z, np.sqrt(theta["noise_variance"]))
        np.testing.assert_allclose(values, np.nansum(cells, axis=1), rtol=1e-14)
    np.testing.assert_allclose(joint.take([2, 0]).log_likelihood(states[:, None]), got[:, [2, 0]])
    full = np.broadcast_to(states[:, None], (4, 3, 2))
    np.testing.assert_allclose(joint.log_likelihood(full), got)
    log_joint = joint.log_joint(full)
    for k, (absent, present) in enumerate([([0, 2], [1, 3]), ([0, 1], [2, 3])]):
        np.testing.assert_allclose(
            joint.conditional_logit(full, k)[absent], log_joint[present] - log_joint[absent]
        )


def test_both_forms_of_the_density_agree():
    X = real(6)
    X[1, 2] = np.nan
    model = BinaryFeatureModel(3)
    theta = model.start(X, np.ones(6), np.random.RandomState(0), 0)
    quadratic = model.joint(X, theta)
    model._cancels = lambda theta: True
    residual = model.joint(X, theta)
    assert type(quadratic) is not type(residual)
    mean = np.random.RandomState(1).random_sample((6, 3))
    for name, arguments in {"expected": (mean,), "conditional_logit": (mean, 1)}.items():
        one, other = (getattr(joint, name)(*arguments) for joint in (quadratic, residual))
        np.testing.assert_allclose(one, other)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("posterior", ["mean_field", "exact"])
def test_a_constant_column_without_intercept_far_from_zero(posterior):
    rng = np.random.default_rng(0)
    X = np.column_stack([np.full(20, 1.7e17), 1e12 + 1e10 * rng.standard_normal(20)])
    model = BinaryFeatureModel(2, fit_intercept=False)
    fit = VariationalEM(model=model, posterior=posterior, random_state=0).fit(X)
    assert np.all(np.diff(fit.lower_bounds_) >= -1e-7)
    np.testing.assert_allclose(fit.inverse_transform(fit.transform(X))[:, 0], 1.7e17, rtol=1e-9)
    # The noise of the constant column is at its floor: 1e-6 of the other's variance.
    np.testing.assert_allclose(fit.params_["noise_variance"][0], 1e-6 * X[:, 1].var(), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_acceleration_keeps_to_the_range_of_the_probabilities():
    """An incomplete row alone keeps the probability from the limit at first."""
    model = BinaryFeatureModel(1, fit_intercept=False)
    fit = VariationalEM(1, model=model, annealing=False, random_state=0).fit([[1.0], [np.nan]])
    assert np.all(np.diff(fit.lower_bounds_) >= -1e-9)
    np.testing.assert_allclose(fit.params_["probabilities"], 1 - 0.001 / 2)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("estimator", [VariationalEM, MCEM])
def test_a_probability_that_float32_rounds_to_one_stays_in_float64(estimator):
    X = np.array([[20.0], [21.0], [23.0]], dtype=np.float32)
    model = BinaryFeatureModel(1, fit_intercept=False)
    fit = estimator(1, model=model, random_state=0).fit(X, sample_weight=1e9)
    assert 1 - 1e-11 < fit.params_["probabilities"][0] < 1
    assert np.isfinite(fit.score_samples(X)).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("posterior", ["full", "exact"])
def test_the_bound_is_that_of_rounded_intercepts(posterior):
    """The noise is a thousandth of the spacing of floats there."""
    X = 1e9 + 1e-6 * np.array([[-3.0], [-1.0], [1.0], [2.0], [4.0]])
    fit = VariationalEM(1, posterior=posterior, random_state=0).fit(X)
    np.testing.assert_allclose(fit.lower_bound_, fit.score(X), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("estimator", [VariationalEM, MCEM])
@pytest.mark.parametrize("noise", ["isotropic", "diag"])
def test_a_feature_that_no_row_shows_has_a_regular_regression(estimator, noise):
    """Without an intercept nothing but its own presence determines a loading."""
    model = BinaryFeatureModel(1, noise=noise, fit_intercept=False)
    fit = estimator(1, model=model, random_state=0).fit([[20.0], [20.0]])
    assert np.isfinite(fit.lower_bound_) and np.isfinite(fit.params_["loadings"]).all()


@pytest.mark.parametrize("estimator", [VariationalEM(random_state=0), MCEM(random_state=0)])
@pytest.mark.parametrize("table", [load_iris, load_wine])
def test_the_default_answer_is_a_good_one_in_any_units(estimator, table):
    X = table().data
    units = 10.0 ** np.random.default_rng(0).integers(-3, 4, X.shape[1])
    score = clone(estimator).fit(X).score(X)
    there = clone(estimator).fit(X * units).score(X * units) + np.log(units).sum()
    assert np.isclose(score, there, rtol=0, atol=1e-6)
    assert score > GaussianMLE("diag").fit(X).score(X) + 2
    assert score > {load_iris: -2.54, load_wine: -19.36}[table]


def features(seed, n=200, p=10, d=5, noise=0.1):
    """Return rows that are sums of features and noise, and the parameters behind them."""
    rng = np.random.default_rng(seed)
    loadings = (rng.random((p, d)) < 0.4) * (0.5 + rng.random((p, d)))
    Z = rng.random((n, d)) < 0.3
    X = Z @ loadings.T + noise * rng.standard_normal((n, p))
    variance = np.full(p, noise**2)
    return X, {
        "loadings": loadings,
        "intercepts": np.zeros(p),
        "noise_variance": variance,
        "probabilities": np.full(d, 0.3),
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", ["isotropic", "diag"])
def test_features_are_found_without_an_intercept(seed, noise):
    """The fit is as good as that of exact EM from the truth."""
    X, truth = features(seed)
    model = BinaryFeatureModel(5, noise=noise, fit_intercept=False)
    if noise == "isotropic":
        truth["noise_variance"] = truth["noise_variance"].mean()
    best = VariationalEM(5, model=model, posterior="full", params_init=truth).fit(X).lower_bound_
    found = VariationalEM(5, model=model, posterior="full", random_state=0).fit(X)
    assert found.lower_bound_ > best - 1e-6
    assert not found.params_["intercepts"].any()


def test_flips_bring_the_intercepts_nearest_to_zero():
    rng = np.random.default_rng(0)
    W, noise = rng.standard_normal((12, 6)), rng.uniform(0.5, 2, 12)
    hidden = rng.random(6) < 0.5
    flip = nearest_flips(W, -W[:, hidden].sum(1) + 0.01 * rng.standard_normal(12), noise)
    np.testing.assert_array_equal(flip, hidden)


def test_the_range_of_probabilities_does_not_depend_on_the_size_of_the_weights():
    """Among weights that add up to less than a row, probabilities ended between 1/4 and 3/4."""
    rng = np.random.default_rng(0)
    Z = rng.random((60, 1)) < 0.1
    X = 5.0 * Z + 0.1 * rng.standard_normal((60, 2))
    model, weights = BinaryFeatureModel(1), np.full((1, 60), 1e-13)
    theta = model.start(X, weights[0], np.random.RandomState(0), 0)
    theta = model.maximize(theta, X, weights, Z[None].astype(float))
    np.testing.assert_allclose(theta["probabilities"], Z.mean(), rtol=1e-9)
