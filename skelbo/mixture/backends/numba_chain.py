"""Numba kernels of the recursions of a hidden Markov chain, row by row.

Probabilities are scaled in each row, so that nothing is computed in logarithms; both inner loops
run along contiguous rows of matrices.
"""

from __future__ import annotations

import numba
import numpy as np

from skelbo.mixture.backends.numba_kernel import exp

# Rows whose largest likelihoods stay in the fastest cache.
TILE = 256
_options = {"cache": True, "nogil": True, "error_model": "numpy"}
_exact = numba.njit(**_options, fastmath={"contract"})
_compiled = numba.njit(**_options, fastmath={"contract", "reassoc", "nsz"})


@_exact
def half_log(columns, b, top):
    """Scale likelihoods row by row, a tile of rows after another.

    Parameters
    ----------
    columns : ndarray of shape (K, n_rows)
        log p(x_t | z_t).
    b : ndarray of shape (n_rows, K)
        Output: likelihoods over the largest of their row. Ones where all are zero: a row that every
        state excludes counts as missing.
    top : ndarray of shape (n_rows,)
        Output: logarithm of the largest, -inf where it is zero.
    """
    K, n_rows = columns.shape
    scaled = np.empty(TILE)
    for first in range(0, n_rows, TILE):
        n = min(TILE, n_rows - first)
        largest = top[first : first + n]
        largest[:] = columns[0, first : first + n]
        for k in range(1, K):
            row = columns[k, first : first + n]
            for r in range(n):
                largest[r] = row[r] if row[r] > largest[r] else largest[r]
        for k in range(K):
            row = columns[k, first : first + n]
            for r in range(n):
                scaled[r] = exp(row[r] - largest[r] if largest[r] > -np.inf else 0.0)
            for r in range(n):
                b[first + r, k] = scaled[r]


@_compiled
def forward(b, bounds, continued, entering, start, A, A_T, watch, alpha, steps, lost):
    """Filter the pieces of a block of rows.

    Parameters
    ----------
    b : ndarray of shape (n_rows, K)
        p(x_t | z_t) over its largest value in the row.
    bounds : ndarray of int, shape (n_pieces + 1,)
    continued : bool
        Whether the first piece continues a run; `entering` holds its state before, (2, K): the
        filtered probabilities, and the bounds on what underflow has lost of each.
    entering : ndarray of shape (2, K)
        Overwritten by the same after the last row.
    start, A, A_T : ndarray
        First probabilities, transition matrix and its transpose.
    watch : float
        What underflow may lose of a state in one row, as a share of the row; 0 if that is harmless.
    alpha : ndarray of shape (n_rows, K)
        Output: p(z_t | rows up to t).
    steps : ndarray of shape (n_rows,)
        Output: p(x_t | rows before) in the units of b.
    lost : ndarray of shape (n_pieces,)
        Output: bound on the share of the probability that underflow has lost.
    """
    K = len(start)
    before, missed = entering[0].copy(), entering[1].copy()
    into, missed_into = np.empty(K), np.empty(K)
    for piece in range(len(bounds) - 1):
        for t in range(bounds[piece], bounds[piece + 1]):
            if t == bounds[piece] and not (continued and piece == 0):
                for j in range(K):
                    into[j], missed[j], missed_into[j] = start[j], 0.0, 0.0
            else:
                for j in range(K):
                    share = 0.0
                    for i in range(K):
                        share += before[i] * A_T[j, i]
                    into[j] = share
                if watch > 0.0:
                    _watch_transition(before, missed, A, watch, missed_into)
            total = 0.0
            for j in range(K):
                share = into[j] * b[t, j]
                before[j] = share
                total += share
            steps[t] = total
            scale = 1.0 / total if total > 0.0 else 0.0
            for j in range(K):
                before[j] *= scale
                alpha[t, j] = before[j]
            if watch > 0.0:
                for j in range(K):
                    reached = into[j] > 0.0 or missed_into[j] > 0.0
                    missed[j] = missed_into[j] * b[t, j] + (watch if reached else 0.0)
                    missed[j] = missed[j] * scale if total > 0.0 else np.inf
        lost[piece] = 0.0
        for j in range(K):
            lost[piece] += missed[j]
    entering[0, :], entering[1, :] = before, missed


@_compiled
def _watch_transition(before, missed, A, watch, missed_into):
    """Write the bounds after a transition; rare ones count at least `watch` of what they carry."""
    K = len(before)
    for j in range(K):
        missed_into[j] = 0.0
    for i in range(K):
        for j in range(K):
            if A[i, j] > 0.0:
                missed_into[j] += missed[i] * A[i, j]
                if before[i] > 0.0 or missed[i] > 0.0:
                    missed_into[j] += 1e-300


@_compiled
def backward(b, alpha, bounds, leaving, open_end, A, sparse, weights, skip, pairs, least):
    """Smooth the pieces of a block of rows, last row first.

    Parameters
    ----------
    b : ndarray of shape (n_rows, K)
    alpha : ndarray of shape (n_rows, K)
        As `forward` wrote it; overwritten by p(z_t | all rows).
    bounds : ndarray of int, shape (n_pieces + 1,)
    leaving : ndarray of shape (K,)
        p(row after the block and all later ones | its state), up to a factor, if `open_end`;
        overwritten by the same of the first row of the block.
    open_end : bool
        Whether the last piece continues in the next block.
    A : ndarray of shape (K, K)
        Transition matrix.
    sparse : bool
        Whether transitions are so rare that p(later rows | state) could overflow beside the filter.
    weights : ndarray of shape (n_pieces,)
    skip : ndarray of bool, shape (n_pieces,)
        Pieces to pass over.
    pairs : ndarray of shape (K, K)
        The weighted expected number of transitions is added, before it is multiplied by A.
    least : ndarray of shape (n_pieces,)
        Output: smallest scale of a row's posterior; one that underflow has touched is tiny.
    """
    K = len(A)
    after, beta = leaving.copy(), np.empty(K)
    for piece in range(len(bounds) - 2, -1, -1):
        least[piece] = 1.0
        if skip[piece]:
            continue
        first, last = bounds[piece], bounds[piece + 1]
        for t in range(last - 1, first - 1, -1):
            if t == last - 1 and not (open_end and piece == len(bounds) - 2):
                scale = 1.0
                for i in range(K):
                    beta[i] = 1.0
            else:
                total = 0.0
                for i in range(K):
                    share = 0.0
                    for j in range(K):
                        share += A[i, j] * after[j]
                    beta[i] = share
                    total += alpha[t, i] * share
                least[piece] = min(least[piece], total)
                scale = 1.0 / total if total > 0.0 else 0.0
                weight = weights[piece]
                for i in range(K):
                    share = alpha[t, i] * scale
                    alpha[t, i] = share * beta[i]
                    share *= weight
                    for j in range(K):
                        pairs[i, j] += share * after[j]
            if sparse:
                top = 0.0
                for i in range(K):
                    top = max(top, b[t, i] * beta[i])
                scale = 1.0 / top if top > 0.0 else 0.0
            for i in range(K):
                after[i] = b[t, i] * beta[i] * scale
    leaving[:] = after


@_compiled
def best_scores(log_prob, bounds, continued, entering, log_start, log_A, pointers):
    """Run Viterbi's recursion over a block of rows.

    `entering` (K,) holds the scores of the best paths before the block, and is overwritten by those
    at its end; `pointers` (n_rows, K) receives the best state before each one. Rows begin anew at
    the bounds of the pieces, whose last scores are returned. A row that no path explains counts as
    missing.
    """
    K = len(log_start)
    ends = np.empty((len(bounds) - 1, K))
    before, now, into = entering.copy(), np.empty(K), np.empty(K)
    for piece in range(len(bounds) - 1):
        for t in range(bounds[piece], bounds[piece + 1]):
            fresh = t == bounds[piece] and not (continued and piece == 0)
            top = top_into = -np.inf
            for j in range(K):
                best, chosen = log_start[j], 0
                if not fresh:
                    best = before[0] + log_A[0, j]
                    for i in range(1, K):
                        score = before[i] + log_A[i, j]
                        if score > best:
                            best, chosen = score, i
                pointers[t, j] = chosen
                into[j], now[j] = best, best + log_prob[t, j]
                top, top_into = max(top, now[j]), max(top_into, best)
            for j in range(K):
                before[j] = now[j] - top if top > -np.inf else into[j] - top_into
        ends[piece] = before
    entering[:] = before
    return ends


@_compiled
def follow(pointers, bounds, states, path):
    """Write the paths (n_rows,) that lead to the last states (n_runs,) of the runs."""
    for run in range(len(bounds) - 1):
        state = states[run]
        for t in range(bounds[run + 1] - 1, bounds[run] - 1, -1):
            path[t] = state
            state = pointers[t, state]
