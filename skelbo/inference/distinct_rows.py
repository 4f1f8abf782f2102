"""The rows of a fit: distinct, in an order of their own, with frequency weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cases:
    """Distinct rows and how often each occurs.

    Repeated rows are merged and rows are sorted by their content, so that neither the order of a
    table nor whether a row is weighted or repeated can make a difference, not even to the random
    numbers that a row gets.

    Attributes
    ----------
    X : ndarray of shape (n_cases, n_features)
        float64, NaN where missing.
    weights : ndarray of shape (n_cases,)
        Positive.
    index : ndarray of int, shape (n_samples,)
        Which case a row of the table is; -1 where its weight is zero.
    """

    X: np.ndarray
    weights: np.ndarray
    index: np.ndarray

    @classmethod
    def of_table(cls, X: np.ndarray, weights: np.ndarray | None) -> Cases:
        """Merge the rows of a table."""
        X = np.asarray(X, dtype=np.float64)
        weights = np.ones(len(X)) if weights is None else weights
        present = np.flatnonzero(weights > 0)
        index = np.full(len(X), -1)
        if len(present) < len(X):
            X, weights = X[present], weights[present]
        unseen = np.flatnonzero(np.isnan(X).all(axis=0))
        if unseen.size:
            raise ValueError(
                f"column {unseen[0]} of X has no observed cell (in rows of positive weight); "
                "remove the column or supply values."
            )
        keys = np.where(np.isnan(X), np.inf, X)  # NaN does not equal itself
        keys += 0.0  # nor does -0.0 look like 0.0 to a sort
        order = np.lexsort(keys.T[::-1])
        first = np.ones(len(keys), dtype=bool)
        first[1:] = False
        for column in keys.T:  # column by column: no second copy of the table
            column = column[order]
            first[1:] |= column[1:] != column[:-1]
        del keys
        number = np.cumsum(first) - 1
        index[present[order]] = number
        return cls(X[order[first]], np.bincount(number, weights[order]), index)

    def spread(self, n_rows: int) -> Cases:
        """Return the same cases in about `n_rows` copies altogether, weights divided among them.

        A frequent case deserves more draws than a rare one: every copy gets its own.
        """
        if n_rows <= len(self.X):
            return self
        n_rows = min(n_rows, int(np.ceil(self.total)))
        copies = np.maximum(1, np.round(self.weights * n_rows / self.total)).astype(int)
        first = np.cumsum(copies) - copies
        index = np.where(self.index < 0, -1, first[self.index])
        return Cases(
            np.repeat(self.X, copies, axis=0), np.repeat(self.weights / copies, copies), index
        )

    @property
    def total(self) -> float:
        """Number of rows that the cases stand for."""
        return float(self.weights.sum())

    def mean(self, values: np.ndarray) -> float:
        """Return the weighted mean of one number per case."""
        return float(self.weights @ values / self.total)

    @property
    def complete(self) -> bool:
        """Whether no cell is missing."""
        return not np.isnan(self.X).any()
