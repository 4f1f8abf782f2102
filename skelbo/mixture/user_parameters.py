"""Parameters of a start that the user gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.utils import assert_all_finite

from skelbo.gaussian.components import Components
from skelbo.gaussian.covariance import Covariance
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.mixture import Mixture


@dataclass(frozen=True)
class Given:
    """Weights, means (in the units of the data) and covariance, each None if not given."""

    weights: np.ndarray | None
    means: np.ndarray | None
    covariance: Covariance | None

    @classmethod
    def checked(cls, kind: str, K: int, p: int, weights, means, precisions) -> Given:
        """Validate ``weights_init``, ``means_init`` and ``precisions_init``."""
        return cls(
            None if weights is None else _weights(weights, K),
            None if means is None else _array(means, (K, p), "means"),
            None if precisions is None else _covariance(precisions, kind, K, p),
        )

    def whole(self, origin: np.ndarray) -> Mixture | None:
        """Return the parameters about `origin` if all were given, else None."""
        if self.weights is None or self.means is None or self.covariance is None:
            return None
        return Mixture(self.weights, Components(self.means - origin, self.covariance))

    def override(self, theta: Mixture, origin: np.ndarray) -> Mixture:
        """Return theta, about `origin`, with the given parameters in place of its own."""
        weights = theta.weights if self.weights is None else self.weights
        means = theta.components.means if self.means is None else self.means - origin
        covariance = self.covariance or theta.components.covariance
        return Mixture(weights, Components(means, covariance))


def _array(array, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return an array of the expected shape, or say what was expected."""
    array = np.asarray(array, dtype=np.float64)
    assert_all_finite(array, input_name=name)
    if array.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )
    return array


def _weights(weights, K: int) -> np.ndarray:
    weights = _array(weights, (K,), "weights")
    if np.any(weights < 0) or np.any(weights > 1):
        # Minimum and maximum stand in each other's place, as in scikit-learn's message.
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{np.min(weights):.5f}, min value {np.max(weights):.5f}"
        )
    if abs(1.0 - np.sum(weights)) > 1e-6:  # float32 weights are welcome
        raise ValueError(
            "The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{np.sum(weights):.5f}"
        )
    return weights / np.sum(weights)


def _covariance(precisions, kind: str, K: int, p: int) -> Covariance:
    structure, name = STRUCTURES[kind], f"{kind} precision"
    try:
        return structure.from_precisions(_array(precisions, structure.shape(K, p), name), K, p)
    except ValueError as error:
        message = str(error)
        raise ValueError(message if name in message else f"'{name}' {message}") from None
