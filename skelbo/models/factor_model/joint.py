r"""log p(x, z; theta) of factor models as a function of z: a linear predictor in every cell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skelbo.likelihoods import Likelihood
from skelbo.likelihoods.gaussian import LOG_2PI
from skelbo.models.regression import CHUNK_CELLS, predictor_variance

# Change of log-odds between neighbouring points: the poles of the logistic function are at a
# distance of pi, so that a trapezoid rule has a relative error of exp(-2 pi^2 / 1.5) = 2e-6 there.
LONGEST_STEP = 1.5


@dataclass(frozen=True)
class FactorJoint:
    """log p(x, z; theta) of some rows as a function of z.

    Attributes
    ----------
    likelihood : Likelihood
    loadings : ndarray of shape (n_features, n_latents)
    intercepts : ndarray of shape (n_features,)
    noise : ndarray of shape (n_features,)
        Noise variances; ones where the likelihood has none.
    values : ndarray of shape (n_rows, n_features)
        The rows, zero where missing.
    observed : ndarray of shape (n_rows, n_features), or None
        1.0 where known, 0.0 where missing; None where all are known.
    base : ndarray of shape (n_rows,)
        What depends on x alone.
    """

    likelihood: Likelihood
    loadings: np.ndarray
    intercepts: np.ndarray
    noise: np.ndarray
    values: np.ndarray
    observed: np.ndarray | None
    base: np.ndarray

    latent = "continuous"
    # log p(z | x) is concave: one mode, which a Gaussian around it cannot miss.
    unimodal = True
    # Steps over q between two steps over theta: they are cheap.
    n_steps = 100

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_latents)."""
        return len(self.values), self.loadings.shape[1]

    @property
    def block_rows(self) -> int:
        """Number of rows that are worked on at a time: their cells should stay in cache."""
        return max(1, CHUNK_CELLS // self.values.shape[1])

    def take(self, rows) -> FactorJoint:
        """Return the joint of some of the rows."""
        observed = None if self.observed is None else self.observed[rows]
        return replace(self, values=self.values[rows], observed=observed, base=self.base[rows])

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a rough posterior mean (n, d) and precision (n, d, d) of each row."""
        eta, weight = self.likelihood.working_response(self.values, self.noise)
        weight = self._known(weight)
        precision = self._quadratic(weight)
        pull = (weight * (eta - self.intercepts)) @ self.loadings
        return np.linalg.solve(precision, pull[..., None])[..., 0], precision

    def expected(self, mean, covariance=None):
        """Return E log p(x|z), E log p(x,z), its gradient in the mean and E of minus its Hessian.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_latents)
        covariance : ndarray of shape (n_rows, n_latents[, n_latents]) or None
            Full, diagonal, or none: the values at `mean` itself.
        """
        W, d = self.loadings, self.loadings.shape[1]
        eta = self.intercepts + mean @ W.T
        square = (mean**2).sum(-1)
        if covariance is None:
            value, slope, curvature = self.likelihood.derivatives(self.values, eta, self.noise)
        else:
            variance = predictor_variance(covariance, W)
            reach = np.sqrt((W**2).sum(1).max())
            value, slope, curvature = self.likelihood.expected(
                self.values, eta, variance, self.noise, reach
            )
            full = covariance.ndim == 3
            square += np.trace(covariance, axis1=1, axis2=2) if full else covariance.sum(-1)
        reconstruction = self._known(value).sum(-1) + self.base
        energy = reconstruction - 0.5 * (square + d * LOG_2PI)
        gradient = self._known(slope) @ W - mean
        return reconstruction, energy, gradient, self._quadratic(self._known(curvature))

    def log_likelihood(self, Z):
        """Return log p(x | z), (S, n), for Z of shape (S, n, d)."""
        result = np.empty(Z.shape[:2])
        size = max(1, CHUNK_CELLS // self.values.size)
        for first in range(0, len(Z), size):
            part = slice(first, first + size)
            eta = self.intercepts + Z[part] @ self.loadings.T
            value = self.likelihood.log_kernel(self.values, eta, self.noise)
            result[part] = self._known(value).sum(-1)
        return result + self.base

    def log_likelihood_at(self, points):
        """Return log p(x | z), (n, S), at points (S, d) that all rows share: products of matrices.

        For likelihoods that are linear in x, up to `base`.
        """
        eta = self.intercepts + points @ self.loadings.T
        slope, normalizer = self.likelihood.linear_form(eta)
        result = self.values @ slope.T
        if self.observed is None:
            result -= normalizer.sum(1)
        else:
            result -= self.observed @ normalizer.T
        result += self.base[:, None]
        return result

    def log_prior(self, Z):
        """Return log p(z), (S, n)."""
        return -0.5 * ((Z**2).sum(-1) + Z.shape[-1] * LOG_2PI)

    def log_joint(self, Z):
        """Return log p(x, z), (S, n)."""
        return self.log_likelihood(Z) + self.log_prior(Z)

    def gradient(self, Z):
        """Return log p(x, z), (S, n), and its gradient in z, (S, n, d)."""
        eta = self.intercepts + Z @ self.loadings.T
        value, slope, _ = self.likelihood.derivatives(self.values, eta, self.noise)
        log_joint = self._known(value).sum(-1) + self.base + self.log_prior(Z)
        return log_joint, self._known(slope) @ self.loadings - Z

    def expected_sums(self, share):
        """Return expected sums and numbers of observed cells, (S, p) each, for shares (n, S)."""
        if self.observed is not None:
            return share.T @ self.values, share.T @ self.observed
        counts = np.broadcast_to(share.sum(0)[:, None], (share.shape[1], self.values.shape[1]))
        return share.T @ self.values, counts

    @property
    def gaussian(self) -> bool:
        """True if p(z | x) is a Gaussian, which `start` then returns exactly."""
        return self.likelihood.has_noise

    def longest_step(self, root) -> np.ndarray:
        """Return the distance of points root^T s that resolves log p(x | z), in units of s, (...).

        Where answers change from no to yes within a step, the error of a rule may have any phase:
        its change with the step is no measure of its size.
        """
        slopes = root @ self.loadings.T
        steepest = np.sqrt((slopes**2).sum(-2).max(-1))
        if not self.likelihood.separable:
            return np.full(steepest.shape, np.inf)
        return LONGEST_STEP / np.maximum(steepest, 1e-300)

    @property
    def supports_grid(self) -> bool:
        """True if log p(x | z) is linear in x, up to what depends on x alone."""
        return self.likelihood.linear

    def defensive_draws(self, normal, centre, root):
        """Return standard normals (S, n or 1, d) as draws of the prior, (S, n, d)."""
        return np.broadcast_to(normal, (len(normal), *centre.shape))

    def log_defensive_density(self, Z, squares, log_det):
        """Return the log-density of `defensive_draws`, (S, n)."""
        return self.log_prior(Z)

    def _known(self, cells):
        return cells if self.observed is None else cells * self.observed

    def _quadratic(self, weight):
        """Return I + W' diag(weight_i) W of each row, as one product of matrices."""
        p, d = self.loadings.shape
        products = (self.loadings[:, :, None] * self.loadings[:, None, :]).reshape(p, d * d)
        return np.eye(d) + (weight @ products).reshape(-1, d, d)
