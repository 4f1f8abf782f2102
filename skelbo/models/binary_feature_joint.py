r"""Joint densities of binary features and Gaussian columns as a function of the features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

# Cells (states x rows x columns) of residuals worked on at a time: they should stay in cache.
CHUNK_CELLS = 2**16


@dataclass(frozen=True)
class BinaryFeatureJoint(ABC):
    """Joint density log p(x, z; theta) of some rows.

    Attributes
    ----------
    log_odds : ndarray of shape (n_latents,)
        Of the prior.
    constant : ndarray of shape (n_rows,)
        Part of log p(x | z) that does not depend on z.
    """

    log_odds: np.ndarray
    constant: np.ndarray

    latent = "binary"

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_latents)."""
        return len(self.constant), len(self.log_odds)

    @property
    @abstractmethod
    def own(self) -> np.ndarray:
        """Squared loadings in units of the noise, summed over columns, (n_rows or 1, d)."""

    @abstractmethod
    def take(self, rows) -> BinaryFeatureJoint:
        """Return the joint of some of the rows."""

    @abstractmethod
    def conditional_logit(self, Z, k):
        """Return log p(x, z_k=1, rest) - log p(x, z_k=0, rest), (..., n), averaged if Z is.

        The log-joint has no squares of a z_k (z_k^2 = z_k), so that the mean over independent
        z_l, l != k, is its value at their means: the same formula serves Gibbs and mean field.
        """

    @abstractmethod
    def log_likelihood(self, Z):
        """Return log p(x | z), (S, n), for Z of shape (S, n, d) or (S, 1, d)."""

    def prior_mean(self) -> np.ndarray:
        """Return p(z_k = 1), (d,)."""
        return special.expit(self.log_odds)

    def log_prior(self, Z):
        """Return log p(z), (S, n) or (S, 1)."""
        return Z @ self.log_odds - np.logaddexp(0, self.log_odds).sum()

    def log_joint(self, Z):
        """Return log p(x, z), (S, n)."""
        return self.log_likelihood(Z) + self.log_prior(Z)

    def expected(self, mean):
        """Return E log p(x|z) and E log p(x,z), (n,), for independent z with this mean."""
        spread = mean * (1 - mean)
        reconstruction = self.log_likelihood(mean[None])[0] - 0.5 * (spread * self.own).sum(-1)
        return reconstruction, reconstruction + self.log_prior(mean[None])[0]


@dataclass(frozen=True)
class QuadraticFeatureJoint(BinaryFeatureJoint):
    r"""Joint density as a quadratic form in z: its cost does not depend on the columns.

    .. math:: \log p(x, z) = c_i + a_i^T z - \tfrac12 z^T G z + \sum_k z_k\, o_k

    Attributes
    ----------
    log_odds : ndarray of shape (n_latents,)
        o of the prior.
    constant : ndarray of shape (n_rows,)
        c: log p(x | z = 0).
    linear : ndarray of shape (n_rows, n_latents)
        a.
    gram : ndarray of shape (n_rows or 1, n_latents, n_latents)
        G.
    """

    linear: np.ndarray
    gram: np.ndarray

    @property
    def own(self):
        """Diagonals of G, (n_rows or 1, d)."""
        return np.einsum("nkk->nk", self.gram)

    def take(self, rows) -> QuadraticFeatureJoint:
        """Return the joint of some of the rows."""
        gram = self.gram if len(self.gram) == 1 else self.gram[rows]
        return replace(self, linear=self.linear[rows], gram=gram, constant=self.constant[rows])

    def conditional_logit(self, Z, k):
        """Return log p(x, z_k=1, rest) - log p(x, z_k=0, rest), (..., n), averaged if Z is."""
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


@dataclass(frozen=True)
class ResidualFeatureJoint(BinaryFeatureJoint):
    r"""Joint density by the residuals of all cells: no digits are lost where loadings are large.

    .. math:: \log p(x, z) = c_i - \tfrac12 \sum_j (r_{ij} - w_j^T z)^2 / \psi_j
        + \sum_k z_k\, o_k

    Attributes
    ----------
    log_odds : ndarray of shape (n_latents,)
        o of the prior.
    constant : ndarray of shape (n_rows,)
        c: logarithm of the normalizer.
    residual : ndarray of shape (n_rows, n_features)
        r: the rows less the intercepts, zero where missing.
    loadings : ndarray of shape (n_features, n_latents)
        w.
    precision : ndarray of shape (n_rows or 1, n_features)
        Inverse noise variances, zero where missing.
    """

    residual: np.ndarray
    loadings: np.ndarray
    precision: np.ndarray

    @property
    def own(self):
        """Squared loadings in units of the noise, summed over columns, (n_rows or 1, d)."""
        return self.precision @ self.loadings**2

    def take(self, rows) -> ResidualFeatureJoint:
        """Return the joint of some of the rows."""
        precision = self.precision if len(self.precision) == 1 else self.precision[rows]
        residual, constant = self.residual[rows], self.constant[rows]
        return replace(self, residual=residual, precision=precision, constant=constant)

    def conditional_logit(self, Z, k):
        """Return log p(x, z_k=1, rest) - log p(x, z_k=0, rest), (..., n), averaged if Z is."""
        others, loadings = np.delete(Z, k, axis=-1), np.delete(self.loadings, k, axis=1)
        own = self.loadings[:, k]
        middle = self.residual - others @ loadings.T - 0.5 * own
        return self.log_odds[k] + (middle * (own * self.precision)).sum(-1)

    def log_likelihood(self, Z):
        """Return log p(x | z), (S, n), for Z of shape (S, n, d) or (S, 1, d)."""
        result = np.empty((len(Z), len(self.residual)))
        size = max(1, CHUNK_CELLS // self.residual.size)
        for first in range(0, len(Z), size):
            part = slice(first, first + size)
            rest = self.residual - Z[part] @ self.loadings.T
            result[part] = -0.5 * (rest**2 * self.precision).sum(-1)
        return result + self.constant
