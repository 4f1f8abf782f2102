"""Distinct rows of a table with frequency weights, in an order that depends on content alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Rows that integer weights may make of a table.
MAX_REPEATED = 2**20


@dataclass(frozen=True)
class DistinctRows:
    """Distinct rows and the weight of each.

    Repeated rows are merged and sorted by content, so that a fit depends neither on the order of a
    table nor on whether a row is weighted or repeated: each row gets the same random numbers.

    Attributes
    ----------
    X : ndarray of shape (n_distinct, n_features)
        float64, NaN where missing.
    weights : ndarray of shape (n_distinct,)
        Positive.
    index : ndarray of int, shape (n_samples,)
        Position of each row of the table among the distinct ones; -1 where its weight is zero.
    """

    X: np.ndarray
    weights: np.ndarray
    index: np.ndarray

    @classmethod
    def of_table(cls, X: np.ndarray, weights: np.ndarray | None) -> DistinctRows:
        """Merge the rows of a table.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            NaN where missing.
        weights : ndarray of shape (n_samples,), optional

        Raises
        ------
        ValueError
            If a column has no observed cell.
        """
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
        keys += 0.0  # a sort separates -0.0 from 0.0
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

    def repeated(self, n_rows: int) -> DistinctRows:
        """Return the same rows as about `n_rows` copies, weights divided among them.

        Every copy gets draws of its own: frequent rows need more draws than rare ones.
        """
        if n_rows <= len(self.X):
            return self
        n_rows = min(n_rows, int(np.ceil(self.total)))
        copies = np.maximum(1, np.round(self.weights * n_rows / self.total)).astype(int)
        first = np.cumsum(copies) - copies
        index = np.where(self.index < 0, -1, first[self.index])
        return DistinctRows(
            np.repeat(self.X, copies, axis=0), np.repeat(self.weights / copies, copies), index
        )

    @property
    def total(self) -> float:
        """Sum of the weights: number of rows of the table."""
        return float(self.weights.sum())

    def mean(self, values: np.ndarray) -> float:
        """Return the weighted mean of values (n_distinct,)."""
        return float(self.weights @ values / self.total)


def repeated_rows(X: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return rows as often as integer weights count them, less what all have in common.

    Weights that are no integers, or count too many rows, leave the rows as they are.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    weights : ndarray of shape (n_rows,)
        Positive.
    """
    if weights.max() >= 2**53 or np.any(weights != np.round(weights)):
        return X
    counts = weights.astype(np.int64)
    counts //= np.gcd.reduce(counts)
    return np.repeat(X, counts, axis=0) if counts.sum() <= max(MAX_REPEATED, len(X)) else X
