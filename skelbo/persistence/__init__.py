"""Files of fitted estimators and of running fits: JSON and safetensors, never pickle."""

from skelbo.persistence.fields import (
    Array,
    Arrays,
    Chosen,
    Field,
    Flag,
    Mapping,
    Names,
    Nullable,
    Number,
    Optional,
    RandomStream,
    Record,
    Sequence,
    Text,
)
from skelbo.persistence.file_methods import FileMethods
from skelbo.persistence.values import Value, Vocabulary

__all__ = [
    "Array",
    "Arrays",
    "Chosen",
    "Field",
    "FileMethods",
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
    "Value",
    "Vocabulary",
]
