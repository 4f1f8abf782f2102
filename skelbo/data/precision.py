"""Numbers in the precision of a table."""

from __future__ import annotations

import numpy as np


def cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return an array in another precision; what overflows becomes its largest number."""
    largest = np.finfo(dtype).max
    return np.clip(array, -largest, largest).astype(dtype)


def cast_if_representable(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return an array in another precision, unchanged where that cannot hold all its numbers."""
    sizes, limits = np.abs(array[array != 0]), np.finfo(dtype)
    representable = np.all((sizes >= limits.tiny) & (sizes <= limits.max))
    return array.astype(dtype) if representable else array


def cast_if_finite(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return parameters in another precision, unchanged where that makes them infinite or zero.

    Zero concerns positive parameters, such as variances; others may round to zero.
    """
    sizes, limits = np.abs(array), np.finfo(dtype)
    positive = np.all(array > 0)
    kept = np.all(sizes <= limits.max) and not (positive and np.any(sizes < limits.tiny))
    return array.astype(dtype) if kept else array


def cast_within_bounds(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return parameters of columns, such as rates and probabilities, in another precision.

    What is positive stays so, and what is below one stays below: log p and log(1 - p) of a
    probability that was inside of its interval are finite.
    """
    limits, rounded = np.finfo(dtype), cast(array, dtype)
    rounded[(array > 0) & (rounded == 0)] = limits.tiny
    rounded[(array < 1) & (rounded == 1)] = 1 - limits.epsneg
    return rounded
