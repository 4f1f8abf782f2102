"""Errors of a training whose steps, weights or rows are not finite any more."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from skelbo.em.loop import AscentError

# An epoch that loses more than this share of its steps ends the fit.
MAX_SKIPPED = 0.5

STEPS = (
    "{skipped} of {steps} steps of epoch {epoch} were not finite and were skipped; use a smaller "
    "lr (now {lr:g}), a larger batch_size, or look for cells far outside the rest of their column."
)
WEIGHTS = (
    "the weights are not finite after epoch {epoch}, or the optimizer's averages of their "
    "gradients; use a smaller lr (now {lr:g}), or look for cells far outside the rest of their "
    "column."
)
ROWS = (
    "the {what} of {n} of {total} rows is not finite after epoch {epoch}: the weights have run "
    "away; use a smaller lr (now {lr:g})."
)
DIVERGENCE = (
    "the divergence is {value} after epoch {epoch}: the weights have run away; use a smaller lr "
    "(now {lr:g})."
)


def check_steps(skipped: int, steps: int, epoch: int, lr: float) -> None:
    """Raise if too many steps of an epoch were skipped."""
    if skipped > MAX_SKIPPED * steps:
        raise AscentError(STEPS.format(skipped=skipped, steps=steps, epoch=epoch, lr=lr))


@torch.no_grad()
def check_weights(
    weights: Iterable[Tensor], optimizer: torch.optim.Optimizer, epoch: int, lr: float
) -> None:
    """Raise if a weight, or what the optimiser keeps of it, is not finite.

    Squares of gradients overflow where the gradients do not; such a weight never moves again.
    """
    kept = [value for state in optimizer.state.values() for value in state.values()]
    tensors = [*weights, *(value for value in kept if isinstance(value, Tensor))]
    # One number for all: reading one per tensor would stall a GPU as often.
    if not math.isfinite(sum(tensor.sum() for tensor in tensors)):
        raise AscentError(WEIGHTS.format(epoch=epoch, lr=lr))


def check_rows(values: Tensor, epoch: int, lr: float, what: str = "bound") -> None:
    """Raise if a value of a row, shape (n_samples,), is not finite."""
    total = len(values)
    n = total - int(values.isfinite().sum())
    if n:
        raise AscentError(ROWS.format(what=what, n=n, total=total, epoch=epoch, lr=lr))


def check_divergence(value: float, epoch: int, lr: float) -> None:
    """Raise if the divergence of a game is not finite."""
    if not math.isfinite(value):
        raise AscentError(DIVERGENCE.format(value=value, epoch=epoch, lr=lr))
