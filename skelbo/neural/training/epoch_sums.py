"""Sums over the steps of an epoch: bound, residuals, skipped steps."""

from __future__ import annotations

import torch
from torch import Tensor

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.objectives import Estimate
from skelbo.neural.model.table_likelihood import TableLikelihood


class EpochSums:
    """Sums over the steps of an epoch, kept on the device.

    Parameters
    ----------
    likelihood : TableLikelihood
        Likelihood of the rows, with the places of the Gaussian columns.

    Attributes
    ----------
    bound : Tensor, scalar
        Sum of the bound over rows, float64.
    squares, counts : Tensor of shape (n_gaussian,)
        Weighted sums of squared residuals, and of cells.
    steps, skipped : int
        Number of steps, and of those that were left out as they were not finite.
    """

    def __init__(self, likelihood: TableLikelihood):
        like, gaussian = likelihood.offset, likelihood.gaussian
        n_gaussian = 0 if gaussian is None else gaussian.n_outputs
        # Columns of the mask that belong to the squares; no selection where all do.
        some = 0 < n_gaussian < likelihood.n_features
        self.index = likelihood.index("gaussian") if some else None
        self.bound = like.new_zeros((), dtype=torch.float64)
        self.squares = like.new_zeros(n_gaussian)
        self.counts = like.new_zeros(n_gaussian)
        self.steps = self.skipped = 0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Sums over rows, and so over processes that share the rows."""
        return self.bound, self.squares, self.counts

    def add(self, batch: Batch, estimate: Estimate) -> None:
        """Add the rows of a step."""
        self.bound += batch.total(estimate.bound)
        if estimate.squares is not None:
            mask = batch.mask
            if mask is not None and self.index is not None:
                mask = mask.index_select(1, self.index)
            squares, counts = _pooled(estimate.squares, estimate.share, batch.weights, mask)
            self.squares += squares
            self.counts += counts

    def variance(self) -> Tensor:
        """Return the mean squared residual of each Gaussian column."""
        return self.squares / self.counts.clamp(min=1e-12)


def _pooled(
    squares: Tensor, share: Tensor | None, weights: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor | int]:
    """Return weighted sums of squares, and of cells, per Gaussian column."""
    if share is not None:
        squares = (share[..., None] * squares).sum(0)
    else:
        squares = squares[0] if len(squares) == 1 else squares.mean(0)
    if weights is None:
        return squares.sum(0), len(squares) if mask is None else mask.sum(0)
    return weights @ squares, weights.sum() if mask is None else weights @ mask
