"""Weighted means and variances of the columns of a table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skelbo.data.rows import Block, Reduction, RowSource, over_rows
from skelbo.gaussian.moments import Moments, Scatter


def _column_moments(block: Block) -> Moments:
    """Return mean and variance of every column by itself, over its observed cells."""
    if block.observed is None:
        weight = np.full(len(block.values), block.weights.sum())
        mean = over_rows(block.values, block.weights) / weight
        squares = over_rows((block.values - mean[:, None]) ** 2, block.weights)
    else:
        weights = block.observed * block.weights
        values = np.where(block.observed, block.values, 0.0)
        weight = weights.sum(axis=1)
        mean = (weights * values).sum(axis=1) / np.where(weight > 0, weight, 1.0)
        squares = (weights * (values - mean[:, None]) ** 2).sum(axis=1)
    # Each column is a "component" of one feature: columns differ in the weight that is observed.
    return Moments(Scatter.DIAGONAL, weight, mean[:, None], squares[:, None])


@dataclass(frozen=True)
class ColumnScales:
    """What the first pass over a table finds out about its columns.

    Attributes
    ----------
    centre, variance : ndarray of shape (n_features,)
        Over the observed cells.
    complete : bool
        Whether no cell is missing.
    """

    centre: np.ndarray
    variance: np.ndarray
    complete: bool

    @staticmethod
    def reduction() -> Reduction:
        """Return what `of_rows` asks for."""
        return Reduction(_column_moments)

    @classmethod
    def of_rows(cls, rows: RowSource) -> ColumnScales:
        """Read the table once; a column without cells or beyond float64's range is an error."""
        moments = cls.reduction().run(rows)
        unseen = np.flatnonzero(moments.weight == 0)
        if unseen.size:
            raise ValueError(
                f"column {unseen[0]} of X has no observed cell (in rows of positive weight); "
                "remove the column or supply values."
            )
        variance = moments.scatter[:, 0] / moments.weight
        if not np.all(np.isfinite(variance)):
            raise ValueError(
                f"column {np.flatnonzero(~np.isfinite(variance))[0]} of X has values whose "
                "squares overflow float64; divide the column by a constant."
            )
        complete = bool(np.all(moments.weight >= rows.total_weight * (1 - 1e-12)))
        return cls(moments.mean[:, 0] + rows.origin, variance, complete)

    @cached_property
    def scale(self) -> np.ndarray:
        """Variance of each column, positive also where the column is constant.

        A constant column says nothing of its scale: it gets the mean variance of the others, or
        a common square where all are constant.
        """
        constant = self.variance <= (4 * np.finfo(float).eps * np.abs(self.centre)) ** 2
        if constant.all():
            fallback = np.max(self.centre**2) or 1.0
        else:
            fallback = self.variance[~constant].mean()
        return np.where(constant, fallback, self.variance)
