r"""Gaussians of incomplete rows: density of the observed cells, expectation of the others.

With o the observed and m the missing columns of a row (missing at random), P the precision,

.. math::
    \log p(x_o) = \log N(x_o; \mu_o, \Sigma_{oo}), \quad
    E[x_m \mid x_o] = \mu_m + \Sigma_{mo} \Sigma_{oo}^{-1} (x_o - \mu_o)
                    = \mu_m - P_{mm}^{-1} P_{mo} (x_o - \mu_o), \quad
    C = \Sigma_{mm} - \Sigma_{mo} \Sigma_{oo}^{-1} \Sigma_{om} = P_{mm}^{-1},

Little and Rubin (2019), section 11.2. The expectations enter the moments as if they were data, and
C is added to the scatter: the E-step of EM, which is no imputation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skelbo.elbo import LOG_2PI
from skelbo.em.loop import AscentError
from skelbo.gaussian.regularization import ILL_DEFINED


class Completion(ABC):
    """Incomplete rows, conditioned on their observed cells under K Gaussians.

    Attributes
    ----------
    log_prob : ndarray of shape (n_components, n_rows)
        Log-density of the observed cells, in nats.
    values : ndarray of shape (n_components, n_features, n_rows)
        The rows with missing cells at their conditional expectation.
    """

    log_prob: np.ndarray
    values: np.ndarray

    @abstractmethod
    def scatter(self, weights: np.ndarray) -> np.ndarray:
        """Return the sum over rows of the conditional covariances, weighted (K, n).

        Shape (K, p, p), or their diagonals (K, p) where columns are independent.
        """


class IndependentCompletion(Completion):
    """Completion under independent columns: a missing cell has its mean and its variance.

    Parameters
    ----------
    variances, means : ndarray of shape (n_components, n_features)
    values : ndarray of shape (n_features, n_rows)
    observed : ndarray of bool, shape (n_features, n_rows)
    """

    def __init__(self, variances, means, values, observed):
        self.variances, self.missing = variances, (~observed).astype(float)
        self.values = np.where(observed, values, means[:, :, None])
        terms = (self.values - means[:, :, None]) ** 2 / variances[:, :, None]
        terms += observed * (LOG_2PI + np.log(variances)[:, :, None])
        self.log_prob = -0.5 * terms.sum(axis=1)

    def scatter(self, weights):
        """Return the diagonals, (K, p)."""
        return (weights @ self.missing.T) * self.variances


@dataclass(frozen=True)
class Pattern:
    """Patterns of missing cells with equal counts, and the rows that have them.

    Attributes
    ----------
    missing, observed : ndarray of int, shapes (n_patterns, r) and (n_patterns, p - r)
        Columns of each pattern.
    rows : ndarray of int, shape (n_rows,)
    pattern : ndarray of int, shape (n_rows,)
        Which of the patterns each of these rows has.
    """

    missing: np.ndarray
    observed: np.ndarray
    rows: np.ndarray
    pattern: np.ndarray


class DenseCompletion(Completion):
    """Completion under dense covariances: one factorization for each pattern of missing cells.

    It is of the size of the missing or of the observed block, whichever is smaller.

    Parameters
    ----------
    covariances, precision_cholesky : ndarray of shape (n_components, n_features, n_features)
    means : ndarray of shape (n_components, n_features)
    values : ndarray of shape (n_features, n_rows)
    observed : ndarray of bool, shape (n_features, n_rows)
    """

    def __init__(self, covariances, precision_cholesky, means, values, observed):
        self.patterns = list(_patterns(observed))
        self.log_prob = np.empty((len(means), values.shape[1]))
        self.values = np.empty((len(means), *values.shape))
        self.spreads: list[list[np.ndarray]] = []
        known = -0.5 * LOG_2PI * observed.sum(axis=0)
        for k, (mean, U) in enumerate(zip(means, precision_cholesky, strict=True)):
            steps = np.where(observed, values - mean[:, None], 0.0)
            log_scale, squares = np.empty((2, values.shape[1]))
            spreads = []
            for part in self.patterns:
                if part.missing.shape[1] <= part.observed.shape[1]:
                    spread, scale, distances = _by_precision(U, steps, part)
                else:
                    spread, scale, distances = _by_covariance(covariances[k], steps, part)
                spreads.append(spread)
                log_scale[part.rows], squares[part.rows] = scale[part.pattern], distances
            self.spreads.append(spreads)
            self.log_prob[k] = known + log_scale - 0.5 * squares
            self.values[k] = np.where(observed, values, mean[:, None] + steps)

    def scatter(self, weights):
        """Return the sums, (K, p, p)."""
        p = self.values.shape[1]
        total = np.zeros((len(weights), p * p))
        for k, weight in enumerate(weights):
            for part, spread in zip(self.patterns, self.spreads[k], strict=True):
                counts = np.bincount(part.pattern, weight[part.rows], len(spread))
                cells = p * part.missing[:, :, None] + part.missing[:, None, :]
                weighted = counts[:, None, None] * spread
                total[k] += np.bincount(cells.ravel(), weighted.ravel(), p * p)
        return total.reshape(-1, p, p)


def _patterns(observed: np.ndarray) -> Iterator[Pattern]:
    """Yield the patterns of a block (p, n), those of equal counts together."""
    p = len(observed)
    patterns, pattern = np.unique(observed, axis=1, return_inverse=True)
    pattern, n_missing = pattern.ravel(), p - patterns.sum(axis=0)
    for count in np.unique(n_missing):
        chosen = np.flatnonzero(n_missing == count)
        number = np.full(patterns.shape[1], -1)
        number[chosen] = np.arange(len(chosen))
        rows = np.flatnonzero(number[pattern] >= 0)
        # A stable sort puts the missing columns first, each part in ascending order.
        columns = np.argsort(patterns[:, chosen].T, axis=1, kind="stable")
        yield Pattern(columns[:, :count], columns[:, count:], rows, number[pattern[rows]])


def _by_precision(U: np.ndarray, steps: np.ndarray, part: Pattern):
    """Condition by the missing block of the precision; put expected deviations into `steps`.

    Return the conditional covariances and half the log-determinants of the observed precisions,
    one a pattern, and the squares of the rows' Mahalanobis distances.
    """
    P, missing = U @ U.T, part.missing
    lower = _cholesky(P[missing[:, :, None], missing[:, None, :]])
    inverse = np.linalg.inv(lower)
    here = missing[part.pattern], part.rows[:, None]
    right = np.dot(P, steps[:, part.rows]).T  # the missing cells of `steps` are zero
    right = np.take_along_axis(right, here[0], axis=1)
    white = _times(inverse[part.pattern], right)
    steps[here] = -_times(inverse.swapaxes(1, 2)[part.pattern], white)
    distances = (np.dot(U.T, steps[:, part.rows]) ** 2).sum(axis=0)
    log_scale = np.log(np.diagonal(U)).sum() - _log_diagonal(lower)
    return inverse.swapaxes(1, 2) @ inverse, log_scale, distances


def _by_covariance(covariance: np.ndarray, steps: np.ndarray, part: Pattern):
    """Condition by the observed block of the covariance; see `_by_precision`."""
    missing, observed = part.missing, part.observed
    lower = _cholesky(covariance[observed[:, :, None], observed[:, None, :]])
    inverse = np.linalg.inv(lower)
    cross = covariance[missing[:, :, None], observed[:, None, :]] @ inverse.swapaxes(1, 2)
    white = _times(inverse[part.pattern], steps[observed[part.pattern], part.rows[:, None]])
    steps[missing[part.pattern], part.rows[:, None]] = _times(cross[part.pattern], white)
    spread = covariance[missing[:, :, None], missing[:, None, :]] - cross @ cross.swapaxes(1, 2)
    variances = np.einsum("mrr->mr", spread)
    np.maximum(variances, 0.0, out=variances)
    return spread, -_log_diagonal(lower), (white**2).sum(axis=1)


def _cholesky(matrices: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        raise AscentError(ILL_DEFINED) from None


def _log_diagonal(lower: np.ndarray) -> np.ndarray:
    """Return half the log-determinant of L L^T, (n_patterns,)."""
    return np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the products of matrices (n, i, j) with vectors (n, j)."""
    return (matrices @ vectors[:, :, None])[:, :, 0]
