"""Protocol of the sources of rows that a fit passes over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np


class RowSource(Protocol):
    """Rows of a table in memory or on disk, or of a Dask collection, about one origin.

    Attributes
    ----------
    X : array or Dask collection
    dtype : dtype
        float32 or float64.
    origin : ndarray of shape (n_features,)
        Subtracted from every row.
    """

    @property
    def X(self) -> Any: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype: ...  # noqa: D102
    @property
    def origin(self) -> np.ndarray: ...  # noqa: D102
    @property
    def n_features(self) -> int: ...  # noqa: D102

    @property
    def n_present(self) -> int:
        """Number of rows of positive weight."""

    @property
    def total_weight(self) -> float:
        """Sum of the weights: the number of rows they stand for."""

    def about(
        self,
        origin: np.ndarray,
        cells_per_row: int | None = None,
        cells_per_gap: int | None = None,
    ) -> RowSource:
        """Return the same rows about another origin."""

    def total(self, statistic: Callable[..., Any], *parameters: Any) -> Any:
        """Return the sum of ``statistic(block, *parameters)`` over the blocks."""

    def fold(self, function: Callable[..., Any], *parameters: Any) -> Any:
        """Return the sum of ``function(X, weights, *parameters)`` over the tables."""

    def own_threads(self) -> AbstractContextManager:
        """Return a context for work that passes over these rows several times."""
