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
