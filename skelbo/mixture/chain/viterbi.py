"""Most probable path of every run: Viterbi's algorithm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skelbo.data.sequences import Runs
from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.chain.run_blocks import RunBlock, compiled, run_blocks


def best_paths(
    chain: MarkovChain, runs: Runs, log_prob: Callable[[slice], np.ndarray]
) -> np.ndarray:
    """Return the states of the most probable path of each run, (n_rows,).

    A row that no path explains, given the rows of the run before, counts as missing.

    Parameters
    ----------
    chain : MarkovChain
    runs : Runs
    log_prob : callable, slice -> ndarray of shape (n_rows, n_components)
        Returns log p(x_t | z_t), in nats, of some rows.

    Returns
    -------
    states : ndarray of int, shape (n_rows,)
        Of equally probable paths, one of those with the lowest states.
    """
    K = chain.n_states
    pointers = np.empty((runs.n_rows, K), np.min_scalar_type(K))
    ends, carry = np.empty((runs.n_runs, K)), np.zeros(K)
    kernels = compiled(runs.n_rows, K)
    for block in run_blocks(runs, K):
        scores = np.ascontiguousarray(log_prob(block.rows), dtype=np.float64)
        here = pointers[block.rows]
        if kernels is None:
            ends[block.runs] = _best_scores(chain, block, scores, carry, here)
        else:
            ends[block.runs] = kernels.best_scores(
                scores, block.bounds, block.continued, carry,
                np.ascontiguousarray(chain.log_startprob),
                np.ascontiguousarray(chain.log_transmat), here,
            )  # fmt: skip
    return _follow(pointers, ends.argmax(axis=1), runs, kernels)


def _best_scores(chain: MarkovChain, block: RunBlock, scores, carry, pointers) -> np.ndarray:
    """Run the recursion over a block by NumPy; arguments as those of the compiled kernel."""
    segments = block.segments(chain.n_states, True)
    packed = segments.packed(scores.T)
    n_pieces = len(segments.first)
    best = now = chain.log_startprob[:, None] + np.zeros(n_pieces)
    chosen = np.zeros(packed.shape, pointers.dtype)
    transitions, head = chain.log_transmat[:, :, None], segments.heads[0]
    if block.continued:
        into = carry[:, None] + chain.log_transmat
        chosen[:, head], best[:, head] = into.argmax(axis=0), into.max(axis=0)
    ends = np.empty((chain.n_states, n_pieces))
    for here, _, n in [(0, 0, n_pieces), *segments.steps]:
        if here:
            into = now[:, None, :n] + transitions
            chosen[:, here : here + n], best = into.argmax(axis=0), into.max(axis=0)
        now = best + packed[:, here : here + n]
        impossible = np.isneginf(now.max(axis=0))
        if impossible.any():
            now = np.where(impossible, best, now)
        now -= now.max(axis=0)
        ends[:, :n] = now
    segments.unpack(chosen, pointers.T)
    carry[:] = ends[:, segments.heads[-1]]
    return ends[:, segments.heads].T


def _follow(pointers, states, runs: Runs, kernels) -> np.ndarray:
    """Return the paths that lead to the last states of the runs (n_runs,)."""
    path = np.empty(runs.n_rows, np.intp)
    if kernels is not None:
        kernels.follow(pointers, runs.bounds.astype(np.int64), states, path)
        return path
    rows, first = runs.bounds[1:] - 1, runs.bounds[:-1]
    states = states.copy()
    while len(rows):
        path[rows] = states
        left = rows > first
        rows, first, states = rows[left], first[left], states[left]
        states = pointers[rows, states].astype(np.intp)
        rows = rows - 1
    return path
