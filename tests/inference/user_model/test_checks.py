"""Mistakes in a model of a user are named before the fit."""

import numpy as np
import pytest
import torch

from skelbo import MCEM, VariationalEM
from skelbo.models import FactorModel, LatentVariableModel
from tests.own_models import TwoParameterLogistic
from tests.tables import answers, real


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
        (broken(constraints=["a"]), r"constraints is \['a'\], expected a dict"),
        (broken(constraints=None), "constraints is None, expected a dict .* write {}"),
        (LatentVariableModel(), "n_latents is None"),
    ],
)
@pytest.mark.parametrize("chapter", [VariationalEM, MCEM])
def test_mistakes_are_named_before_the_fit(model, message, chapter):
    with pytest.raises(ValueError, match=message):
        chapter(model=model).fit(answers(20))


@pytest.mark.slow
def test_missing_methods_are_named():
    empty = type("Empty", (LatentVariableModel,), {"n_latents": 1})()
    with pytest.raises(NotImplementedError, match=r"Empty does not define initialize"):
        VariationalEM(model=empty, random_state=0).fit(answers(20))
    estimator = VariationalEM(model=TwoParameterLogistic(), random_state=0).fit(answers(60))
    with pytest.raises(NotImplementedError, match="does not define sample"):
        estimator.sample(3)
    with pytest.raises(ValueError, match="likelihood='odd'"):
        VariationalEM(model=FactorModel(1, likelihood="odd"), random_state=0).fit(real())


@pytest.mark.parametrize("chapter", [VariationalEM, MCEM])
def test_a_constraint_on_an_unknown_name_is_refused(chapter):
    with pytest.raises(ValueError, match=r"constraints names \['slop'\], expected some of \['a'"):
        chapter(model=broken(constraints={"slop": "positive"})).fit(answers(20))


class Louder(FactorModel):
    """A factor model with a log-likelihood that closed forms would not call."""

    def log_likelihood(self, X, Z, theta):
        return 2 * super().log_likelihood(X, Z, theta)


@pytest.mark.parametrize("chapter", [VariationalEM, MCEM])
def test_a_redefined_density_of_a_built_in_model_is_refused(chapter):
    with pytest.raises(TypeError, match=r"Louder redefines \['log_likelihood'\] of FactorModel"):
        chapter(model=Louder(1)).fit(real(20))


@pytest.mark.parametrize("chapter", [VariationalEM, MCEM])
def test_n_components_that_disagrees_with_the_model_is_refused(chapter):
    with pytest.raises(ValueError, match="n_components=3 disagrees with n_latents=2"):
        chapter(3, model=FactorModel(2)).fit(real(20))


class Unbounded(TwoParameterLogistic):
    """A Gaussian factor with a scale or a probability that has no domain."""

    def initialize(self, X, rng):
        return {"a": 0.5 + 0 * X[0], "scale": 1.0 + 0 * X[0]}

    def log_likelihood(self, X, Z, theta):
        residual = (X - Z * theta["a"]) / theta["scale"]
        return (-0.5 * residual**2 - theta["scale"].log()).sum(-1)


class UnboundedShares(TwoParameterLogistic):
    """Two classes whose probabilities have no domain."""

    latent = "binary"

    def initialize(self, X, rng):
        return {"P": torch.tensor(rng.uniform(0.2, 0.8, (2, X.shape[1])))}

    def log_likelihood(self, X, Z, theta):
        P = theta["P"][0] * (1 - Z) + theta["P"][1] * Z
        return (X * P.log() + (1 - X) * (1 - P).log()).sum(-1)


@pytest.mark.parametrize(
    ("model", "X", "line"),
    [
        (Unbounded(), 0.01 * real(40), r"constraints = \{'scale': 'positive'\} in the class"),
        (UnboundedShares(), np.repeat([[0.0] * 4, [1.0] * 4], 20, axis=0), "'P': 'unit_interval'"),
    ],
)
def test_a_parameter_that_leaves_its_domain_gets_the_line_to_write(model, X, line):
    with pytest.raises(ValueError, match=line):
        VariationalEM(model=model, random_state=0).fit(X)


def test_missing_cells_that_a_model_does_not_handle_are_named():
    X = answers(40)
    X[30, 1] = np.nan
    careless = broken(initialize=lambda self, X, rng: {"a": 1 + 0 * X[0], "d": 0 * X[0]})
    with pytest.raises(ValueError, match=r"missing cells \(NaN\).*observed = ~X.isnan\(\)"):
        VariationalEM(model=careless).fit(X)
    with pytest.raises(ValueError, match=r"returned 'd' with .*take torch.nanmean"):
        VariationalEM(model=TwoParameterLogistic()).fit(X)


class Scale(LatentVariableModel):
    """Gaussian columns of one common latent, the first of which is that latent."""

    n_latents, constraints = 1, {"scale": "positive"}

    def initialize(self, X, rng):
        return {"a": 0 * X[0] + 0.5, "scale": X.std(0)}

    def log_likelihood(self, X, Z, theta):
        return torch.distributions.Normal(Z * theta["a"], theta["scale"]).log_prob(X).sum(-1)


def test_a_scale_that_reaches_zero_is_an_answer_with_a_warning():
    z = np.random.default_rng(0).standard_normal((30, 1))
    X = np.hstack([z, z])  # both columns are the latent: their scales have no minimum
    with pytest.warns(UserWarning, match="scale of Scale went to zero.*def lower_limits"):
        fit = VariationalEM(model=Scale(), random_state=0).fit(X)
    assert np.isfinite(fit.score(X)) and np.all(fit.params_["scale"] > 0)


@pytest.mark.parametrize("estimator", [VariationalEM, MCEM])
def test_more_binary_latents_than_can_be_listed_get_a_remedy_that_is_open(estimator):
    class Many(UnboundedShares):
        n_latents = 13

        def log_likelihood(self, X, Z, theta):
            return super().log_likelihood(X, Z[..., :1], theta)

    with pytest.raises(ValueError, match=r"n_latents=13 .*at most 12.*; use fewer latents"):
        estimator(model=Many(), random_state=0).fit(answers(20))


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("constraint", {"a": "positive"}, "constraints"),
        ("latents", "binary", "latent"),
        ("log_pior", lambda self, Z, theta: -Z.abs().sum(-1), "log_prior"),
    ],
)
@pytest.mark.parametrize("estimator", [VariationalEM, MCEM])
def test_a_misspelt_name_of_the_class_is_not_passed_over(estimator, name, value, meant):
    with pytest.raises(ValueError, match=f"Broken defines '{name}'.*expected '{meant}'"):
        estimator(model=broken(**{name: value})).fit(answers())


def test_a_name_like_one_that_the_model_has_is_its_own():
    model = broken(log_priors=None, log_prior=lambda self, Z, t: -0.5 * (Z**2).sum(-1))
    VariationalEM(model=model, max_iter=1, tol=1e9).fit(answers())
