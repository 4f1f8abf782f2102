"""Rows of a fit as tensors, in batches without a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skelbo.neural.data.columns import Columns

# Cells are moved to at most this distance from the centre of their column, in standard deviations:
# the density beyond underflows, but its computation must not overflow.
FARTHEST = {torch.float32: 1e9, torch.float64: 1e100}


class Batch(NamedTuple):
    """Rows in the units of the network.

    Attributes
    ----------
    targets : Tensor of shape (n_samples, n_features)
        Missing cells as 0.
    mask : Tensor of shape (n_samples, n_features) or None
        1 where observed, 0 where missing; None where all are.
    weights : Tensor of shape (n_samples,) or None
        Frequency weights over their mean in the whole table; None where all are equal.
    """

    targets: Tensor
    mask: Tensor | None = None
    weights: Tensor | None = None

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.targets.shape[0]

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return `function` of each part that is not None."""
        mask = None if self.mask is None else function(self.mask)
        weights = None if self.weights is None else function(self.weights)
        return Batch(function(self.targets), mask, weights)

    def take(self, index: Tensor) -> Batch:
        """Return the rows at these places."""
        return self.map(lambda tensor: tensor.index_select(0, index))

    def slices(self, size: int) -> Iterator[Batch]:
        """Yield the rows in order, at most `size` at a time."""
        for start in range(0, self.n_samples, size):
            yield self.map(itemgetter(slice(start, start + size)))

    def total(self, values: Tensor) -> Tensor:
        """Return the weighted sum of one value per row."""
        return values.sum() if self.weights is None else values @ self.weights

    def mean(self, values: Tensor) -> Tensor:
        """Return the weighted mean of one value per row."""
        if self.weights is None:
            return values.mean()
        # Over the number of rows, not the weight of this batch: that keeps the gradient of a
        # minibatch unbiased, and weight 2 the same in expectation as the row twice.
        return values @ self.weights / self.n_samples


def as_batch(
    X: np.ndarray,
    columns: Columns,
    like: Tensor,
    weights: np.ndarray | None = None,
) -> Batch:
    """Bring rows into the units, the precision and the device of a network.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows in the units of the data, possibly with missing cells (NaN).
    columns : Columns
        Likelihood, centre and scale of each column.
    like : Tensor
        Any floating tensor of the network.
    weights : ndarray of shape (n_samples,), optional
        Frequency weights.

    Returns
    -------
    Batch
        A copy.
    """
    U = columns.standardize(X)
    farthest = FARTHEST[like.dtype]
    np.clip(U, -farthest, farthest, out=U)
    missing, mask = np.isnan(U), None
    if missing.any():
        U[missing] = 0.0
        mask = torch.as_tensor(~missing).to(like)
    scaled = None if weights is None else torch.as_tensor(weights / weights.mean()).to(like)
    return Batch(torch.as_tensor(U).to(like), mask, scaled)


def n_even_batches(n_rows: int, batch_size: int) -> int:
    """Return the number of batches of nearly equal size, none of one row unless all are.

    A batch of two may then have three rows: normalisation over a batch takes two at least.

    Examples
    --------
    >>> n_even_batches(129, 128), n_even_batches(5, 2), n_even_batches(5, 1)
    (2, 2, 5)
    """
    n_batches = -(-n_rows // batch_size)
    return n_batches if batch_size == 1 else max(1, min(n_batches, n_rows // 2))


class TableRows:
    """Training rows in memory on the device, beside those held out.

    Parameters
    ----------
    train : Batch
        Training rows.
    held_out : Batch or None
        Rows on which the stopping rule evaluates the bound.
    batch_size : int
        Upper limit; rows are spread evenly over the batches, so that no epoch ends in a tiny,
        noisy one.
    """

    def __init__(self, train: Batch, held_out: Batch | None, batch_size: int):
        self.train, self.held_out = train, held_out
        self.n_batches = n_even_batches(train.n_samples, batch_size)

    def __len__(self) -> int:
        return self.train.n_samples

    @property
    def like(self) -> Tensor:
        """A tensor of the rows' precision and device."""
        return self.train.targets

    def sample(self, n_samples: int) -> Batch:
        """Return rows that represent the training rows: here all of them."""
        return self.train

    def shuffled(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the training rows once, in random order."""
        order = torch.randperm(len(self), device=self.like.device, generator=generator)
        for index in order.tensor_split(self.n_batches):
            yield self.train.take(index)
