"""Covariance structures, one class each; `STRUCTURES` is the only table from name to class.

Two families differ in their arithmetic, `Dense` and `Diagonal`; within a family the structures
differ in what is shared: ``pooled`` over the components, ``mixed`` over the columns.
"""

from __future__ import annotations

import numpy as np

from skelbo.gaussian.dense import Dense
from skelbo.gaussian.diagonal import Diagonal
from skelbo.gaussian.moments import Scatter
from skelbo.gaussian.structure import LOG_2PI, Covariance, squared_distances

# Rows of stacked factors per matrix product: enough for speed, few enough to stay in cache.
STACKED_ROWS = 64


class Full(Dense):
    """Each component has its own covariance matrix."""

    scatter = Scatter.FULL

    def log_prob(self, values, means):
        """Whiten, for several components in one matrix product, and sum squares."""
        n_components, p = means.shape
        stack = np.ascontiguousarray(self.factors.swapaxes(1, 2))
        offsets = np.matmul(stack, means[:, :, None])
        log_prob = np.empty((n_components, values.shape[1]))
        group = max(1, STACKED_ROWS // p)
        for start in range(0, n_components, group):
            part = slice(start, start + group)
            white = (stack[part].reshape(-1, p) @ values).reshape(-1, p, values.shape[1])
            white -= offsets[part]
            np.square(white, out=white)
            white.sum(axis=1, out=log_prob[part])
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
}
