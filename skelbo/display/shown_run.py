"""The sequence behind a picture: one contiguous run of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.display.shown_table import ShownTable


@dataclass(frozen=True)
class ShownRun:
    """One sequence of a table.

    Attributes
    ----------
    X : array-like of shape (n_rows, n_columns)
        Its rows as an estimator takes them, with the column of ids where there is one.
    table : ShownTable
        The same without that column.
    """

    X: Any
    table: ShownTable

    @classmethod
    def of(cls, X: Any, groups: Any, group_column: Any, group: Any) -> ShownRun:
        """Choose a sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of all sequences.
        groups : array-like of shape (n_samples,) or None
            Ids of the sequences.
        group_column : int, str or None
            Column of X that holds the ids instead.
        group : int, str or None
            Id of the sequence; None is the first one.

        Returns
        -------
        run : ShownRun
            The sequence.

        Raises
        ------
        ValueError
            If there is no such sequence.
        """
        X = X if hasattr(X, "columns") or isinstance(X, np.ndarray) else np.asarray(X)
        ids = _column(X, group_column) if group_column is not None else groups
        if ids is None and group is not None:
            raise ValueError(
                f"group={group!r} needs the ids of the sequences; pass groups, one id per row."
            )
        if ids is not None:
            ids = np.asarray(ids)
            rows = np.flatnonzero(ids == (ids[0] if group is None else group))
            if not len(rows):
                raise ValueError(
                    f"group={group!r} is no sequence; choose among {list(dict.fromkeys(ids))[:10]}."
                )
            X = X[rows[0] : rows[-1] + 1]
        return cls(X, ShownTable.of(_without(X, group_column)))

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return self.table.names

    @property
    def values(self) -> np.ndarray:
        """Numbers, shape (n_rows, n_columns)."""
        return self.table.values

    def index(self, feature: Any) -> int:
        """Return the position of a column, given by its position or its name."""
        return self.table.index(feature)


def _column(X: Any, column: Any) -> np.ndarray:
    if hasattr(X, "columns"):
        return np.asarray(X[X.columns[column] if isinstance(column, int) else column])
    return np.asarray(X)[:, column]


def _without(X: Any, column: Any) -> Any:
    """Return a table without one column."""
    if column is None:
        return X
    if hasattr(X, "columns"):
        name = X.columns[column] if isinstance(column, int) else column
        return X[[other for other in X.columns if other != name]]
    kept = np.arange(X.shape[1]) != column % X.shape[1]
    return X[:, kept]
