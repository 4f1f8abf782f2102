"""Declarations of what a file may hold: one class for each kind of value.

A field writes a value as JSON, with arrays beside it, and reads it back only if it is what the
declaration admits. Shapes come from the declaration, never from the file.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.persistence.file_arrays import Reader, Writer, fits_shape

FLOATS = ("float64", "float32")


class Field(ABC):
    """A kind of value."""

    # Whether an estimator may be without the attribute.
    optional = False

    @abstractmethod
    def encode(self, value: Any, name: str, writer: Writer) -> Any:
        """Return what JSON holds of a value; its arrays go to the writer."""

    @abstractmethod
    def decode(self, node: Any, name: str, reader: Reader) -> Any:
        """Return the value that `encode` wrote; ValueError for what the field does not admit."""


@dataclass
class Chosen:
    """A field that depends on values read before it.

    Parameters
    ----------
    choose : callable, (dict of the values so far) -> Field
    """

    choose: Callable[[dict[str, Any]], Field]


@dataclass
class Optional(Field):
    """An attribute that an estimator may be without."""

    of: Field
    optional = True

    def encode(self, value, name, writer):
        """Write the value."""
        return self.of.encode(value, name, writer)

    def decode(self, node, name, reader):
        """Read the value."""
        return self.of.decode(node, name, reader)


@dataclass
class Nullable(Field):
    """A value or None."""

    of: Field

    def encode(self, value, name, writer):
        """Write the value, None as null."""
        return None if value is None else self.of.encode(value, name, writer)

    def decode(self, node, name, reader):
        """Read the value, null as None."""
        return None if node is None else self.of.decode(node, name, reader)


@dataclass
class Flag(Field):
    """A bool."""

    def encode(self, value, name, writer):
        """Write true or false."""
        return bool(value)

    def decode(self, node, name, reader):
        """Read true or false."""
        if type(node) is not bool:
            raise ValueError(f"{name} is {node!r}, expected true or false")
        return node


@dataclass
class Text(Field):
    """A string, one of `options` if there are any."""

    options: tuple[str, ...] = ()

    def encode(self, value, name, writer):
        """Write the string."""
        return str(value)

    def decode(self, node, name, reader):
        """Read the string."""
        if not isinstance(node, str) or (self.options and node not in self.options):
            raise ValueError(f"{name} is {node!r}, expected {self.options or 'a string'}")
        return node


@dataclass
class Number(Field):
    """A float or int within limits.

    Parameters
    ----------
    integer : bool
    low, high : float
        Limits, included.
    finite : bool
        Whether infinity and NaN are refused.
    """

    integer: bool = False
    low: float = -math.inf
    high: float = math.inf
    finite: bool = True

    def encode(self, value, name, writer):
        """Write the number."""
        value = self._checked(int(value) if self.integer else float(value), name)
        return value if self.integer else encode_float(value)

    def decode(self, node, name, reader):
        """Read the number."""
        if not self.integer:
            return self._checked(decode_float(node, name), name)
        if type(node) is not int:
            raise ValueError(f"{name} is {node!r}, expected an integer")
        return self._checked(node, name)

    def _checked(self, value: Any, name: str) -> Any:
        if self.finite and not self.integer and not math.isfinite(value):
            raise ValueError(f"{name} is {value!r}, expected a finite number")
        if value < self.low or value > self.high:
            raise ValueError(f"{name} is {value!r}, expected {self.low} to {self.high}")
        return value


def encode_float(value: Any) -> Any:
    """Return a float as JSON holds it: all but finite ones as strings."""
    value = float(value)
    return value if math.isfinite(value) else {"float": repr(value)}


def decode_float(node: Any, name: str) -> float:
    """Return the float that `encode_float` wrote."""
    if isinstance(node, dict) and list(node) == ["float"]:
        if node["float"] in ("inf", "-inf", "nan"):
            return float(node["float"])
    elif type(node) is float:
        return node
    raise ValueError(f"{name} is {node!r}, expected a float")


@dataclass
class Sequence(Field):
    """A list of values of one kind, or a tuple of one kind each.

    Parameters
    ----------
    of : Field or tuple of Field
    length : int, optional
    kind : type
        list or tuple.
    """

    of: Field | tuple[Field, ...]
    length: int | None = None
    kind: type = list

    def encode(self, value, name, writer):
        """Write the values in turn."""
        fields = self._fields(len(value), name)
        pairs = enumerate(zip(fields, value, strict=True))
        return [of.encode(item, f"{name}.{i}", writer) for i, (of, item) in pairs]

    def decode(self, node, name, reader):
        """Read the values in turn."""
        if not isinstance(node, list):
            raise ValueError(f"{name} is {node!r}, expected a list")
        pairs = enumerate(zip(self._fields(len(node), name), node, strict=True))
        return self.kind(of.decode(item, f"{name}.{i}", reader) for i, (of, item) in pairs)

    def _fields(self, n: int, name: str) -> list[Field]:
        fields = list(self.of) if isinstance(self.of, tuple) else n * [self.of]
        expected = len(fields) if self.length is None else self.length
        if n != expected:
            raise ValueError(f"{name} has length {n}, expected {expected}")
        return fields


@dataclass
class Names(Field):
    """An array of strings, dtype object unless another is given."""

    length: int | None = None
    dtype: Any = object

    def encode(self, value, name, writer):
        """Write the strings."""
        return [str(item) for item in value]

    def decode(self, node, name, reader):
        """Read the strings."""
        items = Sequence(Text(), self.length).decode(node, name, reader)
        return np.array(items, dtype=self.dtype)


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
    """

    shapes: MappingABC[str, tuple[int | None, ...]] | None
    dtypes: tuple[str, ...] = FLOATS
    finite: bool = True
    c_order: bool = False

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
        if self.shapes is not None and set(found) != set(self.shapes):
            raise ValueError(f"{name} has {sorted(found)}, expected {sorted(self.shapes)}")
        shapes: Any = dict.fromkeys(found) if self.shapes is None else self.shapes
        return {key: Array(shapes[key], self.dtypes, self.finite) for key in found}


@dataclass
class Mapping(Field):
    """Values of different kinds by their names, all of which are there unless optional.

    The name of the whole is empty where these are the attributes of an estimator.
    """

    fields: MappingABC[str, Field | Chosen]

    def encode(self, value, name, writer):
        """Write the values in turn."""
        node = {}
        for key, of in self.fields.items():
            chosen = of.choose(value) if isinstance(of, Chosen) else of
            if key in value:
                node[key] = chosen.encode(value[key], _joined(name, key), writer)
            elif not chosen.optional:
                raise ValueError(f"{_joined(name, key)} is missing")
        return node

    def decode(self, node, name, reader):
        """Read the values in turn."""
        if not isinstance(node, dict):
            raise ValueError(f"{name} is {node!r}, expected values by their names")
        unknown = sorted(set(node) - set(self.fields))
        if unknown:
            raise ValueError(f"{name} has {unknown}, expected {list(self.fields)}")
        value: dict[str, Any] = {}
        for key, of in self.fields.items():
            chosen = of.choose(value) if isinstance(of, Chosen) else of
            if key in node:
                value[key] = chosen.decode(node[key], _joined(name, key), reader)
            elif not chosen.optional:
                raise ValueError(f"{_joined(name, key)} is missing")
        return value


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


@dataclass
class Record(Field):
    """An object made of fields, such as a dataclass: `kind` is called with them as keywords."""

    kind: Callable[..., Any]
    fields: MappingABC[str, Field | Chosen]

    def encode(self, value, name, writer):
        """Write the fields."""
        parts = {key: getattr(value, key) for key in self.fields}
        return Mapping(self.fields).encode(parts, name, writer)

    def decode(self, node, name, reader):
        """Read the fields and make the object."""
        return self.kind(**Mapping(self.fields).decode(node, name, reader))


STATE = Mapping(
    {
        "keys": Array((624,), ("uint32",)),
        "position": Number(integer=True, low=0, high=624),
        "has_gauss": Number(integer=True, low=0, high=1),
        "gauss": Number(),
    }
)


@dataclass
class RandomStream(Field):
    """A `numpy.random.RandomState`, with its place in the stream."""

    def encode(self, value, name, writer):
        """Write the state, or the name of the same generator elsewhere in the file."""
        if id(value) in writer.streams:
            return {"same": writer.streams[id(value)]}
        writer.streams[id(value)] = name
        kind, *state = value.get_state()
        if kind != "MT19937":
            raise ValueError(f"{name} has a bit generator {kind}, of which no file holds the state")
        return STATE.encode(dict(zip(STATE.fields, state, strict=True)), name, writer)

    def decode(self, node, name, reader):
        """Read the generator, or find the one that was read before."""
        if isinstance(node, dict) and list(node) == ["same"]:
            if node["same"] not in reader.streams:
                raise ValueError(f"{name} is {node!r}, a generator that does not come before it")
            return reader.streams[node["same"]]
        stream = np.random.RandomState()
        stream.set_state(("MT19937", *STATE.decode(node, name, reader).values()))
        reader.streams[name] = stream
        return stream
