r"""K weighted Gaussians as an exponential family: E-step and M-step are one matrix product each.

.. math:: \log \pi_k N(x; \mu_k, \Sigma_k) = \eta_k^T t(x) + h(x), \qquad
    t(x) = (1, x, \text{products of } x)

Under q, the M-step needs :math:`\sum_i r_{ik}\, t(x_i)` and nothing else. Where all components
share one covariance the products are in h, which drops out of the posterior: :math:`t(x) = (1, x)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skelbo.data.rows import Block, over_rows
from skelbo.gaussian.moments import Moments, Scatter

# Size of the terms that cancel in eta^T t(x), in nats, up to which the bound keeps twelve digits
# and the log-density of a row ten.
SAFE_TERMS = 1e6


@dataclass(frozen=True)
class NaturalParameters:
    """Natural parameters of K weighted Gaussians.

    Attributes
    ----------
    kind : Scatter
        Determines t(x).
    eta : ndarray of shape (n_components, n_statistics)
        The constant, of t(x) = 1, is -inf for a component of weight zero.
    reach : float
        Rows with larger cells would overflow.
    common : ndarray of shape (n_features, n_features) or (n_features,), or None
        The precision that all components share, for h(x) = -x' P x / 2; None where h is zero.
    terms : float
        Size of the terms that cancel in eta^T t(x) for rows of the components, in nats.
    """

    kind: Scatter
    eta: np.ndarray
    reach: float
    common: np.ndarray | None = None
    terms: float = SAFE_TERMS

    def density(self, block: Block) -> NaturalDensity:
        """Return densities and moments of a block of complete rows."""
        return NaturalDensity(self, block)

    def log_joint(self, statistics: np.ndarray) -> np.ndarray:
        """Return log p(x, z = k) - h(x), (K, n), in nats, of rows with these t(x) (S, n).

        A component of weight zero has a constant of -inf, which is kept out of the product: a
        kernel that pads its tiles with zeros would multiply it by them.
        """
        if np.minimum.reduce(self.eta[:, 0]) > -np.inf:
            return np.dot(self.eta, statistics)
        absent = self.absent[:, None]
        log_joint = np.dot(np.where(absent, 0.0, self.eta), statistics)
        return np.where(absent, -np.inf, log_joint)

    @property
    def absent(self) -> np.ndarray:
        """Mask of the components of weight zero, (K,)."""
        return np.isneginf(self.eta[:, 0])


@dataclass(frozen=True)
class NaturalDensity:
    """Densities and moments of a block of complete rows, by matrix products with t(x)."""

    natural: NaturalParameters
    block: Block

    @cached_property
    def statistics(self) -> np.ndarray:
        """t(x) of each row, (n_statistics, n_rows)."""
        return self.block.once(self.natural.kind.statistics)

    def log_joint(self) -> np.ndarray:
        """Return log p(x, z = k) - h(x), (K, n), in nats."""
        return self.natural.log_joint(self.statistics)

    def whole_log_joint(self) -> np.ndarray:
        """Return the same: no component is left out."""
        return self.log_joint()

    def log_base(self) -> np.ndarray | float:
        """Return h(x), (n,), in nats."""
        P, x = self.natural.common, self.block.values
        if P is None:
            return 0.0
        return -0.5 * np.einsum("pn,pn->n", P @ x if P.ndim == 2 else P[:, None] * x, x)

    def total_log_base(self) -> float:
        """Return the weighted sum of h(x) over the rows, from their second moments."""
        P = self.natural.common
        return 0.0 if P is None else -0.5 * float(np.vdot(P, self._second_moments()))

    def moments(self, weights: np.ndarray) -> Moments:
        """Return the expected moments of the rows, weighted (K, n)."""
        return self.moments_of(over_rows(weights, self.statistics))

    def moments_of(self, sums: np.ndarray) -> Moments:
        """Return the expected moments of the rows from their expected sums of t(x), (K, S)."""
        kind = self.natural.kind
        return Moments.of_sums(kind, sums, self._second_moments() if kind.shared else None)

    def _second_moments(self) -> np.ndarray:
        return self.block.once(self.natural.kind.second_moments)
