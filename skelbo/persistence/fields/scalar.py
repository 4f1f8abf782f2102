"""Bools, strings, and numbers within limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from skelbo.persistence.fields.field import Field


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
