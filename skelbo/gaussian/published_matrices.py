"""Covariances, precisions and their roots as an estimator publishes them and a user edits them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from skelbo.gaussian.covariance import CovarianceStructure

# Covariance, precision and root of the precision, under the names of one Gaussian and of several.
MATRIX = ("covariance_", "precision_", "precision_cholesky_")
MATRICES = ("covariances_", "precisions_", "precisions_cholesky_")


def fingerprint(array: Any) -> int:
    """Return a checksum of an array's content."""
    return zlib.crc32(np.ascontiguousarray(array).data)


def edited_matrices(
    attributes: Mapping[str, Any], published: Mapping[str, int], names: tuple[str, ...] = MATRICES
) -> list[str]:
    """Return the names of the matrices that are not those of the fit, roots first.

    Parameters
    ----------
    attributes : mapping
        Of the estimator.
    published : mapping
        Fingerprints of what the fit published; empty without a fit.
    names : tuple of str
        `MATRICES` or `MATRIX`.
    """
    present = [name for name in names[::-1] if name in attributes]
    return [name for name in present if fingerprint(attributes[name]) != published.get(name)]


def published_means(means: Any, name: str = "means_") -> np.ndarray:
    """Return means in float64; ValueError if one that the user has set is not finite."""
    means = np.asarray(means, dtype=np.float64)
    if not np.all(np.isfinite(means)):
        raise ValueError(
            f"{name} was set to what is not finite, expected finite numbers; set it to valid "
            "numbers, or call fit again."
        )
    return means


def precision_roots(
    attributes: Mapping[str, Any],
    published: Mapping[str, int],
    structure: CovarianceStructure,
    K: int,
    p: int,
    names: tuple[str, ...] = MATRICES,
) -> np.ndarray:
    """Return roots of the precisions from the public matrices, whichever the user has edited.

    Parameters
    ----------
    attributes, published, names
        As those of `edited_matrices`.
    structure : CovarianceStructure
        One that publishes roots.
    K, p : int
        Numbers of components and features.

    Returns
    -------
    ndarray
        In the shape of the estimator's own roots, or in that of `structure` where they are
        computed.

    Raises
    ------
    ValueError
        If an edited matrix is not symmetric and positive-definite, or has another shape.
    """
    covariance, _, root = names
    edited = edited_matrices(attributes, published, names)
    name = edited[0] if edited else next(n for n in names[::-1] if n in attributes)
    array = np.asarray(attributes[name])
    shape = structure.shape(K, p)
    if array.size != math.prod(shape):
        expected = shape[1:] if names == MATRIX else shape
        raise ValueError(
            f"{name} was set to an array of shape {array.shape}, expected {expected}; set it to a "
            "valid array, or call fit again."
        )
    dense = structure.scatter.dense
    try:
        if name == root and dense:
            _check_roots(array.reshape(shape))
        else:
            _check_diagonal(array.reshape(shape), dense)
        if name == root:
            return array
        array = array.astype(np.float64).reshape(shape)
        if name == covariance:
            array = np.linalg.inv(array) if dense else 1 / array
        return structure.from_precisions(array, K, p).public_arrays()[MATRICES[2]]
    except (ValueError, np.linalg.LinAlgError):
        raise ValueError(
            f"{name} was set to what is not symmetric and positive-definite; set it to a valid "
            "array, or call fit again."
        ) from None


def _check_roots(matrices: np.ndarray) -> None:
    """Raise ValueError if a root is not finite, or has a row or column of zeros; signs are free."""
    used = matrices != 0
    if not (np.all(np.isfinite(matrices)) and np.all(used.any(-1)) and np.all(used.any(-2))):
        raise ValueError("a root is singular")


def _check_diagonal(matrices: np.ndarray, dense: bool) -> None:
    """Raise ValueError unless diagonals are positive and finite."""
    diagonals = np.diagonal(matrices, axis1=-2, axis2=-1) if dense else matrices
    if not (np.all(diagonals > 0) and np.all(diagonals < np.inf)):
        raise ValueError("a diagonal is not positive")
