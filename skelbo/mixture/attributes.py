"""A mixture as public arrays, in the precision of the data, and back."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from skelbo.gaussian.components import Components
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.prediction import Predictor

# Parameters of up to this many numbers are remembered, as rebuilt for predictions.
REMEMBERED_CELLS = 2**14
PUBLIC_MATRICES = ("covariances_", "precisions_", "precisions_cholesky_")


def cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return an array in another precision; what overflows becomes its largest number."""
    largest = np.finfo(dtype).max
    return np.clip(array, -largest, largest).astype(dtype)


def cast_if_held(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return an array in another precision, as it is where that cannot hold all its numbers."""
    sizes, limits = np.abs(array[array != 0]), np.finfo(dtype)
    held = np.all((sizes >= limits.tiny) & (sizes <= limits.max))
    return array.astype(dtype) if held else array


def rebuilt(kind: str, weights: np.ndarray, means: np.ndarray, *arrays: np.ndarray) -> Mixture:
    """Return theta, about zero, from public arrays."""
    covariance = STRUCTURES[kind].from_public_arrays(*arrays, *means.shape)
    weights, means = (np.asarray(array, dtype=np.float64) for array in (weights, means))
    return Mixture(weights / weights.sum(), Components(means, covariance))


@lru_cache(maxsize=16)
def remembered(kind: str, *contents: tuple[np.dtype, tuple[int, ...], bytes]) -> Predictor:
    """Return the predictor of public arrays, known by what they hold: it is never out of date."""
    arrays = [np.frombuffer(data, dtype).reshape(shape) for dtype, shape, data in contents]
    return Predictor(rebuilt(kind, *arrays))


class MatricesOfFactors:
    """A public array that most fits store, and that one with factors computes when asked for.

    Stored arrays shadow it: it has no setter.
    """

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, model, owner=None):
        if model is None:
            return self
        if "loadings_" not in vars(model):
            raise AttributeError(f"{type(model).__name__!r} object has no attribute {self.name!r}")
        covariance = model._theta(np.zeros(model.means_.shape[1])).components.covariance
        return cast(covariance.matrices()[self.name], model.means_.dtype)
