r"""Smallest noise variance of a Gaussian column, which keeps the likelihood bounded.

As the noise variance of a column tends to zero the likelihood of a model that reproduces the
column grows without limit: a Heywood case of factor analysis; for decoder networks see Mattei and
Frellsen (2018).
"""

from __future__ import annotations

import numpy as np

# Share of a column's variance: the noise has 1e-3 of its standard deviation.
NOISE_FLOOR = 1e-6
# Cells per block of rows.
BLOCK_CELLS = 2**18


def noise_floor(X: np.ndarray, weights: np.ndarray, share: float = NOISE_FLOOR) -> np.ndarray:
    """Return the smallest noise variance of each column.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows, NaN where missing.
    weights : ndarray of shape (n_samples,)
        Frequency weights.
    share : float, default=1e-6
        Share of the variance of the column; of a constant column, of the mean variance of the
        other columns.

    Returns
    -------
    ndarray of shape (n_features,)
        In the squared units of the columns.
    """
    variance = column_variances(X, weights)
    positive = variance[variance > 0]
    return share * np.where(variance > 0, variance, positive.mean() if positive.size else 1.0)


def column_variances(X: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted variance of the observed cells of each column, (n_features,)."""
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
