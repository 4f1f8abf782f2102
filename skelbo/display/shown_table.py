"""The table behind a picture: its numbers, and the names of its columns on the axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.data.numeric_table import as_numbers


@dataclass(frozen=True)
class ShownTable:
    """Numbers and names of the columns of X.

    Attributes
    ----------
    X : array-like of shape (n_samples, n_features)
        As it was given.
    values : ndarray of shape (n_samples, n_features)
        As float64, NaN where missing.
    names : list of str
        Names of the columns: those of a dataframe, else x0, x1, ...
    """

    X: Any
    values: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, X: Any) -> ShownTable:
        """Read a table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Table, possibly with missing cells (NaN).

        Returns
        -------
        table : ShownTable
            Its numbers and names.

        Raises
        ------
        ValueError
            If X has no two dimensions.
        """
        values = np.asarray(as_numbers(X), dtype=np.float64)
        if values.ndim != 2:
            raise ValueError(f"X has {values.ndim} dimensions, expected 2: rows and columns.")
        names = getattr(X, "columns", None)
        if names is None:
            names = [f"x{j}" for j in range(values.shape[1])]
        return cls(X, values, [str(name) for name in names])

    def like(self, rows: np.ndarray) -> Any:
        """Return rows as a table of the kind that was given: a dataframe with the same columns."""
        columns = getattr(self.X, "columns", None)
        if columns is None:
            return rows
        return type(self.X)(dict(zip(columns, rows.T, strict=True)))

    def index(self, feature: Any) -> int:
        """Return the position of a column.

        Parameters
        ----------
        feature : int or str
            Its position, or its name.

        Returns
        -------
        index : int
            From 0.

        Raises
        ------
        ValueError
            If there is no such column.
        """
        n = len(self.names)
        if isinstance(feature, str) and feature in self.names:
            return self.names.index(feature)
        if isinstance(feature, int | np.integer) and -n <= feature < n:
            return int(feature) % n
        raise ValueError(
            f"features contains {feature!r}, expected positions below {n} or names such as "
            f"{self.names[:3]}; pass columns of X."
        )
