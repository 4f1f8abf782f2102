"""Blocks of rows over which the recursions of a chain run, and the kernels that run them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np

from skelbo.data.blocks import iter_blocks
from skelbo.data.sequences import Runs
from skelbo.data.uninterrupted import uninterrupted
from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.chain.numpy_pass import NumpyPass
from skelbo.mixture.chain.segments import Segments, segment_size

# Cells of an array (n_rows, n_components) of a block: where passes are compiled what stays in cache
# (at most 2^15 rows, those of a block of `Rows`); NumPy is faster with fewer steps.
COMPILED_CELLS, MAX_COMPILED_ROWS, NUMPY_CELLS = 2**17, 2**15, 2**20
# Rows times states from which on passes are compiled where numba is installed: a millisecond of
# NumPy's. Only the size decides, so that fits are reproducible.
MIN_COMPILED = 2**12


class ChainPass(Protocol):
    """Both recursions over one block of rows; `skelbo.mixture.backends.numba_chain` has shapes."""

    def half_log(self, log_prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return exp(log_prob - top), (n_rows, K), and top, the largest of each row.

        A row that every state excludes counts as missing: it is all ones, and its top is -inf.
        """

    def forward(self, b, continued, entering, watch, alpha, steps, lost) -> None:
        """Filter the rows; write `alpha`, `steps`, `lost`, and `entering` of the next block."""

    def backward(self, b, alpha, leaving, open_end, weights, skip, pairs, least) -> None:
        """Smooth the rows; overwrite `alpha`, write `least`, add to `pairs`, update `leaving`."""


@dataclass(frozen=True)
class RunBlock:
    """Some rows, and the pieces of runs in them.

    Attributes
    ----------
    rows : slice
        Of the table.
    bounds : ndarray of int, shape (n_pieces + 1,)
        Rows of the pieces, counted from the first row of the block.
    runs : slice
        The runs that have a piece here.
    continued, open_end : bool
        Whether the first piece began before the block, and the last one continues after it.
    """

    rows: slice
    bounds: np.ndarray
    runs: slice
    continued: bool
    open_end: bool
    _segments: dict[tuple[int, bool], Segments] = field(default_factory=dict, repr=False)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.bounds[-1])

    @property
    def fresh(self) -> np.ndarray:
        """First rows of the runs that begin here, counted from the first row of the block."""
        return self.bounds[int(self.continued) : -1]

    def segments(self, n_states: int, whole: bool) -> Segments:
        """Return the segments of the pieces, kept from one iteration to the next."""
        key = n_states, whole
        if key not in self._segments:
            size = None if whole else segment_size(np.diff(self.bounds), n_states)
            self._segments[key] = Segments.of_pieces(self.bounds, size)
        return self._segments[key]


def run_blocks(runs: Runs, n_states: int) -> list[RunBlock]:
    """Return the blocks of a table: their bounds depend on its size and the number of states."""
    blocks = []
    size = NUMPY_CELLS // n_states
    if compiled(runs.n_rows, n_states) is not None:
        size = min(COMPILED_CELLS // n_states, MAX_COMPILED_ROWS)
    for rows in iter_blocks(runs.n_rows, 1, max(size, 1)):
        first = int(np.searchsorted(runs.bounds, rows.start, "right")) - 1
        last = int(np.searchsorted(runs.bounds, rows.stop, "left"))
        bounds = np.clip(runs.bounds[first : last + 1], rows.start, rows.stop) - rows.start
        blocks.append(
            RunBlock(
                rows,
                bounds.astype(np.int64),
                slice(first, last),
                bool(runs.bounds[first] < rows.start),
                bool(runs.bounds[last] > rows.stop),
            )
        )
    return blocks


class CompiledPass:
    """Both recursions over one block by the kernels of numba."""

    def __init__(self, kernels: Any, chain: MarkovChain, bounds: np.ndarray):
        self.kernels, self.bounds, self.sparse = kernels, bounds, chain.is_sparse
        self.start = np.ascontiguousarray(chain.startprob)
        self.A = np.ascontiguousarray(chain.transmat)
        self.A_T = np.ascontiguousarray(chain.transmat.T)

    def half_log(self, log_prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scaled likelihoods, rows contiguous, and the largest logarithms."""
        b, top = np.empty(log_prob.shape), np.empty(len(log_prob))
        self.kernels.half_log(np.ascontiguousarray(log_prob.T), b, top)
        return b, top

    def forward(self, b, continued, entering, watch, alpha, steps, lost) -> None:
        """Filter the rows."""
        self.kernels.forward(
            b,
            self.bounds,
            continued,
            entering,
            self.start,
            self.A,
            self.A_T,
            watch,
            alpha,
            steps,
            lost,
        )

    def backward(self, b, alpha, leaving, open_end, weights, skip, pairs, least) -> None:
        """Smooth the rows."""
        self.kernels.backward(
            b,
            alpha,
            self.bounds,
            leaving,
            open_end,
            self.A,
            self.sparse,
            weights,
            skip,
            pairs,
            least,
        )


@cache
def kernels() -> Any:
    """Return the module of compiled kernels, None where numba is not installed or cannot run."""
    try:
        return uninterrupted(_load)
    except (ImportError, RuntimeError):
        return None


def _load() -> Any:
    import numba

    from skelbo.mixture.backends import numba_chain

    return None if numba.config.DISABLE_JIT else numba_chain


def compiled(n_rows: int, n_states: int) -> Any:
    """Return the compiled kernels for a table of this size, None where NumPy does."""
    return kernels() if n_rows * n_states >= MIN_COMPILED else None


def passes(chain: MarkovChain, n_rows: int) -> Callable[[RunBlock], ChainPass]:
    """Return a function that gives the pass over a block of a table with so many rows."""
    compiled_kernels = compiled(n_rows, chain.n_states)
    if compiled_kernels is not None:
        return lambda block: CompiledPass(compiled_kernels, chain, block.bounds)
    return lambda block: NumpyPass(
        chain, block.bounds, block.segments(chain.n_states, chain.is_sparse)
    )
