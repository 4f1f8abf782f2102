"""Gibbs sampling of binary latents: all rows and chains at once, one latent after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

WARM_UP = 20
# Sweeps at a high temperature first, so that chains of one row do not all start in one mode.
INVERSE_TEMPERATURES = (0.1, 0.2, 0.4, 0.7)


@dataclass
class GibbsChains:
    """State of the chains of all rows.

    Attributes
    ----------
    Z : ndarray of shape (n_chains, n_rows, n_latents)
        Last draws.
    common : bool
        Whether all rows share the noise, so that a row's chains do not depend on other rows.
    """

    Z: np.ndarray
    common: bool = False

    @classmethod
    def begin(cls, joint, n_chains, rng) -> GibbsChains:
        """Start at draws of the prior, annealed to the posterior."""
        n, d = joint.shape
        shares = np.broadcast_to(joint.prior_mean(), (n_chains, n, d))
        chains = cls((rng.random_sample(shares.shape) < shares).astype(np.float64))
        for inverse_temperature in INVERSE_TEMPERATURES:
            chains.sweep(joint, rng, inverse_temperature)
        return chains

    def warm_up(self, joint, rng) -> None:
        """Move without keeping draws."""
        for _ in range(WARM_UP):
            self.sweep(joint, rng)

    def run(self, joint, n_moves, rng) -> np.ndarray:
        """Move and return the draws, (n_moves * n_chains, n_rows, n_latents), move by move."""
        draws = []
        for _ in range(n_moves):
            self.sweep(joint, rng)
            draws.append(self.Z)
        return np.concatenate(draws)

    def sweep(self, joint, rng, inverse_temperature=1.0) -> None:
        """Draw every latent in turn given the others, the likelihood raised to a power."""
        Z = self.Z.copy()
        prior = special.logit(joint.prior_mean())
        for k in range(Z.shape[2]):
            logit = joint.conditional_logit(Z, k)
            if inverse_temperature != 1:
                logit = prior[k] + inverse_temperature * (logit - prior[k])
            shape = (len(Z), 1) if self.common else logit.shape
            Z[:, :, k] = rng.random_sample(shape) < special.expit(logit)
        self.Z = Z
