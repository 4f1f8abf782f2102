"""State of a running fit as JSON and arrays: nested containers and the library's own records.

References to one object stay references to one object, and cells of arrays keep their order in
memory, so that what is read goes on to the bit.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from skelbo.persistence.container import DTYPES, Tensor
from skelbo.persistence.fields import RandomStream, decode_float, encode_float
from skelbo.persistence.file_arrays import Reader, Writer


class StateWriter:
    """Encoder of a state.

    Parameters
    ----------
    constants : sequence of object
        What a fit makes anew and does not change: written by its number.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Arrays met so far, by their numbers.
    """

    def __init__(self, constants: Sequence[Any] = ()) -> None:
        self._constants = {id(value): number for number, value in enumerate(constants)}
        self._writer = Writer()
        self.arrays = self._writer.arrays
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []  # an id is that of one object only while the object lives

    def encode(self, value: Any) -> Any:
        """Return what JSON holds of a value; TypeError if no file can hold it."""
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return encode_float(value)
        if id(value) in self._constants:
            return {"constant": self._constants[id(value)]}
        if id(value) in self._numbers:
            return {"again": self._numbers[id(value)]}
        node = self._encode_new(value)
        # Counted once its parts are: a reader makes them in this order.
        self._numbers[id(value)] = len(self._alive)
        self._alive.append(value)
        return node

    def _encode_new(self, value: Any) -> Any:
        name = str(len(self.arrays))
        if isinstance(value, (np.ndarray, np.generic)):
            return {"array": self._writer.array(value, name), "name": name}
        if isinstance(value, (list, tuple, deque)) and type(value) in (list, tuple, deque):
            node: dict[str, Any] = {type(value).__name__: [self.encode(item) for item in value]}
            return {**node, "maxlen": value.maxlen} if isinstance(value, deque) else node
        if type(value) is dict:
            return {"dict": [[self.encode(k), self.encode(v)] for k, v in value.items()]}
        if type(value) is np.random.RandomState:
            return {"stream": RandomStream().encode(value, f"{name}.stream", self._writer)}
        return self._encode_record(value)

    def _encode_record(self, value: Any) -> Any:
        kind = type(value)
        if not _is_record(kind):
            raise TypeError(f"{kind.__name__} is no record that a checkpoint can hold")
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        parts = {name: self.encode(getattr(value, name)) for name in fields}
        return {"record": f"{kind.__module__}:{kind.__qualname__}", "fields": parts}


class StateReader:
    """Decoder of a state; it makes dataclasses of this library and no other objects."""

    def __init__(self, tensors: dict[str, Tensor], constants: Sequence[Any] = ()) -> None:
        self._reader, self._constants = Reader(tensors), constants
        self._made: list[Any] = []

    def decode(self, node: Any) -> Any:
        """Return the value that `StateWriter.encode` wrote; ValueError for anything else."""
        if node is None or type(node) in (bool, int, str):
            return node
        if not isinstance(node, dict) or "float" in node:
            return decode_float(node, "a value")
        for key, known in (("again", self._made), ("constant", self._constants)):
            if key in node:
                if type(node[key]) is not int or not 0 <= node[key] < len(known):
                    raise ValueError(f"{node} is no object that is there")
                return known[node[key]]
        value = self._decode_new(node)
        self._made.append(value)
        return value

    def _decode_new(self, node: dict[str, Any]) -> Any:
        if set(node) == {"array", "name"} and isinstance(node["name"], str):
            return self._reader.array(node["array"], node["name"], None, tuple(DTYPES.values()))
        if set(node) == {"stream"}:
            return RandomStream().decode(node["stream"], f"{len(self._made)}.stream", self._reader)
        if set(node) == {"record", "fields"}:
            return self._decode_record(node)
        for kind in (list, tuple):
            if set(node) == {kind.__name__} and isinstance(node[kind.__name__], list):
                return kind(self.decode(item) for item in node[kind.__name__])
        if set(node) == {"deque", "maxlen"} and isinstance(node["deque"], list):
            return deque((self.decode(item) for item in node["deque"]), node["maxlen"])
        if set(node) == {"dict"} and isinstance(node["dict"], list):
            return {self.decode(key): self.decode(value) for key, value in node["dict"]}
        raise ValueError(f"{sorted(node)} is no value of a state")

    def _decode_record(self, node: dict[str, Any]) -> Any:
        module, _, name = str(node["record"]).partition(":")
        kind = (
            getattr(sys.modules.get(module), name, None) if module.startswith("skelbo.") else None
        )
        if not (isinstance(kind, type) and kind.__module__ == module and _is_record(kind)):
            raise ValueError(f"{node['record']!r} is no record of skelbo")
        expected = {field.name for field in dataclasses.fields(kind) if field.init}
        if not isinstance(node["fields"], dict) or set(node["fields"]) != expected:
            raise ValueError(f"{node['record']} has other fields than {sorted(expected)}")
        return kind(**{key: self.decode(part) for key, part in node["fields"].items()})


def _is_record(kind: type) -> bool:
    """Return whether a class is a dataclass of this library."""
    return dataclasses.is_dataclass(kind) and kind.__module__.startswith("skelbo.")
