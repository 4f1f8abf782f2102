"""Blocks of rows of a Dask array or dataframe, and sums over them in a tree.

No data are moved, no task waits for another worker and nothing is pinned: if a worker is lost, the
scheduler computes its blocks again. The tree is fixed by the order of the blocks, so that the same
blocks give the same bits on every scheduler.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import dask
import numpy as np
from sklearn.utils import check_array

from skelbo.data.dask_detection import is_dask
from skelbo.data.numeric_table import as_numbers
from skelbo.data.rows import plus
from skelbo.data.threads import one_blas_thread
from skelbo.data.weights import check_weights_shape, weight_vector

# Statistics merged by one task.
FAN_IN = 8
# Attempts after a task has failed by an exception of its own (storage out of reach, say).
RETRIES = 3

ARRAY_EXPRESSIONS = (
    "Dask arrays with array.query-planning=True have no delayed blocks; set "
    "dask.config.set({'array.query-planning': False}) before dask.array is imported."
)
UNKNOWN_LENGTHS = (
    "sample_weight cannot be cut like X, whose blocks have unknown lengths; pass it as a Dask "
    "array or series with the partitions of X, or call X.compute_chunk_sizes() first."
)


def is_array(X: Any) -> bool:
    """Distinguish a Dask array from a dataframe or a series; anything else is an error."""
    array, frame = sys.modules.get("dask.array"), sys.modules.get("dask.dataframe")
    if array is not None and isinstance(X, array.Array):
        return True
    if frame is None or not isinstance(X, frame.DataFrame | frame.Series):
        raise TypeError(
            f"got a Dask {type(X).__name__}, expected a Dask array or dataframe; make one of it "
            "by dask.array.from_delayed or dask.dataframe.from_delayed."
        )
    return False


def without_rows(X: Any) -> Any:
    """Return an empty table with the columns and types of a collection, computing nothing."""
    if is_array(X):
        return np.empty((0, *X.shape[1:]), X.dtype)
    import pandas as pd

    if X.ndim == 1:
        return pd.Series(dtype=X.dtype, name=X.name)
    columns = zip(X.columns, X.dtypes, strict=True)
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns})


def one_column_chunk(X: Any) -> Any:
    """Return a Dask array whose blocks hold whole rows; their lengths need not be known."""
    return X.rechunk({1: -1}) if X.numblocks[1] > 1 else X


class Table(NamedTuple):
    """One block in memory: rows (n, p), and weights (n,) or None."""

    X: np.ndarray
    weights: np.ndarray | None

    @classmethod
    def joined(cls, tables: Sequence[Table]) -> Table:
        """Return the rows of several tables as one."""
        X, weights = zip(*tables, strict=True)
        return cls(np.concatenate(X), None if weights[0] is None else np.concatenate(weights))

    @property
    def has_rows(self) -> bool:
        """True if there is a row of a weight other than zero."""
        return bool(len(self.X) and (self.weights is None or self.weights.any()))


@dataclass(frozen=True)
class Blocks:
    """The blocks of a collection with their weights.

    Attributes
    ----------
    tables : tuple of Delayed
        One `Table` per block.
    """

    tables: tuple

    @classmethod
    def of(cls, X: Any, weights: Any, dtype: np.dtype) -> Blocks:
        """Cut X and its weights."""
        blocks = _delayed_blocks(X)
        parts = _weight_blocks(weights, X, len(blocks))
        table = dask.delayed(_table, pure=False)
        return cls(tuple(table(*pair, dtype) for pair in zip(blocks, parts, strict=True)))

    def in_turn(self) -> Iterator[Table]:
        """Yield the tables, computing one at a time."""
        for table in self.tables:
            (computed,) = dask.compute(table, retries=RETRIES)
            yield computed

    def batches(self, min_rows: int) -> Iterator[Table]:
        """Yield the tables in turn, those of fewer than `min_rows` rows joined to their neighbours.

        Blocks without rows of positive weight are passed over, unless there are no others.
        """
        ready: list[Table] = []
        held: list[Table] = []
        for table in self.in_turn():
            if not table.has_rows:
                continue
            held.append(table)
            if sum(len(part.X) for part in held) >= min_rows:
                if ready:
                    yield Table.joined(ready)
                ready, held = held, []
        # Where no block has any rows the last one is refused by its reader.
        yield Table.joined(ready + held or [table])

    def total(self, function: Callable[..., Any], *parameters: Any) -> Any:
        """Return the sum of ``function(table, *parameters)``, None standing for nothing.

        One task per block, and a tree of tasks that merge `FAN_IN` results each. The parameters
        are one node of the graph, which outlives any worker.
        """
        call = dask.delayed((function, parameters), traverse=False)
        apply, merge = dask.delayed(_apply, pure=False), dask.delayed(_merge, pure=False)
        parts = [apply(table, call) for table in self.tables]
        while len(parts) > 1:
            parts = [merge(parts[i : i + FAN_IN]) for i in range(0, len(parts), FAN_IN)]
        # Blocks already occupy the cores; workers under a nanny have one BLAS thread anyhow.
        with one_blas_thread():
            (value,) = dask.compute(parts[0], retries=RETRIES)
        return value


def _delayed_blocks(X: Any) -> list[Any]:
    """Return the blocks of rows of a Dask array, dataframe or series, as delayed values."""
    if not is_array(X):
        return list(X.to_delayed())
    if dask.config.get("array.query-planning", False):
        raise ValueError(ARRAY_EXPRESSIONS)
    return list(np.ravel((one_column_chunk(X) if X.ndim > 1 else X).to_delayed()))


def _weight_blocks(weights: Any, X: Any, n_blocks: int) -> list[Any]:
    """Return the weights cut like the rows of X, as values or delayed ones."""
    if weights is None or np.ndim(weights) == 0:
        return [weights] * n_blocks
    chunks: tuple = X.chunks[0] if is_array(X) else (np.nan,)
    known = not np.isnan(chunks).any()
    weights = weights if is_dask(weights) else np.asarray(weights)
    if weights.ndim != 1:
        check_weights_shape(weights.shape, "n_samples")
    if isinstance(weights, np.ndarray):
        if not known:
            raise ValueError(UNKNOWN_LENGTHS)
        check_weights_shape(weights.shape, sum(chunks))
        return np.split(weights, np.cumsum(chunks)[:-1])
    if known and is_array(weights) and not np.isnan(weights.shape[0]):
        check_weights_shape(weights.shape, sum(chunks))
        weights = weights.rechunk((chunks,))
    blocks = _delayed_blocks(weights)
    if len(blocks) != n_blocks:
        raise ValueError(
            f"sample_weight has {len(blocks)} blocks, expected the {n_blocks} of X; give both "
            "the same partitions."
        )
    return blocks


def as_table(block: Any, dtype: np.dtype) -> np.ndarray:
    """Return a block as an array, which may have no rows or columns and any values."""
    return check_array(
        as_numbers(block),
        dtype=dtype,
        ensure_all_finite=False,
        ensure_min_samples=0,
        ensure_min_features=0,
    )


def _table(block: Any, weights: Any, dtype: np.dtype) -> Table:
    X = as_table(block, dtype)
    if weights is None:
        return Table(X, None)
    return Table(X, weight_vector(weights, len(X)))


def _apply(table: Table, call: tuple[Callable[..., Any], tuple]) -> Any:
    function, parameters = call
    with np.errstate(all="ignore"):  # the caller judges the sum of an extrapolated theta
        return function(table, *parameters)


def _merge(parts: list[Any]) -> Any:
    return reduce(plus, parts)
