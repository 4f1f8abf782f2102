"""Rows of sequences as the E-step of a hidden Markov model passes over them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property, reduce
from operator import add

import numpy as np

from skelbo.data.rows import KEPT_CELLS, Block, Rows
from skelbo.data.sequences import Runs
from skelbo.gaussian.components import WeightedGaussians
from skelbo.mixture.chain.run_blocks import RunBlock, run_blocks
from skelbo.mixture.emissions import Statistics, WeightedTable

# Densities of blocks of rows, of all states.
Densities = WeightedGaussians | WeightedTable


class SequenceRows:
    """A table of runs about one origin, in blocks of consecutive rows.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        float32 or float64, possibly with NaN.
    runs : Runs
    weights : ndarray of shape (n_runs,) or None
        Frequency weights of the runs, all positive; None where every run counts once.
    origin : ndarray of shape (n_features,)
        Subtracted from every row.
    n_states : int
    cells : tuple of (int, int or None)
        Sizes of the temporaries of a row: ``layout.cells(n_states)``.
    """

    def __init__(self, X, runs: Runs, weights, origin: np.ndarray, n_states: int, cells):
        self.X, self.runs, self.weights, self.origin = X, runs, weights, origin
        self.n_states, self.cells = n_states, cells
        self._tables: dict[int, Rows] = {}
        self._keeps = X.size <= KEPT_CELLS

    def about(self, origin: np.ndarray) -> SequenceRows:
        """Return the same rows about another origin."""
        return SequenceRows(self.X, self.runs, self.weights, origin, self.n_states, self.cells)

    @cached_property
    def blocks(self) -> list[RunBlock]:
        """Blocks of rows of the recursions."""
        return run_blocks(self.runs, self.n_states)

    @property
    def total_weight(self) -> float:
        """Number of rows, each times the weight of its run."""
        if self.weights is None:
            return float(self.runs.n_rows)
        return float(self.weights @ self.runs.lengths)

    @cached_property
    def _row_weights(self) -> np.ndarray | None:
        return None if self.weights is None else self.runs.repeated(self.weights)

    def own_threads(self) -> AbstractContextManager:
        """Return a context for work that passes over these rows several times."""
        return Rows(self.X, None, None, *self.cells).own_threads()

    def log_prob(self, weighted: Densities, rows: slice) -> np.ndarray:
        """Return log p(x | k) of some rows, (n_rows, K), states contiguous, in nats."""
        n_rows = rows.stop - rows.start
        result: list[np.ndarray] = []

        with np.errstate(over="ignore"):  # squares of rows far from everything
            for block in self._table(rows).blocks():
                density = weighted.density(block)
                log_prob, base = density.whole_log_joint(), density.log_base()
                if np.ndim(base) or base:
                    log_prob += base
                if len(block.index) == n_rows:
                    return log_prob.T
                if not result:
                    result.append(np.empty((self.n_states, n_rows)))
                result[0][:, _places(block)] = log_prob
        return result[0].T

    def statistics(self, weighted: Densities, block: RunBlock, resp: np.ndarray) -> Statistics:
        """Return the expected statistics of a block under p(z_t | run), (n_rows, K)."""
        shares = np.ascontiguousarray(resp.T)
        if self.weights is not None:
            shares = shares * np.repeat(self.weights[block.runs], np.diff(block.bounds))

        def moments(part: Block) -> Statistics:
            whole = len(part.index) == len(resp)
            return weighted.density(part).moments(shares if whole else shares[:, _places(part)])

        table = self._table(block.rows)
        if len(resp) <= table.block_rows:
            return reduce(add, map(moments, table.blocks()))
        return table.total(moments)

    def _table(self, rows: slice) -> Rows:
        """Return some rows as a table of their own; blocks of short tables are kept."""
        if not self._keeps:
            return self._new_table(rows)
        known = self._tables.get(rows.start)
        if known is None or known.n_samples != rows.stop - rows.start:
            known = self._tables[rows.start] = self._new_table(rows)
        return known

    def _new_table(self, rows: slice) -> Rows:
        # Covariances that states share are estimated from sums over the rows, each of its weight.
        weights = None if self._row_weights is None else self._row_weights[rows]
        return Rows(self.X[rows], weights, self.origin, *self.cells)


def _places(block: Block) -> slice | np.ndarray:
    """Return the rows of a block as a slice where they stand below each other."""
    first, last = int(block.index[0]), int(block.index[-1])
    return slice(first, last + 1) if last - first + 1 == len(block.index) else block.index
