r"""Domains of parameters, and parameters as one vector of free real numbers.

A parameter :math:`\theta` in a domain is a function :math:`\theta(u)` of free coordinates u: the
exponential, the logistic function, or the softmax of u with a zero appended.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from scipy import special

# Distance of probabilities from 0 and 1, and largest logarithm of a positive parameter.
EDGE, LARGEST_LOG = 1e-12, 600.0
# Longest step in a logarithm.
LONGEST_STEP = 50.0


class Constraint(ABC):
    """Domain of a parameter; values are arrays of any shape."""

    # Largest size of a free coordinate.
    reach = np.inf
    # Whether the likelihood may have its maximum on the edge of the domain.
    edge_attained = False

    @abstractmethod
    def contains(self, value: np.ndarray) -> bool:
        """Return whether all entries lie inside the open domain."""

    @abstractmethod
    def to_free(self, value: np.ndarray) -> np.ndarray:
        """Return free coordinates."""

    @abstractmethod
    def from_free(self, free: np.ndarray) -> np.ndarray:
        """Return a value inside the open domain."""

    @abstractmethod
    def pull_back(self, value: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return the gradient in free coordinates from that in the value."""

    def derivatives(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and second derivative of each entry in the scale of `move`."""
        return np.ones_like(value), np.zeros_like(value)

    def move(self, value: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Return the value after a step: logarithm, log-odds, or (simplex) the value's own scale.

        The result may leave the domain where the scale is the value's own.
        """
        return value + step

    def edge(self, value: np.ndarray) -> np.ndarray:
        """Return the side of the nearest edge of the domain: -1 below, 1 above, 0 without one."""
        return np.zeros_like(value)

    def distance(self, value: np.ndarray) -> np.ndarray:
        """Return the distance of each entry from the nearest edge of the domain."""
        return np.full(np.shape(value), np.inf)

    def fixed_sums(self, value: np.ndarray) -> np.ndarray:
        """Return gradients (C, value.size) of the sums that the domain fixes."""
        return np.zeros((0, np.size(value)))

    def free_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the free coordinates of a value of this shape."""
        return shape


class Real(Constraint):
    """All real numbers."""

    def contains(self, value):
        """Accept finite numbers."""
        return bool(np.all(np.isfinite(value)))

    def to_free(self, value):
        """Return the value."""
        return value

    def from_free(self, free):
        """Return the value."""
        return free

    def pull_back(self, value, gradient):
        """Return the gradient."""
        return gradient


class Positive(Constraint):
    """Positive numbers, by their logarithms."""

    reach = LARGEST_LOG

    def contains(self, value):
        """Return whether all entries are positive."""
        return bool(np.all(value > 0))

    def to_free(self, value):
        """Return logarithms."""
        return np.log(value)

    def from_free(self, free):
        """Return exponentials."""
        return np.exp(free)

    def pull_back(self, value, gradient):
        """Return the gradient in the logarithm."""
        return gradient * value

    def derivatives(self, value):
        """Return both derivatives of the exponential: the value."""
        return value, value

    def move(self, value, step):
        """Return the value after a step in its logarithm."""
        return value * np.exp(np.clip(step, -LONGEST_STEP, LONGEST_STEP))

    def edge(self, value):
        """Return -1: the edge is zero."""
        return np.full(np.shape(value), -1.0)

    def distance(self, value):
        """Return the value."""
        return value


class Probability(Constraint):
    """Numbers between 0 and 1."""

    edge_attained = True

    def edge(self, value):
        """Return -1 below 1/2, else 1."""
        return np.where(np.asarray(value) < 0.5, -1.0, 1.0)

    def distance(self, value):
        """Return the distance from 0 or from 1."""
        return np.minimum(value, 1 - value)


class UnitInterval(Probability):
    """Probabilities between 0 and 1, by their log-odds."""

    def contains(self, value):
        """Return whether all entries are above 0 and below 1."""
        return bool(np.all((value > 0) & (value < 1)))

    def to_free(self, value):
        """Return log-odds."""
        return special.logit(np.clip(value, EDGE, 1 - EDGE))

    def from_free(self, free):
        """Return probabilities."""
        return np.clip(special.expit(free), EDGE, 1 - EDGE)

    def pull_back(self, value, gradient):
        """Return the gradient in the log-odds."""
        return gradient * value * (1 - value)

    def derivatives(self, value):
        """Return the derivatives of the logistic function."""
        slope = value * (1 - value)
        return slope, slope * (1 - 2 * value)

    def move(self, value, step):
        """Return the value after a step in its log-odds."""
        return self.from_free(self.to_free(value) + step)


class Simplex(Probability):
    """Probabilities that sum to one along the last axis, by log-ratios to the last entry."""

    def contains(self, value):
        """Return whether all entries are positive and sum to one."""
        return bool(np.all(value > 0) and np.allclose(value.sum(-1), 1))

    def to_free(self, value):
        """Return log-ratios."""
        logs = np.log(np.maximum(value, EDGE))
        return logs[..., :-1] - logs[..., -1:]

    def from_free(self, free):
        """Return probabilities."""
        value = special.softmax(np.append(free, 0 * free[..., :1], axis=-1), axis=-1)
        value = np.maximum(value, EDGE)
        return value / value.sum(-1, keepdims=True)

    def pull_back(self, value, gradient):
        """Return the gradient in the log-ratios."""
        mean = (value * gradient).sum(-1, keepdims=True)
        return (value * (gradient - mean))[..., :-1]

    def fixed_sums(self, value):
        """Return a row of ones for each simplex."""
        length = np.shape(value)[-1]
        return np.kron(np.eye(np.size(value) // length), np.ones(length))

    def free_shape(self, shape):
        """Return a shape with one entry less for each simplex."""
        return (*shape[:-1], shape[-1] - 1)


CONSTRAINTS: dict[str, Constraint] = {
    "real": Real(),
    "positive": Positive(),
    "unit_interval": UnitInterval(),
    "simplex": Simplex(),
}


def constraint_of(name: str, constraints: dict[str, str]) -> Constraint:
    """Return the domain of the parameter with this name."""
    return CONSTRAINTS[constraints.get(name, "real")]


def within(theta: dict[str, Any], limits: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Return theta with some parameters moved to the nearest value between their limits."""
    return {k: np.clip(v, *limits[k]) if k in limits else v for k, v in theta.items()}


class ParameterVector:
    """Map between a dict of parameters on their natural scale and one unconstrained vector.

    Parameters
    ----------
    theta : dict of str to array
        Sets names, order and shapes.
    constraints : dict of str to {"real", "positive", "unit_interval", "simplex"}
        Domains of the parameters that are not real.
    limits : dict of str to (float or ndarray, float or ndarray), optional
        Smallest and largest values of some parameters, which `from_vector` keeps to.
    """

    def __init__(
        self,
        theta: dict[str, Any],
        constraints: dict[str, str],
        limits: dict[str, tuple[Any, Any]] | None = None,
    ):
        self.limits = limits or {}
        self.shapes = {name: np.shape(value) for name, value in theta.items()}
        self.domains = {name: constraint_of(name, constraints) for name in theta}

    def to_vector(self, theta) -> np.ndarray:
        """Return the unconstrained vector."""
        parts = [
            domain.to_free(np.asarray(theta[name], dtype=np.float64)).ravel()
            for name, domain in self.domains.items()
        ]
        return np.concatenate(parts)

    def from_vector(self, vector) -> dict[str, np.ndarray] | None:
        """Return the parameters, inside their domains; None for a vector out of reach."""
        if not np.all(np.isfinite(vector)):
            return None
        theta, first = {}, 0
        for name, domain in self.domains.items():
            shape = domain.free_shape(self.shapes[name])
            size = int(np.prod(shape))
            free = vector[first : first + size].reshape(shape)
            if np.any(np.abs(free) > domain.reach):
                return None
            theta[name] = domain.from_free(free)
            first += size
        return within(theta, self.limits)

    def lower_bounds(self, limits: dict[str, Any], vector: np.ndarray) -> np.ndarray:
        """Return lower bounds of the vector from lower limits of some parameters.

        None of them is above `vector`; -inf where there is no limit.
        """
        parts = []
        for name, domain in self.domains.items():
            shape = self.shapes[name]
            if name in limits:
                limit = np.broadcast_to(np.asarray(limits[name], dtype=np.float64), shape)
                parts.append(domain.to_free(limit).ravel())
            else:
                parts.append(np.full(int(np.prod(domain.free_shape(shape))), -np.inf))
        return np.minimum(np.concatenate(parts), vector)

    def pull_back(self, theta, gradient) -> np.ndarray:
        """Return the gradient in the vector from the gradients in the parameters."""
        parts = [
            domain.pull_back(theta[name], gradient[name]).ravel()
            for name, domain in self.domains.items()
        ]
        return np.concatenate(parts)
