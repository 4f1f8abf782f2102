r"""First and second derivatives of the log-density of rows with one pattern of missing cells.

.. math::
    \partial_\mu \log N = v, \quad v = P (x - \mu), \qquad
    \partial_{\phi_j} \log N = \tfrac12 (v^T E_j v - \mathrm{tr}\, P E_j)

P is the inverse of the covariance of the observed columns, zero elsewhere, and :math:`E_j` the
derivative of the covariance in its j-th parameter. The second derivatives of all rows need no more
of them than their weight and the moments of v.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skelbo.elbo import LOG_2PI
from skelbo.gaussian.covariance_tangent import CovarianceTangent


@dataclass(frozen=True)
class PatternDerivatives:
    """One Gaussian on rows that miss the same cells.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
    precision : ndarray of shape (n_features, n_features)
        P.
    half_log_det : float
        Half the log-determinant of the precision of the observed columns.
    n_observed : int
    tangent : CovarianceTangent
    """

    mean: np.ndarray
    precision: np.ndarray
    half_log_det: float
    n_observed: int
    tangent: CovarianceTangent

    @classmethod
    def of_pattern(
        cls,
        mean: np.ndarray,
        covariance: np.ndarray,
        observed: np.ndarray,
        tangent: CovarianceTangent,
    ) -> PatternDerivatives:
        """Restrict a Gaussian to the observed columns, a mask (n_features,)."""
        part = np.ix_(observed, observed)
        lower = np.linalg.cholesky(covariance[part])
        inverse = np.linalg.inv(lower)
        precision = np.zeros_like(covariance)
        precision[part] = inverse.T @ inverse
        half_log_det = -float(np.log(np.diagonal(lower)).sum())
        return cls(mean, precision, half_log_det, int(observed.sum()), tangent)

    def steps(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return v, (n_rows, n_features), and the log-densities in nats of rows, NaN as missing."""
        away = np.where(np.isnan(X), 0.0, X - self.mean)
        v = away @ self.precision
        squares = np.einsum("np,np->n", v, away)
        return v, self.half_log_det - 0.5 * (squares + self.n_observed * LOG_2PI)

    def scores(self, v: np.ndarray) -> np.ndarray:
        """Return the gradients in mean and covariance of rows, (n_rows, p + J)."""
        expected = self.tangent.traces(self.precision)
        return np.concatenate([v, 0.5 * (self.tangent.quadratic_forms(v) - expected)], axis=1)

    @cached_property
    def _overlap(self) -> np.ndarray:
        """tr(P E_i P E_j), (J, J)."""
        return self.tangent.overlaps(self.precision, self.precision)

    def information(self, weight: float, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return minus the sum of the second derivatives of rows, (p + J, p + J).

        Parameters
        ----------
        weight : float
            Sum of their weights.
        first, second : ndarray of shape (p,) and (p, p)
            Weighted sums of v and of v v^T.
        """
        p, J = len(first), self.tangent.n_parameters
        result = np.empty((p + J, p + J))
        result[:p, :p] = weight * self.precision
        cross = self.tangent.products(self.precision, first)
        result[p:, :p], result[:p, p:] = cross, cross.T
        squares = self.tangent.overlaps(self.precision, second)
        squares = 0.5 * (squares + squares.T) - 0.5 * weight * self._overlap
        squares -= self.tangent.curvature(0.5 * (second - weight * self.precision))
        result[p:, p:] = squares
        return result

    def complete_information(self, weight: float) -> np.ndarray:
        """Return the diagonal of the Fisher information of rows of this weight, (p + J,)."""
        return weight * np.concatenate(
            [np.diagonal(self.precision), 0.5 * np.diagonal(self._overlap)]
        )
