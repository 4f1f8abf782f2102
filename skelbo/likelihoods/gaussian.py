"""Gaussian likelihood: real numbers about a mean."""

from __future__ import annotations

import math

import numpy as np

from skelbo.likelihoods.arrays import draw_normal, namespace
from skelbo.likelihoods.component_likelihood import observed_cells, ratio
from skelbo.likelihoods.likelihood import MARGIN, Likelihood

LOG_2PI = math.log(2 * math.pi)


class Gaussian(Likelihood):
    r"""Real number with :math:`x \mid \eta \sim N(\eta, v)`, v the noise variance of the column."""

    name = "gaussian"
    expects = "a real number"
    has_noise = True
    is_block = True

    def supports(self, values):
        """Accept every real number."""
        return np.isfinite(values)

    def check(self, X, columns=None, first_row=None):
        """Accept every table: estimators refuse infinite cells when they read it."""

    def log_kernel(self, x, eta, noise=1.0):
        """Return log p(x | eta)."""
        residual = x - eta
        return self._log_density(residual * (residual / noise), noise)

    def _log_density(self, squares, noise):
        """Return the log-density at squared distances in units of the noise."""
        return -0.5 * (LOG_2PI + namespace(noise).log(noise) + squares)

    def squared_residuals(self, x, eta, mask=None):
        """Return (x - eta)^2, zero at missing cells."""
        squares = (eta - x) ** 2
        return squares if mask is None else squares * mask

    def row_log_prob(self, x, eta, noise=1.0, mask=None):
        """Return the sum of log p(x | eta) over the observed cells of each row."""
        return self.row_log_prob_at(self.squared_residuals(x, eta, mask), noise, mask)

    def row_log_prob_at(self, squares, noise, mask=None):
        """Return the sum over the observed cells of each row, by a product with the precisions.

        Parameters
        ----------
        squares : array of shape (..., n_samples, n_features)
            Squared residuals, zero at missing cells.
        noise : array of shape (n_features,)
            Noise variances.
        mask : array of shape (n_samples, n_features), optional
            1 where observed, 0 where missing.

        Returns
        -------
        array of shape (..., n_samples)
            In nats.
        """
        constants = namespace(noise).log(2 * math.pi * noise)
        constant = constants.sum() if mask is None else mask @ constants
        return (squares @ (1 / noise) + constant) * -0.5

    def derivatives(self, x, eta, noise=1.0):
        """Return the log-kernel, its first, and minus its second derivative in eta."""
        residual = x - eta
        slope = residual / noise
        value = self._log_density(residual * slope, noise)
        return value, slope, np.broadcast_to(1 / noise, slope.shape)

    def expected(self, x, mean, variance, noise=1.0, reach=1.0):
        """Return means of `derivatives` over eta ~ N(mean, variance), in closed form."""
        value, slope, curvature = self.derivatives(x, mean, noise)
        return value - 0.5 * variance / noise, slope, curvature

    def mean(self, eta):
        """Return eta."""
        return eta

    def sample(self, eta, noise=1.0, rng=None):
        """Draw x given eta."""
        return eta + noise**0.5 * draw_normal(eta, rng)

    def offset(self, level, margin=MARGIN):
        """Return the mean."""
        return level

    def working_response(self, x, noise=1.0):
        """Return x and the precision of the noise."""
        return x, np.broadcast_to(1 / noise, x.shape)

    def information(self, level, variance):
        """Return the precision of the column."""
        return 1 / variance

    def sufficient_statistics(self, x):
        """Return 1, x and x^2; subtract a common origin from columns with an offset first."""
        known, values = observed_cells(x)
        return namespace(x).stack([known, values, values**2])

    def maximize(self, statistics):
        """Return means and variances; 0 and 1 where there is no weight."""
        weight, first, second = statistics
        mean = ratio(first, weight, 0.0)
        variance = ratio(second, weight, 1.0) - mean**2
        return namespace(mean).stack([mean, namespace(mean).clip(variance, 0.0, None)])

    def component_variance(self, parameters):
        """Return the variances."""
        return parameters[1]

    def natural_parameters(self, parameters):
        """Return the factors of 1, x and x^2."""
        mean, variance = parameters
        constant = self._log_density(mean**2 / variance, variance)
        return namespace(mean).stack([constant, mean / variance, -0.5 / variance])

    def component_sample(self, parameters, labels, rng):
        """Draw x about the means of the components."""
        mean, variance = parameters[:, labels]
        return mean + np.sqrt(variance) * draw_normal(mean, rng)
