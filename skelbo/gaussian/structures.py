"""Covariance structures, one class each, and `STRUCTURES`, the only table from name to structure.

Two families differ in their arithmetic, `Dense` and `Diagonal`. Within them the structures differ
in what is shared: ``shared`` over the components, ``isotropic`` over the columns. Between the two
is `FactorStructure`, of few factors and noise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skelbo.elbo import LOG_2PI
from skelbo.gaussian.covariance import CovarianceStructure
from skelbo.gaussian.dense import Dense
from skelbo.gaussian.diagonal import Diagonal
from skelbo.gaussian.factor_analysis.covariance import FactorStructure
from skelbo.gaussian.mahalanobis import MahalanobisTerms, squared_distances
from skelbo.gaussian.moments import Scatter


class Full(Dense):
    """Each component has its own covariance matrix."""

    scatter = Scatter.FULL

    def log_prob(self, values, means):
        """Return log N(x), one component at a time."""
        distances = MahalanobisTerms(means, self.precision_cholesky).mahalanobis_sq(values)
        return self._constants(len(values))[:, None] - 0.5 * distances

    def log_joint(self, values, means, log_weights):
        """Bound the distances, and compute those that matter."""
        constants = log_weights + self._constants(len(values))
        return MahalanobisTerms(means, self.precision_cholesky).log_joint(values, constants)

    def as_float32(self, means, largest):
        """Return the same with precision factors in float32."""
        deviations = np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))
        terms = (np.abs(means) + deviations)[:, None, :] @ np.abs(self.precision_cholesky)
        if not terms.max() < largest:
            return None
        return replace(self, precision_cholesky=self.precision_cholesky.astype(np.float32))

    def _constants(self, n_features: int) -> np.ndarray:
        """Return the log-density of each component at its mean."""
        return self._half_log_det - 0.5 * n_features * LOG_2PI


class Tied(Dense):
    """All components share one covariance matrix."""

    scatter = Scatter.SHARED_FULL
    shared = True

    def log_prob(self, values, means):
        """Whiten rows and means once, and sum squares."""
        factor = self.precision_cholesky[0]
        log_prob = squared_distances(means @ factor, factor.T @ values)
        log_prob += len(values) * LOG_2PI
        log_prob *= -0.5
        log_prob += self._half_log_det
        return log_prob


class Diag(Diagonal):
    """Each component has its own variance per column."""

    scatter = Scatter.DIAGONAL


class Spherical(Diagonal):
    """Each component has one variance for all columns."""

    scatter = Scatter.DIAGONAL
    isotropic = True


class TiedDiag(Diagonal):
    """One variance per column, for all components."""

    scatter = Scatter.SHARED_DIAGONAL
    shared = True


class TiedSpherical(Diagonal):
    """One variance for all columns of all components: k-means with soft assignments."""

    scatter = Scatter.SHARED_DIAGONAL
    shared = True
    isotropic = True


STRUCTURES: dict[str, CovarianceStructure] = {
    "full": Full,
    "tied": Tied,
    "diag": Diag,
    "spherical": Spherical,
    "tied_diag": TiedDiag,
    "tied_spherical": TiedSpherical,
    "factor": FactorStructure(),
}
