r"""Gaussians of incomplete rows: density of the observed cells, expectation of the others.

With o the observed and m the missing columns of a row (missing at random),

.. math::
    \log p(x_o) = \log N(x_o; \mu_o, \Sigma_{oo}), \quad
    E[x_m \mid x_o] = \mu_m + \Sigma_{mo} \Sigma_{oo}^{-1} (x_o - \mu_o), \quad
    C = \Sigma_{mm} - \Sigma_{mo} \Sigma_{oo}^{-1} \Sigma_{om},

Little and Rubin (2019), section 11.2. The expectations enter the moments as if they were data, and
C is added to the scatter: the E-step of EM, not a filling-in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelbo.data.rows import Block
from skelbo.em.loop import AscentError
from skelbo.gaussian.covariance import LOG_2PI, Covariance
from skelbo.gaussian.moments import Scatter
from skelbo.gaussian.regularization import ILL_DEFINED


@dataclass(frozen=True)
class Completion:
    """What K Gaussians say of incomplete rows.

    Attributes
    ----------
    log_prob : ndarray of shape (n_components, n_rows)
        Log-density of the observed cells, in nats.
    values : ndarray of shape (n_components, n_features, n_rows)
        The rows with missing cells at their conditional expectation.
    spread : ndarray
        Conditional covariances C: (n_components, n_patterns, p, p) for dense structures,
        the diagonals (n_components, n_patterns, p) else.
    pattern : ndarray of int, shape (n_rows,)
        Which pattern of missing cells a row has.
    """

    log_prob: np.ndarray
    values: np.ndarray
    spread: np.ndarray
    pattern: np.ndarray

    def scatter(self, kind: Scatter, weights: np.ndarray) -> np.ndarray:
        """Return the sum of the conditional covariances, weighted (K, n), of the given kind."""
        n_patterns = self.spread.shape[1]
        counts = np.array([np.bincount(self.pattern, w, n_patterns) for w in weights])
        total = np.einsum("km,km...->k...", counts, self.spread)
        return total.sum(axis=0) if kind.shared else total


def complete(covariance: Covariance, means: np.ndarray, block: Block) -> Completion:
    """Condition K Gaussians on the observed cells of each row of a block."""
    observed = block.observed
    assert observed is not None
    patterns, pattern = np.unique(observed, axis=1, return_inverse=True)
    condition = _condition_dense if covariance.scatter.dense else _condition_diagonal
    matrices = covariance.dense(*means.shape) if covariance.scatter.dense else covariance
    return condition(matrices, means, block.values, observed, patterns, pattern.ravel())


def _condition_diagonal(covariance, means, values, observed, patterns, pattern) -> Completion:
    """Columns are independent: a missing cell has its mean and its variance."""
    variances = np.broadcast_to(covariance.covariances, means.shape)
    filled = np.where(observed, values, means[:, :, None])
    steps = (filled - means[:, :, None]) ** 2 / variances[:, :, None]
    densities = steps + observed * (LOG_2PI + np.log(variances)[:, :, None])
    spread = variances[:, None, :] * ~patterns.T
    return Completion(-0.5 * densities.sum(axis=1), filled, spread, pattern)


def _condition_dense(covariances, means, values, observed, patterns, pattern) -> Completion:
    """Factorize Sigma_oo for every pattern at once, padded with ones where cells are missing."""
    seen = patterns.T
    pairs = seen[:, :, None] & seen[:, None, :]
    padding = np.eye(len(values)) * ~seen[:, None, :]
    log_prob, filled, spread = [], [], []
    for mean, covariance in zip(means, covariances, strict=True):
        try:
            lower = np.linalg.cholesky(np.where(pairs, covariance, padding))
        except np.linalg.LinAlgError:
            raise AscentError(ILL_DEFINED) from None
        half_log_det = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        inverse = np.linalg.inv(lower)
        # U = L^-T on the observed columns; cross = Sigma_mo U, so that Sigma_mo Sigma_oo^-1 =
        # cross U^T and C = Sigma_mm - cross cross^T.
        cross = np.where(~seen[:, :, None] & seen[:, None, :], covariance, 0.0)
        cross = cross @ inverse.swapaxes(1, 2)
        steps = np.where(observed, values - mean[:, None], 0.0)
        white = np.einsum("nij,jn->ni", inverse[pattern], steps)
        known = observed.sum(axis=0)
        log_prob.append(-0.5 * (known * LOG_2PI + (white**2).sum(axis=1)) - half_log_det[pattern])
        expected = mean[:, None] + np.einsum("nij,nj->in", cross[pattern], white)
        filled.append(np.where(observed, values, expected))
        hidden = ~seen[:, :, None] & ~seen[:, None, :]
        spread.append(np.where(hidden, covariance - cross @ cross.swapaxes(1, 2), 0.0))
    return Completion(np.array(log_prob), np.array(filled), np.array(spread), pattern)
