"""The rows of a Dask array or dataframe: only additive statistics travel to the client."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from skelbo.data.dask_graph import Blocks, Table, size_of
from skelbo.data.rows import Reduction, Rows, plus

# Scheduling takes up to a millisecond a task: beyond this many blocks it takes over.
MANY_BLOCKS = 20_000

REREAD = (
    "X takes {size:.3g} GiB, more than half of the memory of {whose} ({limit:.3g} GiB), and is not "
    "kept: each iteration reads it again. Use {remedy}, float32 or fewer columns to read it once."
)
KEPT_NOWHERE = (
    "The Dask scheduler in use keeps no blocks between passes, so that each iteration reads X "
    "again; use a cluster (distributed.Client), threads, or X.persist() where there is room."
)
TOO_MANY = "X has {n} blocks, whose scheduling takes over; rechunk it to blocks of about 128 MiB."


@dataclass(frozen=True)
class RowCounts:
    """What the first look at the blocks counts; additive.

    Attributes
    ----------
    n_rows, n_present : int
        Rows, and rows of positive weight.
    total_weight : float
    infinite, invalid, negative : int
        Infinite cells, weights that are not finite or below zero.
    uneven : tuple of (int, int)
        Numbers of weights and of rows of blocks where they differ.
    """

    n_rows: int = 0
    n_present: int = 0
    total_weight: float = 0.0
    infinite: int = 0
    invalid: int = 0
    negative: int = 0
    uneven: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of_table(cls, table: Table) -> RowCounts:
        """Count one block."""
        X, weights = table
        n, infinite = len(X), int(np.isinf(X).sum())
        if weights is None:
            return cls(n, n, float(n), infinite)
        finite = weights[np.isfinite(weights)]
        return cls(
            n,
            int(np.sum(finite > 0)),
            float(finite.sum()),
            infinite,
            len(weights) - len(finite),
            int(np.sum(finite < 0)),
            () if len(weights) == n else ((len(weights), n),),
        )

    @property
    def flawed(self) -> bool:
        """Whether the table is none that statistics can be had of."""
        return bool(self.infinite or self.invalid or self.negative or self.uneven)

    def __add__(self, other: RowCounts) -> RowCounts:
        mine, others = vars(self).values(), vars(other).values()
        return RowCounts(*(a + b for a, b in zip(mine, others, strict=True)))


class FirstPass(NamedTuple):
    """What the first look at the blocks finds: their census, and answers to questions; additive."""

    census: RowCounts
    found: tuple

    @classmethod
    def of_table(cls, table: Table, questions: Sequence[Reduction], cells: tuple) -> FirstPass:
        """Look at one table; one that no statistics can be had of answers nothing."""
        census = RowCounts.of_table(table)
        if census.flawed or not census.n_present:
            return cls(census, (None,) * len(questions))
        rows = Rows(*table, None, *cells)
        return cls(census, tuple(question.run(rows) for question in questions))

    def __add__(self, other: FirstPass) -> FirstPass:  # type: ignore[override]
        found = tuple(map(plus, self.found, other.found))
        return FirstPass(self.census + other.census, found)


class Memory(NamedTuple):
    """Where blocks would be kept.

    Attributes
    ----------
    limit : float
        Bytes.
    whose, remedy : str
        How to name it, and what would help.
    spills : bool
        Whether what is too much goes to disk.
    """

    limit: float
    whose: str
    remedy: str
    spills: bool

    @classmethod
    def of_scheduler(cls, X: Any) -> Memory | None:
        """Return the memory of those who compute X; None where blocks cannot stay with them."""
        import dask
        import dask.local
        import dask.threaded

        get = dask.base.get_scheduler(collections=[X])
        client = getattr(get, "__self__", None)
        if client is not None and hasattr(client, "scheduler_info"):
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            limit = sum(worker["memory_limit"] or np.inf for worker in workers)
            return cls(limit, "the workers", "more workers", True)
        if get not in (dask.threaded.get, dask.local.get_sync):
            return None
        try:
            from distributed.system import MEMORY_LIMIT
        except ImportError:
            return None
        return cls(MEMORY_LIMIT, "this machine", "a cluster", False)

    def holds(self, size: float) -> bool:
        """Tell whether so many bytes may be kept; of a size that is not known, if it may spill."""
        return self.spills if np.isnan(size) else size <= self.limit / 2


@dataclass(frozen=True)
class DaskRows:
    """Rows of a Dask collection about one origin, with the interface of `Rows`; immutable.

    Attributes
    ----------
    X : dask array or dataframe
        The collection itself.
    blocks : Blocks
        Its blocks; in memory if there is room.
    census : RowCounts
    dtype : dtype
        float32 or float64: the precision of the tables.
    origin : ndarray of shape (n_features,)
        Subtracted from every row.
    cells_per_row, cells_per_gap : int or None
        See `Rows`.
    known : tuple of (Reduction, answer)
        What the first look has found out already, about the origin zero.
    """

    X: Any
    blocks: Blocks
    census: RowCounts
    dtype: np.dtype
    origin: np.ndarray
    cells_per_row: int | None = None
    cells_per_gap: int | None = None
    known: tuple = ()

    @classmethod
    def read(
        cls,
        X: Any,
        weights: Any,
        dtype: np.dtype,
        cells: tuple[int | None, int | None],
        questions: Sequence[Reduction] = (),
    ) -> DaskRows:
        """Look at every block once, and keep the blocks if there is room for them."""
        blocks = Blocks.of(X, weights, dtype)
        if len(blocks) > MANY_BLOCKS:
            warnings.warn(TOO_MANY.format(n=len(blocks)), UserWarning, stacklevel=6)
        memory = Memory.of_scheduler(X) if blocks.waiting else None
        size = size_of(X, dtype)
        if memory is not None and memory.holds(size):
            blocks = blocks.kept()
        census, found = blocks.total(FirstPass.of_table, tuple(questions), cells)
        size = census.n_rows * X.shape[1] * dtype.itemsize
        if blocks.waiting and memory is not None and memory.holds(size):  # not known before
            blocks = blocks.kept()
        elif blocks.waiting:
            _warn_of_reading(memory, size)
        known = tuple(zip(questions, found, strict=True))
        return cls(X, blocks, census, dtype, np.zeros(X.shape[1]), *cells, known)

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.origin)

    @property
    def n_present(self) -> int:
        """Number of rows of positive weight."""
        return self.census.n_present

    @property
    def total_weight(self) -> float:
        """Sum of the weights: the number of rows they stand for."""
        return self.census.total_weight

    def about(self, origin: np.ndarray, cells_per_row: int | None = None) -> DaskRows:
        """Return the same rows about another origin."""
        known = tuple(pair for pair in self.known if not pair[0].of_blocks)
        cells_per_row = cells_per_row or self.cells_per_row
        return replace(self, origin=origin, cells_per_row=cells_per_row, known=known)

    def total(self, statistic: Callable[..., Any], *parameters: Any) -> Any:
        """Return the sum of ``statistic(block, *parameters)`` over the blocks of all tables."""
        layout = self.origin, self.cells_per_row, self.cells_per_gap
        return self._answer(Reduction(statistic, parameters), _total_of_table, layout)

    def fold(self, function: Callable[..., Any], *parameters: Any) -> Any:
        """Return the sum of ``function(X, weights, *parameters)`` over the tables."""
        return self._answer(Reduction(function, parameters, of_blocks=False), _fold_of_table)

    def own_threads(self) -> AbstractContextManager:
        """Return a context that does nothing: passes run on the scheduler's threads."""
        return nullcontext()

    def _answer(self, question: Reduction, function: Callable[..., Any], *layout: Any) -> Any:
        for asked, answer in self.known:
            if asked == question:
                return answer
        return self.blocks.total(function, *layout, question)


def _total_of_table(table: Table, layout: tuple, question: Reduction) -> Any:
    return question.run(Rows(*table, *layout)) if table.has_rows else None


def _fold_of_table(table: Table, question: Reduction) -> Any:
    return question.run(Rows(*table)) if table.has_rows else None


def _warn_of_reading(memory: Memory | None, size: float) -> None:
    """Warn that every iteration will read the blocks."""
    message = KEPT_NOWHERE
    if memory is not None:
        numbers = {"size": size / 2**30, "limit": memory.limit / 2**30}
        message = REREAD.format(**numbers, whose=memory.whose, remedy=memory.remedy)
    warnings.warn(message, UserWarning, stacklevel=7)
