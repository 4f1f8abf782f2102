"""The blocks of a Dask array or dataframe, as tables, and sums over them in a tree.

No data are moved, no worker waits for another and nothing is pinned, so that a worker may come, go
or die at any moment: the scheduler computes its blocks again. As the tree is fixed by the order of
the blocks, the same blocks give the same bits whichever scheduler runs them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from numbers import Real
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from sklearn.utils import check_array

from skelbo.data.rows import plus
from skelbo.data.threads import one_blas_thread

# Statistics merged by one task: a tree of this fan-in, instead of one long chain.
FAN_IN = 8
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


def is_dask(X: Any) -> bool:
    """Tell whether X is a Dask collection, without importing Dask."""
    dask = sys.modules.get("dask")
    return dask is not None and bool(dask.is_dask_collection(X))


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


def size_of(X: Any, dtype: np.dtype) -> float:
    """Return the number of bytes of a collection as tables of this type, NaN if it is not known."""
    return X.size * dtype.itemsize if is_array(X) else np.nan


class Table(NamedTuple):
    """One block, as arrays in memory: rows (n, p), and weights (n,) or None."""

    X: np.ndarray
    weights: np.ndarray | None

    @classmethod
    def joined(cls, tables: Sequence[Table]) -> Table:
        """Return tables as one."""
        weights = [table.weights for table in tables if table.weights is not None]
        X = np.concatenate([table.X for table in tables])
        return cls(X, np.concatenate(weights) if weights else None)

    @property
    def has_rows(self) -> bool:
        """Whether there is a row of a weight other than zero."""
        return bool(len(self.X) and (self.weights is None or self.weights.any()))


@dataclass(frozen=True)
class Work:
    """What a pass does with every table; one node of the graph, which outlives any worker."""

    function: Callable[..., Any]
    parameters: tuple


@dataclass(frozen=True)
class Blocks:
    """The blocks of a collection with their weights; what makes a `Table` of each.

    Attributes
    ----------
    graph : dict
        What computes the blocks, in Dask's notation.
    tables : tuple
        One task, or key of one, per table.
    waiting : bool
        Whether there is something left to compute: the blocks are not in memory yet.
    """

    graph: dict
    tables: tuple
    waiting: bool

    @classmethod
    def of(cls, X: Any, weights: Any, dtype: np.dtype) -> Blocks:
        """Cut X and its weights: the only time that their own graphs are looked at."""
        blocks = _delayed_blocks(X)
        parts = _weight_blocks(weights, X, len(blocks))
        graph = _joint_graph(blocks, X)
        # A node without a function is data, a future of data, or another name for one.
        waiting = any(hasattr(node, "func") for node in graph.values())
        if is_dask(weights):
            graph.update(_joint_graph(parts, weights))
            keys = [part.key for part in parts]
        else:
            name = "weights-" + uuid4().hex
            keys = [(name, i) for i in range(len(parts))]
            graph.update(zip(keys, parts, strict=True))
        convert = partial(_table, dtype=dtype)
        pairs = zip(blocks, keys, strict=True)
        return cls(graph, tuple((convert, block.key, key) for block, key in pairs), waiting)

    def __len__(self) -> int:
        return len(self.tables)

    def kept(self) -> Blocks:
        """Return the same blocks, computed now, in the memory of whoever computes them."""
        import dask

        tables = dask.persist(*self._delayed_tables())
        graph = {key: value for table in tables for key, value in table.__dask_graph__().items()}
        return Blocks(graph, tuple(table.key for table in tables), False)

    def in_turn(self) -> Iterator[Table]:
        """Yield the tables, computing one at a time."""
        for delayed in self._delayed_tables():
            yield delayed.compute()

    def total(self, function: Callable[..., Any], *parameters: Any) -> Any:
        """Return the sum of ``function(table, *parameters)``, None standing for nothing.

        One task per block and a tree to merge them. The graph is written down as such: that of
        `dask.delayed` takes a third of the time of scheduling it.
        """
        import dask
        from dask.delayed import Delayed

        name = uuid4().hex
        work = f"work-{name}"
        graph = {**self.graph, work: Work(function, parameters)}
        keys: list[Any] = [(f"statistic-{name}", i) for i in range(len(self.tables))]
        graph.update(
            (key, (_apply, table, work)) for key, table in zip(keys, self.tables, strict=True)
        )
        level = 0
        while len(keys) > 1:
            level += 1
            groups = [keys[i : i + FAN_IN] for i in range(0, len(keys), FAN_IN)]
            keys = [(f"merge-{name}", level, i) for i in range(len(groups))]
            graph.update((key, (_merge, group)) for key, group in zip(keys, groups, strict=True))
        # Blocks already occupy the cores; workers under a nanny have one BLAS thread anyhow.
        with one_blas_thread():
            (value,) = dask.compute(Delayed(keys[0], graph), retries=RETRIES)
        return value

    def _delayed_tables(self) -> list[Any]:
        from dask.delayed import Delayed
        from dask.highlevelgraph import HighLevelGraph

        name = "table-" + uuid4().hex
        keys = [(name, i) for i in range(len(self.tables))]
        layer = {**self.graph, **dict(zip(keys, self.tables, strict=True))}
        graph = HighLevelGraph.from_collections(name, layer)
        return [Delayed(key, graph, layer=name) for key in keys]


def one_column_chunk(X: Any) -> Any:
    """Return a Dask array whose blocks hold whole rows; their lengths need not be known."""
    return X.rechunk({1: -1}) if X.numblocks[1] > 1 else X


def check_length(n_weights: int, n_rows: int) -> None:
    """Raise unless there is one weight per row."""
    if n_weights != n_rows:
        raise ValueError(f"sample_weight.shape == ({n_weights},), expected ({n_rows},)!")


def _delayed_blocks(X: Any) -> list[Any]:
    """Return the blocks of rows of a Dask array, dataframe or series, as delayed values."""
    if is_array(X) and not hasattr(X, "to_delayed"):
        raise ValueError(ARRAY_EXPRESSIONS)
    if is_array(X) and X.ndim > 1:
        X = one_column_chunk(X)
    return list(np.ravel(X.to_delayed()))


def _joint_graph(blocks: list[Any], X: Any) -> dict:
    """Return the graph of delayed blocks of X, which mostly are of one graph."""
    graph: dict = {}
    for block in blocks:
        if block.key not in graph:
            graph.update(block.__dask_graph__())
    # What X holds as futures, Dask leaves out of the graph of its blocks.
    left_out = [block.key for block in blocks if block.key not in graph]
    futures = X.__dask_graph__() if left_out else {}
    return {**graph, **{key: futures[key] for key in left_out}}


def _weight_blocks(weights: Any, X: Any, n_blocks: int) -> list[Any]:
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
    blocks = _delayed_blocks(weights)
    if len(blocks) != n_blocks:
        raise ValueError(
            f"sample_weight has {len(blocks)} blocks, expected the {n_blocks} of X; give both "
            "the same partitions."
        )
    return blocks


def _table(block: Any, weights: Any, dtype: np.dtype) -> Table:
    X = check_array(
        block, dtype=dtype, ensure_all_finite=False, ensure_min_samples=0, ensure_min_features=0
    )
    if isinstance(weights, Real):
        weights = np.full(len(X), weights)
    return Table(X, None if weights is None else np.asarray(weights, dtype=np.float64))


def _apply(table: Table, work: Work) -> Any:
    with np.errstate(all="ignore"):  # an extrapolation may be absurd; the client judges the sum
        return work.function(table, *work.parameters)


def _merge(parts: list[Any]) -> Any:
    return reduce(plus, parts)
