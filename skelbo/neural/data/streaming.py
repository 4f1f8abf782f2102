"""Training rows on disk, in a memory map or a Dataset, read during training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from skelbo.neural.data.batches import Batch, as_batch, n_even_batches
from skelbo.neural.data.columns import Columns
from skelbo.neural.data.datasets import DatasetTable

# A buffer is shuffled whole. It is read as several runs of neighbouring rows from all over the
# table: runs because disks read them fast, several because neighbours may be alike.
RUNS_PER_BUFFER, BATCHES_PER_RUN = 8, 8


class StreamedRows:
    """Training rows on disk, beside those held out, in memory.

    Same interface as `TableRows`; a buffer of 64 batches is in memory at a time.

    Parameters
    ----------
    X : ndarray or DatasetTable of shape (n_samples, n_features)
        A memory map, or a table that is indexed like one.
    weights : ndarray of shape (n_samples,) or None
        Frequency weights.
    columns : Columns
        Units of the data.
    like : Tensor
        Any floating tensor of the network.
    held_out : ndarray of int
        Places of the rows not to learn from; may be empty.
    batch_size : int
        Rows per step.
    """

    def __init__(
        self,
        X: np.ndarray | DatasetTable,
        weights: np.ndarray | None,
        columns: Columns,
        like: Tensor,
        held_out: np.ndarray,
        batch_size: int,
    ):
        self.X, self.columns, self.like = X, columns, like
        self.weights = None if weights is None else weights / weights.mean()
        self.learned = np.ones(len(X), dtype=bool)
        self.learned[held_out] = False
        self.held_out = self._read(held_out) if len(held_out) else None
        self.batch_size = batch_size
        self.n_batches = n_even_batches(len(self), batch_size)

    def __len__(self) -> int:
        return int(self.learned.sum())

    def _read(self, index: np.ndarray) -> Batch:
        batch = as_batch(self.X[index], self.columns, self.like)
        if self.weights is None:
            return batch
        return batch._replace(weights=torch.as_tensor(self.weights[index]).to(self.like))

    def sample(self, n_samples: int) -> Batch:
        """Return evenly spaced training rows."""
        index = np.flatnonzero(self.learned)
        return self._read(index[:: -(-len(index) // n_samples)])

    def shuffled(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the training rows once, in an order that is random as far as a buffer goes."""
        device = self.like.device
        for index in self._buffers(generator):
            buffer = self._read(index)
            order = torch.randperm(len(index), device=device, generator=generator)
            for part in order.tensor_split(n_even_batches(len(index), self.batch_size)):
                yield buffer.take(part)

    def _buffers(self, generator: torch.Generator) -> Iterator[np.ndarray]:
        """Yield the places of the rows of each buffer; a single row joins its neighbour."""
        run, device = BATCHES_PER_RUN * self.batch_size, self.like.device
        n_runs = -(-len(self.X) // run)
        starts = torch.randperm(n_runs, device=device, generator=generator).cpu().numpy() * run
        waiting = np.empty(0, dtype=np.intp)
        for first in range(0, len(starts), RUNS_PER_BUFFER):
            runs = [np.arange(s, s + run) for s in starts[first : first + RUNS_PER_BUFFER]]
            index = np.concatenate(runs)
            index = index[index < len(self.X)]
            index = index[self.learned[index]]
            if len(index) > 1 and len(waiting) > 1:
                yield waiting
                waiting = index
            else:
                waiting = np.concatenate([waiting, index])
        yield waiting
