"""Values of constructor parameters: plain ones, built-in objects, and names of the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skelbo.persistence.container import DTYPES
from skelbo.persistence.fields import (
    Field,
    Names,
    RandomStream,
    decode_float,
    encode_float,
)
from skelbo.persistence.file_arrays import Reader, Writer


@dataclass(frozen=True)
class Vocabulary:
    """The closed list of objects, beside plain values, that a file may hold as parameters.

    Attributes
    ----------
    classes : mapping of str to callable, () -> type
        Classes, by their names, whose instances are written by their constructor parameters.
    objects : mapping of str to object
        Objects that are written by their names.
    """

    classes: MappingABC[str, Callable[[], type]] = field(default_factory=dict)
    objects: MappingABC[str, Any] = field(default_factory=dict)


class NotInFile(ValueError):
    """A parameter of the user's own that the caller has not passed."""


@dataclass
class Value(Field):
    """The value of a parameter.

    None, bool, int, float, str, lists, tuples and dicts of them, arrays, random generators, and
    what the vocabulary names. Everything else is the user's own: its name is written, and it is
    passed to the reader. Such an object that has `get_params` is made by its class.

    Parameters
    ----------
    path : str
        Name of the parameter, nested ones as in ``set_params``.
    vocabulary : Vocabulary
    """

    path: str
    vocabulary: Vocabulary

    def encode(self, value, name, writer):
        """Write the value, or the name of what is the user's own."""
        if isinstance(value, (np.bool_, np.integer, np.str_)):
            value = value.item()
        if value is None or type(value) in (bool, int, str):
            return value
        if isinstance(value, (float, np.floating)):
            return encode_float(value)
        if isinstance(value, list):
            return self._encode_items(value, name, writer)
        if type(value) is tuple:
            return {"tuple": self._encode_items(value, name, writer)}
        if type(value) is dict and all(type(key) is str for key in value):
            parts = {k: self.encode(v, f"{name}.{k}", writer) for k, v in value.items()}
            return {"dict": parts}
        return self._encode_object(value, name, writer)

    def _encode_items(self, values, name, writer: Writer) -> list[Any]:
        return [self.encode(item, f"{name}.{i}", writer) for i, item in enumerate(values)]

    def _encode_object(self, value, name, writer: Writer) -> Any:
        if isinstance(value, np.ndarray):
            if value.dtype.name in DTYPES.values():
                return {"array": writer.array(value, name)}
            if value.dtype.kind == "U" and value.ndim == 1:
                return {"strings": value.tolist()}
        if type(value) is np.random.RandomState:
            return {"stream": RandomStream().encode(value, name, writer)}
        for key, known in self.vocabulary.objects.items():
            if value is known:
                return {"object": key}
        kind = self.vocabulary.classes.get(type(value).__name__)
        if kind is not None and type(value) is kind():
            params = self._encode_params(value, name, writer)
            return {"class": type(value).__name__, "params": params}
        node: dict[str, Any] = {"given": _name_of(value)}
        if hasattr(value, "get_params") and not isinstance(value, type):
            node["params"] = self._encode_params(value, name, writer)
        return node

    def _encode_params(self, value, name, writer: Writer) -> dict[str, Any]:
        params = value.get_params(deep=False)
        return {k: self._part(k).encode(v, f"{name}.{k}", writer) for k, v in params.items()}

    def _part(self, key: str) -> Value:
        return Value(f"{self.path}__{key}", self.vocabulary)

    def decode(self, node, name, reader):
        """Read the value; what is the user's own comes from the caller."""
        if node is None or type(node) in (bool, int, str):
            return node
        if isinstance(node, list):
            return self._decode_items(node, name, reader)
        if isinstance(node, dict) and "given" in node:
            return self._decode_given(node, name, reader)
        if isinstance(node, dict) and set(node) == {"class", "params"}:
            if not isinstance(node["class"], str) or node["class"] not in self.vocabulary.classes:
                known = sorted(self.vocabulary.classes)
                raise ValueError(f"{name} is a {node['class']!r}, expected one of {known}")
            kind = self.vocabulary.classes[node["class"]]()
            return self._made(kind, node["params"], name, reader)
        if isinstance(node, dict) and len(node) == 1:
            ((key, content),) = node.items()
            return self._decode_tagged(key, content, name, reader)
        return decode_float(node, name)

    def _decode_items(self, nodes, name, reader: Reader) -> list[Any]:
        return [self.decode(item, f"{name}.{i}", reader) for i, item in enumerate(nodes)]

    def _decode_tagged(self, key: str, content: Any, name, reader: Reader) -> Any:
        """Return the value of a node such as {"tuple": [...]}."""
        if key == "tuple" and isinstance(content, list):
            return tuple(self._decode_items(content, name, reader))
        if key == "dict" and isinstance(content, dict):
            return {k: self.decode(v, f"{name}.{k}", reader) for k, v in content.items()}
        if key == "array":
            return reader.array(content, name, None, tuple(DTYPES.values()))
        if key == "strings":
            return Names(dtype=np.str_).decode(content, name, reader)
        if key == "stream":
            return RandomStream().decode(content, name, reader)
        if key == "object" and isinstance(content, str) and content in self.vocabulary.objects:
            return self.vocabulary.objects[content]
        return decode_float({key: content}, name)

    def _decode_given(self, node, name, reader: Reader) -> Any:
        if not set(node) <= {"given", "params"} or not isinstance(node["given"], str):
            raise ValueError(f"{name} is {node!r}, expected the name of an object")
        if self.path not in reader.given:
            raise NotInFile(
                f"{self.path} is {node['given']}, of the user's own, which no file holds; pass "
                f"from_file(path, {self.path}=...)"
            )
        given = reader.given[self.path]
        if given is not None and _name_of(given) != node["given"]:
            raise NotInFile(
                f"{self.path} is {node['given']}, but {_name_of(given)} was passed; pass the "
                f"{self.path} that the estimator was fitted with"
            )
        if isinstance(given, type) and "params" in node:
            return self._made(given, node["params"], name, reader)
        return given

    def _made(self, kind: type, params: Any, name, reader: Reader) -> Any:
        """Return an instance of a class by its constructor parameters."""
        expected = set(inspect.signature(kind).parameters)
        if not isinstance(params, dict) or set(params) != expected:
            raise ValueError(f"{name} has the parameters {params!r}, expected {sorted(expected)}")
        values = {}
        for key, node in params.items():
            part = self._part(key)
            is_own = isinstance(node, dict) and "given" in node
            if part.path in reader.given and not is_own:
                values[key] = reader.given[part.path]
            else:
                values[key] = part.decode(node, f"{name}.{key}", reader)
        return kind(**values)


def _name_of(value: Any) -> str:
    """Return the name of a class or function, or that of the class of an object."""
    return getattr(value, "__name__", type(value).__name__)
