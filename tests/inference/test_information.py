"""Standard errors: when they are computed, what they are, and where there are none."""

import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from skelbo import MCEM, VariationalEM
from skelbo.inference.cubature import posterior_rule
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.information import Information, nullity, observed_information
from skelbo.inference.posteriors.gaussian_posterior import fit_gaussian
from skelbo.models import BinaryFeatureModel, FactorModel, LatentVariableModel
from tests.tables import answers, counts, lsat6, real


class CountedCalls(LatentVariableModel):
    """Latent trait of yes/no answers that counts how often its density is evaluated."""

    n_latents = 1
    calls = 0

    def initialize(self, X, rng):
        return {"a": torch.ones(X.shape[1]), "d": torch.zeros(X.shape[1])}

    def log_likelihood(self, X, Z, theta):
        type(self).calls += 1
        eta = Z * theta["a"] + theta["d"]
        return (X * eta - torch.nn.functional.softplus(eta)).sum(-1)


# ------------------------------------------------------------ when first read


@pytest.mark.slow
def test_errors_cost_nothing_until_they_are_asked_for_and_then_once():
    model = VariationalEM(model=CountedCalls(), random_state=0).fit(answers(40))
    fitted = CountedCalls.calls
    again = VariationalEM(model=CountedCalls(), random_state=0).fit(answers(40))
    assert CountedCalls.calls == 2 * fitted
    errors = model.standard_errors_
    computed = CountedCalls.calls
    assert computed > 2 * fitted
    assert model.standard_errors_ is errors and CountedCalls.calls == computed
    assert all(np.array_equal(errors[k], again.standard_errors_[k]) for k in errors)


@pytest.mark.parametrize("estimator", [VariationalEM, MCEM])
def test_copies_keep_errors_but_not_the_rows_they_come_from(estimator):
    X, weights = lsat6()
    model = estimator(1, model="bernoulli", random_state=0).fit(X, sample_weight=weights)
    names = ["standard_errors_"] + ["mc_standard_errors_"] * (estimator is MCEM)
    before = pickle.loads(pickle.dumps(model))
    with pytest.raises(AttributeError, match=r"compute_standard_errors\(X, sample_weight\)"):
        _ = before.standard_errors_
    before.compute_standard_errors(X, weights)
    for name in names:
        errors = getattr(model, name)
        after = pickle.loads(pickle.dumps(model))
        for key, value in errors.items():
            assert np.array_equal(getattr(after, name)[key], value)
            assert np.array_equal(getattr(before, name)[key], value)


def test_errors_of_given_rows_are_those_of_a_fit_to_them():
    X = counts(60)
    X[::7, 1] = np.nan
    weights = np.random.default_rng(0).integers(0, 3, 60)
    model = VariationalEM(2, model="poisson", random_state=0).fit(X, sample_weight=weights)
    errors = model.standard_errors_
    model.compute_standard_errors(np.repeat(X, weights, axis=0)[::-1])
    for key, value in model.standard_errors_.items():
        assert np.allclose(errors[key], value, rtol=1e-12)


# ------------------------------------------------------------ what they are


@pytest.mark.parametrize("noise", ["diag", "isotropic"])
def test_gaussian_information_is_the_curvature_of_log_prob(noise):
    rng = np.random.default_rng(0)
    p, d, n = 4, 2, 30
    X = rng.standard_normal((n, p)) @ rng.standard_normal((p, p))
    theta = {
        "loadings": rng.standard_normal((p, d)),
        "intercepts": rng.standard_normal(p),
        "noise_variance": rng.random(p) + 0.5 if noise == "diag" else np.asarray(0.7),
    }
    vector = np.concatenate([np.ravel(value) for value in theta.values()])

    def log_prob(vector):
        W, b = vector[: p * d].reshape(p, d), vector[p * d : p * d + p]
        covariance = W @ W.T + np.diag(np.broadcast_to(vector[p * d + p :], p))
        return stats.multivariate_normal(b, covariance).logpdf(X).sum()

    def second(a, b):
        steps = 1e-4 * (a + b), 1e-4 * (a - b)
        ends = [log_prob(vector + sign * step) for step in steps for sign in (1, -1)]
        return (ends[0] + ends[1] - ends[2] - ends[3]) / 4e-8

    axes = np.eye(len(vector))
    curvature = -np.array([[second(a, b) for b in axes] for a in axes])
    model = FactorModel(d, noise=noise)
    found = model.observed_information(theta, X, np.ones(n))
    assert np.allclose(found, curvature, rtol=1e-4, atol=1e-5 * np.abs(curvature).max())


@pytest.mark.parametrize("d", [1, 2, 3])
def test_points_give_the_information_of_the_closed_form(d):
    """The same rows with one unknown cell in an extra row of weight nearly zero."""
    X = real(40, 5)
    model = FactorModel(d)
    theta = model.start(X, np.ones(40), np.random.RandomState(0), 1)
    theta["noise_variance"] = theta["noise_variance"] + 0.1
    exact = model.observed_information(theta, X, np.ones(40))
    rows = np.concatenate([X, X[:1]])
    rows[-1, 0] = np.nan
    data = DistinctRows(rows, np.append(np.ones(40), 1e-9), np.arange(41))
    found = observed_information(model, theta, data, seed=0)
    assert np.allclose(found.observed, exact, rtol=1e-7, atol=1e-7 * np.abs(exact).max())
    assert not found.sampled


@pytest.mark.parametrize("level", [1e5, 1e8, 1e9])
def test_large_counts_leave_the_errors_of_known_latents(level):
    """Of a loading, with z known: w / sqrt(2 n); the large parts of the information cancel."""
    rng = np.random.default_rng(1)
    z = rng.standard_normal((200, 1))
    X = rng.poisson(level * np.exp(0.3 * z * [[0.6, 1, 1.4]])).astype(float)
    model = VariationalEM(1, model="poisson").fit(X)
    loadings = model.params_["loadings"][:, 0]
    errors = model.standard_errors_["loadings"][:, 0]
    assert np.allclose(errors, loadings / 20, rtol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("n_rows", "d"), [(30, 5), (1000, 5), (40, 3)])
def test_few_points_meet_many(n_rows, d):
    X = counts(n_rows, 8, d)
    theta = FactorModel(d, likelihood="poisson").start(X, np.ones(n_rows), None, 0)
    joint = FactorModel(d, likelihood="poisson").joint(X, theta)
    q = fit_gaussian(joint)
    few, many = (posterior_rule(joint, q.mean, q.precision, size).draws for size in (0, 4000))
    assert len(few.Z) == d * d + 3 * d + 3 < len(many.Z)
    width = np.sqrt(np.einsum("nkk->nk", np.linalg.inv(q.precision)))
    assert np.abs((few.mean - many.mean) / width).max() < 0.15


# ------------------------------------------------------- where there are none


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("estimator", [VariationalEM, MCEM])
def test_one_gaussian_factor_of_two_columns_is_not_identified(estimator, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((300, 1)) + rng.standard_normal((300, 2))
    errors = estimator(1, model="gaussian", random_state=seed).fit(X).standard_errors_
    assert np.isinf(errors["loadings"]).all() and np.isinf(errors["noise_variance"]).all()
    assert np.allclose(errors["intercepts"], X.std(0) / np.sqrt(300), rtol=1e-5)


@pytest.mark.parametrize("estimator", [VariationalEM, MCEM])
def test_one_trait_of_two_items_is_not_identified(estimator):
    """Four parameters for three frequencies; the intercepts move along with the loadings."""
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    model = estimator(1, model="bernoulli", random_state=0)
    errors = model.fit(X, sample_weight=[30, 20, 15, 35]).standard_errors_
    assert np.isinf(errors["loadings"]).all()


def test_three_items_identify_one_trait():
    X = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
    model = VariationalEM(1, model="bernoulli", posterior="exact")
    errors = model.fit(X, sample_weight=[31, 12, 9, 18, 8, 15, 17, 60]).standard_errors_
    assert all(np.isfinite(value).all() for value in errors.values())


def test_fewer_rows_than_parameters_still_identify():
    X = counts(20, 12, 1)
    errors = VariationalEM(1, model="poisson").fit(X).standard_errors_
    assert all(np.isfinite(value).all() for value in errors.values())


def test_columns_that_are_never_seen_together_do_not_identify_their_correlation():
    """Six columns in two blocks, each seen in other rows: a sign of its own for each block."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 1)) + 0.7 * rng.standard_normal((200, 4))
    X[:100, 2:] = np.nan
    X[100:, :2] = np.nan
    errors = VariationalEM(1, model="gaussian").fit(X).standard_errors_
    assert np.isinf(errors["loadings"]).all()
    assert np.isfinite(errors["intercepts"]).all()


@pytest.mark.parametrize("posterior", ["mean_field", "full"])
def test_two_latents_of_counts_have_errors(posterior):
    """The rotation of a mean-field fit is held; that of others is settled by principal axes."""
    X = counts(300, 12, 2)
    errors = VariationalEM(2, model="poisson", posterior=posterior).fit(X).standard_errors_
    assert all(np.isfinite(value).all() for value in errors.values())


def test_report_counts_the_rows():
    X = counts(200)
    model = FactorModel(2, likelihood="poisson")
    theta = model.start(X, np.ones(200), None, 0)
    seen = []
    data = DistinctRows(X, np.ones(200), np.arange(200))
    observed_information(model, theta, data, 0, report=lambda *rows: seen.append(rows))
    assert seen == sorted(seen) and seen[-1] == (200, 200)


def test_a_feature_that_no_row_has_leaves_the_units_of_the_others_finite():
    """Rows of the model have the feature and determine its loading: rows of the table do not."""
    X = np.array([[4.0], [4.1], [3.9], [4.05]])
    theta = {
        "loadings": np.array([[-0.2, 1e3]]),
        "intercepts": np.array([4.1]),
        "noise_variance": np.array([1e-2]),
        "probabilities": np.array([0.4, 0.2]),
    }
    data = DistinctRows.of_table(X, None)
    information = observed_information(BinaryFeatureModel(2), theta, data, 0)
    scaled = information.root * information.units
    assert np.abs(scaled).max() < 1e7
    assert np.abs(information.along(np.eye(6))[1]) == 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::skelbo.HeywoodWarning")
def test_a_parameter_without_information_in_complete_data_has_a_finite_unit():
    """Steps of MCEM on four values that two binary features fit exactly."""
    information = Information(np.diag([2.0, 0.1]), np.array([0.7, 1e150]), np.zeros((0, 2)), False)
    rescaled = information.rescaled(np.array([1.0, 1e-6]), np.array([0.0, 0.1]))
    _, values = rescaled.axes(np.zeros((0, 2)))
    assert np.isfinite(values).all() and rescaled.units[0] == 0.7
    X = np.array([[1.6861368601], [9.38347766e-4], [1.46849153e-3], [np.nan], [0.24194729797]])
    model = MCEM(max_iter=2, n_importance_samples=20, random_state=0).fit(X)
    assert np.isfinite(model.score_samples(X)).all()


def test_flat_directions_do_not_depend_on_where_the_data_lie():
    """Beside a feature without loadings and noise at its floor: nearby is by the noise."""
    n = np.nan
    X = np.array([[0, 0, n], [0, n, 1], [n, 1, n], [n, n, 0], [0, 0, 1], [n, 1, 1], [1, 1, 1.0]])
    model, counts = BinaryFeatureModel(2), []
    for shift in 0.0, 4.0, 8.0, 64.0:
        theta = {
            "loadings": np.array([[1.0, 0.0], [1.0, 0.0], [0.3, 0.0]]),
            "intercepts": shift + np.array([0.0, 0.0, 0.4]),
            "noise_variance": np.array([1e-7, 2e-7, 0.24]),
            "probabilities": np.array([0.33, 0.02]),
        }
        data = DistinctRows.of_table(X + shift, np.ones(7))
        information = observed_information(model, theta, data, 0)
        counts.append(nullity(model, theta, data, information, model.invariant_directions, 0))
    assert counts == [0, 0, 0, 0]
