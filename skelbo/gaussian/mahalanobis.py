r"""Distances from K Gaussians, where most are seen to be too long before they are worked out.

With the precision :math:`U U^T`, U upper triangular, :math:`|U^T (x - \mu)|^2` is a sum over rows
of :math:`U^T`, and each term is at least zero. The last rows see all columns, which makes them the
ones to begin with: a few of them leave most rows of a table to one or two Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from skelbo.gaussian.moments import NEGLIGIBLE

# Nats below the largest log-density of a row at which another cannot be seen beside it.
MARGIN = -float(np.log(NEGLIGIBLE))
# Rows of a triangular factor per matrix product: few enough to leave out most of its zeros, enough
# for speed.
STRIP_ROWS = 32
# Columns for each row of the factors to begin with, and columns from which this is tried at all.
COLUMNS_PER_ROW, MANY_COLUMNS = 8, 24
# Share of the pairs of a row and a Gaussian up to which they are worked out one by one; it is
# estimated from this many rows first.
SPARSE, SAMPLE_ROWS = 0.3, 128


def mahalanobis_cells(n_components: int, n_features: int) -> int:
    """Return the size of the temporaries that a row needs."""
    return n_features + n_components * (2 + n_features // COLUMNS_PER_ROW)


@dataclass(frozen=True)
class MahalanobisTerms:
    """K Gaussians by their whitening transforms.

    Attributes
    ----------
    means : ndarray of shape (n_components, n_features)
    precision_cholesky : ndarray of shape (n_components, n_features, n_features)
        U, upper triangular, with precision U U^T. Rows, means and factors are of one precision.
    """

    means: np.ndarray
    precision_cholesky: np.ndarray

    def mahalanobis_sq(self, values: np.ndarray) -> np.ndarray:
        """Return the squares of the Mahalanobis distances, (K, n), of rows (p, n)."""
        rows = np.concatenate([np.ones_like(values[:1]), values])
        lower = self.precision_cholesky.swapaxes(1, 2)
        # y = U^T x - U^T mu, as one product with (1, x).
        whitening = np.concatenate([-lower @ self.means[:, :, None], lower], axis=2)
        white = np.empty(values.shape, values.dtype)
        squares = np.empty((len(self.means), values.shape[1]), values.dtype)
        for k, factor in enumerate(whitening):
            for strip, known in _strips(len(values)):
                np.matmul(factor[strip, : known + 1], rows[: known + 1], out=white[strip])
            np.einsum("pn,pn->n", white, white, out=squares[k])
        return squares

    def log_joint(self, values: np.ndarray, constants: np.ndarray) -> np.ndarray:
        """Return `constants` (K,) less half the distances, (K, n), to rounding of a row's sum.

        A term that no sum over the components will show is -inf.
        """
        K, p = self.means.shape
        constants = constants.astype(values.dtype, copy=False)
        step = max(1, values.shape[1] // SAMPLE_ROWS)
        if K > 1 and p >= MANY_COLUMNS and self._bounded(values[:, ::step], constants)[2]:
            bound, likely, sparse = self._bounded(values, constants)
            if sparse:
                return self._refined(bound, likely, values)
        return constants[:, None] - 0.5 * self.mahalanobis_sq(values)

    @property
    def _n_head(self) -> int:
        """Number of rows of the factors that are left for later."""
        p = self.means.shape[1]
        return p - p // COLUMNS_PER_ROW

    def _bounded(
        self, values: np.ndarray, constants: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Bound log-densities from above; tell which may matter, and whether these are few."""
        bound = constants[:, None] - 0.5 * self._tail(values)
        # Half a nat is what a column takes from the Gaussian that a row comes from.
        least = np.maximum.reduce(bound, axis=0) - (0.5 * self._n_head + MARGIN)
        likely = bound > least
        return bound, likely, np.count_nonzero(likely) <= SPARSE * likely.size

    def _tail(self, values: np.ndarray) -> np.ndarray:
        """Return the part of the distances that the last rows of the factors give, (K, n)."""
        K, p = self.means.shape
        tail = np.ascontiguousarray(self.precision_cholesky[:, :, self._n_head :].swapaxes(1, 2))
        white = np.dot(tail.reshape(-1, p), values)
        white -= (tail @ self.means[:, :, None]).reshape(-1, 1)
        white = white.reshape(K, -1, values.shape[1])
        return np.einsum("kpn,kpn->kn", white, white)

    def _refined(self, bound: np.ndarray, chosen: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Lower upper bounds to what they bound: where `chosen`, then where it turns out to matter.

        The others are far below the largest of their row by then: -inf.
        """
        log_joint = np.full(bound.shape, -np.inf, bound.dtype)
        left = np.ones(bound.shape, dtype=bool)
        while chosen.any():
            pairs = np.flatnonzero(chosen)
            refined = self._head(pairs, values)
            refined *= -0.5
            refined += bound.ravel()[pairs]
            log_joint.ravel()[pairs] = refined
            left.ravel()[pairs] = False
            chosen = bound > np.maximum.reduce(log_joint, axis=0) - MARGIN
            chosen &= left
        return log_joint

    def _head(self, pairs: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return what the other rows of the factors add for pairs k n + row, which ascend."""
        head, n = slice(self._n_head), values.shape[1]
        squares = np.empty(len(pairs), values.dtype)
        ends = np.searchsorted(pairs, n * np.arange(len(self.means) + 1))
        for k, (start, end) in enumerate(pairwise(ends)):
            if end > start:
                steps = _columns(values, pairs[start:end] - k * n, head)
                steps -= self.means[k, head, None]
                squares[start:end] = _squares(self.precision_cholesky[k].T, steps)
        return squares


def squared_distances(centres: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return |x_i - c_k|^2, (K, n), for centres (K, p) and values (p, n), to the last digit."""
    steps = (values - centre[:, None] for centre in centres)
    return np.array([np.einsum("pn,pn->n", step, step) for step in steps])


def _strips(p: int):
    """Yield the strips of a lower triangular matrix, and how many columns each one has."""
    for start in range(0, p, STRIP_ROWS):
        stop = min(start + STRIP_ROWS, p)
        yield slice(start, stop), stop


def _squares(lower: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return |L s|^2 for each column s, (n,); L may have more rows than the columns have."""
    white = [np.dot(lower[strip, :known], steps[:known]) for strip, known in _strips(len(steps))]
    return sum(np.einsum("pn,pn->n", part, part) for part in white)


def _columns(values: np.ndarray, index: np.ndarray, features: slice) -> np.ndarray:
    """Return some rows (p, n) at some features, in whichever order the array lies in memory."""
    if values.flags.c_contiguous:
        return values[features].take(index, axis=1)
    return values.T.take(index, axis=0).T[features]
