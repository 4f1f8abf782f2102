r"""Profile likelihood of Gaussian factor analysis; the covariance of the columns is sufficient.

Given the noise variances :math:`\Psi` the best loadings are principal axes of
:math:`\Psi^{-1/2} C\, \Psi^{-1/2}`; the profile likelihood climbs over :math:`\Psi` alone.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, optimize

from skelbo.data.blocks import iter_blocks
from skelbo.data.column_moments import column_moments
from skelbo.likelihoods.gaussian import LOG_2PI
from skelbo.likelihoods.noise_floor import NOISE_FLOOR, noise_floor

# Steps of EM in a start.
START_STEPS = 20
# Steps of L-BFGS between two checks of convergence, and the gradient, in nats per row, at its end.
MAX_STEPS, SMALLEST_GRADIENT = 200, 1e-10
# Rounding, in nats, from which on the log-likelihood is that of the rows.
LARGEST_ROUNDING = 1e-7
# Largest logarithm of a noise variance, in units of the column's variance.
LARGEST_LOG = 100.0


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
    root : ndarray of shape (n_rows, n_features), optional
        Root of the covariance, where there are fewer rows than columns: its axes are found among
        the rows.

    References
    ----------
    Tipping and Bishop (1999); Zhao, Yu and Jiang (2008), *ML estimation for factor analysis: EM or
    non-EM?*
    """

    def __init__(self, covariance, intercepts, n_latents, floor, isotropic, root=None):
        self.covariance, self.intercepts, self.n_latents = covariance, intercepts, n_latents
        self.floor, self.isotropic = floor, isotropic
        self.unit = floor / NOISE_FLOOR
        scale = np.sqrt(self.unit)
        self.correlation = covariance / (scale[:, None] * scale)
        self.root = None if root is None else root / scale

    @classmethod
    def of_rows(cls, X, weights, n_latents, *, isotropic, fit_intercept) -> GaussianProfile:
        """Return the profile likelihood of complete rows (n, p) with weights (n,)."""
        share = weights / weights.sum()
        intercepts = column_moments(X, weights).mean if fit_intercept else np.zeros(X.shape[1])
        covariance = second_moments(X, share, intercepts)
        wide = len(X) < X.shape[1]
        root = np.sqrt(share)[:, None] * (X - intercepts) if wide else None
        return cls(covariance, intercepts, n_latents, noise_floor(X, weights), isotropic, root)

    def start(self) -> np.ndarray:
        """Return the first noise variances, (p,), after some steps of EM.

        Where several columns could have their noise at the floor, L-BFGS from further away chose
        between them by rounding.
        """
        p, variances = len(self.covariance), np.diagonal(self.covariance)
        if self.isotropic:
            values = np.linalg.eigvalsh(self.covariance)[: p - self.n_latents]
            rest = values.mean() if values.size else 0.0
            return np.full(p, max(rest, self.floor.mean()))
        noise = np.maximum(0.5 * variances, self.floor)
        for _ in range(START_STEPS):
            noise = self.unexplained(self.e_step(noise)[1])
        return noise

    def e_step(self, noise):
        """Return the log-likelihood per row at the best loadings, and those loadings."""
        value, loadings = self._relative(noise / self.unit)
        return value - 0.5 * np.log(self.unit).sum(), np.sqrt(self.unit)[:, None] * loadings

    def is_rounded(self, noise) -> bool:
        """Return whether sums of squares have lost digits of the log-likelihood.

        They do about zero, without an intercept, where a column is far from it.
        """
        trace = (np.diagonal(self.covariance) / noise).sum()
        return bool(np.finfo(np.float64).eps * trace > LARGEST_ROUNDING)

    def _relative(self, noise):
        """Return the log-likelihood and the loadings in units of the columns."""
        units = np.sqrt(noise)
        p = len(noise)
        values, vectors = self._axes(units)
        size = np.maximum(values - 1, 0.0)
        loadings = units[:, None] * vectors[:, ::-1] * np.sqrt(size[::-1])
        trace = (np.diagonal(self.correlation) / noise).sum()
        log_det = np.log(noise).sum() + np.log1p(size).sum()
        fit = trace - (size / (1 + size) * values).sum()
        return -0.5 * (p * LOG_2PI + log_det + fit), loadings

    def _axes(self, units) -> tuple[np.ndarray, np.ndarray]:
        """Return the largest eigenvalues, ascending, and axes (p, n_latents), in units of noise."""
        if self.root is None or len(self.root) < self.n_latents:
            return _largest(self.correlation / (units[:, None] * units), self.n_latents)
        root = self.root / units
        values, vectors = _largest(root @ root.T, self.n_latents)
        return values, root.T @ (vectors / np.sqrt(np.maximum(values, 1e-300)))

    def unexplained(self, loadings):
        """Return the noise variances after a step of EM: what these loadings do not explain."""
        rest = np.diagonal(self.covariance) - (loadings**2).sum(1)
        return np.maximum(rest, self.floor)

    def m_step(self, loadings, noise):
        """Return noise variances of a larger profile likelihood, by L-BFGS in their logarithms.

        EM itself needs thousands of steps where a variance runs to its floor (Heywood cases); a
        bound of the coordinates is reached in a few.
        """
        if self.isotropic:
            return noise
        result = optimize.minimize(
            self._objective,
            self.to_vector(self.unexplained(loadings)),
            jac=True,
            method="L-BFGS-B",
            bounds=[(np.log(NOISE_FLOOR), LARGEST_LOG)] * len(noise),
            options={"maxiter": MAX_STEPS, "ftol": 0.0, "gtol": SMALLEST_GRADIENT},
        )
        better = self.from_vector(result.x)
        return better if self.e_step(better)[0] >= self.e_step(noise)[0] else noise

    def _objective(self, vector):
        """Return minus the profile likelihood and its gradient, zero where EM stands still."""
        noise = np.exp(vector)
        value, loadings = self._relative(noise)
        rest = np.diagonal(self.correlation) - (loadings**2).sum(1)
        return -value, 0.5 * (1 - rest / noise)

    def to_vector(self, noise):
        """Return the logarithms of the noise variances, in the units of the columns."""
        return np.log(noise / self.unit)

    def from_vector(self, vector):
        """Return the noise variances of coordinates, None beyond the range of float64."""
        if np.any(vector > LARGEST_LOG):
            return None
        return np.maximum(np.exp(vector) * self.unit, self.floor)

    def theta(self, noise):
        """Return the parameters of the model at these noise variances."""
        return {
            "loadings": self.e_step(noise)[1],
            "intercepts": self.intercepts,
            "noise_variance": np.asarray(noise[0]) if self.isotropic else noise,
        }


def _largest(matrix, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the n largest eigenvalues of a symmetric matrix, ascending, and their vectors."""
    p = len(matrix)
    return linalg.eigh(matrix, subset_by_index=(p - n, p - 1), check_finite=False)


def second_moments(X, share, centre) -> np.ndarray:
    """Return the weighted second moments of complete rows about a point, (p, p), by blocks."""
    total = np.zeros((X.shape[1], X.shape[1]))
    for rows in iter_blocks(len(X), X.shape[1]):
        root = X[rows] - centre
        root *= np.sqrt(share[rows, None])
        total += root.T @ root
    return total
