"""Poisson likelihood: counts."""

from __future__ import annotations

import numpy as np
from scipy import special

from skelbo.likelihoods.arrays import draw_poisson, namespace, torch_of
from skelbo.likelihoods.component_derivatives import separate_derivatives
from skelbo.likelihoods.component_likelihood import finite_log, observed_cells, ratio
from skelbo.likelihoods.likelihood import MARGIN, Likelihood

# Rates up to 1e130: their products with weights and with squares of loadings stay within float64.
MAX_LOG_RATE = 300.0


class Poisson(Likelihood):
    r"""Count 0, 1, 2, ... with mean :math:`e^\eta`.

    Parameters
    ----------
    max_log_rate : float, default=300
        Larger predictors are clipped. Networks in float32 take a smaller one.
    """

    name = "poisson"
    linear = True
    expects = "counts 0, 1, 2, ...; round the column"
    attribute, domain = "rates_", "positive"
    # Beyond it x log(rate) and log x! are so large that their difference in float64 is wrong by
    # more than 1e-4 nats: scores of such a fit would not be its bound.
    max_value = 2.0**32

    def __init__(self, max_log_rate: float = MAX_LOG_RATE):
        self.max_log_rate = max_log_rate

    def supports(self, values):
        """Accept nonnegative integers."""
        return (values >= 0) & (values == np.floor(values)) & np.isfinite(values)

    def _clipped(self, eta):
        return namespace(eta).clip(eta, None, self.max_log_rate)

    def log_kernel(self, x, eta, noise=1.0):
        """Return x eta - exp(eta)."""
        log_rate = self._clipped(eta)
        return x * log_rate - namespace(eta).exp(log_rate)

    def log_base(self, x):
        """Return -log x!, from a table where there are fewer counts than cells."""
        torch = torch_of(x)
        if torch is not None:
            return -torch.lgamma(x + 1)
        largest = np.max(x, initial=0.0)
        if largest >= np.size(x):
            return -special.gammaln(x + 1)
        return -special.gammaln(np.arange(1.0, largest + 2))[x.astype(np.intp)]

    def linear_form(self, eta):
        """Return the log-rate and the rate."""
        log_rate = self._clipped(eta)
        return log_rate, namespace(eta).exp(log_rate)

    def derivatives(self, x, eta, noise=1.0):
        """Return the log-kernel, its first, and minus its second derivative in eta."""
        rate = np.exp(self._clipped(eta))
        return x * eta - rate, x - rate, rate

    def expected(self, x, mean, variance, noise=1.0, reach=1.0):
        """Return means of `derivatives`, in closed form: E exp(eta) = exp(m + v / 2)."""
        rate = np.exp(self._clipped(mean + 0.5 * variance))
        return x * mean - rate, x - rate, rate

    def mean(self, eta):
        """Return exp(eta)."""
        return namespace(eta).exp(self._clipped(eta))

    def sample(self, eta, noise=1.0, rng=None):
        """Draw counts."""
        return draw_poisson(self.mean(eta), rng)

    def offset(self, level, margin=MARGIN):
        """Return the log-rate."""
        xp = namespace(level)
        return xp.log(xp.clip(level, margin, None))

    def working_response(self, x, noise=1.0):
        """Return log(x + 1/2), and its precision x + 1/2."""
        return np.log(x + 0.5), x + 0.5

    def information(self, level, variance):
        """Return the rate."""
        return level

    def sufficient_statistics(self, x):
        """Return 1 and x."""
        return namespace(x).stack(observed_cells(x))

    def maximize(self, statistics):
        """Return rates; 1 where there is no weight."""
        return ratio(statistics[1:], statistics[:1], 1.0)

    def natural_parameters(self, parameters):
        """Return minus the rate and the log-rate."""
        (rate,) = parameters
        return namespace(rate).stack([-rate, finite_log(rate)])

    def component_derivatives(self, x, parameters, weights):
        """Return the derivatives in the rate."""
        x, safe = x[:, None], np.maximum(parameters, 1e-300)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            first, second = x / safe - 1, x / safe**2
        return separate_derivatives(first, second, ~np.isnan(x), weights)

    def component_variance(self, parameters):
        """Return the rate."""
        return parameters[0]

    def coordinates(self, parameters):
        """Return square roots of the rates: their variances do not depend on the rates."""
        return namespace(parameters).sqrt(parameters)

    def from_coordinates(self, coordinates):
        """Return squares of what is not negative."""
        return namespace(coordinates).clip(coordinates, 0.0, None) ** 2
