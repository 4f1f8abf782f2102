"""Values of different kinds by their names, and objects made of them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from typing import Any

from skelbo.persistence.fields.field import Chosen, Field


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
