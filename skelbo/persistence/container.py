"""Layout of a file: a valid safetensors file whose metadata hold a JSON header and a checksum.

The checksum is the SHA-256 of the whole file, header included, with its own digits read as zeros.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FORMAT = "skelbo/1"
# The digits of the checksum stand at one place, behind the length of the header (8 bytes).
OPENING = b'{"__metadata__":{"sha256":"'
DIGITS = slice(8 + len(OPENING), 8 + len(OPENING) + 64)
# Parsed JSON takes up to thirty times its length: longer headers are refused unread.
MAX_HEADER = 2**24
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "I64": "int64",
    "I32": "int32",
    "U64": "uint64",
    "U32": "uint32",
    "U8": "uint8",
    "BOOL": "bool",
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Tensor:
    """An array of a file that has been checked but not yet been allocated.

    Attributes
    ----------
    dtype : str
        NumPy's name of the dtype.
    shape : tuple of int
    data : memoryview
        The bytes, little-endian, in C order.
    """

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    def array(self) -> np.ndarray:
        """Return the array: a copy."""
        stored = np.frombuffer(self.data, np.dtype(self.dtype).newbyteorder("<"))
        return stored.astype(self.dtype).reshape(self.shape)


def pack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    header : mapping
        Of what JSON can hold; every float is finite.
    arrays : mapping of str to ndarray
        Contiguous in C order, of the dtypes in `DTYPES`.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If the header is longer than a reader accepts.
    """
    # Wide numbers first: every array is aligned.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    entries: dict[str, Any] = {
        "__metadata__": {
            "sha256": 64 * "0",
            "format": FORMAT,
            "header": json.dumps(header, allow_nan=False, separators=(",", ":")),
        }
    }
    parts, end = [], 0
    for name in names:
        array = arrays[name]
        start, end = end, end + array.nbytes
        dtype = _NAMES[array.dtype.name]
        entries[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [start, end]}
        parts.append(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"the header of the file would have {len(text)} bytes, expected at most {MAX_HEADER}; "
            "names of features and lists of bounds are in it."
        )
    data = bytearray(len(text).to_bytes(8, "little") + text)
    for part in parts:
        data += part.cast("B") if part.nbytes else b""
    data[DIGITS] = _digest(data).encode()
    return bytes(data)


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the header and the arrays of a file, checked against its checksum.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    header : dict
    tensors : dict of str to Tensor

    Raises
    ------
    ValueError
        If the content is not that of a file which `pack` made.
    """
    text, buffer = _parts(data)
    digits = bytes(data[DIGITS])
    if digits != _digest(data).encode():
        raise ValueError("its SHA-256 is not that of its content, which was altered")
    entries = parse_json(text)
    metadata = entries.pop("__metadata__", None)
    keys = {"sha256", "format", "header"}
    if not isinstance(metadata, dict) or set(metadata) != keys:
        raise ValueError(f"its metadata are not {sorted(keys)}")
    if metadata["format"] != FORMAT:
        raise ValueError(
            f"its format is {metadata['format']!r}, expected {FORMAT!r}; it comes from another "
            "version of skelbo"
        )
    header = parse_json(metadata["header"])
    return header, _tensors(entries, buffer)


def _parts(data: bytes) -> tuple[bytes, memoryview]:
    """Return the text of the header, and the bytes of the arrays."""
    if bytes(data[8 : 8 + len(OPENING)]) != OPENING:
        raise ValueError("it has no header of skelbo")
    length = int.from_bytes(data[:8], "little")
    if not len(OPENING) < length <= min(MAX_HEADER, len(data) - 8):
        raise ValueError(
            f"its header has {length} bytes, expected at most {MAX_HEADER} and no more than the "
            f"file has ({len(data)} bytes)"
        )
    return bytes(data[8 : 8 + length]), memoryview(data)[8 + length :]


def _digest(data: bytes | bytearray) -> str:
    """Return the SHA-256 of a file with the digits of the checksum as zeros."""
    view = memoryview(data)
    digest = hashlib.sha256(view[: DIGITS.start])
    digest.update(64 * b"0")
    digest.update(view[DIGITS.stop :])
    return digest.hexdigest()


def parse_json(text: bytes | str) -> dict[str, Any]:
    """Return a JSON object of finite numbers and unique keys; ValueError for anything else."""
    if not isinstance(text, (bytes, str)):
        raise ValueError("its header is not text")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError("its header is no JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key comes twice")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is beyond the largest float")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _tensors(entries: dict[str, Any], buffer: memoryview) -> dict[str, Tensor]:
    """Return the arrays, which must fill the buffer without gaps in the order of the header."""
    tensors, end = {}, 0
    for name, entry in entries.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"the entry of {name!r} is no array")
        shape, offsets = entry["shape"], entry["data_offsets"]
        if entry["dtype"] not in DTYPES or not _are_sizes(shape) or not _are_sizes(offsets):
            raise ValueError(f"the entry of {name!r} is no array")
        dtype = DTYPES[entry["dtype"]]
        n_bytes = np.dtype(dtype).itemsize
        for size in shape:
            n_bytes *= size  # of Python's integers: no overflow
        if offsets != [end, end + n_bytes] or end + n_bytes > len(buffer):
            raise ValueError(f"{name!r} of shape {tuple(shape)} is not where its entry puts it")
        tensors[name] = Tensor(dtype, tuple(shape), buffer[end : end + n_bytes])
        end += n_bytes
    if end != len(buffer):
        raise ValueError(f"{len(buffer) - end} bytes belong to no array")
    return tensors


def _are_sizes(values: Any) -> bool:
    if not isinstance(values, list) or len(values) > 16:
        return False
    return all(type(value) is int and 0 <= value < 2**48 for value in values)
