r"""Joint density of binary features and Gaussian columns as a function of the features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special


@dataclass(frozen=True)
class BinaryFeatureJoint:
    r"""Joint density log p(x, z; theta) of some rows, quadratic in z.

    .. math:: \log p(x, z) = c_i + a_i^T z - \tfrac12 z^T G z + \sum_k z_k\, o_k

    Attributes
    ----------
    linear : ndarray of shape (n_rows, n_latents)
        a.
    gram : ndarray of shape (n_rows or 1, n_latents, n_latents)
        G.
    constant : ndarray of shape (n_rows,)
        c: log p(x | z = 0).
    log_odds : ndarray of shape (n_latents,)
        o of the prior.
    """

    linear: np.ndarray
    gram: np.ndarray
    constant: np.ndarray
    log_odds: np.ndarray

    latent = "binary"

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_latents)."""
        return self.linear.shape

    def take(self, rows) -> BinaryFeatureJoint:
        """Return the joint of some of the rows."""
        gram = self.gram if len(self.gram) == 1 else self.gram[rows]
        return replace(self, linear=self.linear[rows], gram=gram, constant=self.constant[rows])

    def prior_mean(self) -> np.ndarray:
        """Return p(z_k = 1), (d,)."""
        return special.expit(self.log_odds)

    def conditional_logit(self, Z, k):
        """Return log p(x, z_k=1, rest) - log p(x, z_k=0, rest), (..., n), averaged if Z is.

        The log-joint has no squares of a z_k (z_k^2 = z_k), so that the mean over independent
        z_l, l != k, is its value at their means: the same formula serves Gibbs and mean field.
        """
        own = self.gram[:, k, k]
        others = (Z * self.gram[:, k]).sum(-1) - Z[..., k] * own
        return self.log_odds[k] + self.linear[:, k] - 0.5 * own - others

    def log_likelihood(self, Z):
        """Return log p(x | z), (S, n), for Z of shape (S, n, d) or (S, 1, d)."""
        if len(self.gram) == 1:
            quadratic = ((Z @ self.gram[0]) * Z).sum(-1)
        else:
            full = np.broadcast_to(Z, (len(Z), *self.shape))
            quadratic = (
                np.matmul(full.transpose(1, 0, 2), self.gram).transpose(1, 0, 2) * full
            ).sum(-1)
        shared = Z.shape[1] == 1
        linear = Z[:, 0] @ self.linear.T if shared else (Z * self.linear).sum(-1)
        return self.constant + linear - 0.5 * quadratic

    def log_prior(self, Z):
        """Return log p(z), (S, n) or (S, 1)."""
        return Z @ self.log_odds - np.logaddexp(0, self.log_odds).sum()

    def log_joint(self, Z):
        """Return log p(x, z), (S, n)."""
        return self.log_likelihood(Z) + self.log_prior(Z)

    def expected(self, mean):
        """Return E log p(x|z) and E log p(x,z), (n,), for independent z with this mean."""
        spread = mean * (1 - mean)
        own = np.einsum("nkk->nk", self.gram)
        reconstruction = self.log_likelihood(mean[None])[0] - 0.5 * (spread * own).sum(-1)
        return reconstruction, reconstruction + self.log_prior(mean[None])[0]
