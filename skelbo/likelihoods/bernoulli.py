"""Bernoulli likelihood: answers 0 or 1."""

from __future__ import annotations

import numpy as np

from skelbo.likelihoods.arrays import draw_bernoulli, namespace, softplus, special_functions
from skelbo.likelihoods.component_derivatives import separate_derivatives
from skelbo.likelihoods.component_likelihood import finite_log, indicators, ratio
from skelbo.likelihoods.likelihood import MARGIN, Likelihood
from skelbo.likelihoods.predictor_derivatives import trapezoid


class Bernoulli(Likelihood):
    r"""Answer 0 or 1 with log-odds :math:`\eta`."""

    name = "bernoulli"
    linear = True
    expects = "0 or 1; binarise the column, X > threshold"
    attribute, domain = "probabilities_", "unit_interval"
    separable = True

    def supports(self, values):
        """Accept 0 and 1."""
        return (values == 0) | (values == 1)

    def log_kernel(self, x, eta, noise=1.0):
        """Return log p(x | eta)."""
        return x * eta - softplus(eta)

    def linear_form(self, eta):
        """Return eta and its normalizer."""
        return eta, softplus(eta)

    def derivatives(self, x, eta, noise=1.0):
        """Return the log-kernel, its first, and minus its second derivative in eta."""
        probability, normalizer = _logistic(eta)
        return x * eta - normalizer, x - probability, probability * (1 - probability)

    def expected(self, x, mean, variance, noise=1.0, reach=1.0):
        """Return means of `derivatives` over eta ~ N(mean, variance), by quadrature."""
        deviation = np.sqrt(variance)
        totals = [np.zeros_like(mean) for _ in range(3)]
        for node, weight in zip(*trapezoid(reach), strict=True):
            probability, normalizer = _logistic(mean + node * deviation)
            totals[0] += weight * normalizer
            totals[1] += weight * probability
            probability *= 1 - probability
            totals[2] += weight * probability
        return x * mean - totals[0], x - totals[1], totals[2]

    def mean(self, eta):
        """Return the probability of 1."""
        return special_functions(eta).expit(eta)

    def sample(self, eta, noise=1.0, rng=None):
        """Draw zeros and ones."""
        return draw_bernoulli(self.mean(eta), rng)

    def offset(self, level, margin=MARGIN):
        """Return the log-odds."""
        clipped = namespace(level).clip(level, margin, 1 - margin)
        return special_functions(level).logit(clipped)

    def working_response(self, x, noise=1.0):
        """Return the first Newton step from eta = 0."""
        return 4 * x - 2, np.full(x.shape, 0.25)

    def information(self, level, variance):
        """Return the variance of an answer."""
        return level * (1 - level)

    def sufficient_statistics(self, x):
        """Return the indicators of 0 and of 1."""
        return indicators(x, 2)

    def maximize(self, statistics):
        """Return probabilities of 1; 1/2 where there is no weight, below 1 where zeros have any."""
        p = ratio(statistics[1:], statistics.sum(0), 0.5)
        xp = namespace(p)
        below_one = 1 - xp.finfo(p.dtype).eps / 2
        return xp.where((statistics[:1] > 0) & (p > below_one), below_one, p)

    def natural_parameters(self, parameters):
        """Return log(1 - p) and log p."""
        (p,) = parameters
        return namespace(p).stack([finite_log(1 - p), finite_log(p)])

    def component_derivatives(self, x, parameters, weights):
        """Return the derivatives in p."""
        x, p = x[:, None], parameters
        safe, other = np.maximum(p, 1e-300), np.maximum(1 - p, 1e-300)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            first = x / safe - (1 - x) / other
            second = x / safe**2 + (1 - x) / other**2
        return separate_derivatives(first, second, ~np.isnan(x), weights)

    def component_variance(self, parameters):
        """Return p (1 - p)."""
        return parameters[0] * (1 - parameters[0])

    def coordinates(self, parameters):
        """Return the angles whose squared sines are the probabilities."""
        xp = namespace(parameters)
        return xp.arcsin(xp.sqrt(parameters))

    def from_coordinates(self, coordinates):
        """Return squared sines of angles, clipped at the probabilities 0 and 1."""
        xp = namespace(coordinates)
        return xp.sin(xp.clip(coordinates, 0.0, np.pi / 2)) ** 2


def _logistic(eta):
    """Return the logistic function and its integral, log(1 + exp(eta)), without overflow."""
    small = np.abs(eta)
    np.negative(small, out=small)
    np.exp(small, out=small)
    one = 1 + small
    # log, unlike log1p, runs on vectors; its error is below the rounding of the sum.
    normalizer = np.log(one)
    normalizer += np.maximum(eta, 0)
    np.divide(np.where(eta >= 0, 1.0, small), one, out=one)
    return one, normalizer
