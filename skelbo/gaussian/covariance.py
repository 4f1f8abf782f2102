"""Covariance structures, one class each; `STRUCTURES` is the only table from name to class.

Three families differ in their arithmetic: `Dense`, `Diagonal` and, between them, `Factor`. Within
the first two the structures differ in what is shared: ``pooled`` over the components, ``mixed``
over the columns.
"""

from __future__ import annotations

import numpy as np

from skelbo.gaussian.dense import Dense
from skelbo.gaussian.diagonal import Diagonal
from skelbo.gaussian.factor import Factor
from skelbo.gaussian.moments import Scatter
from skelbo.gaussian.structure import LOG_2PI, Covariance, squared_distances

# Rows of a triangular factor per matrix product: few enough to leave out most of its zeros, enough
# for speed.
STRIP_ROWS = 32


class Full(Dense):
    """Each component has its own covariance matrix."""

    scatter = Scatter.FULL

    def log_prob(self, values, means):
        """Whiten, one component at a time, and sum squares."""
        p = len(values)
        rows = np.concatenate([np.ones((1, values.shape[1])), values])
        lower = self.factors.swapaxes(1, 2)
        # y = U^T x - U^T mu, as one product with (1, x).
        whitening = np.concatenate([-lower @ means[:, :, None], lower], axis=2)
        white = np.empty_like(values)
        log_prob = np.empty((len(means), values.shape[1]))
        for k in range(len(means)):
            for start in range(0, p, STRIP_ROWS):
                strip, known = slice(start, start + STRIP_ROWS), min(start + STRIP_ROWS, p) + 1
                np.matmul(whitening[k, strip, :known], rows[:known], out=white[strip])
            np.einsum("pn,pn->n", white, white, out=log_prob[k])
        log_prob += p * LOG_2PI
        log_prob *= -0.5
        log_prob += self._half_log_det[:, None]
        return log_prob


class Tied(Dense):
    """All components share one covariance matrix."""

    scatter = Scatter.POOLED_FULL
    pooled = True

    def log_prob(self, values, means):
        """Whiten once, then take distances from the whitened means."""
        factor = self.factors[0]
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
    mixed = True


class TiedDiag(Diagonal):
    """One variance per column, for all components."""

    scatter = Scatter.POOLED_DIAGONAL
    pooled = True


class TiedSpherical(Diagonal):
    """One variance for all columns of all components: k-means with soft borders."""

    scatter = Scatter.POOLED_DIAGONAL
    pooled = True
    mixed = True


STRUCTURES: dict[str, type[Covariance]] = {
    "full": Full,
    "tied": Tied,
    "diag": Diag,
    "spherical": Spherical,
    "tied_diag": TiedDiag,
    "tied_spherical": TiedSpherical,
    "factor": Factor,
}
