"""Hostile options of the estimators fitted by EM alone: one Gaussian, mixtures, chains."""

from __future__ import annotations

import numpy as np

from hostile.tables import pick
from skelbo import EMGaussianMixture, EMHiddenMarkovModel, EMMixture, GaussianMLE

STRUCTURES = "full", "tied", "diag", "spherical", "tied_diag", "tied_spherical", "factor"
STARTS = "kmeans", "k-means++", "random_from_data", "random"
LIKELIHOODS = "gaussian", "auto", "bernoulli", "poisson", "categorical"


def draw_gaussian(rng: np.random.Generator) -> GaussianMLE:
    """Return a GaussianMLE."""
    return GaussianMLE(
        pick(rng, "full", "diag", "spherical"),
        reg_covar=pick(rng, "auto", "auto", 1e-6, 0.0),
        tol=pick(rng, "auto", 1e-3),
        max_iter=pick(rng, 1, 10, 30),
    )


def draw_mixture(rng: np.random.Generator) -> EMGaussianMixture:
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


def draw_mixed(rng: np.random.Generator) -> EMMixture:
    """Return an EMMixture."""
    return EMMixture(
        pick(rng, 1, 2, 2, 3, 5),
        likelihood=pick(rng, *LIKELIHOODS),
        covariance_type=pick(rng, *STRUCTURES[:-1]),
        tol=pick(rng, "auto", 1e-3, 0.0),
        reg_covar=pick(rng, "auto", "auto", 1e-6),
        max_iter=pick(rng, 0, 1, 5, 30),
        n_init=pick(rng, 1, 1, 3),
        init_params=pick(rng, *STARTS),
        acceleration=pick(rng, "auto", "anderson", None),
        random_state=int(rng.integers(1000)),
    )


def draw_chain(rng: np.random.Generator) -> EMHiddenMarkovModel:
    """Return an EMHiddenMarkovModel."""
    return EMHiddenMarkovModel(
        pick(rng, 1, 2, 2, 3, 4),
        likelihood=pick(rng, "gaussian", *LIKELIHOODS),
        covariance_type=pick(rng, *STRUCTURES[:-1]),
        tol=pick(rng, "auto", 1e-3, 0.0),
        reg_covar=pick(rng, "auto", "auto", 1e-6),
        max_iter=pick(rng, 0, 1, 5, 20),
        n_init=pick(rng, 1, 1, 3),
        init_params=pick(rng, *STARTS),
        acceleration=pick(rng, "auto", "anderson", None),
        random_state=int(rng.integers(1000)),
    )
