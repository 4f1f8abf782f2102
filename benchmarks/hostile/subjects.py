"""Estimators with hostile options, and which laws each of them promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hostile.own_model import OwnFactorModel
from hostile.tables import pick
from skelbo import MCEM, EMGaussianMixture, EMMixture, GaussianMLE, VAEEstimator, VariationalEM
from skelbo.models import BinaryFeatureModel, DecoderModel, FactorModel

DISCRETE = {"bernoulli": "binary", "poisson": "counts", "categorical": "codes"}
STRUCTURES = "full", "tied", "diag", "spherical", "tied_diag", "tied_spherical", "factor"
STARTS = "kmeans", "k-means++", "random_from_data", "random"


@dataclass(frozen=True)
class Subject:
    """An estimator class: its options, its defaults, and what it promises.

    Parameters
    ----------
    draw : callable
        ``draw(rng)`` returns an unfitted estimator with hostile options.
    default : callable
        ``default()`` returns the estimator at its defaults, as far as a case has time for them.
    share : float
        Relative number of cases: what is slow gets fewer.
    laws : frozenset of str
        Laws beyond those of every estimator: "exact" (the bound is the score), "repeats" (weights
        are repetitions), "streams" (`partial_fit` of complete rows).
    """

    draw: Callable[[np.random.Generator], Any]
    default: Callable[[], Any]
    share: float
    laws: frozenset[str] = frozenset()


def likelihood_of(estimator: Any) -> str:
    """Return the name of the likelihood of the columns, "gaussian" where there is no choice."""
    model = getattr(estimator, "model", None)
    if isinstance(model, str):
        return model if model in DISCRETE else "gaussian"
    named = getattr(estimator if model is None else model, "likelihood", "gaussian")
    return named if isinstance(named, str) else "gaussian"


def table_kind(estimator: Any) -> str:
    """Return the kind of table that an estimator is for."""
    if isinstance(getattr(estimator, "model", None), OwnFactorModel):
        return "tame"
    if not getattr(getattr(estimator, "model", None), "fit_intercept", True):
        return DISCRETE.get(likelihood_of(estimator), "ratio")
    return DISCRETE.get(likelihood_of(estimator), "real")


def has_zeros(estimator: Any) -> bool:
    """Return whether probabilities of zero are answers of an estimator."""
    return isinstance(estimator, EMMixture) and estimator.likelihood != "gaussian"


def is_exact(subject: Subject, estimator: Any) -> bool:
    """Return whether the bound of an estimator is log p(x)."""
    return "exact" in subject.laws or getattr(estimator, "posterior", "") == "exact"


def climbs(subject: Subject, estimator: Any) -> bool:
    """Return whether the published bounds never fall by more than rounding."""
    # A number is added to every variance after the M-step, which is no ascent of log p(X).
    if getattr(estimator, "reg_covar", "auto") not in ("auto", 0):
        return False
    built_in = isinstance(getattr(estimator, "model", ""), str | FactorModel | BinaryFeatureModel)
    return "exact" in subject.laws or (
        isinstance(estimator, VariationalEM) and built_in and estimator.model != "decoder"
    )


def one_unit(estimator: Any) -> bool:
    """Return whether all columns share one variance, so that they share their unit too."""
    model = getattr(estimator, "model", None)
    noise = getattr(estimator if model is None else model, "noise", "")
    structure = getattr(estimator, "covariance_type", "")
    shared = noise in ("isotropic", "unit") or structure.endswith("spherical")
    return shared or model == "decoder" or isinstance(model, DecoderModel)


def _mle(rng: np.random.Generator) -> GaussianMLE:
    """Return a GaussianMLE."""
    return GaussianMLE(
        pick(rng, "full", "diag", "spherical"),
        reg_covar=pick(rng, "auto", "auto", 1e-6, 0.0),
        tol=pick(rng, "auto", 1e-3),
        max_iter=pick(rng, 1, 10, 30),
    )


def _mixture(rng: np.random.Generator) -> EMGaussianMixture:
    """Return an EMGaussianMixture."""
    return EMGaussianMixture(
        pick(rng, 1, 1, 2, 2, 3, 4),
        covariance_type=pick(rng, *STRUCTURES),
        tol=pick(rng, "auto", 1e-3),
        reg_covar=pick(rng, "auto", "auto", 1e-6, 0.0),
        max_iter=pick(rng, 0, 1, 3, 10, 30),
        n_init=pick(rng, 1, 1, 3),
        init_params=pick(rng, *STARTS),
        solver=pick(rng, "em", "em", "em", "em", "gem", "gradient"),
        acceleration=pick(rng, "auto", "anderson", None),
        n_factors=pick(rng, 0, 1, 2, 9),
        random_state=int(rng.integers(1000)),
    )


def _model(rng: np.random.Generator) -> Any:
    """Return a latent-variable model, or its name."""
    d = pick(rng, 1, 1, 2, 3)
    likelihood = pick(rng, "gaussian", "bernoulli", "poisson")
    return pick(
        rng,
        pick(rng, "binary", "gaussian", "bernoulli", "poisson"),
        BinaryFeatureModel(
            d, noise=pick(rng, "diag", "isotropic"), fit_intercept=pick(rng, True, True, False)
        ),
        FactorModel(
            d,
            likelihood=likelihood,
            noise=pick(rng, "diag", "isotropic"),
            fit_intercept=pick(rng, True, True, False),
        ),
        FactorModel(d, likelihood=likelihood),
        pick(
            rng,
            DecoderModel(d, hidden_layer_sizes=pick(rng, (), (4,)), likelihood=likelihood),
            OwnFactorModel(),
        ),
    )


def _latents(model: Any, rng: np.random.Generator) -> int:
    """Return the number of latents that agrees with a model."""
    return pick(rng, 1, 1, 2, 3) if isinstance(model, str) else model.n_latents


def _variational(rng: np.random.Generator) -> VariationalEM:
    """Return a VariationalEM."""
    model = _model(rng)
    slow = isinstance(model, DecoderModel | OwnFactorModel)
    return VariationalEM(
        _latents(model, rng),
        model=model,
        posterior=pick(rng, "mean_field", "full", "exact"),
        max_iter=1 if slow else pick(rng, 1, 3, 10),
        tol=pick(rng, "auto", 1e-3),
        n_init=pick(rng, 1, 1, 1, 2),
        annealing=pick(rng, "auto", False, False, False),
        n_importance_samples=20,
        random_state=int(rng.integers(1000)),
    )


def _monte_carlo(rng: np.random.Generator) -> MCEM:
    """Return an MCEM."""
    model = _model(rng)
    slow = isinstance(model, DecoderModel | OwnFactorModel)
    return MCEM(
        _latents(model, rng),
        model=model,
        sampler=pick(rng, "auto", "auto", "auto", "gibbs", "hmc", "importance"),
        n_samples=pick(rng, "auto", 16, 64),
        averaging=pick(rng, None, None, "saem"),
        max_iter=1 if slow else pick(rng, 1, 2, 4),
        n_importance_samples=20,
        random_state=int(rng.integers(1000)),
    )


def _mixed(rng: np.random.Generator) -> EMMixture:
    """Return an EMMixture."""
    return EMMixture(
        pick(rng, 1, 2, 2, 3, 5),
        likelihood=pick(rng, "gaussian", "auto", "bernoulli", "poisson", "categorical"),
        covariance_type=pick(rng, *STRUCTURES[:-1]),
        tol=pick(rng, "auto", 1e-3, 0.0),
        reg_covar=pick(rng, "auto", "auto", 1e-6),
        max_iter=pick(rng, 0, 1, 5, 30),
        n_init=pick(rng, 1, 1, 3),
        init_params=pick(rng, *STARTS),
        acceleration=pick(rng, "auto", "anderson", None),
        random_state=int(rng.integers(1000)),
    )


def _vae(rng: np.random.Generator) -> VAEEstimator:
    """Return a VAEEstimator."""
    return VAEEstimator(
        pick(rng, 1, 2, 3),
        hidden_layer_sizes=pick(rng, (), (4,), (8, 8)),
        activation=pick(rng, "relu", "tanh", "softplus"),
        likelihood=pick(rng, "gaussian", "gaussian", "auto", "bernoulli", "poisson", "categorical"),
        noise=pick(rng, "unit", "isotropic", "diag"),
        objective=pick(rng, "elbo", "iwae"),
        gradient=pick(rng, "reparameterized", "score_function", "dreg"),
        beta=pick(rng, 0.0, 1.0, 4.0),
        kl_warmup=pick(rng, "auto", 0, 2, 10),
        n_samples=pick(rng, 1, 3),
        n_importance_samples=20,
        optimizer=pick(rng, "adam", "rmsprop", "sgd"),
        lr=pick(rng, 1e-3, 1e-1, 10.0),
        batch_size=pick(rng, 5, 128),
        early_stopping=pick(rng, "auto", True, False),
        max_iter=pick(rng, 1, 3),
        device="cpu",
        random_state=int(rng.integers(1000)),
    )


def _small_vae() -> VAEEstimator:
    """Return a VAEEstimator at its defaults, but small and short."""
    return VAEEstimator(
        hidden_layer_sizes=(8,), max_iter=1, n_importance_samples=20, device="cpu", random_state=0
    )


SUBJECTS = {
    "GaussianMLE": Subject(
        _mle, lambda: GaussianMLE(max_iter=30), 6.0, frozenset({"exact", "repeats", "streams"})
    ),
    "EMGaussianMixture": Subject(
        _mixture,
        lambda: EMGaussianMixture(max_iter=30, random_state=0),
        8.0,
        frozenset({"exact", "repeats", "streams"}),
    ),
    "EMMixture": Subject(
        _mixed,
        lambda: EMMixture(likelihood="gaussian", max_iter=30, random_state=0),
        4.0,
        frozenset({"exact", "repeats", "streams"}),
    ),
    "VariationalEM": Subject(
        _variational,
        lambda: VariationalEM(max_iter=5, n_importance_samples=20, random_state=0),
        1.5,
        frozenset({"repeats"}),
    ),
    "MCEM": Subject(
        _monte_carlo, lambda: MCEM(max_iter=2, n_importance_samples=20, random_state=0), 0.25
    ),
    "VAEEstimator": Subject(_vae, _small_vae, 0.25, frozenset({"streams"})),
}
