"""What an epoch adds up to, kept on the device until it is over."""

from __future__ import annotations

import torch
from torch import Tensor

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.objectives import Estimate
from skelbo.neural.model.table_likelihood import TableLikelihood


class Totals:
    """Sums over an epoch, kept on the device: reading one per batch would stall a GPU.

    Parameters
    ----------
    likelihood : TableLikelihood
        Says which columns have a noise variance, and where they are.

    Attributes
    ----------
    bound : Tensor, scalar
        Sum over rows, float64.
    skipped : Tensor, scalar
        Number of steps that were not finite.
    squares, counts : Tensor of shape (n_gaussian,)
        Weighted sums of squared residuals, and of cells.
    steps : int
        Number of steps.
    """

    def __init__(self, likelihood: TableLikelihood):
        like, gaussian = likelihood.offset, likelihood.gaussian
        n_gaussian = 0 if gaussian is None else gaussian.n_outputs
        # Which columns of the mask belong to the squares; none are picked where all do.
        some = 0 < n_gaussian < likelihood.n_features
        self.picked = likelihood.index("gaussian") if some else None
        self.bound = like.new_zeros((), dtype=torch.float64)
        self.skipped = like.new_zeros((), dtype=torch.float32)
        self.squares = like.new_zeros(n_gaussian)
        self.counts = like.new_zeros(n_gaussian)
        self.steps = 0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What is summed over rows, and so over processes that share them."""
        return self.bound, self.squares, self.counts

    def clear(self) -> None:
        """Begin anew, in the same memory."""
        self.steps = 0
        for tensor in (self.skipped, *self.tensors):
            tensor.zero_()

    def add(self, batch: Batch, estimate: Estimate, finite: Tensor | bool) -> None:
        """Add a step, or only count it as skipped."""
        if finite is False:
            self.skipped += 1
            return
        if isinstance(finite, Tensor):
            self.skipped += ~finite

        def keep(value: Tensor) -> Tensor:
            return torch.where(finite, value, 0.0) if isinstance(finite, Tensor) else value

        self.bound += keep(batch.total(estimate.bound))
        if estimate.squares is not None:
            mask = batch.mask
            if mask is not None and self.picked is not None:
                mask = mask.index_select(1, self.picked)
            squares, counts = _pooled(estimate.squares, estimate.share, batch.weights, mask)
            self.squares += keep(squares)
            self.counts += keep(counts) if isinstance(counts, Tensor) else counts * finite

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
