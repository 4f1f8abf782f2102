"""Estimators with hostile options, and which laws each of them promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hostile.em_options import draw_chain, draw_gaussian, draw_mixed, draw_mixture
from hostile.latent_options import draw_monte_carlo, draw_variational
from hostile.meta_options import draw_classifier, draw_detector, draw_imputer, draw_search
from hostile.network_options import (
    draw_auto_encoder,
    draw_codes,
    draw_game,
    draw_vae,
    small,
    small_auto_encoder,
)
from hostile.own_model import OwnFactorModel
from skelbo import (
    MCEM,
    EMGaussianMixture,
    EMHiddenMarkovModel,
    EMMixture,
    GANEstimator,
    GaussianMLE,
    VAEEstimator,
    VariationalEM,
    VQVAEEstimator,
)
from skelbo.models import BinaryFeatureModel, DecoderModel, FactorModel

DISCRETE = {"bernoulli": "binary", "poisson": "counts", "categorical": "codes"}


@dataclass(frozen=True)
class Subject:
    """An estimator class: its options, its defaults, and what it promises.

    Parameters
    ----------
    draw : callable
        ``draw(rng)`` returns an unfitted estimator with hostile options.
    share : float
        Relative number of cases: what is slow gets fewer.
    laws : frozenset of str
        Laws beyond those of every estimator: "exact" (the bound is the score), "repeats" (weights
        are repetitions), "streams" (`partial_fit` of complete rows).
    default : callable, optional
        ``default()`` returns the estimator at its defaults, as far as a case has time for them.
    kind : {"density", "classifier", "detector", "imputer", "search"}, default="density"
        What the estimator answers.
    """

    draw: Callable[[np.random.Generator], Any]
    share: float
    laws: frozenset[str] = frozenset()
    default: Callable[[], Any] | None = None
    kind: str = "density"


def density_of(estimator: Any) -> Any:
    """Return the density within a meta-estimator, or the estimator itself."""
    return getattr(estimator, "estimator", estimator)


def likelihood_of(estimator: Any) -> str:
    """Return the name of the likelihood of the columns, "gaussian" where there is no choice."""
    model = getattr(estimator, "model", None)
    if isinstance(model, str):
        return model if model in DISCRETE else "gaussian"
    named = getattr(estimator if model is None else model, "likelihood", "gaussian")
    return named if isinstance(named, str) else "gaussian"


def table_kind(estimator: Any) -> str:
    """Return the kind of table that an estimator is for."""
    estimator = density_of(estimator)
    if isinstance(getattr(estimator, "model", None), OwnFactorModel):
        return "tame"
    if not getattr(getattr(estimator, "model", None), "fit_intercept", True):
        return DISCRETE.get(likelihood_of(estimator), "ratio")
    return DISCRETE.get(likelihood_of(estimator), "real")


def has_sequences(estimator: Any) -> bool:
    """Return whether rows belong to sequences."""
    return isinstance(estimator, EMHiddenMarkovModel)


def has_zeros(estimator: Any) -> bool:
    """Return whether probabilities of zero are answers of an estimator."""
    mixed = isinstance(estimator, EMMixture) and estimator.likelihood != "gaussian"
    return mixed or has_sequences(estimator)


def has_bound(estimator: Any) -> bool:
    """Return whether q has a density, so that there is an ELBO."""
    return getattr(estimator, "posterior", "") != "point"


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
    shared |= not has_bound(estimator)
    return shared or model == "decoder" or isinstance(model, DecoderModel)


EXACT = frozenset({"exact", "repeats"})
SHORT = {"max_iter": 30, "random_state": 0}

SUBJECTS = {
    "GaussianMLE": Subject(
        draw_gaussian, 6.0, EXACT | {"streams"}, lambda: GaussianMLE(max_iter=30)
    ),
    "EMGaussianMixture": Subject(
        draw_mixture, 8.0, EXACT | {"streams"}, lambda: EMGaussianMixture(**SHORT)
    ),
    "EMMixture": Subject(
        draw_mixed,
        4.0,
        EXACT | {"streams"},
        lambda: EMMixture(likelihood="gaussian", n_init=2, **SHORT),
    ),
    "EMHiddenMarkovModel": Subject(draw_chain, 4.0, EXACT, lambda: EMHiddenMarkovModel(**SHORT)),
    "VariationalEM": Subject(
        draw_variational,
        1.5,
        frozenset({"repeats"}),
        lambda: VariationalEM(max_iter=5, n_importance_samples=20, random_state=0),
    ),
    "MCEM": Subject(
        draw_monte_carlo,
        0.5,
        default=lambda: MCEM(max_iter=2, n_importance_samples=20, random_state=0),
    ),
    "VAEEstimator": Subject(draw_vae, 1.5, frozenset({"streams"}), lambda: small(VAEEstimator)),
    "auto-encoder": Subject(draw_auto_encoder, 1.5, frozenset({"streams"}), small_auto_encoder),
    "VQVAEEstimator": Subject(
        draw_codes, 1.5, frozenset({"streams"}), lambda: small(VQVAEEstimator)
    ),
    "GANEstimator": Subject(draw_game, 1.5, default=lambda: small(GANEstimator)),
    "GenerativeClassifier": Subject(
        draw_classifier, 1.0, frozenset({"repeats"}), kind="classifier"
    ),
    "DensityOutlierDetector": Subject(draw_detector, 1.0, frozenset({"repeats"}), kind="detector"),
    "ModelImputer": Subject(draw_imputer, 1.0, frozenset({"repeats"}), kind="imputer"),
    "CriterionSearch": Subject(draw_search, 1.0, kind="search"),
}
