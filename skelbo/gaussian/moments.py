r"""Weighted, centred, additive moments: the only thing that a Gaussian M-step looks at.

For every component k, with row weights :math:`w_{ik}` (frequency times responsibility),

.. math::
    N_k = \sum_i w_{ik}, \quad \bar x_k = \frac{1}{N_k} \sum_i w_{ik} x_i, \quad
    S_k = \sum_i w_{ik} (x_i - \bar x_k)(x_i - \bar x_k)^T .

Moments of two sets of rows add up to the moments of their union (Chan, Golub and LeVeque 1983),
which is what makes blocks, batches, repeated `partial_fit` and weights one and the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np


class Scatter(Enum):
    """What is kept of the scatter, as (dense, pooled over components)."""

    FULL = (True, False)  # (n_components, n_features, n_features)
    POOLED_FULL = (True, True)  # (n_features, n_features)
    DIAGONAL = (False, False)  # (n_components, n_features)
    POOLED_DIAGONAL = (False, True)  # (n_features,)

    @property
    def dense(self) -> bool:
        """Whether products of different columns are kept."""
        return self.value[0]

    @property
    def pooled(self) -> bool:
        """Whether the components' scatters are summed."""
        return self.value[1]

    def of_steps(self, weight: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return the scatter of `weight` (K,) put at `steps` (K, p) from the centres."""
        if self.dense and self.pooled:
            return (steps.T * weight) @ steps
        if self.dense:
            return np.einsum("k,ki,kj->kij", weight, steps, steps)
        return weight @ steps**2 if self.pooled else weight[:, None] * steps**2


@dataclass(frozen=True)
class Moments:
    """Weight, mean and scatter about the mean, per component.

    Attributes
    ----------
    kind : Scatter
        What `scatter` holds.
    weight : ndarray of shape (n_components,)
    mean : ndarray of shape (n_components, n_features)
    scatter : ndarray
        Of the shape that `kind` names; a sum, not yet divided by the weight.
    """

    kind: Scatter
    weight: np.ndarray
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of_block(
        cls,
        kind: Scatter,
        values: np.ndarray,
        weights: np.ndarray,
        reference: np.ndarray | None = None,
    ) -> Moments:
        """Compute the moments of one block.

        Parameters
        ----------
        kind : Scatter
            What to keep.
        values : ndarray of shape (n_features, n_rows) or (n_components, n_features, n_rows)
            The rows, columns first; one version per component where cells were filled in.
        weights : ndarray of shape (n_components, n_rows)
            Frequency times responsibility.
        reference : ndarray of shape (n_components, n_features), optional
            A point near each component's mean about which to sum, so that no digits cancel.
            Without it the sums run about the origin, in one matrix product for all components.
        """
        weight = weights.sum(axis=1)
        if reference is None and values.ndim == 2 and kind is not Scatter.FULL:
            centre = np.zeros((len(weights), len(values)))
            first, second = weights @ values.T, _about_origin(kind, values, weights)
        else:
            centre = np.zeros((len(weights), values.shape[-2])) if reference is None else reference
            first, second = _about_reference(kind, values, weights, centre)
        step = first / np.where(weight > 0, weight, 1.0)[:, None]
        return cls(kind, weight, centre + step, second - kind.of_steps(weight, step))

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets of rows together (Chan's update)."""
        weight = self.weight + other.weight
        share = other.weight / np.where(weight > 0, weight, 1.0)
        steps = other.mean - self.mean
        between = self.kind.of_steps(self.weight * share, steps)
        mean = self.mean + share[:, None] * steps
        return Moments(self.kind, weight, mean, self.scatter + other.scatter + between)

    def scaled(self, factor: float) -> Moments:
        """Return the moments of the same rows with all weights times `factor`."""
        return Moments(self.kind, factor * self.weight, self.mean, factor * self.scatter)

    def shared(self) -> Moments:
        """Give every component the pooled scatter, in proportion to its weight."""
        if self.kind.pooled:
            return self
        share = self.weight / self.weight.sum()
        within = self.scatter.sum(axis=0)
        return replace(self, scatter=share.reshape(-1, *[1] * within.ndim) * within)

    def overall(self) -> Moments:
        """Give every component the scatter of all rows about their common mean."""
        steps = self.mean - self.weight @ self.mean / self.weight.sum()
        between = self.kind.of_steps(self.weight, steps)
        return replace(self, scatter=self.scatter + between).shared()

    def aligned(self, whole: Moments) -> Moments:
        """Return the moments as they stand after an M-step given `whole`: x does not change."""
        return self


def _about_origin(kind: Scatter, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum second moments about zero: one matrix product whatever the number of components."""
    if kind is Scatter.POOLED_FULL:
        root = values * np.sqrt(weights.sum(axis=0))
        return root @ root.T
    squares = values**2
    return squares @ weights.sum(axis=0) if kind.pooled else weights @ squares.T


def _about_reference(
    kind: Scatter, values: np.ndarray, weights: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sum first and second moments about each component's own reference point."""
    first, second = np.empty(reference.shape), []
    for k, (centre, weight) in enumerate(zip(reference, weights, strict=True)):
        step = (values if values.ndim == 2 else values[k]) - centre[:, None]
        if kind.dense:
            root = np.sqrt(weight)
            step *= root
            first[k] = step @ root
            second.append(step @ step.T)
        else:
            first[k] = step @ weight
            second.append(step**2 @ weight)
    return first, np.sum(second, axis=0) if kind.pooled else np.array(second)
