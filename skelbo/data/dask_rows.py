"""Rows of a Dask array or dataframe: only additive statistics travel to the client."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite

from skelbo.data.dask_blocks import Blocks, Table
from skelbo.data.rows import Rows


@dataclass(frozen=True)
class DaskRows:
    """Rows of a Dask collection about one origin, with the interface of `Rows`; immutable.

    Each pass computes the collection anew; one that the user has persisted is in memory.

    Attributes
    ----------
    X : dask array or dataframe
        The collection itself.
    blocks : Blocks
        Its blocks.
    dtype : dtype
        float32 or float64: the precision of the tables.
    n_samples, n_present : int
        Number of rows, and of rows of positive weight.
    total_weight : float
        Sum of the weights: the number of rows they stand for.
    origin : ndarray of shape (n_features,)
        Subtracted from every row.
    cells_per_row, cells_per_gap : int or None
        See `Rows`.
    """

    X: Any
    blocks: Blocks
    dtype: np.dtype
    n_samples: int
    n_present: int
    total_weight: float
    origin: np.ndarray
    cells_per_row: int | None = None
    cells_per_gap: int | None = None

    @classmethod
    def read(cls, X: Any, weights: Any, dtype: np.dtype, *cells: int | None) -> DaskRows:
        """Check and count the rows, in one pass; ValueError for what `Rows` may not hold."""
        blocks = Blocks.of(X, weights, dtype)
        n_samples, n_present, total_weight = blocks.total(_checked_counts)
        origin = np.zeros(X.shape[1])
        return cls(X, blocks, dtype, int(n_samples), int(n_present), total_weight, origin, *cells)

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.origin)

    def about(
        self,
        origin: np.ndarray,
        cells_per_row: int | None = None,
        cells_per_gap: int | None = None,
    ) -> DaskRows:
        """Return the same rows about another origin."""
        cells_per_row = cells_per_row or self.cells_per_row
        cells_per_gap = cells_per_gap or self.cells_per_gap
        return replace(
            self, origin=origin, cells_per_row=cells_per_row, cells_per_gap=cells_per_gap
        )

    def total(self, statistic: Callable[..., Any], *parameters: Any) -> Any:
        """Return the sum of ``statistic(block, *parameters)`` over the blocks of all tables."""
        layout = self.origin, self.cells_per_row, self.cells_per_gap
        return self.blocks.total(_total_of_table, layout, statistic, parameters)

    def fold(self, function: Callable[..., Any], *parameters: Any) -> Any:
        """Return the sum of ``function(X, weights, *parameters)`` over the tables."""
        return self.blocks.total(_fold_of_table, function, parameters)

    def own_threads(self) -> AbstractContextManager:
        """Return a context that does nothing: passes run on the scheduler's threads."""
        return nullcontext()


def _checked_counts(table: Table) -> np.ndarray:
    """Return the numbers of rows and of rows of positive weight, and the sum of the weights."""
    X, weights = table
    assert_all_finite(X, allow_nan=True, input_name="X")
    if weights is None:
        return np.array([len(X), len(X), len(X)], dtype=np.float64)
    return np.array([len(X), np.count_nonzero(weights), weights.sum()])


def _total_of_table(table: Table, layout: tuple, statistic: Callable, parameters: tuple) -> Any:
    return Rows(*table, *layout).total(statistic, *parameters) if table.has_rows else None


def _fold_of_table(table: Table, function: Callable, parameters: tuple) -> Any:
    return function(*table, *parameters) if table.has_rows else None
