"""Models of a user agree with the built-in ones."""

import numpy as np
import pytest
import torch

from skelbo import MCEM, VariationalEM
from skelbo.inference.posteriors.gaussian_posterior import fit_gaussian
from skelbo.inference.user_model.adapter import TorchModel
from skelbo.models import (
    BinaryFeatureModel,
    DecoderModel,
    FactorModel,
    LatentVariableModel,
)
from tests.own_models import Counts, Features, TwoParameterLogistic
from tests.tables import answers, counts, lsat6, real


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(("d", "posterior"), [(2, "full"), (3, "full"), (4, "mean_field")])
@pytest.mark.long
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


@pytest.mark.slow
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
    model = BinaryFeatureModel(2, noise="isotropic")
    built = VariationalEM(model=model, posterior="full", params_init=init, random_state=0).fit(X)
    assert np.isclose(own.score(X), built.score(X), atol=1e-4)
    assert np.isclose(own.lower_bound_, own.score(X), atol=1e-9)
    field = VariationalEM(model=Features(), random_state=0).fit(X)
    assert np.all(field.gap(X) > -1e-9)
    assert np.diff(field.lower_bounds_).min() > -1e-9


@pytest.mark.slow
def test_global_generators_are_left_alone():
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.random.get_rng_state(), np.random.get_state()[1]
    VariationalEM(model=TwoParameterLogistic(), random_state=0).fit(answers(30))
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


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


class Classes(LatentVariableModel):
    """Two latent classes, each with a probability of yes per column."""

    latent, n_latents, constraints = "binary", 1, {"P": "unit_interval"}

    def initialize(self, X, rng):
        return {"P": torch.tensor(rng.uniform(0.2, 0.8, (2, X.shape[1])))}

    def log_likelihood(self, X, Z, theta):
        P = theta["P"][0] * (1 - Z) + theta["P"][1] * Z
        return (X * P.log() + (1 - X) * (1 - P).log()).sum(-1)


@pytest.mark.parametrize(
    "estimator",
    [
        VariationalEM(model=Classes(), posterior="exact", random_state=0),
        VariationalEM(model=Classes(), random_state=0),
        MCEM(model=Classes(), random_state=0),
    ],
)
def test_probabilities_on_the_boundary_are_answers(estimator):
    X = np.r_[np.zeros((30, 4)), np.ones((30, 4)), np.tile([1.0, 1, 0, 1], (6, 1))]
    fit = estimator.fit(X)
    classes = np.sort(fit.params_["P"], axis=0)
    assert np.allclose(classes, [[0, 0, 0, 0], [1, 1, 30 / 36, 1]], atol=1e-6)
    maximum = 66 * np.log(0.5) + 6 * np.log(1 / 6) + 30 * np.log(5 / 6)
    assert np.isclose(66 * fit.score(X), maximum, atol=1e-5)
    errors = fit.standard_errors_["P"].ravel()
    assert np.isclose(errors.max(), np.sqrt(30 * 6 / 36**3), rtol=1e-4)
    assert np.count_nonzero(errors) == 1  # the others are held at 0 and 1


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("size", [2, 10**12, 2.0**70])
def test_large_integer_weights_are_not_made_into_rows(size):
    """The start is that of the rows by themselves where all weights have a factor in common."""
    X = counts(12, 3, 1)
    once = VariationalEM(model=Counts(1), max_iter=2, random_state=0).fit(X)
    often = VariationalEM(model=Counts(1), max_iter=2, random_state=0).fit(X, sample_weight=size)
    assert np.isclose(often.lower_bound_, once.lower_bound_, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_rows_without_cells_are_no_test_of_a_model():
    X = counts(12, 3, 1)
    X[:7] = np.nan
    full = VariationalEM(model=DecoderModel(1, likelihood="poisson"), max_iter=2, random_state=0)
    assert np.isfinite(full.fit(X).lower_bound_)


@pytest.mark.parametrize("make", [TwoParameterLogistic, Features, Counts])
def test_derivatives_in_theta_are_those_of_differences(make):
    X = {Counts: counts(20, 4, 2), Features: real(20, 4, 0)}.get(make, answers(20, 5, 0)[:, :5])
    model, rng = TorchModel(make()), np.random.RandomState(0)
    theta, weights = model.start(X, np.ones(len(X)), rng, 0), rng.random_sample((3, len(X)))
    Z = rng.standard_normal((3, len(X), model.n_latents))
    Z = (Z > 0) * 1.0 if model.latent == "binary" else Z
    scores, information = model.scores_and_information(theta, X, Z, weights)
    assert np.allclose(scores, model._differences(theta, X, Z), rtol=1e-6, atol=1e-6)
    assert np.allclose(-information, model._curvature(theta, X, Z, weights), rtol=1e-5, atol=1e-5)
    assert np.array_equal(scores, model.scores(theta, X, Z))
