r"""How small a noise variance may become: below its floor a column is a function of the latents."""

from __future__ import annotations

import numpy as np

# A noise variance below this share of its column's variance is a Heywood case: the likelihood
# climbs without end as the column becomes a function of the latents.
NOISE_FLOOR = 1e-6
HEYWOOD = (
    "the noise variance of column {column} reached its floor, 1e-6 of the column's variance (a "
    "Heywood case: the column is a function of the latents); use fewer latents, "
    "noise='isotropic', or remove the column."
)


# Cells looked at a time.
BLOCK_CELLS = 2**18


def noise_floor(X: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the smallest noise variance of each column, (p,)."""
    variance = column_variances(X, weights)
    positive = variance[variance > 0]
    return NOISE_FLOOR * np.where(variance > 0, variance, positive.mean() if positive.size else 1.0)


def column_variances(X: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted variance of the known cells of each column, (p,), block by block."""
    total, first, second = np.zeros((3, X.shape[1]))
    for rows in _blocks(X):
        total += weights[rows] @ ~np.isnan(X[rows])
        first += weights[rows] @ np.nan_to_num(X[rows])
    mean = first / total
    for rows in _blocks(X):
        second += weights[rows] @ np.nan_to_num(X[rows] - mean) ** 2
    return second / total


def _blocks(X):
    size = max(1, BLOCK_CELLS // X.shape[1])
    return (slice(first, first + size) for first in range(0, len(X), size))
