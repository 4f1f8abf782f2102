"""Models: likelihoods are exact, built-in and user-written ones agree, mistakes are named."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_iris

from skelbo import MCEM, VariationalEM
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.posteriors.bernoulli import all_states
from skelbo.inference.posteriors.gaussian import fit_gaussian
from skelbo.inference.standard_errors import standard_errors
from skelbo.models import BinaryFeatureModel, DecoderModel, FactorModel, LatentVariableModel
from skelbo.models.constraints import ParameterVector
from tests.tables import answers, counts, lsat6, real


class TwoParameterLogistic(LatentVariableModel):
    n_latents = 1

    def initialize(self, X, rng):
        return {"a": torch.ones(X.shape[1]), "d": X.mean(0).logit()}

    def log_likelihood(self, X, Z, theta):
        eta = Z * theta["a"] + theta["d"]
        return (X * eta - torch.nn.functional.softplus(eta)).sum(-1)


class Features(LatentVariableModel):
    latent, n_latents = "binary", 2
    constraints = {"scale": "positive", "share": "unit_interval"}

    def initialize(self, X, rng):
        loadings = torch.tensor(rng.standard_normal((2, X.shape[1])))
        return {"W": loadings, "b": X.mean(0), "scale": X.std(), "share": torch.full((2,), 0.4)}

    def log_likelihood(self, X, Z, theta):
        normal = torch.distributions.Normal(Z @ theta["W"] + theta["b"], theta["scale"])
        return normal.log_prob(X).sum(-1)

    def log_prior(self, Z, theta):
        return (Z * theta["share"].log() + (1 - Z) * (1 - theta["share"]).log()).sum(-1)


# --------------------------------------------------------------- joint density


@pytest.mark.parametrize(
    ("model", "X"),
    [
        (FactorModel(2), real(8)),
        (FactorModel(2, noise="isotropic", fit_intercept=False), real(8)),
        (FactorModel(2, likelihood="poisson"), counts(8)),
        (FactorModel(1, likelihood="bernoulli"), answers(8)),
        (BinaryFeatureModel(3), real(8)),
    ],
)
@pytest.mark.parametrize("missing", [False, True])
def test_scores_and_information_are_derivatives(model, X, missing):
    X = X.copy()
    if missing:
        X[0, 1] = X[5, 2] = np.nan
    rng = np.random.RandomState(0)
    theta = model.start(X, np.ones(8), rng, 1)
    Z = rng.standard_normal((3, 8, model.n_latents))
    if model.latent == "binary":
        Z = (Z > 0).astype(float)
    weights = rng.random_sample((3, 8))
    scores = model.scores(theta, X, Z)
    information = model.information(theta, X, Z, weights)
    column = 0
    for name, value in theta.items():
        for index in np.ndindex(np.shape(value)):
            sides = []
            for sign in (1, -1):
                moved = np.array(value)
                moved[index] += sign * 1e-5
                near = {**theta, name: moved}
                total = (weights[..., None] * model.scores(near, X, Z)).sum((0, 1))
                sides.append((model.joint(X, near).log_joint(Z), total))
            slope = (sides[0][0] - sides[1][0]) / 2e-5
            assert np.allclose(slope, scores[..., column], rtol=1e-5, atol=1e-5)
            bend = -(sides[0][1] - sides[1][1]) / 2e-5
            assert np.allclose(bend, information[column], rtol=1e-4, atol=1e-4)
            column += 1


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


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_coordinates_go_there_and_back(seed):
    rng = np.random.default_rng(seed)
    theta = {
        "a": rng.standard_normal((2, 3)),
        "b": rng.random(4) + 0.1,
        "c": rng.uniform(0.01, 0.99, 2),
        "d": rng.dirichlet(np.ones(3), 2),
    }
    kinds = {"b": "positive", "c": "unit_interval", "d": "simplex"}
    coordinates = ParameterVector(theta, kinds)
    back = coordinates.from_vector(coordinates.to_vector(theta))
    assert len(coordinates.to_vector(theta)) == 6 + 4 + 2 + 4
    assert all(np.allclose(back[name], theta[name]) for name in theta)


# ---------------------------------------------------------- user-written models


def test_user_model_equals_the_built_in_one():
    X, weights = lsat6()
    own = VariationalEM(model=TwoParameterLogistic(), posterior="full", random_state=0)
    own.fit(X, sample_weight=weights)
    built = VariationalEM(1, model="bernoulli", posterior="full", random_state=0).fit(
        X, sample_weight=weights
    )
    assert np.isclose(own.lower_bound_, built.lower_bound_, atol=1e-7)
    assert np.allclose(own.params_["a"], built.params_["loadings"][:, 0], atol=3e-3)
    same = np.allclose(
        own.standard_errors_["a"], built.standard_errors_["loadings"][:, 0], rtol=0.01
    )
    assert same
    scores, std = own.score_samples(X, return_std=True)
    assert np.allclose(scores, built.score_samples(X), atol=1e-3) and np.all(std < 1e-6)
    assert own.n_parameters_ == built.n_parameters_ == 10


class Counts(LatentVariableModel):
    """Poisson-lognormal PCA, as a user would write it."""

    def __init__(self, n_latents=3):
        self.n_latents = n_latents

    def initialize(self, X, rng):
        loadings = torch.tensor(0.3 * rng.standard_normal((self.n_latents, X.shape[1])))
        return {"b": (X + 0.1).mean(0).log(), "W": loadings}

    def log_likelihood(self, X, Z, theta):
        rate = (theta["b"] + Z @ theta["W"]).exp()
        return torch.distributions.Poisson(rate).log_prob(X).sum(-1)


@pytest.mark.slow
@pytest.mark.parametrize(("d", "posterior"), [(2, "full"), (3, "full"), (4, "mean_field")])
def test_bound_of_a_user_model_is_that_of_elbo_and_below_log_prob(d, posterior):
    # With three and more latents q is fitted to few points, on which it looks better than it is.
    X = counts(40, 8, 3)
    model = VariationalEM(
        model=Counts(d), posterior=posterior, max_iter=60, tol=1e-5, random_state=0,
        n_importance_samples=4000,
    ).fit(X)  # fmt: skip
    assert np.isclose(model.lower_bound_, model.elbo(X).mean(), rtol=0, atol=1e-9)
    assert model.lower_bounds_[-1] == model.lower_bound_
    assert np.diff(model.lower_bounds_).min(initial=0) > -1e-9
    log_prob, std = model.score_samples(X, return_std=True)
    assert np.all(model.elbo(X) < log_prob + 4 * std + 1e-6)
    assert model.lower_bound_ < log_prob.mean() + 2 * std.mean()
    # The exact bound of the same parameters, by the built-in model.
    theta = {"loadings": model.params_["W"].T, "intercepts": model.params_["b"]}
    joint = FactorModel(d, likelihood="poisson").joint(X, theta)
    exact = fit_gaussian(joint, diagonal=posterior == "mean_field").terms.elbo
    assert np.allclose(model.elbo(X), exact, atol=0.02)
    assert np.isclose(model.lower_bound_, exact.mean(), atol=2e-3)


def test_standard_errors_are_finite_infinite_or_absent_but_never_nan():
    absent = VariationalEM(
        model=DecoderModel(1, hidden_layer_sizes=(40,)), max_iter=2, tol=1e9, random_state=0
    )
    absent.fit(real(30))
    assert not hasattr(absent, "standard_errors_")
    with pytest.raises(AttributeError, match=r"286 numbers, .* at most 200; .*bootstrap"):
        _ = absent.standard_errors_
    with pytest.warns(UserWarning, match="Heywood"):
        heywood = VariationalEM(2, model="gaussian", random_state=0).fit(load_iris().data)
    errors = heywood.standard_errors_
    assert all(np.all(np.isfinite(value)) for value in errors.values())
    assert np.all(errors["noise_variance"][1:3] < 1e-9)  # held at the floor
    covariance = heywood.params_["loadings"] @ heywood.params_["loadings"].T
    variances = np.diagonal(covariance) + heywood.params_["noise_variance"]
    assert np.allclose(errors["intercepts"], np.sqrt(variances / 150), rtol=1e-5)
    unused = broken_free().fit(answers(40))
    assert np.isinf(unused.standard_errors_["idle"]) and np.isfinite(unused.standard_errors_["d"])


def test_a_ridge_of_noise_and_loadings_has_the_errors_of_its_end():
    """Two noise variances at zero: wherever on the ridge the ascent ended, one is held with it.

    Iris has a maximum in which the columns 1 and 2 are the latents, and the others a regression
    on them, whose residual variances have the errors of residual variances.
    """
    X = load_iris().data
    model = FactorModel(2)
    with pytest.warns(UserWarning, match="Heywood"):
        end = VariationalEM(model=model, random_state=0).fit(X)
    expected = None
    for share in (1e-6, 1e-5, 3e-5):
        noise = end.params_["noise_variance"].copy()
        noise[1:3] = share * X.var(axis=0)[1], 1e-6 * X.var(axis=0)[2]
        data = DistinctRows(X, np.ones(150), np.arange(150))
        theta = {**end.params_, "noise_variance": noise}
        fitted = SimpleNamespace(model=model, theta=theta, seed=0)
        errors = standard_errors(fitted, data)[0]["noise_variance"]
        assert np.all(errors[1:3] < 1e-9)
        expected = errors if expected is None else expected
        assert np.allclose(errors, expected, rtol=1e-3, atol=1e-9)
    residual = end.params_["noise_variance"][[0, 3]]
    assert np.allclose(errors[[0, 3]], residual * np.sqrt(2 / 150), rtol=1e-3)


def broken_free():
    """A model with a parameter that the likelihood mentions and that does nothing."""

    def initialize(self, X, rng):
        return {"d": torch.zeros(()), "idle": torch.ones(())}

    def log_likelihood(self, X, Z, theta):
        eta = Z * 0.5 + theta["d"] + 0.0 * theta["idle"]
        return (X * eta - torch.nn.functional.softplus(eta)).sum(-1)

    methods = {"initialize": initialize, "log_likelihood": log_likelihood}
    return VariationalEM(model=type("Idle", (TwoParameterLogistic,), methods)(), random_state=0)


def test_user_model_by_monte_carlo():
    X, weights = lsat6()
    weights = np.round(weights / 4)
    start = VariationalEM(model=TwoParameterLogistic(), random_state=0).fit(
        X, sample_weight=weights
    )
    estimator = MCEM(
        model=TwoParameterLogistic(), params_init=start.params_, tol=1e-3, random_state=0
    ).fit(X, sample_weight=weights)
    assert estimator.converged_
    assert estimator.score(X, sample_weight=weights) > start.lower_bound_
    ratio = estimator.mc_standard_errors_["a"] / estimator.standard_errors_["a"]
    assert np.all(ratio < 0.5)


@pytest.mark.slow
def test_binary_user_model_equals_the_built_in_one():
    X = real(40)
    own = VariationalEM(model=Features(), posterior="full", random_state=0).fit(X)
    init = {
        "loadings": own.params_["W"].T,
        "intercepts": own.params_["b"],
        "noise_variance": own.params_["scale"] ** 2,
        "probabilities": own.params_["share"],
    }
    built = VariationalEM(2, posterior="full", params_init=init, random_state=0).fit(X)
    assert np.isclose(own.score(X), built.score(X), atol=1e-4)
    assert np.isclose(own.lower_bound_, own.score(X), atol=1e-9)
    field = VariationalEM(model=Features(), random_state=0).fit(X)
    assert np.all(field.gap(X) > -1e-9)
    assert np.diff(field.lower_bounds_).min() > -1e-9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "poisson"])
def test_decoder(likelihood):
    X = {"gaussian": real(30), "bernoulli": answers(30), "poisson": counts(30)}[likelihood]
    model = DecoderModel(1, hidden_layer_sizes=(4,), likelihood=likelihood)
    estimator = VariationalEM(model=model, max_iter=5, random_state=0).fit(X)
    assert np.diff(estimator.lower_bounds_).min() > -1e-9
    assert estimator.inverse_transform(estimator.transform(X)).shape == X.shape
    assert estimator.sample(7, random_state=0)[0].shape == (7, X.shape[1])
    own = torch.nn.Sequential(
        torch.nn.Linear(1, 3), torch.nn.Tanh(), torch.nn.Linear(3, X.shape[1])
    )
    before = own[0].weight.detach().clone()
    VariationalEM(
        model=DecoderModel(1, decoder=own, likelihood=likelihood), max_iter=2, random_state=0
    ).fit(X)
    assert torch.equal(own[0].weight, before)  # the user's network is not trained in place


def test_global_generators_are_left_alone():
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.random.get_rng_state(), np.random.get_state()[1]
    VariationalEM(model=TwoParameterLogistic(), random_state=0).fit(answers(30))
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


# ------------------------------------------------------------------- mistakes


def broken(**methods):
    return type("Broken", (TwoParameterLogistic,), methods)()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            broken(log_likelihood=lambda self, X, Z, theta: X * Z * theta["a"] + theta["d"]),
            r"Broken.log_likelihood returned shape .*, expected \(2, 5\)",
        ),
        (
            broken(log_likelihood=lambda self, X, Z, theta: Z[..., 0] * theta["a"].sum()),
            r"does not depend on \['d'\]",
        ),
        (
            broken(log_likelihood=lambda self, X, Z, theta: Z[..., 0].numpy()),
            "returned ndarray, expected a Tensor",
        ),
        (
            broken(log_likelihood=lambda self, X, Z, t: (-t["a"]).log().sum() + 0 * Z[..., 0]),
            "returned NaN",
        ),
        (
            broken(
                log_likelihood=lambda self, X, Z, t: (t["a"].sum() + t["d"].sum()) * 0 * Z[..., 0]
            ),
            r"does not depend on \['a', 'd'\]",
        ),
        (
            broken(log_likelihood=lambda self, X, Z, t: t["a"].sum() * Z[..., 0] - np.inf),
            "log_likelihood returned -inf at the parameters of initialize",
        ),
        (
            broken(log_prior=lambda self, Z, theta: Z.sum()),
            r"Broken.log_prior returned shape \(\), expected \(2, 5\)",
        ),
        (
            broken(
                log_likelihood=lambda self, X, Z, t: (
                    torch.where(t["d"] > 9, torch.nan * t["d"], t["d"]).sum()
                    + Z[..., 0] * t["a"][0]
                )
            ),
            "gradient of NaN in 'd' at the parameters of initialize",
        ),
        (broken(initialize=lambda self, X, rng: [1.0]), "initialize returned list"),
        (
            broken(constraints={"a": "positive"}, initialize=lambda self, X, rng: {"a": -1.0}),
            "outside its domain, 'positive'",
        ),
        (broken(latent="discrete"), "latent is 'discrete'"),
        (broken(n_latents=0), "n_latents is 0"),
        (broken(constraints={"a": "odd"}), "constraints has"),
        (LatentVariableModel(), "n_latents is None"),
    ],
)
@pytest.mark.parametrize("chapter", [VariationalEM, MCEM])
def test_mistakes_are_named_before_the_fit(model, message, chapter):
    with pytest.raises(ValueError, match=message):
        chapter(model=model).fit(answers(20))


class Fenced(LatentVariableModel):
    """A Gaussian factor whose likelihood is NaN beyond a mean that the data have."""

    n_latents = 1

    def __init__(self, latent="continuous", fence=0.5):
        self.latent = latent
        self.fence = fence

    def initialize(self, X, rng):
        return {"level": 0 * X.mean(0), "slope": 0.1 + 0 * X.mean(0)}

    def log_likelihood(self, X, Z, theta):
        eta = theta["level"] + Z * theta["slope"]
        cells = torch.distributions.Normal(eta, 1.0).log_prob(X).sum(-1)
        return cells + 0 * (self.fence - theta["level"].mean()).log()


@pytest.mark.parametrize("latent", ["continuous", "binary"])
@pytest.mark.parametrize("chapter", [VariationalEM, MCEM])
def test_nan_in_the_middle_of_a_fit_is_named(latent, chapter):
    X = 1 + 1.5 * np.random.default_rng(0).standard_normal((60, 3))
    with pytest.raises(ValueError, match=r"Fenced.log_likelihood .* is NaN near \{'level'"):
        chapter(model=Fenced(latent), random_state=0).fit(X)
    fit = VariationalEM(model=Fenced(latent, fence=3.0), random_state=0).fit(X)
    assert fit.converged_ and np.isfinite(fit.score(X))


def test_missing_methods_are_named():
    empty = type("Empty", (LatentVariableModel,), {"n_latents": 1})()
    with pytest.raises(NotImplementedError, match=r"Empty does not define initialize"):
        VariationalEM(model=empty, random_state=0).fit(answers(20))
    estimator = VariationalEM(model=TwoParameterLogistic(), random_state=0).fit(answers(60))
    with pytest.raises(NotImplementedError, match="does not define sample"):
        estimator.sample(3)
    with pytest.raises(ValueError, match="likelihood='odd'"):
        VariationalEM(model=FactorModel(1, likelihood="odd"), random_state=0).fit(real())
