r"""Distribution of missing cells given the observed ones under one Gaussian.

.. math:: x_m \mid x_o \sim N(\mu_m + \Sigma_{mo} \Sigma_{oo}^{-1} (x_o - \mu_o),\;
    \Sigma_{mm} - \Sigma_{mo} \Sigma_{oo}^{-1} \Sigma_{om})

Little and Rubin (2019), section 11.2. `missing_cells` has the sums of these that a fit needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg


@dataclass(frozen=True)
class ConditionalGaussian:
    """Missing cells of the rows with one pattern, given their observed cells.

    Attributes
    ----------
    rows : ndarray of int, shape (n_rows,)
        Rows that have the pattern.
    missing : ndarray of int, shape (r,)
        Columns that they miss.
    mean : ndarray of shape (n_rows, r)
        Conditional means.
    root : ndarray of shape (r, r)
        The root of the conditional covariance C = root root^T that is symmetric in units of the
        columns: no rounding chooses its signs, so that draws are those of equal fits.
    """

    rows: np.ndarray
    missing: np.ndarray
    mean: np.ndarray
    root: np.ndarray


def conditionals(
    X: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> Iterator[ConditionalGaussian]:
    """Yield the conditional distributions of incomplete rows, one pattern after another.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows, NaN where missing; complete ones are passed over.
    mean : ndarray of shape (n_features,)
    covariance : ndarray of shape (n_features, n_features)
    """
    units = np.sqrt(np.diagonal(covariance))
    shape = covariance / units[:, None] / units
    patterns, pattern = np.unique(np.isnan(X), axis=0, return_inverse=True)
    for number, gaps in enumerate(patterns):
        if not gaps.any():
            continue
        rows, missing, observed = np.flatnonzero(pattern.ravel() == number), *_split(gaps)
        lower = np.linalg.cholesky(shape[np.ix_(observed, observed)])
        steps = (X[np.ix_(rows, observed)] - mean[observed]) / units[observed]
        white = np.hstack([shape[np.ix_(observed, missing)], steps.T])
        if observed.size:  # SciPy 1.13 refuses a system of no equations
            white = linalg.solve_triangular(lower, white, lower=True)
        cross, white = white[:, : missing.size], white[:, missing.size :]
        values, vectors = np.linalg.eigh(shape[np.ix_(missing, missing)] - cross.T @ cross)
        symmetric = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        root = units[missing, None] * symmetric
        expected = mean[missing] + (white.T @ cross) * units[missing]
        yield ConditionalGaussian(rows, missing, expected, root)


def _split(gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions that are true, and those that are not."""
    return np.flatnonzero(gaps), np.flatnonzero(~gaps)
