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
    """

    X: np.ndarray
    weights: np.ndarray

    @classmethod
    def of_table(cls, X: np.ndarray, weights: np.ndarray | None) -> Cases:
        """Merge the rows of a table."""
        X = np.asarray(X, dtype=np.float64)
        weights = np.ones(len(X)) if weights is None else weights
        X, weights = X[weights > 0], weights[weights > 0]
        unseen = np.flatnonzero(np.isnan(X).all(axis=0))
        if unseen.size:
            raise ValueError(
                f"column {unseen[0]} of X has no observed cell (in rows of positive weight); "
                "remove the column or supply values."
            )
        keys = np.where(np.isnan(X), np.inf, X) + 0.0  # NaN does not equal itself
        order = np.lexsort(keys.T[::-1])
        keys = keys[order]
        first = np.ones(len(keys), dtype=bool)
        first[1:] = np.any(keys[1:] != keys[:-1], axis=1)
        number = np.cumsum(first) - 1
        return cls(X[order][first], np.bincount(number, weights[order]))

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
