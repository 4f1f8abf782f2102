"""Declarations of what a file may hold: one class for each kind of value.

A field writes a value as JSON, with arrays beside it, and reads it back only if it is what the
declaration admits. Shapes come from the declaration, never from the file.
"""

from skelbo.persistence.fields.array import Array, Arrays
from skelbo.persistence.fields.field import Chosen, Field, Nullable, Optional
from skelbo.persistence.fields.random_stream import RandomStream
from skelbo.persistence.fields.record import Mapping, Record
from skelbo.persistence.fields.scalar import Flag, Number, Text, decode_float, encode_float
from skelbo.persistence.fields.sequence import Names, Sequence

__all__ = [
    "Array",
    "Arrays",
    "Chosen",
    "Field",
    "Flag",
    "Mapping",
    "Names",
    "Nullable",
    "Number",
    "Optional",
    "RandomStream",
    "Record",
    "Sequence",
    "Text",
    "decode_float",
    "encode_float",
]
