r"""Hamiltonian Monte Carlo for p(z | x) of many rows at once.

Every row has its own chains, its own mass matrix (the precision of the Gaussian that fits it) and
its own step size, tuned to a fixed share of accepted moves; rows do not influence each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N_LEAPFROG = 8
TARGET = 0.85
WARM_UP, AGAIN = 30, 6  # moves before the first draws, and after a change of parameters
FIRST_STEP = 0.35


@dataclass
class HamiltonianChains:
    """State of the chains of all rows.

    Attributes
    ----------
    Z : ndarray of shape (n_chains, n_rows, n_latents)
        Last draws.
    step : ndarray of shape (n_rows,)
        Step sizes, in units of the posterior's own widths.
    acceptance : ndarray of shape (n_rows,)
        Mean acceptance probability of the last moves.
    tuned : bool
        Whether a warm-up has taken place.
    """

    Z: np.ndarray
    step: np.ndarray
    acceptance: np.ndarray
    tuned: bool = False

    @classmethod
    def begin(cls, mean, precision, n_chains, rng) -> HamiltonianChains:
        """Start at draws of the Gaussian that fits each row."""
        root = np.linalg.inv(np.linalg.cholesky(precision))
        noise = rng.standard_normal((n_chains, *mean.shape))
        n = len(mean)
        Z = mean + np.einsum("nij,sni->snj", root, noise)
        return cls(Z, np.full(n, FIRST_STEP), np.ones(n))

    def warm_up(self, joint, precision, rng) -> None:
        """Move without keeping draws, and tune the step size of every row (Robbins-Monro)."""
        first, last = (AGAIN, 2 * AGAIN) if self.tuned else (0, WARM_UP)
        self.tuned = True
        for number in range(first, last):
            self._move(joint, precision, rng)
            self.step *= np.exp((self.acceptance - TARGET) * 1.5 / np.sqrt(1 + number))
            self.step = np.clip(self.step, 1e-4, 1.2)

    def run(self, joint, precision, n_moves, rng) -> np.ndarray:
        """Move and return the draws, (n_moves * n_chains, n_rows, n_latents), move by move."""
        draws = []
        for _ in range(n_moves):
            self._move(joint, precision, rng)
            draws.append(self.Z.copy())
        return np.concatenate(draws)

    def _move(self, joint, precision, rng) -> None:
        """Propose a trajectory for every chain; accept each by itself."""
        factor = np.linalg.cholesky(precision)
        root = np.linalg.inv(factor)  # z = root' u: u has about unit covariance
        momentum = rng.standard_normal(self.Z.shape)
        # The length varies a little, against periodic trajectories.
        size = (self.step * rng.uniform(0.8, 1.2))[:, None]
        value, gradient = joint.gradient(self.Z)
        energy = value - 0.5 * (momentum**2).sum(-1)
        Z = self.Z
        with np.errstate(all="ignore"):  # a divergent trajectory is refused below
            for _ in range(N_LEAPFROG):
                momentum = momentum + 0.5 * size * np.einsum("nij,snj->sni", root, gradient)
                Z = Z + np.einsum("nij,sni->snj", root, size * momentum)
                new_value, gradient = joint.gradient(Z)
                momentum = momentum + 0.5 * size * np.einsum("nij,snj->sni", root, gradient)
            change = new_value - 0.5 * (momentum**2).sum(-1) - energy
            probability = np.exp(np.minimum(np.where(np.isnan(change), -np.inf, change), 0.0))
        accepted = rng.random_sample(probability.shape) < probability
        self.Z = np.where(accepted[..., None], Z, self.Z)
        self.acceptance = probability.mean(0)
