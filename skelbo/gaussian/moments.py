r"""Weighted, centred, additive moments: the statistics of a Gaussian M-step.

For every component k, with row weights :math:`w_{ik}` (frequency times responsibility),

.. math::
    N_k = \sum_i w_{ik}, \quad \bar x_k = \frac{1}{N_k} \sum_i w_{ik} x_i, \quad
    S_k = \sum_i w_{ik} (x_i - \bar x_k)(x_i - \bar x_k)^T .

Moments of two sets of rows add up to the moments of their union (Chan, Golub and LeVeque 1983),
so that blocks, batches, repeated `partial_fit` and weights give the same result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import numpy as np

from skelbo.data.rows import Block, over_rows

# Length of t(x) beyond which computing it costs more than it saves: that of x of length 23.
MAX_STATISTICS = 300
# Weights below this share of the largest change no sum: the square of float64's precision.
NEGLIGIBLE = 5e-32


@dataclass(frozen=True)
class Scatter:
    """Part of the scatter that a covariance structure needs.

    Attributes
    ----------
    dense : bool
        Whether products of different columns are kept.
    shared : bool
        Whether the scatters of the components are summed.
    """

    dense: bool
    shared: bool

    FULL: ClassVar[Scatter]  # (n_components, n_features, n_features)
    SHARED_FULL: ClassVar[Scatter]  # (n_features, n_features)
    DIAGONAL: ClassVar[Scatter]  # (n_components, n_features)
    SHARED_DIAGONAL: ClassVar[Scatter]  # (n_features,)

    def of_deviations(self, weight: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return the scatter of points of `weight` (K,) at `steps` (K, p) from the centres."""
        if self.dense and self.shared:
            return (steps.T * weight) @ steps
        if self.dense:
            return (weight[:, None] * steps)[:, :, None] * steps[:, None, :]
        return weight @ steps**2 if self.shared else weight[:, None] * steps**2

    def statistics(self, block: Block) -> np.ndarray:
        """Return t(x) of each row, (n_statistics, n_rows): one, the columns, products of columns.

        Where scatters are shared the products are not needed row by row; see `second_moments`.
        """
        return self.statistics_of(block.values)

    def statistics_of(self, values: np.ndarray) -> np.ndarray:
        """Return t(x) of rows given columns first, (n_features, n_rows), in their precision."""
        p, n = values.shape
        t = np.empty((self.n_statistics(p), n), values.dtype)
        t[0] = 1.0
        columns = t[1 : p + 1]
        columns[:] = values
        if self == Scatter.DIAGONAL:
            np.square(columns, out=t[p + 1 :])
        elif self == Scatter.FULL:
            first = p + 1
            for i, column in enumerate(columns):
                np.multiply(columns[i:], column, out=t[first : first + p - i])
                first += p - i
        return t

    def n_statistics(self, p: int) -> int:
        """Return the length of t(x) for x of length p."""
        if self.shared:
            return 1 + p
        return (p + 1) * (p + 2) // 2 if self.dense else 1 + 2 * p

    def worth_expanding(self, p: int) -> bool:
        """Return whether t(x) of x of length p costs less to compute than it saves."""
        return self != Scatter.FULL or self.n_statistics(p) <= MAX_STATISTICS

    def second_moments(self, block: Block) -> np.ndarray:
        """Return the second moments of a block about the origin, summed over all rows."""
        weighted = block.values * block.weights
        if self.dense:
            return over_rows(weighted, block.values)
        return np.einsum("pn,pn->p", weighted, block.values)


Scatter.FULL, Scatter.SHARED_FULL = Scatter(True, False), Scatter(True, True)
Scatter.DIAGONAL, Scatter.SHARED_DIAGONAL = Scatter(False, False), Scatter(False, True)


@dataclass(frozen=True)
class Moments:
    """Weight, mean and scatter about the mean, per component.

    Attributes
    ----------
    kind : Scatter
        Shape and meaning of `scatter`.
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
            The origin if not given.
        """
        weight = weights.sum(axis=1)
        centre = np.zeros((len(weights), values.shape[-2])) if reference is None else reference
        return cls.about(kind, centre, weight, *_about_reference(kind, values, weights, centre))

    @classmethod
    def about(
        cls,
        kind: Scatter,
        reference: np.ndarray | float,
        weight: np.ndarray,
        first: np.ndarray,
        second: np.ndarray,
    ) -> Moments:
        """Centre first and second moments about `reference`; no variance is below zero."""
        step = first / positive_or_one(weight)[:, None]
        scatter = second - kind.of_deviations(weight, step)
        variances = np.einsum("...pp->...p", scatter) if kind.dense else scatter
        np.maximum(variances, 0.0, out=variances)
        return cls(kind, weight, reference + step, scatter)

    @classmethod
    def of_sums(cls, kind: Scatter, sums: np.ndarray, common: np.ndarray | None = None) -> Moments:
        """Centre sums of t(x), (n_components, n_statistics), and the second moments in common."""
        weight = sums[:, 0].copy()
        if common is not None:
            first, second = sums[:, 1:], common
        elif kind.dense:
            p = triangle_size(sums.shape[1])
            first, second = sums[:, 1 : p + 1], sums.take(symmetric_index(p), 1)
        else:
            p = sums.shape[1] // 2
            first, second = sums[:, 1 : p + 1], sums[:, p + 1 :]
        return cls.about(kind, 0.0, weight, first, second)

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets of rows together (Chan's update)."""
        weight = self.weight + other.weight
        share = other.weight / positive_or_one(weight)
        steps = other.mean - self.mean
        between = self.kind.of_deviations(self.weight * share, steps)
        mean = self.mean + share[:, None] * steps
        return Moments(self.kind, weight, mean, self.scatter + other.scatter + between)

    def scaled(self, factor: float) -> Moments:
        """Return the moments of the same rows with all weights times `factor`."""
        return Moments(self.kind, factor * self.weight, self.mean, factor * self.scatter)

    def take(self, which: np.ndarray) -> Moments:
        """Return the moments of some components, by number, in this order."""
        scatter = self.scatter if self.kind.shared else self.scatter[which]
        return Moments(self.kind, self.weight[which], self.mean[which], scatter)

    def with_shared_scatter(self) -> Moments:
        """Give every component the shared scatter, in proportion to its weight."""
        if self.kind.shared:
            return self
        share = self.weight / self.weight.sum()
        within = self.scatter.sum(axis=0)
        return replace(self, scatter=share.reshape(-1, *[1] * within.ndim) * within)

    def with_total_scatter(self) -> Moments:
        """Give every component the scatter of all rows about their common mean."""
        steps = self.mean - self.weight @ self.mean / self.weight.sum()
        between = self.kind.of_deviations(self.weight, steps)
        return replace(self, scatter=self.scatter + between).with_shared_scatter()


@cache
def symmetric_index(p: int) -> np.ndarray:
    """Return where t(x) holds the product of two columns, (p, p)."""
    index = np.empty((p, p), dtype=np.intp)
    index[np.triu_indices(p)] = np.arange(p * (p + 1) // 2)
    lower = np.tril_indices(p)
    index[lower] = index.T[lower]
    return index + p + 1


def positive_or_one(weight: np.ndarray) -> np.ndarray:
    """Return weights to divide by: one in place of zero."""
    return weight if np.minimum.reduce(weight) > 0 else np.where(weight > 0, weight, 1.0)


@cache
def triangle_size(n_statistics: int) -> int:
    """Return p from the length (p + 1) (p + 2) / 2 of t(x)."""
    return int((np.sqrt(8 * n_statistics + 1) - 3) / 2 + 0.5)


def _about_reference(
    kind: Scatter, values: np.ndarray, weights: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sum first and second moments about each component's own reference point."""
    first, second = np.empty(reference.shape), []
    for k, (centre, weight) in enumerate(zip(reference, weights, strict=True)):
        rows = values if values.ndim == 2 else values[k]
        active = np.flatnonzero(weight > NEGLIGIBLE * weight.max(initial=0.0))
        if 2 * len(active) < len(weight):
            rows, weight = rows.take(active, axis=1), weight[active]
        step = rows - centre[:, None]
        if kind.dense:
            root = np.sqrt(weight)
            step *= root
            first[k] = over_rows(step, root)
            second.append(over_rows(step, step))
        else:
            first[k] = over_rows(step, weight)
            second.append(over_rows(step**2, weight))
    return first, np.sum(second, axis=0) if kind.shared else np.array(second)
