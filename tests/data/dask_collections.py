"""Dask collections for tests: tables cut in every way, and blocks that leave notes."""

from pathlib import Path
from uuid import uuid4

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from scipy import sparse

CONTAINERS = ["array", "columns", "unknown", "frame"]


def as_dask(array, n_blocks=2):
    """Return a table as a Dask collection, and what is no table as it is."""
    if array is None or np.isscalar(array) or sparse.issparse(array):
        return array
    if isinstance(array, (pd.DataFrame, pd.Series)):
        return dd.from_pandas(array, npartitions=n_blocks, sort=False)
    array = np.asarray(array)
    if not array.ndim:
        return array
    rows = max(1, -(-len(array) // n_blocks))
    return da.from_array(array, chunks=(rows, *array.shape[1:]))


def of_unknown_lengths(parts, n_columns, dtype=float):
    """Return delayed tables as an array whose blocks have unknown lengths."""
    shape = np.nan, n_columns
    return da.concatenate([da.from_delayed(part, shape, dtype) for part in parts])


def cut(X, weights, lengths, container):
    """Return a table and its weights as Dask collections of the given block lengths."""
    lazy_weights = None if weights is None else da.from_array(weights, chunks=(lengths,))
    if container in ("array", "columns"):
        return da.from_array(X, chunks=(lengths, 3 if container == "array" else 2)), lazy_weights
    ends = np.cumsum(lengths)
    frame = pd.DataFrame(X, columns=list("abc")).assign(w=weights if weights is not None else 1.0)
    parts = [slice(end - n, end) for n, end in zip(lengths, ends, strict=True)]
    if container == "unknown":
        return of_unknown_lengths([dask.delayed(X[rows]) for rows in parts], 3, X.dtype), (
            lazy_weights
        )
    lazy = dd.from_delayed([dask.delayed(frame.iloc[rows]) for rows in parts], meta=frame.iloc[:0])
    return lazy[["a", "b", "c"]], None if weights is None else lazy["w"]


def load(index, folder):
    """Make a block of rows, and leave a note that it was made."""
    (Path(folder) / uuid4().hex).touch()
    rng = np.random.default_rng(index)
    return rng.standard_normal((1000, 4)) + 3.0 * rng.integers(3, size=(1000, 1))


def noted(folder, n_blocks, container="array"):
    """Return a collection of blocks that leave notes."""
    parts = [dask.delayed(load)(i, folder) for i in range(n_blocks)]
    if container == "frame":
        frames = [dask.delayed(pd.DataFrame)(part, columns=list("abcd")) for part in parts]
        return dd.from_delayed(frames, meta=pd.DataFrame(np.empty((0, 4)), columns=list("abcd")))
    if container == "unknown":
        return of_unknown_lengths(parts, 4)
    return da.concatenate([da.from_delayed(part, (1000, 4), float) for part in parts])


def count_notes(folder):
    """Return how many blocks were made, and begin the count anew."""
    notes = list(folder.iterdir())
    for note in notes:
        note.unlink()
    return len(notes)
