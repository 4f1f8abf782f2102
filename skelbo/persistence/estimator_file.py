"""Fitted estimators in files: their parameters, and the attributes that their classes declare."""

from __future__ import annotations

import inspect
from numbers import Real
from typing import Any

from skelbo.persistence.container import pack, unpack
from skelbo.persistence.disk import as_path, read_file, write_file
from skelbo.persistence.fields import Chosen, Mapping
from skelbo.persistence.file_arrays import Reader, Writer
from skelbo.persistence.values import NotInFile, Value

HEADER = {"class", "version", "params", "attributes"}
# Numbers of columns that need no arrays of that size: what is made by columns is small then.
FEW_COLUMNS = 2**20


def save(estimator: Any, path: Any) -> None:
    """Write a fitted estimator.

    Parameters
    ----------
    estimator : estimator
        With the hooks `_file_attributes`, `_file_vocabulary` and `_file_state`.
    path : path-like
    """
    write_file(path, packed(estimator))


def packed(estimator: Any) -> bytes:
    """Return the file of a fitted estimator."""
    from skelbo import __version__

    writer, vocabulary = Writer(), estimator._file_vocabulary()
    params = {
        name: Value(name, vocabulary).encode(value, f"params.{name}", writer)
        for name, value in estimator.get_params(deep=False).items()
    }
    fields = Mapping(estimator._file_attributes())
    header = {
        "class": type(estimator).__name__,
        "version": __version__,
        "params": params,
        "attributes": fields.encode(estimator._file_state(), "", writer),
    }
    return pack(header, writer.arrays)


def load(kind: type, path: Any, max_bytes: int, given: dict[str, Any]) -> Any:
    """Return the fitted estimator of a class from a file.

    Parameters
    ----------
    kind : type
        Class of the estimator.
    path : path-like
    max_bytes : int
        Largest size of the file that is read.
    given : dict
        Parameters of the constructor that replace those of the file.
    """
    _check_names(kind, given)
    if not isinstance(max_bytes, Real) or isinstance(max_bytes, bool):
        raise TypeError(f"max_bytes={max_bytes!r}, expected a number of bytes.")
    data = read_file(path, max_bytes)
    try:
        return unpacked(kind, data, given)
    except NotInFile:
        raise
    except ValueError as error:
        raise ValueError(
            f"{as_path(path)} cannot be used: {error}; pass a file that {kind.__name__}.to_file "
            "wrote."
        ) from error


def unpacked(kind: type, data: bytes, given: dict[str, Any]) -> Any:
    """Return the estimator of the content of a file; ValueError for any other content."""
    try:
        return _estimator(kind, data, given)
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # what the declared fields of its attributes cannot see
        message = f"its parts do not fit together ({type(error).__name__}: {error})"
        raise ValueError(message) from error


def _estimator(kind: type, data: bytes, given: dict[str, Any]) -> Any:
    header, tensors = unpack(data)
    if set(header) != HEADER:
        raise ValueError(f"its header has {sorted(header)}, expected {sorted(HEADER)}")
    if header["class"] != kind.__name__:
        raise ValueError(f"it holds a {header['class']!r}, expected {kind.__name__!r}")
    reader = Reader(tensors, given)
    estimator = _constructed(kind, header["params"], reader)
    nodes = header["attributes"]
    if not isinstance(nodes, dict):
        raise ValueError(f"its attributes are {nodes!r}, expected values by their names")
    _decode_attributes(estimator, nodes, reader)
    if reader.tensors:
        raise ValueError(f"it has arrays without a field: {sorted(reader.tensors)}")
    return estimator


def _constructed(kind: type, nodes: Any, reader: Reader) -> Any:
    """Return the estimator before its fit, with validated parameters."""
    names = list(inspect.signature(kind).parameters)
    if not isinstance(nodes, dict) or set(nodes) != set(names):
        raise ValueError(f"its parameters are {nodes!r}, expected those of {names}")
    vocabulary = kind._file_vocabulary()  # type: ignore[attr-defined]
    params = {}
    for name, node in nodes.items():
        if name in reader.given and not _is_own(node):
            params[name] = reader.given[name]
        else:
            params[name] = Value(name, vocabulary).decode(node, f"params.{name}", reader)
    estimator = kind(**kind._file_params(params))  # type: ignore[attr-defined]
    estimator._validate_params()
    return estimator


def _is_own(node: Any) -> bool:
    return isinstance(node, dict) and "given" in node


def _decode_attributes(estimator: Any, nodes: dict[str, Any], reader: Reader) -> None:
    """Set the attributes that the class declares, once all of them have been read."""
    first = estimator._file_attributes_of_input()
    state = Mapping(first).decode({k: v for k, v in nodes.items() if k in first}, "", reader)
    _check_columns(state["n_features_in_"], reader)
    vars(estimator).update(state)
    fields = estimator._file_attributes()
    unknown = sorted(set(nodes) - set(fields))
    if unknown:
        raise ValueError(f"it has the attributes {unknown}, which {type(estimator)} has not")
    for name, field in fields.items():
        if name in first:
            continue
        chosen = field.choose(state) if isinstance(field, Chosen) else field
        if name in nodes:
            state[name] = chosen.decode(nodes[name], name, reader)
        elif not chosen.optional:
            raise ValueError(f"{name} is missing")
    estimator._set_file_state(state)


def _check_columns(n_features: int, reader: Reader) -> None:
    """Raise ValueError for more columns than arrays can be of: rows are made by this number."""
    n_bytes = sum(len(tensor.data) for tensor in reader.tensors.values())
    if n_features > max(n_bytes, FEW_COLUMNS):
        raise ValueError(f"n_features_in_ is {n_features}, but its arrays have {n_bytes} bytes")


def _check_names(kind: type, given: dict[str, Any]) -> None:
    names = set(inspect.signature(kind).parameters)
    unknown = sorted(name for name in given if name.split("__")[0] not in names)
    if unknown:
        raise TypeError(
            f"from_file got {unknown}, expected max_bytes or parameters of {kind.__name__}: "
            f"{sorted(names)}."
        )
