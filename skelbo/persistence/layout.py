"""Order of an array's cells in memory, which decides the last digits of sums over it."""

from __future__ import annotations

from typing import Any

import numpy as np


def in_c_order(array: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return an array with its axes rearranged into C order, and how to undo that.

    Parameters
    ----------
    array : ndarray
        Of any strides.

    Returns
    -------
    stored : ndarray
        Contiguous.
    axes : list of int
        Axes of `array`, counted from 1, from the longest stride to the shortest; negative where
        the stride is.

    Examples
    --------
    >>> import numpy as np
    >>> in_c_order(np.zeros((3, 2)).T)[1], in_c_order(np.zeros((3, 2))[::-1])[1]
    ([2, 1], [-1, 2])
    """
    strides = [0 if size == 1 else stride for size, stride in zip(*_geometry(array), strict=True)]
    if 0 in strides:  # broadcast, or an axis of one: C order is as good as any
        order = list(range(array.ndim))
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            order.reverse()
    else:
        order = sorted(range(array.ndim), key=lambda axis: -abs(strides[axis]))
    turned = array.transpose(order)
    flips = tuple(slice(None, None, -1 if strides[axis] < 0 else None) for axis in order)
    axes = [-(axis + 1) if strides[axis] < 0 else axis + 1 for axis in order]
    return np.ascontiguousarray(turned[(*flips, ...)]).reshape(turned.shape), axes


def _geometry(array: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return array.shape, array.strides


def stored_shape(shape: tuple[int, ...], axes: list[int]) -> tuple[int, ...]:
    """Return the shape in which an array of `shape` is stored."""
    return tuple(shape[abs(axis) - 1] for axis in axes)


def from_c_order(stored: np.ndarray, axes: list[int]) -> np.ndarray:
    """Return the array that `in_c_order` rearranged: a view."""
    flips = tuple(slice(None, None, -1 if axis < 0 else None) for axis in axes)
    return stored[(*flips, ...)].transpose(np.argsort([abs(axis) for axis in axes]))


def check_axes(axes: Any, ndim: int) -> list[int]:
    """Return axes if they are those of an array that is not in C order; ValueError otherwise."""
    valid = isinstance(axes, list) and all(type(axis) is int for axis in axes)
    if not valid or sorted(map(abs, axes)) != list(range(1, ndim + 1)):
        raise ValueError(f"has the axes {axes}, expected those of {ndim} dimensions")
    if axes == list(range(1, ndim + 1)):
        raise ValueError(f"has the axes {axes}, expected 'C' for an array in C order")
    return axes
