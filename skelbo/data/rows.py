"""Rows of a table, weighted, about one origin, in blocks that stay in cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np

from skelbo.data.blocks import iter_blocks
from skelbo.data.memmap import release_pages
from skelbo.data.threads import map_in_order, n_threads, one_thread, own_threads

# Float64 cells that a block and its temporaries may take: 16 MiB, within the last cache. Threads
# get into each other's way between numpy's calls, of which larger blocks need fewer.
BLOCK_CELLS = 2**21
MIN_BLOCK_ROWS, MAX_BLOCK_ROWS = 256, 2**15
# Tables of up to this many cells (24 MiB) are read once and kept in blocks for all passes; larger
# ones are read again in each pass, so that memory does not grow with them.
KEPT_CELLS = 3 * 2**20
# What may be kept besides, of statistics that every pass would compute anew (16 MiB).
STATISTICS_CELLS = 2**21
# Smaller tables, temporaries included, are done before threads have started. Larger ones come in a
# multiple of so many blocks, which keeps 2 or 4 threads equally busy.
MIN_THREADED_CELLS = 2**21
EVEN_BLOCKS = 4


@dataclass(frozen=True)
class Block:
    """Some rows, columns first, as float64 about the origin.

    Attributes
    ----------
    values : ndarray of shape (n_features, n_rows)
        Columns first, so that sums over features or components run along contiguous rows.
    weights : ndarray of shape (n_rows,)
        Frequency weights, all positive.
    index : ndarray of int, shape (n_rows,)
        Positions of the rows in the table.
    observed : ndarray of bool, shape (n_features, n_rows), or None
        Which cells are known; None where all are. Unknown cells of `values` are NaN.
    room : int
        Cells of each statistic of its own that the block may keep; see `once`.
    """

    values: np.ndarray
    weights: np.ndarray
    index: np.ndarray
    observed: np.ndarray | None = None
    room: int = 0
    _known: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.values.size

    @property
    def empty(self) -> np.ndarray:
        """Which rows have no known cell, bool of shape (n_rows,)."""
        if self.observed is None:
            return np.zeros(self.values.shape[1], bool)
        return np.asarray(~self.observed.any(axis=0))

    def move(self, step: np.ndarray) -> None:
        """Put the origin `step` further on, in place."""
        np.subtract(self.values, step[:, None], out=self.values)
        self._known.clear()

    def largest(self) -> np.ndarray:
        """Return the largest absolute value of a cell, NaN if a cell is missing."""
        return np.maximum(self.values.max(), -self.values.min())

    def once(self, function: Callable[[Block], Any]) -> Any:
        """Return ``function(self)``, kept for later passes where there is room for its `size`."""
        known = self._known.get(function)
        if known is not None:
            return known
        result = function(self)
        if result.size <= max(self.room, 1):
            self._known[function] = result
        return result


class Rows:
    """A table as weighted rows about one origin.

    X may be a memory map of any size: only a block of it is ever copied. Blocks with missing
    cells are split into complete rows and incomplete ones, as these need different arithmetic.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        float32 or float64, possibly with NaN; never written to.
    weights : ndarray of shape (n_samples,), optional
        Frequency weights; rows of weight zero are passed over.
    origin : ndarray of shape (n_features,), optional
        Subtracted from every row; zero if not given.
    cells_per_row : int, optional
        Size of the temporaries that a row needs; sets the length of a block.
    cells_per_gap : int, optional
        The same for a row with missing cells; n_features squared if not given.
    block_rows : int, optional
        Rows of a block; from the size of the temporaries if not given.
    """

    def __init__(
        self,
        X,
        weights=None,
        origin=None,
        cells_per_row=None,
        cells_per_gap=None,
        block_rows=None,
    ):
        self.X = X
        self.weights = weights
        self.n_samples, self.n_features = X.shape
        self.origin = np.zeros(self.n_features) if origin is None else origin
        self.cells_per_row, self.cells_per_gap = cells_per_row, cells_per_gap
        self.cells = max(cells_per_row or 0, self.n_features)
        self._fixed_rows = block_rows
        self.block_rows = block_rows or self._block_rows()
        self._kept: list[list[Block]] | None = None

    def _block_rows(self) -> int:
        rows = min(max(BLOCK_CELLS // self.cells, MIN_BLOCK_ROWS), MAX_BLOCK_ROWS)
        if not self._large:
            return rows
        rounds = -(-self.n_samples // (EVEN_BLOCKS * rows))
        return max(-(-self.n_samples // (EVEN_BLOCKS * rounds)), MIN_BLOCK_ROWS)

    @property
    def _large(self) -> bool:
        return self.n_samples * self.cells >= MIN_THREADED_CELLS

    @property
    def total_weight(self) -> float:
        """Sum of the weights: the number of rows they stand for."""
        return float(self.n_samples if self.weights is None else self.weights.sum())

    @property
    def dtype(self) -> np.dtype:
        """Precision of the table."""
        return self.X.dtype

    @property
    def n_present(self) -> int:
        """Number of rows of positive weight."""
        return self.n_samples if self.weights is None else int(np.count_nonzero(self.weights))

    def about(
        self,
        origin: np.ndarray,
        cells_per_row: int | None = None,
        cells_per_gap: int | None = None,
    ) -> Rows:
        """Return the same rows about another origin; blocks that were kept move there."""
        cells = cells_per_row or self.cells_per_row, cells_per_gap or self.cells_per_gap
        rows = Rows(self.X, self.weights, origin, *cells, self._fixed_rows)
        same_gap = rows.cells_per_gap == self.cells_per_gap
        if self._kept is not None and rows.block_rows == self.block_rows and same_gap:
            rows._kept, self._kept = self._kept, None
            for block in chain.from_iterable(rows._kept):
                block.move(origin - self.origin)
        return rows

    def part(self, start: int, stop: int) -> Rows:
        """Return some of the rows."""
        weights = None if self.weights is None else self.weights[start:stop]
        layout = self.cells_per_row, self.cells_per_gap, self._fixed_rows
        return Rows(self.X[start:stop], weights, self.origin, *layout)

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks in order."""
        return chain.from_iterable(map(self._blocks_of, self._parts()))

    def total(self, statistic: Callable[..., Any], *parameters: Any) -> Any:
        """Return the sum of ``statistic(block, *parameters)`` over the blocks.

        The order of the sum depends on the blocks alone, not on the number of threads.
        """
        total = _Sum()

        def subtotal(part: list[Block] | slice) -> Any:
            subtotal = _Sum()
            for block in self._blocks_of(part):
                subtotal.add(statistic(block, *parameters))
            return subtotal.value

        map_in_order(subtotal, self._parts(), self._n_threads, total.add)
        return total.value

    def fold(self, function: Callable[..., Any], *parameters: Any) -> Any:
        """Return ``function(X, weights, *parameters)``: the table is one."""
        return function(self.X, self.weights, *parameters)

    def each(
        self, function: Callable[[Block], np.ndarray], *shape: int, dtype: Any = np.float64
    ) -> np.ndarray:
        """Return ``function(block)``, arrays of (n_rows, *shape), for all rows in their order.

        Squares of rows far from everything overflow in silence: their density is zero.
        """
        result = np.empty((self.n_samples, *shape), dtype)

        def fill(part: list[Block] | slice) -> None:
            for block in self._blocks_of(part):
                first, last = block.index[[0, -1]]
                whole = last - first + 1 == len(block.index)
                result[slice(first, last + 1) if whole else block.index] = function(block)

        with np.errstate(over="ignore"):
            map_in_order(fill, self._kept or self._ranges(), self._n_threads)
        return result

    def own_threads(self) -> AbstractContextManager:
        """Return a context for work that passes over these rows several times."""
        return own_threads() if self._large else one_thread()

    @property
    def _n_threads(self) -> int:
        return n_threads() if self._large else 1

    def _parts(self) -> list[list[Block]] | list[slice]:
        """Return the blocks, kept from now on, or the ranges of rows that they are read from."""
        if self._kept is None and self.n_samples * self.n_features <= KEPT_CELLS:
            room = STATISTICS_CELLS // self.n_samples
            kept: list[list[Block]] = []

            def read(part: slice) -> list[Block]:
                return [replace(block, room=room * len(block.index)) for block in self._read(part)]

            map_in_order(read, self._ranges(), self._n_threads, kept.append)
            self._kept = kept
        return self._ranges() if self._kept is None else self._kept

    def _ranges(self) -> list[slice]:
        return list(iter_blocks(self.n_samples, block_cells=self.block_rows))

    def _blocks_of(self, part: list[Block] | slice) -> Iterable[Block]:
        return self._read(part) if isinstance(part, slice) else part

    def _read(self, part: slice) -> Iterator[Block]:
        start, stop = part.start, part.stop
        columns = np.asarray(self.X[start:stop]).T
        values = np.subtract(columns, self.origin[:, None], order="C", dtype=np.float64)
        release_pages(self.X, start, stop)
        weights = np.ones(values.shape[1]) if self.weights is None else self.weights[start:stop]
        index = np.arange(start, stop)
        present = weights > 0
        whole = Block(values, weights, index)
        if not np.isnan(whole.once(Block.largest)) and present.all():
            yield whole
            return
        observed = ~np.isnan(values)
        complete = observed.all(axis=0)
        everything = Block(values, weights, index, observed)
        yield from _pieces(everything, np.flatnonzero(present & complete), len(index), True)
        # Incomplete rows may need (p, p) matrices, one a pattern: keep those to a block's size.
        piece = max(1, BLOCK_CELLS // (self.cells_per_gap or self.n_features**2))
        yield from _pieces(everything, np.flatnonzero(present & ~complete), piece, False)


def over_rows(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the sum over rows, ``left @ right.T``, while other threads run.

    `@` keeps them waiting: numpy judges the work by the size of the result.
    """
    return np.dot(left, right.T)


def plus(left: Any, right: Any) -> Any:
    """Return the sum of two terms; None counts as nothing."""
    return right if left is None else left if right is None else left + right


class _Sum:
    """The sum of terms in the order in which they are added."""

    value: Any = None

    def add(self, term: Any) -> None:
        self.value = plus(self.value, term)


def _pieces(block: Block, chosen: np.ndarray, size: int, complete: bool) -> Iterator[Block]:
    """Yield the chosen rows of a block, at most `size` at a time."""
    for rows in iter_blocks(len(chosen), block_cells=size):
        part = chosen[rows]
        yield Block(
            np.take(block.values, part, axis=1),
            block.weights[part],
            block.index[part],
            None if complete or block.observed is None else np.take(block.observed, part, axis=1),
        )
