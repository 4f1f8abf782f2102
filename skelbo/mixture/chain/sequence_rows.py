"""Rows of sequences as the E-step of a hidden Markov model passes over them."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from skelbo.data.rows import KEPT_CELLS, Block, Rows
from skelbo.data.sequences import Runs
from skelbo.mixture.chain.run_blocks import RunBlock, run_blocks
from skelbo.mixture.emissions import Emissions, Statistics


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
    """

    def __init__(self, X, runs: Runs, weights, origin: np.ndarray, n_states: int):
        self.X, self.runs, self.weights, self.origin = X, runs, weights, origin
        self.n_states = n_states
        self._tables: dict[int, Rows] = {}
        self._keeps = X.size <= KEPT_CELLS

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

    def log_prob(self, emissions: Emissions, rows: slice) -> np.ndarray:
        """Return log p(x | k) of some rows, (n_rows, K), in nats."""
        weighted = emissions.weighted()
        n_rows = rows.stop - rows.start
        result: list[np.ndarray] = [np.empty((0, 0))]

        def fill(block: Block) -> None:
            density = weighted.density(block)
            log_prob = density.whole_log_joint()
            log_prob += density.log_base()
            if len(block.index) == n_rows:
                result[0] = log_prob
                return
            if result[0].size == 0:
                result[0] = np.empty((emissions.n_components, n_rows))
            result[0][:, block.index] = log_prob

        with np.errstate(over="ignore"):  # squares of rows far from everything
            for block in self._table(emissions, rows).blocks():
                fill(block)
        return result[0].T

    def statistics(self, emissions: Emissions, block: RunBlock, resp: np.ndarray) -> Statistics:
        """Return the expected statistics of a block under p(z_t | run), (n_rows, K)."""
        weighted = emissions.weighted()
        if self.weights is not None:
            per_row = np.repeat(self.weights[block.runs], np.diff(block.bounds))
            resp = resp * per_row[:, None]

        def moments(part: Block) -> Statistics:
            whole = len(part.index) == len(resp)
            return weighted.density(part).moments(resp.T if whole else resp.T[:, part.index])

        return self._table(emissions, block.rows).total(moments)

    def _table(self, emissions: Emissions, rows: slice) -> Rows:
        """Return some rows as a table of their own; blocks of short tables are kept."""
        if not self._keeps:
            return self._new_table(emissions, rows)
        key = rows.start
        known = self._tables.get(key)
        if known is None or known.n_samples != rows.stop - rows.start:
            known = self._new_table(emissions, rows)
            self._tables[key] = known
        return known

    def _new_table(self, emissions: Emissions, rows: slice) -> Rows:
        return Rows(self.X[rows], None, self.origin, *emissions.cells)
