"""Lists and tuples of values, and arrays of names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.persistence.fields.field import Field
from skelbo.persistence.fields.scalar import Text

# How many times their length strings may take up in an array; few may take up any.
PADDING, FEW_CHARACTERS = 16, 2**20


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
        size = len(items) * max(map(len, items), default=0)
        # In an array of strings each takes the room of the longest.
        if self.dtype is not object and size > max(PADDING * sum(map(len, items)), FEW_CHARACTERS):
            raise ValueError(f"{name} has one string much longer than others, {size} cells in all")
        return np.array(items, dtype=self.dtype)
