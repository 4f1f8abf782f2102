"""A kind of value in a file, and values that an estimator may be without."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from skelbo.persistence.file_arrays import Reader, Writer


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
