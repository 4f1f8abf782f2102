r"""What a linear predictor says of a cell: log p(x | eta), and its mean over a Gaussian eta.

Writing f for :math:`\log p(x \mid \eta)` and :math:`\eta \sim N(m, v)`, every inference here needs

.. math:: E f(\eta), \quad E f'(\eta) = \partial_m E f, \quad -E f''(\eta) = -2\, \partial_v E f

(Bonnet's and Price's theorems). They are exact: closed forms, or one-dimensional quadrature.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from scipy import special

LOG_2PI = float(np.log(2 * np.pi))
# The trapezoid rule on an analytic integrand errs by exp(-2 pi d / step), d the distance to the
# nearest pole: pi / sd for the logistic function. A step of 1 / sd leaves 3e-9 and needs fewer
# nodes than Gauss-Hermite where sd is large; beyond +-6.2 sd a Gaussian has 6e-10 of its mass.
STEP, REACH, MAX_NODES = 1.0, 6.2, 321


class Likelihood(ABC):
    """Distribution of one column given its linear predictor; methods work on arrays of cells."""

    has_noise = False

    @abstractmethod
    def check(self, X: np.ndarray) -> None:
        """Raise ValueError where X (with NaN for missing cells) is not of this kind."""

    def base(self, x: np.ndarray) -> np.ndarray:
        """Return the part of log p(x | eta) that depends on x alone, in nats."""
        return np.zeros_like(x)

    @abstractmethod
    def point(self, x, eta, noise) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return f - base, f' and -f'' at eta."""

    def value(self, x, eta, noise) -> np.ndarray:
        """Return f - base at eta."""
        return self.point(x, eta, noise)[0]

    def log_normaliser(self, eta) -> np.ndarray:
        """Return a with f - base = x * eta - a(eta), for likelihoods without noise."""
        return -self.value(0.0, eta, 1.0)

    @abstractmethod
    def expected(self, x, mean, variance, noise, reach) -> tuple[np.ndarray, ...]:
        """Return E f - base, E f' and -E f'' for eta ~ N(mean, variance).

        `reach` bounds the standard deviations to come; it sets the number of nodes, so that
        results for a row do not depend on the other rows.
        """

    @abstractmethod
    def working(self, x, noise) -> tuple[np.ndarray, np.ndarray]:
        """Return a rough eta for x and the precision of it, for starts."""

    @abstractmethod
    def information(self, level, variance) -> np.ndarray:
        """Return what a cell tells of eta where x has this mean and variance."""

    @abstractmethod
    def mean(self, eta) -> np.ndarray:
        """Return E[x | eta]."""

    @abstractmethod
    def draw(self, eta, noise, rng) -> np.ndarray:
        """Draw x given eta."""


class Gaussian(Likelihood):
    r"""x = eta + N(0, noise)."""

    has_noise = True

    def check(self, X):
        """Accept every real number."""

    def point(self, x, eta, noise):
        """Return f, f' and -f''."""
        residual = x - eta
        slope = residual / noise
        value = -0.5 * (LOG_2PI + np.log(noise) + residual * slope)
        return value, slope, np.broadcast_to(1 / noise, slope.shape)

    def expected(self, x, mean, variance, noise, reach):
        """Return E f, E f' and -E f''."""
        value, slope, curvature = self.point(x, mean, noise)
        return value - 0.5 * variance / noise, slope, curvature

    def working(self, x, noise):
        """Return x itself."""
        return x, np.broadcast_to(1 / noise, x.shape)

    def information(self, level, variance):
        """Return the Fisher information of eta."""
        return 1 / variance

    def mean(self, eta):
        """Return eta."""
        return eta

    def draw(self, eta, noise, rng):
        """Add the noise."""
        return eta + np.sqrt(noise) * rng.standard_normal(eta.shape)


class Poisson(Likelihood):
    r"""x is a count with mean exp(eta)."""

    def check(self, X):
        """Reject what is not a count."""
        known = X[~np.isnan(X)]
        _reject(known[known < 0], "poisson", "counts (0, 1, 2, ...)", "a negative value")
        _reject(known[known != np.floor(known)], "poisson", "counts (0, 1, 2, ...)", "a fraction")

    def base(self, x):
        """Return -log x!, from a table where there are fewer counts than cells."""
        largest = x.max(initial=0.0)
        if largest >= x.size:
            return -special.gammaln(x + 1)
        return -special.gammaln(np.arange(1.0, largest + 2))[x.astype(np.intp)]

    def point(self, x, eta, noise):
        """Return f - base, f' and -f''."""
        rate = np.exp(np.minimum(eta, 700.0))
        return x * eta - rate, x - rate, rate

    def expected(self, x, mean, variance, noise, reach):
        """Return E f - base, E f' and -E f'' in closed form: E exp(eta) = exp(m + v / 2)."""
        rate = np.exp(np.minimum(mean + 0.5 * variance, 700.0))
        return x * mean - rate, x - rate, rate

    def working(self, x, noise):
        """Return log(x + 1/2)."""
        return np.log(x + 0.5), x + 0.5

    def information(self, level, variance):
        """Return the Fisher information of eta."""
        return level

    def mean(self, eta):
        """Return exp(eta)."""
        return np.exp(eta)

    def draw(self, eta, noise, rng):
        """Draw counts."""
        return rng.poisson(np.exp(eta)).astype(np.float64)


class Bernoulli(Likelihood):
    r"""x is 0 or 1, with log-odds eta."""

    def check(self, X):
        """Reject what is not 0 or 1."""
        known = X[~np.isnan(X)]
        _reject(known[(known != 0) & (known != 1)], "bernoulli", "0 or 1", "another value")

    def point(self, x, eta, noise):
        """Return f, f' and -f''."""
        probability, softplus = _logistic(eta)
        return x * eta - softplus, x - probability, probability * (1 - probability)

    def value(self, x, eta, noise):
        """Return f."""
        return x * eta - np.maximum(eta, 0) - np.log(1 + np.exp(-np.abs(eta)))

    def expected(self, x, mean, variance, noise, reach):
        """Return E f, E f' and -E f'' by quadrature."""
        deviation = np.sqrt(variance)
        totals = [np.zeros_like(mean) for _ in range(3)]
        for node, weight in zip(*_trapezoid(reach), strict=True):
            probability, softplus = _logistic(mean + node * deviation)
            totals[0] += weight * softplus
            totals[1] += weight * probability
            probability *= 1 - probability
            totals[2] += weight * probability
        return x * mean - totals[0], x - totals[1], totals[2]

    def working(self, x, noise):
        """Return where Newton's method goes from eta = 0."""
        return 4 * x - 2, np.full(x.shape, 0.25)

    def information(self, level, variance):
        """Return the Fisher information of eta."""
        return level * (1 - level)

    def mean(self, eta):
        """Return the probability of 1."""
        return special.expit(eta)

    def draw(self, eta, noise, rng):
        """Draw zeros and ones."""
        return (rng.random(eta.shape) < special.expit(eta)).astype(np.float64)


LIKELIHOODS = {"gaussian": Gaussian(), "bernoulli": Bernoulli(), "poisson": Poisson()}


def _logistic(eta):
    """Return the logistic function and its integral, log(1 + exp(eta)), without overflow."""
    small = np.abs(eta)
    np.negative(small, out=small)
    np.exp(small, out=small)
    one = 1 + small
    # log, unlike log1p, runs on vectors; what it loses is below the rounding of the sum.
    softplus = np.log(one)
    softplus += np.maximum(eta, 0)
    np.divide(np.where(eta >= 0, 1.0, small), one, out=one)
    return one, softplus


def _trapezoid(reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights for the mean over N(0, 1) of functions of reach * z."""
    step = min(0.66, STEP / max(reach, 1e-300))
    half = min(int(np.ceil(REACH / step)), MAX_NODES // 2)
    nodes = np.arange(-half, half + 1) * (REACH / half)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def _reject(bad: np.ndarray, likelihood: str, expected: str, what: str) -> None:
    if bad.size:
        raise ValueError(
            f"likelihood={likelihood!r} expects {expected}, got {what}: {bad[0]:g}; recode X or "
            "choose another likelihood."
        )
