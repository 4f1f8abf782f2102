"""Interface of a posterior q(z | x): its mean, its bound, and its draws for the theta step."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from skelbo.elbo import ElboTerms


class Posterior(Protocol):
    """q(z | x) of n rows, with d latents each."""

    @property
    def mean(self) -> np.ndarray:
        """Mean of q, (n, d)."""

    @property
    def terms(self) -> ElboTerms:
        """The bound of each row, in nats."""

    def draws(self, moments_suffice: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return q as the theta step takes it.

        Parameters
        ----------
        moments_suffice : bool
            Whether log p(x, z; theta) needs no more of q than its mean and covariance.

        Returns
        -------
        weights : ndarray of shape (S, n)
            Of the draws, one in total for each row.
        Z : ndarray of shape (S, n, d)
            Draws, or (S = 1) the mean.
        covariance : ndarray of shape (n, d, d) or (n, d), or None
            Full or diagonal; None where `Z` are draws.
        """
