"""The state of a random generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelbo.persistence.fields.array import Array
from skelbo.persistence.fields.field import Field
from skelbo.persistence.fields.record import Mapping
from skelbo.persistence.fields.scalar import Number

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
        kind = value.get_state(legacy=False)["bit_generator"]
        if kind != "MT19937":
            raise ValueError(f"{name} has a bit generator {kind}, of which no file holds the state")
        state = dict(zip(STATE.fields, value.get_state()[1:], strict=True))
        return STATE.encode(state, name, writer)

    def decode(self, node, name, reader):
        """Read the generator, or find the one that was read before."""
        if isinstance(node, dict) and list(node) == ["same"]:
            if not isinstance(node["same"], str) or node["same"] not in reader.streams:
                raise ValueError(f"{name} is {node!r}, a generator that does not come before it")
            return reader.streams[node["same"]]
        stream = np.random.RandomState()
        state = STATE.decode(node, name, reader)
        if not (state["keys"][0] >> 31 or state["keys"][1:].any()):
            # All further numbers are zeros, among which rejection sampling finds none to accept.
            raise ValueError(f"{name} has keys of zeros, of which no generator has a state")
        stream.set_state(("MT19937", *state.values()))
        reader.streams[name] = stream
        return stream
