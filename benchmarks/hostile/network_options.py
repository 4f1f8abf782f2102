"""Hostile options of the estimators that are networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from hostile.tables import pick
from skelbo import GANEstimator, VAEEstimator, VQVAEEstimator

LIKELIHOODS = "gaussian", "gaussian", "auto", "bernoulli", "poisson", "categorical"


def draw_training(rng: np.random.Generator) -> dict[str, Any]:
    """Return options that all networks have: layers, steps, draws behind scores."""
    return {
        "hidden_layer_sizes": pick(rng, (), (4,), (8, 8)),
        "activation": pick(rng, "relu", "tanh", "softplus"),
        "optimizer": pick(rng, "adam", "rmsprop", "sgd"),
        "lr": pick(rng, 1e-3, 1e-1, 10.0),
        "batch_size": pick(rng, 5, 128),
        "max_iter": pick(rng, 1, 3),
        "n_importance_samples": 20,
        "device": "cpu",
        "random_state": int(rng.integers(1000)),
    }


def draw_vae(rng: np.random.Generator) -> VAEEstimator:
    """Return a VAEEstimator whose q is a Gaussian."""
    return VAEEstimator(
        pick(rng, 1, 2, 3),
        likelihood=pick(rng, *LIKELIHOODS),
        noise=pick(rng, "unit", "isotropic", "diag"),
        objective=pick(rng, "elbo", "iwae"),
        gradient=pick(rng, "reparameterized", "score_function", "dreg"),
        beta=pick(rng, 0.0, 1.0, 4.0),
        kl_warmup=pick(rng, "auto", 0, 2, 10),
        n_samples=pick(rng, 1, 3),
        early_stopping=pick(rng, "auto", True, False),
        **draw_training(rng),
    )


def draw_auto_encoder(rng: np.random.Generator) -> VAEEstimator:
    """Return a VAEEstimator whose q is a point."""
    return VAEEstimator(
        pick(rng, 1, 2, 3),
        posterior="point",
        likelihood=pick(rng, *LIKELIHOODS),
        noise=pick(rng, "auto", "unit", "isotropic", "diag"),
        early_stopping=pick(rng, "auto", True, False),
        **draw_training(rng),
    )


def draw_codes(rng: np.random.Generator) -> VQVAEEstimator:
    """Return a VQVAEEstimator."""
    return VQVAEEstimator(
        pick(rng, 1, 2, 3),
        n_codes=pick(rng, 2, 3, 4),
        code_size=pick(rng, 1, 2),
        assignment=pick(rng, "hard", "soft"),
        prior=pick(rng, "uniform", "independent", "autoregressive"),
        commitment=pick(rng, 0.0, 0.25),
        decay=pick(rng, "auto", 0.0, 0.9),
        likelihood=pick(rng, *LIKELIHOODS),
        noise=pick(rng, "unit", "isotropic", "diag"),
        early_stopping=pick(rng, "auto", True, False),
        **draw_training(rng),
    )


def draw_game(rng: np.random.Generator) -> GANEstimator:
    """Return a GANEstimator."""
    return GANEstimator(
        pick(rng, 1, 2),
        divergence=pick(rng, "js", "kl", "reverse_kl", "js_nonsaturating"),
        noise=pick(rng, "unit", "isotropic", "diag"),
        critic_layer_sizes=pick(rng, (), (4,)),
        penalty=pick(rng, 0.0, 2.0),
        n_critic=pick(rng, 1, 2),
        averaging=pick(rng, 0.0, 0.9),
        **draw_training(rng),
    )


def small(estimator: type) -> Any:
    """Return an estimator of networks at its defaults, but small and short."""
    short = {"hidden_layer_sizes": (8,), "max_iter": 1, "n_importance_samples": 20}
    if estimator is GANEstimator:
        short["critic_layer_sizes"] = (8,)
    return estimator(**short, device="cpu", random_state=0)


def small_auto_encoder() -> VAEEstimator:
    """Return an auto-encoder at its defaults, but small and short."""
    return small(VAEEstimator).set_params(posterior="point")
