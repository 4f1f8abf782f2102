"""A model with parameters: densities, bounds and latents of new rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.data.blocks import iter_blocks
from skelbo.elbo import ElboTerms
from skelbo.inference.log_marginal import log_marginal, posterior_sample
from skelbo.inference.posteriors.bernoulli_posterior import MAX_ENUMERATED
from skelbo.inference.posteriors.best import best_q
from skelbo.inference.sampling.importance import BaseNoise
from skelbo.inference.sampling.sobol import ShiftedSobol
from skelbo.models.interface import Model, Theta

# Cells (points of z x rows x columns) of a block of rows.
BLOCK_CELLS = 2**22
# Points of z per row for which blocks leave room, at least, in the step over q and elsewhere.
POINTS_OF_Q, POINTS = 128, 256
# Independent copies of the quasi-random numbers behind a score: their spread is its error.
N_COPIES = 16


@dataclass(frozen=True)
class FittedModel:
    """A model with parameters, ready for new rows.

    Attributes
    ----------
    model : Model
    theta : dict of str to ndarray
        Parameters.
    posterior : {"mean_field", "full", "exact"}
        Family of q.
    n_draws : int
        Importance samples per row, where log p(x) has no better way.
    seed : int
        Seed of their base noise.
    """

    model: Model
    theta: Theta
    posterior: str
    n_draws: int
    seed: int

    def noise(self) -> BaseNoise:
        """Return the base noise that all rows share."""
        shape = (1, self.model.n_latents)
        rng = np.random.RandomState(self.seed)
        return ShiftedSobol(shape, rng, N_COPIES).run(self.n_draws)

    def joints(self, X: np.ndarray, n_points: int | None = None) -> Iterator[tuple[slice, Any]]:
        """Yield slices of rows and their joint densities, block by block.

        `n_points` is the number of points of z per row that are held together: by default all
        draws.
        """
        n_points = max(self.n_draws, POINTS) if n_points is None else n_points
        cells = n_points * (X.shape[1] + 2 * self.model.n_latents)
        for rows in iter_blocks(len(X), cells, BLOCK_CELLS):
            block = np.asarray(X[rows], dtype=np.float64)
            self.model.check(block)
            yield rows, self.model.joint(block, self.theta)

    def log_prob(self, X) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(x) and its standard error, (n,) each, in nats; 0 for rows without cells."""
        noise, result = self.noise(), np.empty((2, len(X)))
        for rows, joint in self.joints(X, len(noise.part)):
            result[:, rows] = log_marginal(joint, noise)[:2]
        result[:, np.isnan(X).all(axis=1)] = 0.0
        return result[0], result[1]

    def elbo_terms(self, X) -> ElboTerms:
        """Return the terms of the bound of each row."""
        model, joints = self.model, (joint for _, joint in self.joints(X))
        parts = [model.bound_terms(joint, best_q(joint, self.posterior)) for joint in joints]
        return ElboTerms.concatenate(parts)

    def mean(self, X) -> np.ndarray:
        """Return the mean of q of each row, (n, d)."""
        listed = self.model.latent == "binary" and self.model.n_latents <= MAX_ENUMERATED
        n_points = max(POINTS_OF_Q, 2**self.model.n_latents if listed else 0)
        joints = (joint for _, joint in self.joints(X, n_points))
        return np.concatenate([best_q(joint, self.posterior).mean for joint in joints])

    def std(self, X) -> np.ndarray:
        """Return the standard deviation of q of each row, (n, d); z is continuous."""
        joints = (joint for _, joint in self.joints(X, POINTS_OF_Q))
        return np.concatenate([best_q(joint, self.posterior).std for joint in joints])

    def draw_cells(self, X, n_draws: int, rng) -> np.ndarray:
        """Return draws of rows given their observed cells, (n_draws, n, p)."""
        shape = (1, self.model.n_latents)
        noise = ShiftedSobol(shape, rng, N_COPIES).run(self.n_draws)
        result = np.empty((n_draws, *X.shape))
        for rows, joint in self.joints(X, max(len(noise.part), n_draws)):
            Z = posterior_sample(joint, noise, n_draws, rng)
            cells = self.model.sample_given(Z.reshape(-1, Z.shape[-1]), self.theta, rng)
            result[:, rows] = cells.reshape(*Z.shape[:2], -1)
        return result

    def impute(self, X) -> np.ndarray:
        """Return E[x | observed cells] of each row, (n, p)."""
        noise, result = self.noise(), np.empty(X.shape)
        for rows, joint in self.joints(X, len(noise.part)):
            draws = log_marginal(joint, noise)[2]
            if draws is None:  # linear and Gaussian: the mean is enough
                result[rows] = self.model.mean(joint.start()[0], self.theta)
                continue
            flat = draws.Z.reshape(-1, draws.Z.shape[-1])
            cells = self.model.mean(flat, self.theta).reshape(*draws.Z.shape[:2], -1)
            result[rows] = np.einsum("sn,snp->np", draws.weights, cells)
        return result
