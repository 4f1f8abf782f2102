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

from skelbo.data.blocks import iter_blocks
from skelbo.data.rows import Block
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
    block : Block
        Incomplete rows.
    """

    def __init__(self, variances, means, block: Block):
        values, observed = block.values, block.observed
        assert observed is not None
        self.variances, self.missing = variances, (~observed).astype(float)
        self.values = np.where(observed, values, means[:, :, None])
        terms = (self.values - means[:, :, None]) ** 2 / variances[:, :, None]
        terms += observed * (LOG_2PI + np.log(variances)[:, :, None])
        self.log_prob = -0.5 * terms.sum(axis=1)

    def scatter(self, weights):
        """Return the diagonals, (K, p)."""
        return (weights @ self.missing.T) * self.variances


@dataclass(frozen=True)
class PatternGroup:
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

    @property
    def by_precision(self) -> bool:
        """True if the missing block is not larger than the observed one."""
        return self.missing.shape[1] <= self.observed.shape[1]


@dataclass(frozen=True)
class Patterns:
    """All patterns of missing cells of a block, grouped by their counts."""

    groups: tuple[PatternGroup, ...]

    @classmethod
    def of_block(cls, block: Block) -> Patterns:
        """Find the patterns of incomplete rows."""
        assert block.observed is not None
        return cls(tuple(_groups(block.observed)))

    @property
    def size(self) -> int:
        """Number of cells of the arrays."""
        return sum(g.missing.size + g.observed.size + 2 * g.rows.size for g in self.groups)


class DenseCompletion(Completion):
    """Completion under dense covariances: one factorization for each pattern of missing cells.

    It is of the size of the missing or of the observed block, whichever is smaller.

    Parameters
    ----------
    covariances, precision_cholesky : ndarray of shape (n_components, n_features, n_features)
    means : ndarray of shape (n_components, n_features)
    block : Block
        Incomplete rows.
    """

    def __init__(self, covariances, precision_cholesky, means, block: Block):
        values, observed = block.values, block.observed
        assert observed is not None
        (K, p), n = means.shape, values.shape[1]
        self.groups = block.once(Patterns.of_block).groups
        steps = np.where(observed.T, values.T - means[:, None, :], 0.0)
        log_scale, squares = np.empty((2, K, n))
        self.spreads = []
        for group in self.groups:
            by_precision, parts = group.by_precision, []
            matrices = precision_cholesky if by_precision else covariances
            condition = _by_precision if by_precision else _by_covariance
            cells = (p + min(group.missing.shape[1], group.observed.shape[1]) ** 2) * n
            for some in iter_blocks(K, cells):
                moved = steps[some][:, group.rows]
                spread, scale, distances = condition(matrices[some], moved, group)
                steps[some, group.rows], squares[some, group.rows] = moved, distances
                log_scale[some, group.rows] = scale[:, group.pattern]
                parts.append(spread)
            self.spreads.append(np.concatenate(parts))
        self.log_prob = log_scale - 0.5 * (squares + LOG_2PI * observed.sum(axis=0))
        steps += means[:, None, :]
        self.values = np.where(observed, values, steps.swapaxes(1, 2))

    def scatter(self, weights):
        """Return the sums, (K, p, p)."""
        K, p = self.values.shape[:2]
        total = np.zeros(K * p * p)
        numbers = np.arange(K)[:, None]
        for group, spread in zip(self.groups, self.spreads, strict=True):
            m = len(group.missing)
            index, part = numbers * m + group.pattern, weights[:, group.rows]
            counts = np.bincount(index.ravel(), part.ravel(), K * m).reshape(K, m, 1, 1)
            cells = p * group.missing[:, :, None] + group.missing[:, None, :]
            index = p * p * numbers + cells.ravel()
            total += np.bincount(index.ravel(), (counts * spread).ravel(), K * p * p)
        return total.reshape(K, p, p)


def _groups(observed: np.ndarray) -> Iterator[PatternGroup]:
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
        yield PatternGroup(columns[:, :count], columns[:, count:], rows, number[pattern[rows]])


def _by_precision(U: np.ndarray, steps: np.ndarray, group: PatternGroup):
    """Condition by the missing block of the precision.

    Put the expected deviations into the missing cells, zero so far, of `steps` (K, n, p). Return
    the conditional covariances (K, m, r, r) and half the log-determinants of the observed
    precisions (K, m), one a pattern, and the squares of the Mahalanobis distances (K, n).
    """
    missing, here = group.missing, group.missing[None, group.pattern]
    P = U @ U.swapaxes(1, 2)
    lower = _cholesky(P[:, missing[:, :, None], missing[:, None, :]])
    inverse = np.linalg.inv(lower)
    right = np.take_along_axis(steps @ P, here, axis=2)
    each = inverse[:, group.pattern]
    white = each @ right[:, :, :, None]
    np.put_along_axis(steps, here, -(each.swapaxes(2, 3) @ white)[:, :, :, 0], axis=2)
    distances = ((steps @ U) ** 2).sum(axis=2)
    log_scale = _log_diagonal(U)[:, None] - _log_diagonal(lower)
    return inverse.swapaxes(2, 3) @ inverse, log_scale, distances


def _by_covariance(covariances: np.ndarray, steps: np.ndarray, group: PatternGroup):
    """Condition by the observed block of the covariance; see `_by_precision`."""
    missing, observed = group.missing, group.observed
    lower = _cholesky(covariances[:, observed[:, :, None], observed[:, None, :]])
    inverse = np.linalg.inv(lower)
    cross = covariances[:, missing[:, :, None], observed[:, None, :]] @ inverse.swapaxes(2, 3)
    known = np.take_along_axis(steps, observed[None, group.pattern], axis=2)
    white = inverse[:, group.pattern] @ known[:, :, :, None]
    expected = (cross[:, group.pattern] @ white)[:, :, :, 0]
    np.put_along_axis(steps, missing[None, group.pattern], expected, axis=2)
    spread = covariances[:, missing[:, :, None], missing[:, None, :]]
    spread = spread - cross @ cross.swapaxes(2, 3)
    variances = np.einsum("kmrr->kmr", spread)
    np.maximum(variances, 0.0, out=variances)
    return spread, -_log_diagonal(lower), (white[:, :, :, 0] ** 2).sum(axis=2)


def _cholesky(matrices: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        raise AscentError(ILL_DEFINED) from None


def _log_diagonal(triangular: np.ndarray) -> np.ndarray:
    """Return the sums of the logarithms of the diagonals of matrices (..., p, p)."""
    return np.log(np.diagonal(triangular, axis1=-2, axis2=-1)).sum(axis=-1)
