"""Weighted mean, deviation and range of each column of a table, over its observed cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from operator import add

import numpy as np

from skelbo.data.blocks import iter_blocks
from skelbo.data.row_source import RowSource
from skelbo.data.rows import Block, over_rows

# A column whose cells differ by at most this share of the largest is constant: what is left is the
# rounding of its values, whatever their number.
CONSTANT = 4 * float(np.finfo(np.float64).eps)
# Largest relative error of a rounded number.
ROUNDING = 0.5 * float(np.finfo(np.float64).eps)
# Roundings that a standard deviation must have: steps from a mean then have two digits.
SEEN = 100
# Smallest standard deviation of a column: a share of 1e-10 of its square still has an inverse.
SMALLEST = 1e-140
# Tables of up to so many cells are recognised: a fit asks in every iteration.
CACHED_CELLS = 2**14


@dataclass(frozen=True)
class ColumnMoments:
    """Moments of each column by itself; additive over sets of rows.

    They are taken in units of each column's largest cell, so that squares neither overflow nor
    underflow, and the mean is clipped to the range, so that it is exact where a column is constant.

    Attributes
    ----------
    weight : ndarray of shape (n_features,)
        Sum of the weights of the rows in which the column is observed.
    mean : ndarray of shape (n_features,)
        Weighted mean: two passes, the second of which corrects the rounding of the first.
    rms : ndarray of shape (n_features,)
        Root of the weighted mean of the squared deviations from the mean.
    smallest, largest : ndarray of shape (n_features,)
        Range of the cells.
    n_missing : ndarray of int, shape (n_features,)
        Number of cells without a value.
    """

    weight: np.ndarray
    mean: np.ndarray
    rms: np.ndarray
    smallest: np.ndarray
    largest: np.ndarray
    n_missing: np.ndarray

    @classmethod
    def of_columns(
        cls, values: np.ndarray, weights: np.ndarray, observed: np.ndarray | None = None
    ) -> ColumnMoments:
        """Compute the moments of rows given columns first.

        Parameters
        ----------
        values : ndarray of shape (n_features, n_rows)
            float64.
        weights : ndarray of shape (n_rows,)
            Positive.
        observed : ndarray of bool, shape (n_features, n_rows), optional
            Which cells have a value; all if not given.
        """
        p, n = values.shape
        if observed is None:
            smallest, largest = values.min(axis=1), values.max(axis=1)
            share, n_missing = weights, np.zeros(p, dtype=np.intp)
            weight = np.full(p, weights.sum())
        else:
            smallest = np.where(observed, values, np.inf).min(axis=1)
            largest = np.where(observed, values, -np.inf).max(axis=1)
            share, n_missing = observed * weights, n - np.count_nonzero(observed, axis=1)
            weight = share.sum(axis=1)
        present = n_missing < n
        low, high = np.where(present, smallest, 0.0), np.where(present, largest, 0.0)
        unit = _power_of_two(np.maximum(-low, high))
        low, high = low / unit, high / unit
        scaled = values / unit[:, None]
        if observed is not None:
            scaled = np.where(observed, scaled, 0.0)
        total = np.where(present, weight, 1.0)
        mean = np.clip(_weighted_sum(scaled, share) / total, low, high)
        scaled -= mean[:, None]
        rest = _weighted_sum(scaled, share) / total
        squares = _weighted_sum(scaled**2, share) / total - rest**2
        mean, rms = np.clip(mean + rest, low, high), np.sqrt(np.maximum(squares, 0.0))
        with np.errstate(over="ignore"):
            return cls(weight, mean * unit, rms * unit, smallest, largest, n_missing)

    @classmethod
    def of_block(cls, block: Block) -> ColumnMoments:
        """Compute the moments of a block of rows."""
        return cls.of_columns(block.values, block.weights, block.observed)

    @classmethod
    def of_table(cls, X: np.ndarray, weights: np.ndarray | None = None) -> ColumnMoments:
        """Compute the moments of a table, block by block.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where a cell is missing.
        weights : ndarray of shape (n_samples,), optional
            Frequency weights; rows of weight zero are left out.

        Returns
        -------
        ColumnMoments
            In float64.

        Raises
        ------
        ValueError
            If a column has no observed cell, or values whose squares overflow or underflow.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.data.column_moments import ColumnMoments
        >>> moments = ColumnMoments.of_table(np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]]))
        >>> moments.mean, moments.deviation, moments.is_constant
        (array([2., 5.]), array([1., 0.]), array([False,  True]))
        """
        parts = []
        for part in iter_blocks(len(X), X.shape[1]):
            rows = np.asarray(X[part], dtype=np.float64)
            share = np.ones(len(rows)) if weights is None else weights[part]
            if not np.all(share > 0):
                rows, share = rows[share > 0], share[share > 0]
            if len(rows):
                values = rows.T.copy()
                observed = ~np.isnan(values)
                parts.append(cls.of_columns(values, share, None if observed.all() else observed))
        return reduce(add, parts).checked()

    @classmethod
    def of_rows(cls, rows: RowSource) -> ColumnMoments:
        """Compute the moments of a source of rows about zero, in one pass; see `of_table`."""
        return rows.total(cls.of_block).checked()

    def __add__(self, other: ColumnMoments) -> ColumnMoments:
        """Return the moments of both sets of rows together (Chan's update)."""
        weight = self.weight + other.weight
        share = other.weight / np.where(weight > 0, weight, 1.0)
        low = np.minimum(self.smallest, other.smallest)
        high = np.maximum(self.largest, other.largest)
        with np.errstate(over="ignore", invalid="ignore"):
            step = other.mean - self.mean
            mean = np.where(low <= high, np.clip(self.mean + share * step, low, high), 0.0)
            unit = _power_of_two(np.maximum(np.maximum(self.rms, other.rms), np.abs(step)))
            within = (1 - share) * (self.rms / unit) ** 2 + share * (other.rms / unit) ** 2
            rms = unit * np.sqrt(within + share * (1 - share) * (step / unit) ** 2)
        return ColumnMoments(weight, mean, rms, low, high, self.n_missing + other.n_missing)

    def checked(self) -> ColumnMoments:
        """Return self; ValueError for a column without cells or beyond the range of float64."""
        empty = np.flatnonzero(self.smallest > self.largest)
        if empty.size:
            raise ValueError(
                f"column {empty[0]} of X has no observed cell (in rows of positive weight); "
                "remove the column or supply values."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.maximum(self.weight, 1.0) * self.rms**2
            squares += (self.largest - self.smallest) ** 2
            infinite = np.flatnonzero(~np.isfinite(squares))
        if infinite.size:
            raise ValueError(
                f"column {infinite[0]} of X has values whose squares overflow float64; divide the "
                "column (or weights that are huge) by a constant."
            )
        size = self.rms * np.sqrt(np.minimum(self.weight, 1.0))
        tiny = np.flatnonzero(~self.is_constant & (size < SMALLEST))
        if tiny.size:
            raise ValueError(
                f"column {tiny[0]} of X has a standard deviation of {self.rms[tiny[0]]:.3g}, whose "
                "square underflows float64; multiply the column (or weights that are tiny) by a "
                "constant."
            )
        return self

    @property
    def complete(self) -> bool:
        """True if no cell is missing."""
        return not self.n_missing.any()

    @cached_property
    def is_constant(self) -> np.ndarray:
        """True if the cells of a column are equal but for rounding, (n_features,)."""
        with np.errstate(over="ignore"):
            return self.largest - self.smallest <= CONSTANT * self._size

    @property
    def _size(self) -> np.ndarray:
        return np.maximum(np.abs(self.smallest), np.abs(self.largest))

    def rounding_variance(self, dtype: np.dtype) -> np.ndarray:
        """Return the square of the spread of a column that its rounding hides.

        That is the rounding of the largest cell, and of the mean, in the precision of the table, or
        `SEEN` roundings of a step from one end of the column to the other in float64, in which
        cells are held about one origin.

        Parameters
        ----------
        dtype : numpy.dtype
            Precision of the table, and of published means.

        Returns
        -------
        ndarray of shape (n_features,)
            Zero where all cells are equal: then the mean is exact.
        """
        cells = 0.5 * float(np.finfo(dtype).eps) * self._size
        steps = SEEN * ROUNDING * (self.largest - self.smallest)
        return np.where(self.rms > 0, np.maximum(cells, steps), 0.0) ** 2

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of each column, zero where it is constant, (n_features,)."""
        return np.where(self.is_constant, 0.0, self.rms)

    @property
    def variance(self) -> np.ndarray:
        """Square of the deviation, (n_features,)."""
        return self.deviation**2

    @cached_property
    def positive_variance(self) -> np.ndarray:
        """Variance of each column, positive also where the column is constant, (n_features,).

        A constant column gives no scale of its own: it gets the mean variance of the others, or
        a common square where all are constant.
        """
        varying = ~self.is_constant
        if varying.any():
            fallback = self.variance[varying].mean()
        else:
            size = np.abs(self.mean).max()
            fallback = np.clip(size, SMALLEST, 1e150) ** 2 if size > 0 else 1.0
        return np.where(varying, self.variance, fallback)


def column_moments(X: np.ndarray, weights: np.ndarray) -> ColumnMoments:
    """Return the moments of a table, of small ones from a cache; see `ColumnMoments.of_table`."""
    if X.size > CACHED_CELLS:
        return ColumnMoments.of_table(X, weights)
    return _cached(X.tobytes(), X.dtype, X.shape, np.asarray(weights, float).tobytes())


@lru_cache(maxsize=4)
def _cached(X: bytes, dtype: np.dtype, shape: tuple[int, ...], weights: bytes) -> ColumnMoments:
    """Return the moments of a table from its content."""
    return ColumnMoments.of_table(np.frombuffer(X, dtype).reshape(shape), np.frombuffer(weights))


def _weighted_sum(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the sum over rows of values (p, n), weighted (n,) or (p, n)."""
    return (
        over_rows(values, weights) if weights.ndim == 1 else np.einsum("pn,pn->p", values, weights)
    )


def _power_of_two(size: np.ndarray) -> np.ndarray:
    """Return the power of two next above each size, which scales without rounding; 1 for zero."""
    exponent = np.where(np.isfinite(size), np.frexp(size)[1], 1023)
    return np.where(size > 0, np.ldexp(1.0, np.minimum(exponent, 1023)), 1.0)
