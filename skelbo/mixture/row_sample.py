"""Random sample of rows that depends on their content, not on their order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skelbo.data.memmap import release_pages, take_rows
from skelbo.data.row_source import RowSource
from skelbo.data.rows import Rows

# Rows from which a start is made: enough for k-means to find every cluster worth starting from.
SAMPLE_ROWS = 4096
SAMPLE_ROWS_PER_COMPONENT = 64
# Bits of the 52 of a number's mantissa that hashes do not depend on.
DROPPED_BITS = 14
# Bits of a missing cell, whatever those of its NaN.
MISSING = np.uint64(0x7FF8 << (48 - DROPPED_BITS))
# Distance of a cell from zero, in units, from which dropped bits are more than a millionth of them.
FAR = 2.0**18
HIGH_HALF = np.uint64(0xFFFFFFFF00000000)


@dataclass(frozen=True)
class RowSample:
    """Distinct rows about the origin, with missing cells at the column means.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_features)
    weights : ndarray of shape (n_rows,)
        Number of rows of the table that each one stands for.
    observed : ndarray of bool, shape (n_rows, n_features), or None
        Which cells are not missing; None where all are.
    """

    values: np.ndarray
    weights: np.ndarray
    observed: np.ndarray | None = None

    def standardized(self) -> RowSample:
        """Return the rows in units of the standard deviation of each column."""
        mean = self.weights @ self.values / self.weights.sum()
        variances = self.weights @ (self.values - mean) ** 2 / self.weights.sum()
        return replace(self, values=self.values / np.sqrt(np.where(variances > 0, variances, 1.0)))

    def rows(self, cells_per_row: int) -> Rows:
        """Return the rows for passes whose temporaries need so many cells each."""
        values = (
            self.values if self.observed is None else np.where(self.observed, self.values, np.nan)
        )
        return Rows(values, self.weights, cells_per_row=cells_per_row)


@dataclass(frozen=True)
class HashSample:
    """Distinct rows of a table whose hashes are the smallest, in their order; additive.

    Attributes
    ----------
    keys : ndarray of uint64, shape (n_rows,)
        Hashes of the rows' content.
    values : ndarray of shape (n_rows, n_features)
    weights : ndarray of shape (n_rows,)
        Number of rows of the table that each one stands for.
    n_present : int
        Number of rows of positive weight in the table.
    size : int
        Number of rows to keep at most.
    """

    keys: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    n_present: int
    size: int

    @classmethod
    def of_table(
        cls, X: np.ndarray, weights: np.ndarray | None, size: int, units: np.ndarray
    ) -> HashSample:
        """Draw from a table, which may be a memory map of any size."""
        if weights is None and len(X) <= size:
            keys = content_hash(X, units)
            if _distinct(keys):
                return cls(keys, np.asarray(X), np.ones(len(X)), len(X), size)
        return cls._of_parts(X, weights, size, units)

    @classmethod
    def _of_parts(cls, X, weights: np.ndarray | None, size: int, units: np.ndarray) -> HashSample:
        """Merge repeated rows, and keep the smallest part by part."""
        keys: np.ndarray = np.empty(0, np.uint64)
        found: np.ndarray = np.empty(0)
        where: np.ndarray = np.empty(0, np.intp)
        n_present = 0
        for start in range(0, len(X), SAMPLE_ROWS):
            part = slice(start, min(start + SAMPLE_ROWS, len(X)))
            here = np.arange(part.start, part.stop)
            new = np.ones(len(here)) if weights is None else weights[part]
            hashed, present = content_hash(X[part], units), new > 0
            n_present += int(present.sum())
            if len(keys) == size:
                present &= hashed <= keys[-1]
            keys = np.concatenate([keys, hashed[present]])
            found = np.concatenate([found, new[present]])
            where = np.concatenate([where, here[present]])
            keys, found, first = _smallest(keys, found, size)
            where = where[first]
            release_pages(X, part.start, part.stop)
        order = np.argsort(where)  # a memory map is read in its order
        return cls(keys[order], take_rows(X, where[order]), found[order], n_present, size)

    def __add__(self, other: HashSample) -> HashSample:
        keys, weights, first = _smallest(
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.weights, other.weights]),
            self.size,
        )
        order = np.argsort(first)
        values = np.concatenate([self.values, other.values])[first[order]]
        n_present = self.n_present + other.n_present
        return HashSample(keys[order], values, weights[order], n_present, self.size)


def _distinct(keys: np.ndarray) -> bool:
    keys = np.sort(keys)
    return not (keys[1:] == keys[:-1]).any()


def _smallest(keys: np.ndarray, weights: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """Merge equal keys and keep the smallest; return also their positions."""
    keys, first, copies = np.unique(keys, return_index=True, return_inverse=True)
    weights = np.bincount(copies, weights)
    return keys[:size], weights[:size], first[:size]


def sample_size(n_components: int) -> int:
    """Return the number of rows of the sample from which a mixture is started."""
    return max(SAMPLE_ROWS, SAMPLE_ROWS_PER_COMPONENT * n_components)


def sample_rows(rows: RowSource, n_components: int, units: np.ndarray | None = None) -> RowSample:
    """Draw the rows for a start; a weight counts as so many repetitions.

    Parameters
    ----------
    rows : RowSource
    n_components : int
    units : ndarray of shape (n_features,), optional
        Scales of the columns: with them the choice does not depend on the units of X.

    Returns
    -------
    RowSample
        About the origin of `rows`.

    Notes
    -----
    Rows are chosen by a hash of their content, repeated rows are merged into weighted ones, and
    the result is sorted: neither the order of the rows nor the blocks matter, nor whether a row is
    weighted or repeated.
    """
    size = sample_size(n_components)
    units = np.ones(rows.n_features) if units is None else units
    drawn = rows.fold(HashSample.of_table, size, units)
    values = drawn.values - rows.origin
    observed = ~np.isnan(values)
    values[~observed] = 0.0
    order = lexicographic(drawn.values)
    values, weights, observed = values[order], drawn.weights[order], observed[order]
    return RowSample(values, weights, None if observed.all() else observed)


def lexicographic(X: np.ndarray) -> np.ndarray:
    """Return the order of rows by the last column, ties by the one before it, and so on.

    Missing cells, NaN, come last. Rows are as they stand in the table: about an origin, rounding
    would tell equal cells apart.
    """
    last = X[:, -1]
    order = np.argsort(last)
    tied = np.any(np.diff(last[order]) == 0) or np.count_nonzero(np.isnan(last)) > 1
    return np.lexsort(X.T) if tied else order


def content_hash(X: np.ndarray, units: np.ndarray | float = 1.0) -> np.ndarray:
    """Return a 64-bit hash of the content of each row (n, p), measured in `units`, (n,).

    The last bits of each number are dropped: dividing by the units rounds them. Of rows that lie
    so far from zero that these bits are all that tells them apart, half of the hash is that of
    all bits of the row as it stands.
    """
    values = np.divide(X, units, dtype=np.float64, order="C")
    missing = np.isnan(X)
    far = np.flatnonzero(np.any(np.abs(values) > FAR, axis=1))
    key = _mixed(_bits(values), DROPPED_BITS, missing)
    if far.size:
        whole = _mixed(_bits(np.array(X[far], dtype=np.float64)), 0, missing[far])
        key[far] = (key[far] & HIGH_HALF) | (whole & ~HIGH_HALF)
    return key


def _bits(values: np.ndarray) -> np.ndarray:
    """Return the bits of each number, of zero alike for both signs; in place."""
    values += 0.0
    return values.view(np.uint64)


def _mixed(bits: np.ndarray, n_dropped: int, missing: np.ndarray) -> np.ndarray:
    """Return the hash of words of rows, (n, p), without so many last bits, (n,); in place.

    The words of a row, their halves mixed (as those of small integers end in zeros), are summed,
    times powers of an odd number, modulo 2^64; the sum is mixed by the finalizer of SplitMix64.
    """
    if n_dropped:
        bits += np.uint64(2 ** (n_dropped - 1))
        bits >>= np.uint64(n_dropped)
    bits[missing] = MISSING  # other bits than those of zero
    bits ^= bits >> np.uint64(32)
    powers = np.cumprod(np.full(bits.shape[1], 0x9E3779B97F4A7C15, dtype=np.uint64))
    key = np.einsum("np,p->n", bits, powers)
    key ^= key >> np.uint64(30)
    key *= np.uint64(0xBF58476D1CE4E5B9)
    key ^= key >> np.uint64(27)
    key *= np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))
