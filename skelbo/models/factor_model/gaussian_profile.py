r"""Profile likelihood of Gaussian factor analysis; the covariance of the columns is sufficient.

Given the noise variances :math:`\Psi` the best loadings are principal axes of
:math:`\Psi^{-1/2} C\, \Psi^{-1/2}`; the profile likelihood climbs over :math:`\Psi` alone.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from skelbo.likelihoods.gaussian import LOG_2PI
from skelbo.likelihoods.noise_floor import noise_floor

# Cells per block of rows.
BLOCK_CELLS = 2**18


class GaussianProfile:
    """EM for the noise variances; the loadings are their maximum at every step.

    Parameters
    ----------
    covariance : ndarray of shape (n_features, n_features)
        Of the complete rows, divided by n; about zero if no intercept is fitted.
    intercepts : ndarray of shape (n_features,)
        Means, or zeros.
    n_latents : int
        Number of factors.
    floor : ndarray of shape (n_features,)
        Smallest noise variances.
    isotropic : bool
        One noise variance for all columns: probabilistic PCA, a closed form.

    References
    ----------
    Tipping and Bishop (1999); Zhao, Yu and Jiang (2008), *ML estimation for factor analysis: EM or
    non-EM?*
    """

    def __init__(self, covariance, intercepts, n_latents, floor, isotropic):
        self.covariance, self.intercepts, self.n_latents = covariance, intercepts, n_latents
        self.floor, self.isotropic = floor, isotropic

    @classmethod
    def of_rows(cls, X, weights, n_latents, *, isotropic, fit_intercept) -> GaussianProfile:
        """Return the profile likelihood of complete rows (n, p) with weights (n,)."""
        share = weights / weights.sum()
        centre = share @ X
        covariance = second_moments(X, share, centre if fit_intercept else 0.0 * centre)
        intercepts = centre if fit_intercept else np.zeros(X.shape[1])
        return cls(covariance, intercepts, n_latents, noise_floor(X, weights), isotropic)

    def start(self) -> np.ndarray:
        """Return the first noise variances, (p,)."""
        p, variances = len(self.covariance), np.diagonal(self.covariance)
        if self.isotropic:
            values = np.linalg.eigvalsh(self.covariance)[: p - self.n_latents]
            rest = values.mean() if values.size else 0.0
            return np.full(p, max(rest, self.floor.mean()))
        return np.maximum(0.5 * variances, self.floor)

    def e_step(self, noise):
        """Return the log-likelihood per row at the best loadings, and those loadings."""
        units = np.sqrt(noise)
        p = len(noise)
        values, vectors = linalg.eigh(
            self.covariance / (units[:, None] * units),
            subset_by_index=(p - self.n_latents, p - 1),
            check_finite=False,
        )
        size = np.maximum(values - 1, 0.0)
        loadings = units[:, None] * vectors[:, ::-1] * np.sqrt(size[::-1])
        trace = (np.diagonal(self.covariance) / noise).sum()
        log_det = np.log(noise).sum() + np.log1p(size).sum()
        fit = trace - (size / (1 + size) * values).sum()
        return -0.5 * (p * LOG_2PI + log_det + fit), loadings

    def m_step(self, loadings, noise):
        """Return the noise variances: what these loadings do not explain."""
        if self.isotropic:
            return noise
        rest = np.diagonal(self.covariance) - (loadings**2).sum(1)
        return np.maximum(rest, self.floor)

    def to_vector(self, noise):
        """Return unconstrained coordinates."""
        return np.log(noise)

    def from_vector(self, vector):
        """Return the noise variances of coordinates."""
        if np.any(vector > 700):
            return None
        return np.maximum(np.exp(vector), self.floor)

    def theta(self, noise):
        """Return the parameters of the model at these noise variances."""
        return {
            "loadings": self.e_step(noise)[1],
            "intercepts": self.intercepts,
            "noise_variance": np.asarray(noise[0]) if self.isotropic else noise,
        }


def second_moments(X, share, centre) -> np.ndarray:
    """Return the weighted second moments of complete rows about a point, (p, p), by blocks."""
    total = np.zeros((X.shape[1], X.shape[1]))
    size = max(1, BLOCK_CELLS // X.shape[1])
    for first in range(0, len(X), size):
        root = X[first : first + size] - centre
        root *= np.sqrt(share[first : first + size, None])
        total += root.T @ root
    return total
