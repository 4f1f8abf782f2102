"""Download of Dask collections for fits that need the rows themselves on this machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from skelbo.data.dask_blocks import Blocks, Table, is_array, without_rows
from skelbo.data.dask_columns import check_columns

# Largest collection that is brought into memory, in bytes.
MAX_BYTES = 2**30

TOO_LARGE = (
    "{name} keeps all rows in the memory of this machine, and X, a Dask collection, takes {least}"
    "{size:.3g} GiB, more than the {limit:.3g} GiB that are brought there unasked; fit a part of "
    "the rows ({sample}, say), or pass X.compute() if there is room."
)
NO_DISK = (
    "X, a Dask collection, is copied to a temporary file from which the networks learn; {folder} "
    "has {free:.3g} GiB free, and X takes {size}; let TMPDIR name a folder with room."
)


def download(
    estimator: Any, X: Any, sample_weight: Any, *, reset: bool, limit: int = MAX_BYTES
) -> tuple:
    """Return a collection and its weights as tables in memory; ValueError if it is too large."""
    dtype = check_columns(estimator, X, reset=reset)
    _check_memory(estimator, X, _n_bytes(X, dtype), limit)
    tables, size = [], 0
    for table in Blocks.of(X, sample_weight, dtype).in_turn():
        tables.append(table)
        size += table.X.nbytes
        _check_memory(estimator, X, size, limit, "at least ")
    rows, weights = Table.joined(tables)
    return _like(X, rows), weights


def spooled(estimator: Any, X: Any, sample_weight: Any, limit: int, *, reset: bool) -> tuple:
    """Return the rows of a Dask collection, its weights, and whether it was too large for memory.

    Rows of more than `limit` bytes are a memory map of a temporary file, which is gone with them.
    """
    dtype, weights = check_columns(estimator, X, reset=reset), []
    _check_disk(_n_bytes(X, dtype), limit)
    n_rows, row_bytes = 0, X.shape[1] * dtype.itemsize
    with tempfile.SpooledTemporaryFile(limit) as file:
        for table in Blocks.of(X, sample_weight, dtype).in_turn():
            n_rows += len(table.X)
            _write(file, table.X, n_rows * row_bytes)
            if table.weights is not None:
                weights.append(table.weights)
        large, shape = n_rows * row_bytes > limit, (n_rows, X.shape[1])
        if large:
            rows: np.ndarray = np.memmap(file, dtype, "r", shape=shape)
        else:
            file.seek(0)
            rows = np.frombuffer(bytearray(file.read()), dtype).reshape(shape)
    return _like(X, rows), np.concatenate(weights) if weights else None, large


def in_turn(estimator: Any, X: Any, sample_weight: Any, *, reset: bool) -> Iterator[tuple]:
    """Yield the blocks of a Dask collection as tables in memory, each with its weights."""
    dtype = check_columns(estimator, X, reset=reset)
    for rows, weights in Blocks.of(X, sample_weight, dtype).batches(estimator._min_samples):
        yield _like(X, rows), weights


def _like(X: Any, rows: np.ndarray) -> Any:
    """Return rows with the names of the columns of X, if these have any."""
    return rows if is_array(X) else type(without_rows(X))(rows, columns=X.columns, copy=False)


def _n_bytes(X: Any, dtype: np.dtype) -> float:
    """Return the size of a collection as tables of this type, NaN if it is not known."""
    return X.size * dtype.itemsize if is_array(X) else np.nan


def _check_memory(estimator: Any, X: Any, size: float, limit: int, least: str = "") -> None:
    """Raise if a collection of this size is too large for memory."""
    if size > limit:
        message = TOO_LARGE.format(
            name=type(estimator).__name__,
            least=least,
            size=size / 2**30,
            limit=limit / 2**30,
            sample="X[::100]" if is_array(X) else "X.sample(frac=0.01)",
        )
        raise ValueError(message)


def _write(file: Any, rows: np.ndarray, size: int) -> None:
    """Write rows, with which the file takes `size` bytes."""
    try:
        file.write(np.ascontiguousarray(rows).data)
        file.flush()
    except OSError as error:
        raise OSError(_no_disk(f"at least {size / 2**30:.3g} GiB")) from error


def _check_disk(size: float, limit: int) -> None:
    """Raise before reading anything if it is known that the rows do not fit on the disk."""
    if size > max(limit, shutil.disk_usage(tempfile.gettempdir()).free):
        raise OSError(_no_disk(f"{size / 2**30:.3g} GiB"))


def _no_disk(size: str) -> str:
    folder = tempfile.gettempdir()
    return NO_DISK.format(folder=folder, free=shutil.disk_usage(folder).free / 2**30, size=size)
