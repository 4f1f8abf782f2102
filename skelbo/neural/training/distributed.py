"""Processes that train one model together, each on its share of every batch."""

from __future__ import annotations

import inspect
import math
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from skelbo.neural.data.batches import Batch


class Processes:
    """One process, or all processes of the default group of ``torch.distributed``.

    A batch is the batch of all: each process draws the same rows and the same noise, and takes
    every `size`-th of them. Gradients are averaged by DistributedDataParallel, and every decision
    rests on sums over all processes, so that the group does what one process would do.

    Parameters
    ----------
    device : str or torch.device, default="cpu"
        Device of the numbers that are exchanged.

    Attributes
    ----------
    rank, size : int
        Number of this process, and of processes.
    """

    def __init__(self, device: Any = "cpu"):
        self.device = device
        together = dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)

    @property
    def is_rank_zero(self) -> bool:
        """True if this process is the one that prints and warns."""
        return self.rank == 0

    def share(self, batch: Batch, noise: Tensor) -> tuple[Batch, Tensor]:
        """Return this process's rows of a batch, and their noise.

        A process without a row gets one of weight zero, which keeps it in step with the others.
        """
        if self.size == 1:
            return batch, noise
        if self.rank >= batch.n_samples:
            first = batch.map(itemgetter(slice(1)))
            return first._replace(weights=noise.new_zeros(1)), noise[:, :1]
        own = slice(self.rank, None, self.size)
        return batch.map(itemgetter(own)), noise[:, own]

    @staticmethod
    def parallel(module: nn.Module, find_unused: bool) -> nn.Module:
        """Return a module whose backward pass averages the gradients over all processes."""
        # Buffers are the same everywhere: their updates are computed from sums over all.
        kind = nn.parallel.DistributedDataParallel
        renamed = "forward_sync_buffers" in inspect.signature(kind).parameters  # by torch 2.13
        options: dict[str, Any] = {
            "forward_sync_buffers" if renamed else "broadcast_buffers": False
        }
        return kind(module, find_unused_parameters=find_unused, **options)

    def poison_nonfinite(self, loss: Tensor) -> Tensor:
        """Make the gradient NaN in all processes if the loss of this one is not finite."""
        if self.size == 1:
            return loss
        return loss * torch.where(torch.isfinite(loss.detach()), 1.0, math.nan)

    def add(self, *tensors: Tensor) -> None:
        """Sum tensors over all processes, in place."""
        if self.size > 1:
            flat = torch.cat([tensor.detach().double().reshape(-1) for tensor in tensors])
            dist.all_reduce(flat)
            parts = flat.split([tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def gather(self, values: Tensor, n_samples: int) -> Tensor:
        """Return the values of all rows, from those of each process's share."""
        if self.size == 1:
            return values
        whole = values.new_zeros(n_samples)
        own = whole[self.rank :: self.size]
        own.copy_(values[: len(own)])
        dist.all_reduce(whole)
        return whole

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true in any process."""
        if self.size == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised)

    def broadcast(self, number: int) -> int:
        """Return the number of the first process."""
        if self.size == 1:
            return number
        first = torch.tensor(number, device=self.device)
        dist.broadcast(first, 0)
        return int(first)
