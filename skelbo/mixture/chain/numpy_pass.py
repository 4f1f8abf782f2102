r"""Recursions of a hidden Markov chain over a block of rows by NumPy.

Where pieces of runs are cut into segments, a first pass multiplies the matrices
:math:`\mathrm{diag}(b_1)\, A\, \mathrm{diag}(b_2) \cdots` of each; these carry probabilities
from segment to segment, and both recursions then run within all segments at once. States come
first in all arrays here, so that operations run along contiguous rows.
"""

from __future__ import annotations

import numpy as np

from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.chain.segments import Segments

# Decimal digits that may be lost between two scalings of a row, and most steps between them.
# A link from segment to segment may lose twice the digits of a step.
DIGITS, MAX_STEPS = 140.0, 8
SMALLEST = 1e-300


class NumpyPass:
    """Both recursions over one block.

    Parameters
    ----------
    chain : MarkovChain
    bounds : ndarray of int, shape (n_pieces + 1,)
        Rows of the pieces of runs.
    segments : Segments
        Of these pieces; whole pieces where the chain is sparse.
    """

    def __init__(self, chain: MarkovChain, bounds: np.ndarray, segments: Segments):
        self.chain, self.bounds, self.segments = chain, bounds, segments
        self.A = np.ascontiguousarray(chain.transmat)
        self.A_T = np.ascontiguousarray(chain.transmat.T)
        smallest = max(float(chain.transmat.min()), 1e-300)
        digits = max(-float(np.log10(smallest)), 1.0)
        self.period = 1 if chain.is_sparse else int(np.clip(DIGITS / digits, 1, MAX_STEPS))
        self.transfers: np.ndarray | None = None  # of the linked segments
        self.tails: np.ndarray | None = None

    # ------------------------------------------------------------------- forward

    def half_log(self, log_prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scaled likelihoods, states contiguous, and the largest logarithms."""
        return half_log(log_prob)

    def forward(self, b, continued, entering, watch, alpha, steps, lost) -> None:
        """Filter the rows; arguments as those of `numba_chain.forward`."""
        chain, segments = self.chain, self.segments
        packed = segments.packed(b.T)
        into = np.empty((chain.n_states, len(segments.first)))
        into[:, segments.heads] = chain.startprob[:, None]
        if continued:
            into[:, segments.heads[0]] = self.A_T @ entering[0]
        if segments.links:
            self._carry_forward(packed, into)
        if watch:
            self._watched(packed, into, continued, entering, watch, alpha, steps, lost)
            return
        filtered, scale = self._filter(packed, into)
        total = np.add.reduce(filtered, axis=0)
        filtered *= _reciprocal(total)
        segments.unpack(filtered, alpha.T)
        # Totals are relative to that of the row before.
        scale *= total
        scale[len(segments.first) :] *= _reciprocal(total[segments.previous])
        segments.unpack(scale, steps)
        lost[:] = 0.0
        entering[0], entering[1] = alpha[-1], 0.0

    def _filter(self, packed, into) -> tuple[np.ndarray, np.ndarray]:
        """Return filtered probabilities up to a factor, and how much they were scaled down."""
        A_T, period = self.A_T, self.period
        filtered, scale = np.empty_like(packed), np.ones(packed.shape[1])
        n_first = into.shape[1]
        np.multiply(into, packed[:, :n_first], out=filtered[:, :n_first])
        _rescale(filtered[:, :n_first], scale[:n_first])
        for t, (here, before, n) in enumerate(self.segments.steps, 1):
            rows = filtered[:, here : here + n]
            np.matmul(A_T, filtered[:, before : before + n], out=rows)
            rows *= packed[:, here : here + n]
            if t % period == 0:
                _rescale(rows, scale[here : here + n])
        return filtered, scale

    def _watched(self, packed, into, continued, entering, watch, alpha, steps, lost) -> None:
        """Filter rows of whole pieces and bound what underflow loses."""
        segments, filtered = self.segments, np.empty_like(packed)
        totals, ends = np.empty(packed.shape[1]), np.empty((2, *into.shape))
        missed_into = np.zeros_like(into)
        if continued:
            missed_into[:, segments.heads[0]] = self._watch(*entering)
        missed = missed_into
        for here, before, n in [(0, 0, into.shape[1]), *segments.steps]:
            if here:
                rows = filtered[:, before : before + n]
                into, missed_into = self.A_T @ rows, self._watch(rows, missed[:, :n])
            rows = into * packed[:, here : here + n]
            total = np.add.reduce(rows, axis=0)
            reached = (into > 0) | (missed_into > 0)
            missed = missed_into * packed[:, here : here + n] + watch * reached
            with np.errstate(over="ignore"):
                missed *= _reciprocal(total)
            missed[:, total <= 0] = np.inf
            filtered[:, here : here + n] = rows * _reciprocal(total)
            totals[here : here + n] = total
            ends[0, :, :n], ends[1, :, :n] = filtered[:, here : here + n], missed
        segments.unpack(filtered, alpha.T)
        segments.unpack(totals, steps)
        lost[:] = ends[1][:, segments.heads].sum(axis=0)
        entering[:] = ends[:, :, segments.heads[-1]]

    def _watch(self, before, missed) -> np.ndarray:
        """Return the bounds after a transition; rare ones count a little of what they carry."""
        carried = (before > 0) | (missed > 0)
        moved = self.A_T @ np.minimum(missed, 1.0)  # a share of more than all is lost anyway
        return moved + 1e-300 * ((self.A_T > 0).astype(float) @ carried)

    # ------------------------------------------------------------- segment to segment

    def _products(self, packed: np.ndarray) -> np.ndarray:
        """Return the product of the matrices of each segment, transposed, (K, K, n_segments)."""
        segments, K = self.segments, self.chain.n_states
        n_segments = len(segments.first)
        product = np.eye(K)[:, :, None] * packed[:, None, :n_segments]
        moved, whole, alive = np.empty_like(product), product.copy(), n_segments
        for t, (here, _, n) in enumerate(segments.steps, 1):
            if n < alive:
                whole[:, :, n:alive] = product[:, :, n:alive]
                alive = n
            np.matmul(self.A_T, product.reshape(K, -1), out=moved.reshape(K, -1))
            rows = packed[:, None, here : here + n]
            np.multiply(moved[:, :, :n], rows, out=product[:, :, :n])
            if t % self.period == 0:
                product *= _reciprocal(product.reshape(K * K, -1).max(axis=0))
        whole[:, :, :alive] = product[:, :, :alive]
        return whole

    def _carry_forward(self, packed: np.ndarray, into: np.ndarray) -> None:
        """Fill in p(first state of a segment | rows before) of the segments behind others."""
        product = self._products(packed)
        segments, (K, n_segments) = self.segments, into.shape
        moved = (self.A_T @ product.reshape(K, -1)).reshape(K, K, n_segments)
        moved *= _reciprocal(moved.reshape(K * K, -1).max(axis=0))
        self.tails = product
        self.transfers = transfers = np.ascontiguousarray(moved.transpose(2, 0, 1))
        columns = np.ascontiguousarray(into.T)
        if segments.single is not None:
            before, matrices = columns[segments.single[0][0]], list(transfers)
            for number, (here, there) in enumerate(segments.single):
                before = matrices[here].dot(before)
                if number % self.period == 0:
                    before *= _reciprocal(np.add.reduce(before))
                columns[there] = before
        else:
            for link in segments.links:
                leaving = (transfers[link.segments] @ columns[link.segments][:, :, None])[:, :, 0]
                columns[link.successors] = leaving * _reciprocal(leaving.sum(axis=1, keepdims=True))
        into[:] = columns.T
        into *= _reciprocal(np.add.reduce(into, axis=0))

    def _carry_backward(self, ends: np.ndarray) -> None:
        """Fill in p(rows after a segment | its last state), up to a factor."""
        transfers, tails, segments = self.transfers, self.segments.tails, self.segments
        assert transfers is not None
        assert self.tails is not None
        rows = np.empty((len(segments.first), len(ends)))  # p(rows of a segment and later | state)
        products = self.tails[:, :, tails].transpose(2, 1, 0)
        rows[tails] = (products @ ends[:, tails].T[:, :, None])[:, :, 0]
        rows[tails] *= _reciprocal(rows[tails].max(axis=1, keepdims=True))
        if segments.single is not None:
            after, matrices = rows[segments.single[-1][1]], list(transfers)
            for number, (here, _) in enumerate(reversed(segments.single)):
                after = after.dot(matrices[here])
                if number % self.period == 0:
                    after *= _reciprocal(np.maximum.reduce(after))
                rows[here] = after
        else:
            for link in reversed(segments.links):
                before = (rows[link.successors][:, None, :] @ transfers[link.segments])[:, 0]
                rows[link.segments] = before * _reciprocal(before.max(axis=1, keepdims=True))
        after = rows[segments.successors].T
        ends[:, segments.linked] = self.A @ (after * _reciprocal(after.max(axis=0)))

    # ------------------------------------------------------------------ backward

    def backward(self, b, alpha, leaving, open_end, weights, skip, pairs, least) -> None:
        """Smooth the rows; arguments as those of `numba_chain.backward`."""
        segments, bounds = self.segments, self.bounds
        packed, filtered = segments.packed(b.T), segments.packed(alpha.T)
        ends = np.ones((self.chain.n_states, len(segments.first)))
        if open_end:
            ends[:, segments.tails[-1]] = self.A @ leaving
        if segments.links:
            self._carry_backward(ends)
        resp, following = self._smooth(packed, ends)
        resp *= filtered
        total = np.add.reduce(resp, axis=0)
        resp *= _reciprocal(total)
        weight = segments.packed(np.repeat(np.where(skip, 0.0, weights), np.diff(bounds)))
        filtered *= weight * _reciprocal(total)
        self._add_pairs(filtered, following, weight, pairs)
        if open_end:
            last = segments.places_of_last[segments.tails[-1]]
            pairs += np.outer(filtered[:, last], leaving)
        least[:] = self._least(total, open_end)
        segments.unpack(resp, alpha.T)
        first = following[:, segments.heads[0]]
        leaving[:] = first / max(float(first.max()), 1e-300)

    def _smooth(self, packed, ends) -> tuple[np.ndarray, np.ndarray]:
        """Return p(later rows | state) and p(this and later rows | state), up to factors."""
        after, following = np.empty_like(packed), np.empty_like(packed)
        last, n_rows = int(self.segments.offsets[-2]), packed.shape[1]
        after[:, last:] = ends[:, : n_rows - last]
        for t, (here, before, n) in self.segments.steps_back:
            rows = following[:, here : here + n]
            np.multiply(packed[:, here : here + n], after[:, here : here + n], out=rows)
            if t % self.period == 0:
                rows *= _reciprocal(np.maximum.reduce(rows, axis=0))
            np.matmul(self.A, rows, out=after[:, before : before + n])
            if before + n < here:
                after[:, before + n : here] = ends[:, n : here - before]
        n_first = ends.shape[1]
        np.multiply(packed[:, :n_first], after[:, :n_first], out=following[:, :n_first])
        return after, following

    def _add_pairs(self, share, following, weight, pairs) -> None:
        """Add the transitions within segments, and those from one segment to the next."""
        segments = self.segments
        pairs += share[:, segments.previous] @ following[:, len(segments.first) :].T
        if segments.links:
            last = segments.places_of_last[segments.linked]
            before, after = share[:, last], following[:, segments.successors]
            # What follows is scaled otherwise here: shares of a run add up to its weight.
            expected = (before * (self.A @ after)).sum(axis=0)
            pairs += (before * (weight[last] * _reciprocal(expected))) @ after.T

    def _least(self, total: np.ndarray, open_end: bool) -> np.ndarray:
        """Return the smallest scale of a row of each piece."""
        if not self.chain.is_sparse:
            return np.ones(len(self.bounds) - 1)
        scale = np.empty_like(total)
        self.segments.unpack(total, scale)
        ending = self.bounds[1:-1] if open_end else self.bounds[1:]
        scale[ending - 1] = 1.0
        return np.minimum.reduceat(scale, self.bounds[:-1])


def half_log(log_prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return exp(log_prob - top), (n_rows, K) in Fortran order, and top, the largest of each row.

    A row that every state excludes counts as missing: it is all ones, and its top is -inf.
    """
    columns = log_prob.T
    top = np.maximum.reduce(columns, axis=0)
    excluded = np.isneginf(top) if np.isneginf(np.minimum.reduce(top, initial=0.0)) else None
    if excluded is None:
        scaled = np.subtract(columns, top, order="C")
    else:
        scaled = np.where(excluded, 0.0, columns) - np.where(excluded, 0.0, top)
    return np.exp(scaled, out=scaled).T, top


def _reciprocal(totals: np.ndarray) -> np.ndarray:
    """Return 1 / totals, a finite number where a total is zero."""
    return np.reciprocal(np.maximum(totals, SMALLEST))


def _rescale(rows: np.ndarray, scale: np.ndarray) -> None:
    """Divide columns by their sums, which are written to `scale`; columns of zero stay."""
    np.add.reduce(rows, axis=0, out=scale)
    rows *= _reciprocal(scale)
