"""Parameters as one vector of free real numbers, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

EDGE = 1e-12


class Coordinates:
    """Between a dict of parameters on their natural scale and an unconstrained vector.

    Parameters
    ----------
    theta : dict of str to array
        Sets names, order and shapes.
    constraints : dict of str to {"positive", "unit_interval", "simplex"}
        Logarithm, log-odds, and log-ratios to the last entry (along the last axis).
    """

    def __init__(self, theta: dict[str, Any], constraints: dict[str, str]):
        self.shapes = {name: np.shape(value) for name, value in theta.items()}
        self.constraints = constraints

    def to_vector(self, theta) -> np.ndarray:
        """Return the unconstrained vector."""
        parts = []
        for name in self.shapes:
            value, kind = np.asarray(theta[name], dtype=np.float64), self.constraints.get(name)
            if kind == "positive":
                value = np.log(value)
            elif kind == "unit_interval":
                value = special.logit(np.clip(value, EDGE, 1 - EDGE))
            elif kind == "simplex":
                value = np.log(np.maximum(value, EDGE))
                value = value[..., :-1] - value[..., -1:]
            parts.append(value.ravel())
        return np.concatenate(parts)

    def from_vector(self, vector) -> dict[str, np.ndarray] | None:
        """Return the parameters, or None for coordinates beyond all measure."""
        if not np.all(np.isfinite(vector)):
            return None
        theta, first = {}, 0
        for name, shape in self.shapes.items():
            kind = self.constraints.get(name)
            free = (*shape[:-1], shape[-1] - 1) if kind == "simplex" else shape
            size = int(np.prod(free))
            value = vector[first : first + size].reshape(free)
            first += size
            if kind == "positive":
                if np.any(np.abs(value) > 600):
                    return None
                value = np.exp(value)
            elif kind == "unit_interval":
                value = special.expit(value)
            elif kind == "simplex":
                value = special.softmax(np.append(value, 0 * value[..., :1], axis=-1), axis=-1)
            theta[name] = value
        return theta
