"""The rows of a Dask array or dataframe: a task per block, statistics merged in a tree.

Only additive statistics travel to the client and only parameters travel back. No data are moved, no
worker waits for another and nothing is pinned, so that a worker may come, go or die at any moment:
the scheduler computes its blocks again. As the tree is fixed by the order of the blocks, the same
blocks give the same bits whichever scheduler runs them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from numbers import Real
from operator import add
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_array

from skelbo.rows import Rows
from skelbo.threads import one_blas_thread

# Statistics merged by one task: a tree of this fan-in, instead of one long chain.
FAN_IN = 8
# Scheduling takes up to a millisecond a task: beyond this many blocks it takes over.
MANY_BLOCKS = 20_000
# Attempts after a task has failed by an exception of its own (a storage that is away, say).
RETRIES = 3

ARRAY_EXPRESSIONS = (
    "Dask arrays with array.query-planning=True have no delayed blocks; set "
    "dask.config.set({'array.query-planning': False}) before dask.array is imported."
)
UNKNOWN_LENGTHS = (
    "sample_weight cannot be cut like X, whose blocks have unknown lengths; pass it as a Dask "
    "array or series with the partitions of X, or call X.compute_chunk_sizes() first."
)
REREAD = (
    "X takes {size:.1f} GiB, more than half of the workers' memory, and is not kept: each "
    "iteration reads it again. Use more workers, float32 or fewer columns to read it once."
)
TOO_MANY = "X has {n} blocks, whose scheduling takes over; rechunk it to blocks of about 128 MiB."


def is_dask(X: Any) -> bool:
    """Tell whether X is a Dask collection, without importing Dask."""
    dask = sys.modules.get("dask")
    return dask is not None and bool(dask.is_dask_collection(X))


class Table(NamedTuple):
    """One block, as arrays in memory: rows (n, p), and weights (n,) or None."""

    X: np.ndarray
    weights: np.ndarray | None


@dataclass(frozen=True)
class Census:
    """What the first look at the blocks counts; additive.

    Attributes
    ----------
    n_rows, n_present : int
        Rows, and rows of positive weight.
    total_weight : float
    missing, infinite, invalid, negative : int
        Cells that are missing or infinite, weights that are not finite or below zero.
    uneven : tuple of (int, int)
        Numbers of weights and of rows of blocks where they differ.
    """

    n_rows: int = 0
    n_present: int = 0
    total_weight: float = 0.0
    missing: int = 0
    infinite: int = 0
    invalid: int = 0
    negative: int = 0
    uneven: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of_table(cls, table: Table) -> Census:
        """Count one block."""
        X, weights = table
        n, cells = len(X), (int(np.isnan(X).sum()), int(np.isinf(X).sum()))
        if weights is None:
            return cls(n, n, float(n), *cells)
        finite = weights[np.isfinite(weights)]
        return cls(
            n,
            int(np.sum(finite > 0)),
            float(finite.sum()),
            *cells,
            len(weights) - len(finite),
            int(np.sum(finite < 0)),
            () if len(weights) == n else ((len(weights), n),),
        )

    def __add__(self, other: Census) -> Census:
        mine, others = vars(self).values(), vars(other).values()
        return Census(*(a + b for a, b in zip(mine, others, strict=True)))


@dataclass(frozen=True)
class DaskRows:
    """Rows of a Dask collection about one origin, with the interface of `Rows`; immutable.

    Attributes
    ----------
    X : dask array or dataframe
        The collection itself.
    tables : tuple of Delayed
        Its blocks, each a `Table`; kept in the memory of the workers if there are any.
    census : Census
    dtype : dtype
        float32 or float64: the precision of the tables.
    origin : ndarray of shape (n_features,)
        Subtracted from every row.
    cells_per_row, cells_per_gap : int or None
        See `Rows`.
    """

    X: Any
    tables: tuple[Any, ...]
    census: Census
    dtype: np.dtype
    origin: np.ndarray
    cells_per_row: int | None = None
    cells_per_gap: int | None = None

    @classmethod
    def read(cls, X: Any, weights: Any, dtype: np.dtype, *cells: int | None) -> DaskRows:
        """Look at every block once, and keep the blocks if workers have room for them."""
        import dask

        tables = tables_of(X, weights, dtype)
        if len(tables) > MANY_BLOCKS:
            warnings.warn(TOO_MANY.format(n=len(tables)), UserWarning, stacklevel=4)
        if _worth_keeping(X):
            tables = dask.persist(*tables)
        census = total(map(dask.delayed(Census.of_table), tables))
        return cls(X, tables, census, dtype, np.zeros(X.shape[1]), *cells)

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.origin)

    @property
    def n_present(self) -> int:
        """Number of rows of positive weight."""
        return self.census.n_present

    @property
    def complete(self) -> bool:
        """Whether no cell is missing."""
        return self.census.missing == 0

    @property
    def total_weight(self) -> float:
        """Sum of the weights: the number of rows they stand for."""
        return self.census.total_weight

    def about(self, origin: np.ndarray, cells_per_row: int | None = None) -> DaskRows:
        """Return the same rows about another origin."""
        return replace(self, origin=origin, cells_per_row=cells_per_row or self.cells_per_row)

    def total(self, statistic: Callable[..., Any], *parameters: Any) -> Any:
        """Return the sum of ``statistic(block, *parameters)`` over the blocks of all tables."""
        layout = self.origin, self.cells_per_row, self.cells_per_gap
        return self.fold(_total_of_table, layout, statistic, parameters)

    def fold(self, function: Callable[..., Any], *parameters: Any) -> Any:
        """Return the sum of ``function(X, weights, *parameters)`` over the tables."""
        import dask

        # One node of the graph for all blocks: it outlives any worker, as scattered data do not.
        work = dask.delayed((function, parameters), traverse=False)
        task = dask.delayed(_apply)
        return total(task(table, work) for table in self.tables)


def tables_of(X: Any, weights: Any, dtype: np.dtype) -> tuple[Any, ...]:
    """Return the blocks of X with their weights, as delayed `Table` values."""
    import dask

    blocks = blocks_of(X)
    pairs = zip(blocks, weight_blocks(weights, X, len(blocks)), strict=True)
    convert = dask.delayed(_table)
    return tuple(convert(block, part, dtype) for block, part in pairs)


def blocks_of(X: Any) -> list[Any]:
    """Return the blocks of rows of a Dask array, dataframe or series, as delayed values."""
    if is_array(X) and not hasattr(X, "to_delayed"):
        raise ValueError(ARRAY_EXPRESSIONS)
    if is_array(X) and X.ndim > 1:
        X = one_column_chunk(X)
    return list(np.ravel(X.to_delayed()))


def is_array(X: Any) -> bool:
    """Tell a Dask array from a dataframe or a series; anything else is an error."""
    array, frame = sys.modules.get("dask.array"), sys.modules.get("dask.dataframe")
    if array is not None and isinstance(X, array.Array):
        return True
    if frame is None or not isinstance(X, frame.DataFrame | frame.Series):
        raise TypeError(
            f"got a Dask {type(X).__name__}, expected a Dask array or dataframe; make one of it "
            "by dask.array.from_delayed or dask.dataframe.from_delayed."
        )
    return False


def one_column_chunk(X: Any) -> Any:
    """Return a Dask array whose blocks hold whole rows; their lengths need not be known."""
    return X.rechunk({1: -1}) if X.numblocks[1] > 1 else X


def weight_blocks(weights: Any, X: Any, n_blocks: int) -> list[Any]:
    """Return the weights cut like the rows of X, as values or delayed ones."""
    if weights is None or isinstance(weights, Real):
        return [weights] * n_blocks
    chunks: tuple = X.chunks[0] if is_array(X) else (np.nan,)
    known = not np.isnan(chunks).any()
    weights = weights if is_dask(weights) else np.asarray(weights)
    if weights.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array. Expected "
            "one weight per row."
        )
    if isinstance(weights, np.ndarray):
        if not known:
            raise ValueError(UNKNOWN_LENGTHS)
        check_length(len(weights), sum(chunks))
        return np.split(weights, np.cumsum(chunks)[:-1])
    if known and is_array(weights) and not np.isnan(weights.shape[0]):
        check_length(len(weights), sum(chunks))
        weights = weights.rechunk((chunks,))
    blocks = blocks_of(weights)
    if len(blocks) != n_blocks:
        raise ValueError(
            f"sample_weight has {len(blocks)} blocks, expected the {n_blocks} of X; give both "
            "the same partitions."
        )
    return blocks


def check_length(n_weights: int, n_rows: int) -> None:
    """Raise unless there is one weight per row."""
    if n_weights != n_rows:
        raise ValueError(f"sample_weight.shape == ({n_weights},), expected ({n_rows},)!")


def total(parts: Any) -> Any:
    """Compute the sum of delayed statistics, None standing for an empty block."""
    import dask

    merge = dask.delayed(_merge)
    parts = list(parts)
    while len(parts) > 1:
        parts = [merge(parts[i : i + FAN_IN]) for i in range(0, len(parts), FAN_IN)]
    # Blocks already occupy the cores; workers under a nanny have one BLAS thread anyhow.
    with one_blas_thread():
        (value,) = dask.compute(parts[0], retries=RETRIES)
    return value


def _worth_keeping(X: Any) -> bool:
    """Tell whether a distributed scheduler is active whose workers can hold X."""
    import dask

    client = getattr(dask.base.get_scheduler(collections=[X]), "__self__", None)
    if client is None or not hasattr(client, "scheduler_info"):
        return False
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    room = sum(worker["memory_limit"] or np.inf for worker in workers) / 2
    size = X.nbytes if is_array(X) else np.nan  # not known of dataframes: workers spill to disk
    if size > room:
        warnings.warn(REREAD.format(size=size / 2**30), UserWarning, stacklevel=5)
    return not size > room


def _table(block: Any, weights: Any, dtype: np.dtype) -> Table:
    X = check_array(
        block, dtype=dtype, ensure_all_finite=False, ensure_min_samples=0, ensure_min_features=0
    )
    if isinstance(weights, Real):
        weights = np.full(len(X), weights)
    return Table(X, None if weights is None else np.asarray(weights, dtype=np.float64))


def _apply(table: Table, work: tuple[Callable[..., Any], tuple]) -> Any:
    function, parameters = work
    X, weights = table
    empty = not len(X) if weights is None else not weights.any()
    with np.errstate(all="ignore"):  # an extrapolation may be absurd; the client judges the sum
        return None if empty else function(X, weights, *parameters)


def _total_of_table(X, weights, layout, statistic, parameters):
    return Rows(X, weights, *layout).total(statistic, *parameters)


def _merge(parts: list[Any]) -> Any:
    present = [part for part in parts if part is not None]
    return reduce(add, present) if present else None
