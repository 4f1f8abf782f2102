r"""Mahalanobis distances from K Gaussians, of which most are bounded and never computed.

With the precision :math:`U U^T`, U upper triangular, :math:`|U^T (x - \mu)|^2` is a sum over rows
of :math:`U^T`, and each term is at least zero. The last rows of :math:`U^T` involve all columns, so
that a few of them bound the density enough to leave most rows to one or two Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from skelbo.gaussian.moments import NEGLIGIBLE

# Nats below the largest log-density of a row at which another changes no sum.
MARGIN = -float(np.log(NEGLIGIBLE))
# Rows of a triangular factor per matrix product: few enough to leave out most of its zeros, enough
# for speed.
STRIP_ROWS = 32
# Columns per row of U^T in the bound, and columns from which bounds are computed at all.
COLUMNS_PER_ROW, MANY_COLUMNS = 8, 24
# Largest share of the pairs of a row and a Gaussian that are computed one by one, and the number of
# rows from which that share is estimated.
SPARSE, SAMPLE_ROWS = 0.3, 128


def mahalanobis_cells(n_components: int, n_features: int) -> int:
    """Return the size of the temporaries that a row needs."""
    return n_features + n_components * (2 + n_features // COLUMNS_PER_ROW)


@dataclass(frozen=True)
class MahalanobisTerms:
    """Terms of the squared Mahalanobis distances from K Gaussians.

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
        """Return `constants` (K,) less half the squared distances, (K, n).

        A term that changes no sum over the components is -inf.
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
        """Number of rows of U^T that the bound leaves out."""
        p = self.means.shape[1]
        return p - p // COLUMNS_PER_ROW

    def _bounded(
        self, values: np.ndarray, constants: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Bound log-densities from above; return which may matter, and whether these are few."""
        bound = constants[:, None] - 0.5 * self._tail(values)
        # Half a nat is the mean loss per column under the Gaussian that a row comes from.
        least = np.maximum.reduce(bound, axis=0) - (0.5 * self._n_head + MARGIN)
        likely = bound > least
        return bound, likely, np.count_nonzero(likely) <= SPARSE * likely.size

    def _tail(self, values: np.ndarray) -> np.ndarray:
        """Return the part of the squared distances of the last rows of U^T, (K, n)."""
        K, p = self.means.shape
        tail = np.ascontiguousarray(self.precision_cholesky[:, :, self._n_head :].swapaxes(1, 2))
        white = np.dot(tail.reshape(-1, p), values)
        white -= (tail @ self.means[:, :, None]).reshape(-1, 1)
        white = white.reshape(K, -1, values.shape[1])
        return np.einsum("kpn,kpn->kn", white, white)

    def _refined(self, bound: np.ndarray, chosen: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Replace upper bounds by exact values: where `chosen`, then where they still matter.

        The others are far below the largest of their row: -inf.
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
        """Return the part of the first rows of U^T for pairs k n + row, in ascending order."""
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
    """Yield the strips of a lower triangular matrix, with the number of columns of each."""
    for start in range(0, p, STRIP_ROWS):
        stop = min(start + STRIP_ROWS, p)
        yield slice(start, stop), stop


def _squares(lower: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return |L s|^2 for each column s, (n,); L may have more rows than the columns have."""
    white = [np.dot(lower[strip, :known], steps[:known]) for strip, known in _strips(len(steps))]
    return sum(np.einsum("pn,pn->n", part, part) for part in white)


def _columns(values: np.ndarray, index: np.ndarray, features: slice) -> np.ndarray:
    """Return some rows (p, n) at some features, fast for either memory order."""
    if values.flags.c_contiguous:
        return values[features].take(index, axis=1)
    return values.T.take(index, axis=0).T[features]
