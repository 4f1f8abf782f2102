"""Hostile options of the meta-estimators, around estimators that are cheap to fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from hostile.em_options import draw_gaussian, draw_mixed, draw_mixture
from hostile.tables import pick
from skelbo import EMMixture, GaussianMLE
from skelbo.meta import (
    CriterionSearch,
    DensityOutlierDetector,
    GenerativeClassifier,
    ModelImputer,
)


def draw_density(rng: np.random.Generator) -> Any:
    """Return an estimator of real columns."""
    estimator = pick(rng, draw_gaussian, draw_mixture, draw_mixed)(rng)
    if isinstance(estimator, EMMixture):
        estimator.set_params(likelihood="gaussian")
    return estimator.set_params(max_iter=min(estimator.max_iter, 5))


def draw_classifier(rng: np.random.Generator) -> GenerativeClassifier:
    """Return a GenerativeClassifier."""
    return GenerativeClassifier(draw_density(rng))


def draw_detector(rng: np.random.Generator) -> DensityOutlierDetector:
    """Return a DensityOutlierDetector."""
    return DensityOutlierDetector(draw_density(rng), pick(rng, "auto", 0.01, 0.3, 0.5))


def draw_imputer(rng: np.random.Generator) -> ModelImputer:
    """Return a ModelImputer."""
    return ModelImputer(
        draw_density(rng),
        sample_posterior=pick(rng, True, False),
        add_indicator=pick(rng, True, False),
        random_state=int(rng.integers(1000)),
    )


def draw_search(rng: np.random.Generator) -> CriterionSearch:
    """Return a CriterionSearch."""
    estimator = draw_density(rng)
    grid = {"covariance_type": ["diag", "spherical"]}
    if not isinstance(estimator, GaussianMLE):
        grid = pick(rng, grid, {"n_components": [1, 2]})
    criteria = ("bic", "aic", "held_out", "icl")[: 3 if isinstance(estimator, GaussianMLE) else 4]
    return CriterionSearch(estimator, grid, criterion=pick(rng, *criteria))
