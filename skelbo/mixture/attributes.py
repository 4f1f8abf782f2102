"""Conversion between a mixture and its public arrays in the precision of the data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from skelbo.data.column_moments import ROUNDING
from skelbo.data.precision import cast, cast_if_representable
from skelbo.gaussian.components import Components
from skelbo.gaussian.factor_analysis.covariance import FactorCovariance
from skelbo.gaussian.published_matrices import (
    MATRICES,
    edited_matrices,
    precision_roots,
    published_means,
)
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.prediction import Predictor

# Predictors of up to this many parameters are cached.
CACHED_CELLS = 2**14
# Sums of probabilities differ from one by their rounding, in float32 too.
SUM_ROUNDING = 1e-5
# Steps of a mean, in standard deviations, whose square is seen in the bound.
VISIBLE = 1e-5
# All public arrays of the covariances, of every covariance type.
COVARIANCE_ARRAYS = {*MATRICES}.union(*(s.state_names for s in STRUCTURES.values()))


def public_arrays(theta: Mixture, origin: np.ndarray, dtype: np.dtype) -> dict[str, np.ndarray]:
    """Return the fitted attributes of a mixture about `origin`, by name."""
    arrays = {
        "weights_": theta.weights.astype(dtype),
        "means_": (theta.components.means + origin).astype(dtype),
    }
    covariance = theta.components.covariance
    for name, array in covariance.public_arrays().items():
        convert = cast_if_representable if name in covariance.structure.state_names else cast
        arrays[name] = convert(array, dtype)
    return arrays


def differs(rounded: Mixture, theta: Mixture) -> bool:
    """Return whether rounding has moved a mixture so far that its bound is another.

    That is so in float32, and where means are millions of standard deviations from zero, or from
    their origin: cells about it are rounded, too.
    """
    covariance, means = theta.components.covariance, theta.components.means
    steps = np.abs(rounded.components.means - means) + ROUNDING * np.abs(means).max(axis=0)
    white = (covariance.whiten(step[None], k) for k, step in enumerate(steps))
    moved = any(np.abs(step).max() > VISIBLE for step in white)
    return moved or not np.allclose(rounded.weights, theta.weights, rtol=1e-12, atol=0)


def density_arrays(
    kind: str, attributes: Mapping[str, Any], published: Mapping[str, int]
) -> tuple[str, list[np.ndarray]]:
    """Return a covariance type and its public arrays, matrices that were edited included.

    Parameters
    ----------
    kind : str
        Covariance type of the fit.
    attributes : mapping
        Fitted attributes by name.
    published : mapping
        Fingerprints of what the fit published; empty without a fit.

    Returns
    -------
    kind : str
        That of the fit, but "full" where matrices replace factors.
    arrays : list of ndarray
        Weights, means, and the arrays that `state_names` names.
    """
    names, (K, p) = STRUCTURES[kind].state_names, np.shape(attributes["means_"])
    state = [np.asarray(attributes["weights_"]), np.asarray(attributes["means_"])]
    if names != MATRICES[-1:]:
        if not edited_matrices(attributes, published):
            return kind, state + [np.asarray(attributes[name]) for name in names]
        kind = "full"
    roots = precision_roots(attributes, published, STRUCTURES[kind], K, p)
    return kind, [*state, roots]


def mixture_of(kind: str, weights: np.ndarray, means: np.ndarray, *arrays: np.ndarray) -> Mixture:
    """Return the mixture about zero of public arrays: those of `STRUCTURES[kind].state_names`."""
    covariance = STRUCTURES[kind].from_public_arrays(arrays, *means.shape)
    return Mixture(mixing_weights(weights), Components(published_means(means), covariance))


def mixing_weights(weights: Any) -> np.ndarray:
    """Return the weights of the components in float64, (K,), without their rounding.

    Raises
    ------
    ValueError
        If the user has set them to no probabilities.
    """
    weights = np.asarray(weights, dtype=np.float64)
    total = weights.sum()
    if not (np.all(weights >= 0) and abs(total - 1) <= SUM_ROUNDING):
        raise ValueError(
            f"weights_ has a smallest entry of {weights.min():g} and a sum of {total:g}, expected "
            "probabilities that add up to 1; divide by the sum, or call fit again."
        )
    return weights / total


def predictor_of(kind: str, *arrays: np.ndarray) -> Predictor:
    """Return the predictor of public arrays, cached by their content unless they are large."""
    if sum(array.size for array in arrays) > CACHED_CELLS:
        return Predictor(mixture_of(kind, *arrays))
    return _cached(kind, *((array.dtype, array.shape, array.tobytes()) for array in arrays))


@lru_cache(maxsize=16)
def _cached(kind: str, *contents: tuple[np.dtype, tuple[int, ...], bytes]) -> Predictor:
    arrays = [np.frombuffer(data, dtype).reshape(shape) for dtype, shape, data in contents]
    return Predictor(mixture_of(kind, *arrays))


class FactorMatrices:
    """A public matrix that most fits store, computed on access where covariances are factors'.

    What is computed cannot be edited in place. Stored arrays shadow it: it has no setter.
    """

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, model, owner=None):
        if model is None:
            return self
        if "loadings_" not in vars(model):
            raise AttributeError(f"{type(model).__name__!r} object has no attribute {self.name!r}")
        arrays = model.loadings_, model.noise_variances_
        covariance = FactorCovariance.from_public_arrays(arrays, *model.means_.shape)
        matrices = cast(covariance.matrices()[self.name], model.means_.dtype)
        matrices.flags.writeable = False
        return matrices
