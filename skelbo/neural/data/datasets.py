"""A torch Dataset as a table on disk, whose rows are read when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset

from skelbo.data.blocks import iter_blocks

# Cells that a pass over all rows reads at once: 32 MiB of float64.
READ_CELLS = 2**22


class DatasetTable:
    """Rows of a map-style Dataset, indexed as those of a two-dimensional array.

    ``table[i:j]``, ``table[places]`` and ``table[:, j]`` read rows and return a new array.

    Parameters
    ----------
    dataset : Dataset
        Items are rows, or tuples that begin with one: tensors or arrays of shape (n_features,).
        Its ``__getitems__`` is used if it has one.
    read_cells : int
        Number of cells that a pass over all rows reads at once.

    Examples
    --------
    >>> from torch.utils.data import TensorDataset
    >>> table = DatasetTable(TensorDataset(torch.arange(6.0).view(3, 2)))
    >>> table.shape, table[1:]
    ((3, 2), array([[2., 3.],
           [4., 5.]], dtype=float32))
    """

    ndim = 2

    def __init__(self, dataset: Dataset, read_cells: int = READ_CELLS):
        if isinstance(dataset, IterableDataset):
            raise TypeError(
                f"X is an IterableDataset ({type(dataset).__name__}), expected a map-style Dataset "
                "with __len__ and __getitem__: every epoch reads the rows in another order; for a "
                "stream use partial_fit."
            )
        if not hasattr(dataset, "__len__"):
            raise TypeError(
                f"X is a Dataset without __len__ ({type(dataset).__name__}), expected one that "
                "states its number of rows; add __len__."
            )
        if len(dataset) == 0:
            raise ValueError("X is a Dataset of 0 rows, expected at least two.")
        self.dataset, self.read_cells = dataset, read_cells
        row = _row(dataset[0])
        if row.ndim != 1:
            raise ValueError(_wrong(0, row, "(n_features,)"))
        self.shape = len(dataset), len(row)
        # Floats as they are, everything else as float64: as scikit-learn reads an array.
        self.dtype = np.dtype(np.float32 if row.dtype == np.float32 else np.float64)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, tuple):
            rows, column = key
            places = np.arange(len(self))[rows]
            parts = iter_blocks(len(places), self.shape[1], self.read_cells)
            return np.concatenate([self._read(places[part])[:, column] for part in parts])
        return self._read(np.arange(len(self))[key])

    def check(self) -> None:
        """Read every row once; refuse infinite cells and rows of another shape."""
        for rows in iter_blocks(len(self), self.shape[1], self.read_cells):
            infinite = np.isinf(self[rows]).any(axis=1)
            if infinite.any():
                raise ValueError(
                    f"Input X contains infinity: item {rows.start + int(np.argmax(infinite))} of "
                    "the Dataset; expected finite values, or NaN where a cell is missing."
                )

    def _read(self, places: np.ndarray) -> np.ndarray:
        result = np.empty((len(places), self.shape[1]), dtype=self.dtype)
        for target, (place, item) in enumerate(
            zip(places, self._items(places.tolist()), strict=True)
        ):
            row = _row(item)
            if row.shape != self.shape[1:]:
                raise ValueError(_wrong(place, row, f"{self.shape[1:]} as of item 0"))
            result[target] = row
        return result

    def _items(self, places: list[int]) -> Sequence[Any]:
        dataset: Any = self.dataset
        if hasattr(dataset, "__getitems__"):
            return dataset.__getitems__(places)
        return [dataset[place] for place in places]


def _row(item: Any) -> np.ndarray:
    """Return the row of an item, which may be the first of several things."""
    row = item[0] if isinstance(item, (tuple, list)) and len(item) else item
    if isinstance(row, torch.Tensor):
        row = row.detach().cpu()
        return row.numpy() if row.dtype != torch.bfloat16 else row.float().numpy()
    return np.asarray(row)


def _wrong(place: int, row: np.ndarray, expected: str) -> str:
    return (
        f"item {place} of the Dataset is a row of shape {row.shape}, expected {expected}: a tensor "
        "or array, or a tuple that begins with one; flatten it in __getitem__."
    )
