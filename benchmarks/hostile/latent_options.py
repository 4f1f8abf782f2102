"""Hostile options of the estimators of any latent-variable model."""

from __future__ import annotations

from typing import Any

import numpy as np

from hostile.own_model import OwnFactorModel
from hostile.tables import pick
from skelbo import MCEM, VariationalEM
from skelbo.models import BinaryFeatureModel, DecoderModel, FactorModel


def draw_model(rng: np.random.Generator) -> Any:
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


def n_latents_of(model: Any, rng: np.random.Generator) -> int:
    """Return the number of latents that agrees with a model."""
    return pick(rng, 1, 1, 2, 3) if isinstance(model, str) else model.n_latents


def draw_variational(rng: np.random.Generator) -> VariationalEM:
    """Return a VariationalEM."""
    model = draw_model(rng)
    slow = isinstance(model, DecoderModel | OwnFactorModel)
    return VariationalEM(
        n_latents_of(model, rng),
        model=model,
        posterior=pick(rng, "mean_field", "full", "exact"),
        max_iter=1 if slow else pick(rng, 1, 3, 10),
        tol=pick(rng, "auto", 1e-3),
        n_init=pick(rng, 1, 1, 1, 2),
        annealing=pick(rng, "auto", False, False, False),
        n_importance_samples=20,
        random_state=int(rng.integers(1000)),
    )


def draw_monte_carlo(rng: np.random.Generator) -> MCEM:
    """Return an MCEM."""
    model = draw_model(rng)
    slow = isinstance(model, DecoderModel | OwnFactorModel)
    return MCEM(
        n_latents_of(model, rng),
        model=model,
        sampler=pick(rng, "auto", "auto", "auto", "gibbs", "hmc", "importance"),
        n_samples=pick(rng, "auto", 16, 64),
        averaging=pick(rng, None, None, "saem"),
        max_iter=1 if slow else pick(rng, 1, 2, 4),
        n_importance_samples=20,
        random_state=int(rng.integers(1000)),
    )
