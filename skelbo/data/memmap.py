"""Pages of mapped files: the system counts them as memory of the process once they are read.

A pass over a mapping larger than memory is possible at any time, but unless its pages are released
they stay resident until the system is short of memory, and count towards the limit of a container.
A release loses nothing: the file keeps the contents, and so does the cache of the system.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from skelbo.data.blocks import iter_blocks

# Smaller mappings stay resident: each pass would have to map their pages again.
MIN_BYTES = 2**28
# Reading a page also maps those around it, which were released before: reach back this far.
MARGIN_BYTES = 2**21
# Rows read at once by operations without a block size.
READ_BYTES = 2**24
# Scattered rows read at once, each with the pages around it (up to 2 MiB).
TAKEN_ROWS = 32


def mapped_file(X: Any) -> mmap.mmap | None:
    """Return the mapping that X is a view of, None if its pages may not or need not be released.

    Those of a private mapping (mode "c") may not: changes by the caller would be lost.
    """
    view, mode = X, None
    while isinstance(view, np.ndarray):
        view, mode = view.base, getattr(view, "mode", None)
    shared = isinstance(view, mmap.mmap) and mode in ("r", "r+", "w+")
    large = shared and len(view) >= MIN_BYTES
    return view if large and hasattr(mmap, "MADV_DONTNEED") else None


def release_pages(X: np.ndarray, start: int = 0, stop: int | None = None) -> None:
    """Advise the system that the pages under some rows of X are not needed now."""
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
            with suppress(OSError):  # advice only: locked pages, for one, stay
                mapping.madvise(mmap.MADV_DONTNEED, first, last - first)


def iter_rows(X: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of X block by block; the pages of a block are released before the next."""
    for rows in iter_blocks(len(X), X[:1].nbytes, READ_BYTES):
        yield X[rows]
        release_pages(X, rows.start, rows.stop)


def take_rows(X: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return ``X[index]``, for rows in their order, with few pages resident at a time."""
    taken = np.empty((len(index), X.shape[1]), X.dtype)
    for rows in iter_blocks(len(index), block_cells=TAKEN_ROWS):
        chosen = index[rows]
        taken[rows] = X[chosen]
        release_pages(X, chosen[0], chosen[-1] + 1)
    return taken


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]
