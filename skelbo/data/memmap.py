"""The pages of a mapped file: the system counts them as this process's memory once they are read.

A pass over a mapping larger than memory is possible at any time, but unless its pages are given
back they stay resident until the system is short of memory, and count towards the limit of a
container. Giving them back loses nothing: the file keeps them, and so does the system's cache.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

# Mappings of fewer bytes stay resident: each pass would have to ask for their pages again.
MIN_BYTES = 2**28
# Reading a page also maps those around it, which were given back before: reach back this far.
MARGIN_BYTES = 2**21
# Rows read at once where no arithmetic says how many.
READ_BYTES = 2**24
# Rows fetched here and there, each with the pages around it (up to 2 MiB).
TAKEN_ROWS = 32


def mapped_file(X: Any) -> mmap.mmap | None:
    """Return the mapping that X is a view of, if its pages may and need be given back.

    Not those of a private mapping (mode "c"): with them changes of the caller's would be lost.
    """
    view, mode = X, None
    while isinstance(view, np.ndarray):
        view, mode = view.base, getattr(view, "mode", None)
    shared = isinstance(view, mmap.mmap) and mode in ("r", "r+", "w+")
    large = shared and len(view) >= MIN_BYTES
    return view if large and hasattr(mmap, "MADV_DONTNEED") else None


def release_pages(X: np.ndarray, start: int = 0, stop: int | None = None) -> None:
    """Tell the system that the pages under some rows of X are not needed now."""
    mapping = mapped_file(X)
    if mapping is None:
        return
    rows = X[start:stop]
    if not rows.size or min(rows.strides) < 0:
        return
    origin = _address(np.frombuffer(mapping, np.uint8))
    for table in [rows] if rows.strides[0] >= rows.strides[1] else rows.T:
        first = _address(table) - origin
        last = first + int(np.dot(np.subtract(table.shape, 1), table.strides))
        first = max(first - MARGIN_BYTES, 0) // mmap.PAGESIZE * mmap.PAGESIZE
        last = (last + X.itemsize) // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            with suppress(OSError):  # advice only: locked pages, for one, are not given back
                mapping.madvise(mmap.MADV_DONTNEED, first, last - first)


def iter_rows(X: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of X some at a time; pages are given back when the next are asked for."""
    size = max(1, READ_BYTES * len(X) // max(1, X.nbytes))
    for start in range(0, len(X), size):
        yield X[start : start + size]
        release_pages(X, start, start + size)


def take_rows(X: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return ``X[index]``, for rows in their order, with few pages resident at a time."""
    taken = np.empty((len(index), X.shape[1]), X.dtype)
    for start in range(0, len(index), TAKEN_ROWS):
        chosen = index[start : start + TAKEN_ROWS]
        taken[start : start + TAKEN_ROWS] = X[chosen]
        release_pages(X, chosen[0], chosen[-1] + 1)
    return taken


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]
