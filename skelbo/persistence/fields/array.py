"""Arrays of declared shapes, dtypes and limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.persistence.fields.field import Field
from skelbo.persistence.file_arrays import fits_shape

FLOATS = ("float64", "float32")


@dataclass
class Array(Field):
    """An array.

    Parameters
    ----------
    shape : tuple of int or None, or None
        None for an axis, or for all, is any length.
    dtypes : tuple of str
    finite : bool
        Whether infinity and NaN are refused.
    low, high : float
        Limits, included.
    """

    shape: tuple[int | None, ...] | None
    dtypes: tuple[str, ...] = FLOATS
    finite: bool = True
    low: float = -math.inf
    high: float = math.inf

    def encode(self, value, name, writer):
        """Add the array to the file."""
        value = value if isinstance(value, (np.ndarray, np.generic)) else np.asarray(value)
        if value.dtype.name not in self.dtypes:
            raise ValueError(f"{name} has dtype {value.dtype}, expected {' or '.join(self.dtypes)}")
        if self.shape is not None and not fits_shape(value.shape, self.shape):
            raise ValueError(f"{name} has shape {value.shape}, expected {self.shape}")
        self._check_cells(value, name)
        return writer.array(value, name)

    def decode(self, node, name, reader):
        """Take the array from the file, once its shape is the declared one."""
        array = reader.array(node, name, self.shape, self.dtypes)
        self._check_cells(array, name)
        return array

    def _check_cells(self, array: Any, name: str) -> None:
        if self.finite and not np.all(np.isfinite(array)):
            raise ValueError(f"{name} has cells that are not finite")
        below = self.low > -math.inf and np.any(array < self.low)
        if below or (self.high < math.inf and np.any(array > self.high)):
            raise ValueError(f"{name} has cells outside {self.low} to {self.high}")


@dataclass
class Arrays(Field):
    """Arrays by their names.

    Parameters
    ----------
    shapes : dict of str to tuple of int, or None
        The names and shapes; None admits any.
    dtypes, finite
        See `Array`.
    c_order : bool
        Whether the arrays are always in C order: what they are read into is.
    undeclared : tuple of str
        Beginnings of names beside those of `shapes`, of arrays of any shape and value.
    """

    shapes: Mapping[str, tuple[int | None, ...]] | None
    dtypes: tuple[str, ...] = FLOATS
    finite: bool = True
    c_order: bool = False
    undeclared: tuple[str, ...] = ()

    def encode(self, value, name, writer):
        """Add the arrays to the file."""
        fields = self._fields(value, name)
        return {key: fields[key].encode(value[key], f"{name}.{key}", writer) for key in value}

    def decode(self, node, name, reader):
        """Take the arrays from the file, if their names are the declared ones."""
        if not isinstance(node, dict):
            raise ValueError(f"{name} is {node!r}, expected arrays by their names")
        turned = [key for key, entry in node.items() if isinstance(entry, list)]
        if self.c_order and turned:
            raise ValueError(f"{name} has axes {node[turned[0]]} of {turned[0]}, expected 'C'")
        fields = self._fields(node, name)
        return {key: fields[key].decode(node[key], f"{name}.{key}", reader) for key in node}

    def _fields(self, found: dict[str, Any], name: str) -> dict[str, Array]:
        """Return the field of each array that was found."""
        free = [key for key in found if key.startswith(self.undeclared)]
        shapes: Any = dict.fromkeys(found) if self.shapes is None else self.shapes
        if set(found) != {*free, *shapes}:
            raise ValueError(f"{name} has {sorted(found)}, expected {sorted(shapes)}")
        return {
            key: Array(shapes.get(key), self.dtypes, self.finite and key not in free)
            for key in found
        }
