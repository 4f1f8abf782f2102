"""Files of running fits: an identity, and a state."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

from skelbo.persistence.container import pack, unpack
from skelbo.persistence.disk import as_path, read_file, remove_file, write_file
from skelbo.persistence.file_arrays import Writer
from skelbo.persistence.state import StateReader, StateWriter
from skelbo.persistence.values import Value

OTHER_FIT = (
    "the checkpoint {path} is of another fit: {what} differ from those here; pass what that fit "
    "had, or remove the file to begin anew. A search needs a folder for its fits instead of a file."
)
# A checkpoint is the process's own: its size is that of the fit.
MAX_BYTES = 2**40


def write(path: Any, identity: dict[str, str], state: Any, constants: Sequence[Any] = ()) -> None:
    """Write a checkpoint."""
    writer = StateWriter(constants)
    header = {"class": "checkpoint", "identity": identity, "state": writer.encode(state)}
    write_file(path, pack(header, writer.arrays))


def read(path: Any, identity: dict[str, str], constants: Sequence[Any] = ()) -> Any:
    """Return the state of a checkpoint; ValueError for another identity or any other file."""
    data = read_file(path, MAX_BYTES)
    try:
        header, tensors = unpack(data)
        if set(header) != {"class", "identity", "state"}:
            raise ValueError(f"it holds a {header.get('class')!r}")
        found = dict(header["identity"])
        different = [n for n in sorted(found | identity) if found.get(n) != identity.get(n)]
        state = None if different else StateReader(tensors, constants).decode(header["state"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is no checkpoint that can be used: {error}; remove the file to begin anew."
        ) from error
    if different:
        raise ValueError(OTHER_FIT.format(path=path, what=", ".join(different)))
    return state


def remove(path: Any) -> None:
    """Remove a checkpoint, if there is one."""
    remove_file(path)


def place(path: Any, identity: dict[str, str]) -> str:
    """Return the file of a fit: a path, or in a folder a name that follows from its identity."""
    path = as_path(path)
    if not os.path.isdir(path):
        return path
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return os.path.join(path, f"{name[:32]}.skelbo")


def digest(value: Any, constants: Sequence[Any] = ()) -> str:
    """Return the SHA-256 of a value that a state may have."""
    writer = StateWriter(constants)
    return hashlib.sha256(pack({"value": writer.encode(value)}, writer.arrays)).hexdigest()


def encoded_parameters(estimator: Any) -> dict[str, str]:
    """Return a digest of each constructor parameter; of the user's own objects, of their names."""
    vocabulary, digests = estimator._file_vocabulary(), {}
    for name, value in estimator.get_params(deep=False).items():
        writer = Writer()
        node = json.dumps(Value(name, vocabulary).encode(value, name, writer))
        arrays = sorted((key, array.tobytes()) for key, array in writer.arrays.items())
        digests[name] = hashlib.sha256(repr((node, arrays)).encode()).hexdigest()
    return digests
