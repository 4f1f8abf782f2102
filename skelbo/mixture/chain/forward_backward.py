r"""Forward-backward: the exact posterior of the path of every run.

Each row of log p(x_t | z_t) is divided by its largest value, which is added to the log-likelihood:
recursions on probabilities then neither overflow nor underflow but where zeros among the
transitions forbid the likely states. What that may lose is bounded, and a run that may have lost
anything that counts is done again in logarithms.

References
----------
Rabiner (1989), *A Tutorial on Hidden Markov Models*; Zucchini, MacDonald and Langrock (2016),
*Hidden Markov Models for Time Series*, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.data.sequences import Runs
from skelbo.mixture.chain.log_space import RunPosterior, run_posterior
from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.chain.run_blocks import ChainPass, RunBlock, passes, run_blocks

# Bytes of scaled likelihoods and filtered probabilities that are kept from the forward pass for the
# backward one; of longer tables both are computed again, block by block, with the same bits.
KEPT_BYTES = 2**27
# Scales of a row below which it is done again in logarithms.
SMALLEST_STEP, SMALLEST_SCALE = 1e-290, 1e-280
# What underflow may lose of a state in one row, and what a run may have lost in all, as shares.
WATCHED, LOST = 1e-290, 1e-14

LogProb = Callable[[slice], np.ndarray]


@dataclass
class _Kept:
    """Scaled likelihoods, filtered probabilities, and the pass that made them, of one block."""

    b: np.ndarray
    alpha: np.ndarray
    pass_over: ChainPass


@dataclass(frozen=True)
class ExpectedPaths:
    """Result of a forward and a backward pass.

    Attributes
    ----------
    log_steps : ndarray of shape (n_rows,)
        log p(x_t | rows of the run before), in nats.
    first : ndarray of shape (n_components,)
        Weighted expected number of runs that begin in each state.
    pairs : ndarray of shape (n_components, n_components)
        Weighted expected number of transitions.
    total : object
        Sum of the statistic over the blocks.
    """

    log_steps: np.ndarray
    first: np.ndarray
    pairs: np.ndarray
    total: Any

    def log_prob(self, runs: Runs, weights: np.ndarray | None) -> float:
        """Return the weighted sum of log p(run) over the runs, in nats."""
        if weights is None:
            return float(np.add.reduce(self.log_steps))
        return float(weights @ np.add.reduceat(self.log_steps, runs.bounds[:-1]))


class _Unsafe(Exception):
    """Runs whose backward pass underflowed."""

    def __init__(self, runs: np.ndarray):
        self.runs = runs


class ForwardBackward:
    """The recursions of one chain over the runs of a table.

    Parameters
    ----------
    chain : MarkovChain
    runs : Runs
    log_prob : callable, slice -> ndarray of shape (n_rows, n_components)
        Returns log p(x_t | z_t), in nats, of some rows; -inf where a state excludes a row.
    blocks : list of RunBlock, optional
        Of these runs; kept by the caller for several passes.
    weights : ndarray of shape (n_runs,), optional
        Frequency weights of the runs.
    """

    def __init__(
        self,
        chain: MarkovChain,
        runs: Runs,
        log_prob: LogProb,
        blocks: list[RunBlock] | None = None,
        weights: np.ndarray | None = None,
    ):
        self.chain, self.runs, self.log_prob = chain, runs, log_prob
        self.blocks = run_blocks(runs, chain.n_states) if blocks is None else blocks
        self.weights = np.ones(runs.n_runs) if weights is None else weights
        self.pass_over = passes(chain, runs.n_rows)
        self.watch = WATCHED if chain.is_sparse else 0.0
        self.redone: dict[int, RunPosterior] = {}

    def filter(self) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(x_t | rows before), (n_rows,), and p(last z | run), (n_runs, K)."""
        ends = np.empty((self.runs.n_runs, self.chain.n_states))

        def keep_ends(block: RunBlock, here: _Kept) -> None:
            # The last piece of a run comes last.
            ends[block.runs] = here.alpha[block.bounds[1:] - 1]

        log_steps, _ = self._forward(keep_ends)
        for number, posterior in self.redone.items():
            ends[number] = posterior.filtered[-1]
        return log_steps, ends

    def posteriors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return p(z_t | rows up to t) and p(z_t | all rows of the run), (n_rows, K) each."""
        filtered, resp = np.empty((2, self.runs.n_rows, self.chain.n_states))

        def keep_filtered(block: RunBlock, here: _Kept) -> None:
            filtered[block.rows] = here.alpha

        def keep_smoothed(block: RunBlock, smoothed: np.ndarray) -> None:
            resp[block.rows] = smoothed

        self._forward(keep_filtered)
        self.smooth(keep_smoothed)
        for number, posterior in self.redone.items():
            filtered[self.runs.bounds[number] : self.runs.bounds[number + 1]] = posterior.filtered
        return filtered, resp

    def smooth(self, statistic: Callable[[RunBlock, np.ndarray], Any]) -> ExpectedPaths:
        """Pass forward and backward.

        Parameters
        ----------
        statistic : callable, (block, resp) -> additive object or None
            Called for every block, from the last to the first, with p(z_t | run), (n_rows, K).

        Returns
        -------
        ExpectedPaths
        """
        kept: dict[int, _Kept] = {}
        room = KEPT_BYTES // (16 * self.chain.n_states * max(self.runs.n_rows, 1))

        def keep(block: RunBlock, here: _Kept) -> None:
            if room:
                kept[block.rows.start] = here

        log_steps, entering = self._forward(keep)
        while True:
            try:
                return self._backward(log_steps, entering, kept, statistic)
            except _Unsafe as unsafe:
                kept.clear()  # which the backward pass has overwritten
                self._redo(unsafe.runs, log_steps)

    # --------------------------------------------------------------------- passes

    def _forward(self, consume: Callable[[RunBlock, _Kept], None]):
        """Filter all blocks; return log-steps, and what enters each block."""
        log_steps = np.empty(self.runs.n_rows)
        suspect = np.zeros(self.runs.n_runs, bool)
        carry = np.zeros((2, self.chain.n_states))
        entering = []
        for block in self.blocks:
            entering.append(carry.copy())
            here, top, steps, lost = self._filter(block, carry)
            if self.watch or not np.minimum.reduce(steps) >= SMALLEST_STEP:
                suspect[block.runs] |= _suspect(block, steps, lost)
                steps = np.maximum(steps, SMALLEST_STEP)  # those of suspects, which are done again
            np.add(np.log(steps), top, out=log_steps[block.rows])
            consume(block, here)
        self._redo(np.flatnonzero(suspect), log_steps)
        return log_steps, entering

    def _filter(self, block: RunBlock, entering: np.ndarray):
        """Return the filtered block, its largest log-likelihoods, steps and bounds of loss."""
        pass_over = self.pass_over(block)
        b, top = pass_over.half_log(self.log_prob(block.rows))
        here = _Kept(b, np.empty_like(b), pass_over)
        steps, lost = np.empty(len(b)), np.empty(len(block.bounds) - 1)
        pass_over.forward(b, block.continued, entering, self.watch, here.alpha, steps, lost)
        return here, top, steps, lost

    def _redo(self, suspects: np.ndarray, log_steps: np.ndarray) -> None:
        """Do some runs in logarithms."""
        for number in suspects.tolist():
            rows = slice(*self.runs.bounds[number : number + 2].tolist())
            posterior = run_posterior(self.chain, np.asarray(self.log_prob(rows)))
            log_steps[rows] = posterior.log_steps
            self.redone[number] = posterior

    def _backward(self, log_steps, entering, kept, statistic) -> ExpectedPaths:
        """Smooth all blocks from the last to the first."""
        K = self.chain.n_states
        skip = np.zeros(self.runs.n_runs, bool)
        if self.redone:
            skip[list(self.redone)] = True
        counts, first, leaving = np.zeros((K, K)), np.zeros(K), np.ones(K)
        total = None
        for block, carry in zip(reversed(self.blocks), reversed(entering), strict=True):
            here = kept.pop(block.rows.start, None) or self._filter(block, carry.copy())[0]
            least, resp = np.empty(len(block.bounds) - 1), here.alpha
            here.pass_over.backward(
                here.b, resp, leaving, block.open_end, self.weights[block.runs],
                skip[block.runs], counts, least,
            )  # fmt: skip
            unsafe = ~(least >= SMALLEST_SCALE) & ~skip[block.runs] if self.watch else skip[:0]
            if unsafe.any():
                raise _Unsafe(block.runs.start + np.flatnonzero(unsafe))
            self._insert_redone(block, resp)
            begun = self.weights[block.runs][int(block.continued) :]
            first += begun @ resp[block.fresh]
            part = statistic(block, resp)
            total = part if total is None else total + part
        pairs = counts * self.chain.transmat
        for number, posterior in self.redone.items():
            pairs += self.weights[number] * posterior.pairs
        return ExpectedPaths(log_steps, first, pairs, total)

    def _insert_redone(self, block: RunBlock, resp: np.ndarray) -> None:
        """Write the posteriors of the runs that were done in logarithms."""
        for number, posterior in self.redone.items():
            if block.runs.start <= number < block.runs.stop:
                piece = number - block.runs.start
                start, stop = block.bounds[piece : piece + 2]
                offset = block.rows.start + start - self.runs.bounds[number]
                resp[start:stop] = posterior.resp[offset : offset + stop - start]


def _suspect(block: RunBlock, steps: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return which pieces have lost a path that counts, or a whole row, to underflow."""
    whole = np.minimum.reduceat(steps, block.bounds[:-1]) >= SMALLEST_STEP
    kept = lost <= LOST
    if block.open_end:
        kept[-1] = True  # what is lost counts only if it matters at the end of the run
    return ~(whole & kept)
