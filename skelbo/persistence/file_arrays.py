"""Arrays of a file that is being written or read, by their names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skelbo.persistence.container import DTYPES, Tensor
from skelbo.persistence.layout import check_axes, from_c_order, in_c_order, stored_shape


@dataclass
class Writer:
    """Arrays of a file that is being written.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Contiguous.
    streams : dict of int to str
        Name of each random generator, by identity: two references to one stay one.
    """

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    streams: dict[int, str] = field(default_factory=dict)

    def array(self, array: Any, name: str) -> Any:
        """Add an array; return its entry: "scalar", "C", or its axes from long to short strides."""
        if np.asarray(array).dtype.name not in DTYPES.values():
            raise ValueError(f"{name} has dtype {np.asarray(array).dtype}, which no file holds")
        if isinstance(array, np.generic):
            self.arrays[name] = np.asarray(array)
            return "scalar"
        self.arrays[name], axes = in_c_order(array)
        return "C" if axes == list(range(1, array.ndim + 1)) else axes


@dataclass
class Reader:
    """Arrays of a file that is being read.

    Attributes
    ----------
    tensors : dict of str to Tensor
        Those that have not been read so far.
    given : dict of str to object
        Parameters that the caller passed.
    streams : dict of str to RandomState
        Random generators read so far.
    """

    tensors: dict[str, Tensor]
    given: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, np.random.RandomState] = field(default_factory=dict)

    def array(
        self,
        entry: Any,
        name: str,
        shape: tuple[int | None, ...] | None,
        dtypes: tuple[str, ...],
    ) -> Any:
        """Return an array once its entry, shape and dtype are those expected; None fits any."""
        if name not in self.tensors:
            raise ValueError(f"{name} is missing")
        tensor = self.tensors[name]
        if tensor.dtype not in dtypes:
            raise ValueError(f"{name} has dtype {tensor.dtype}, expected {' or '.join(dtypes)}")
        ndim = len(tensor.shape) if shape is None else len(shape)
        plain = entry in ("C", "scalar")
        axes = list(range(1, ndim + 1)) if plain else check_axes(entry, ndim)
        expected = None if shape is None else stored_shape(shape, axes)  # type: ignore[arg-type]
        if expected is not None and not fits_shape(tensor.shape, expected):
            raise ValueError(f"{name} is stored in shape {tensor.shape}, expected {expected}")
        if entry == "scalar" and tensor.shape:
            raise ValueError(f"{name} is stored in shape {tensor.shape}, expected a scalar")
        del self.tensors[name]
        array = from_c_order(tensor.array(), axes)
        if not plain and in_c_order(array)[1] != axes:
            raise ValueError(f"{name} has the axes {axes}, expected {in_c_order(array)[1]}")
        return array[()] if entry == "scalar" else array


def fits_shape(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Return whether a shape is the expected one, in which None fits any length."""
    pairs = zip(shape, expected, strict=False)
    return len(shape) == len(expected) and all(e is None or s == e for s, e in pairs)
