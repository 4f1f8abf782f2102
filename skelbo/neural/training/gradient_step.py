"""One gradient step on both networks together: the inside of Algorithm 2's loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.networks import AutoEncoder
from skelbo.neural.model.objectives import Estimate, Objective
from skelbo.neural.training.distributed import Processes
from skelbo.neural.training.epoch_sums import Totals


class Bound(nn.Module):
    """An objective as a module of its own, which DistributedDataParallel can wrap.

    Parameters
    ----------
    model : AutoEncoder
        Both networks.
    objective : Objective
        The bound and its gradient.
    """

    def __init__(self, model: AutoEncoder, objective: Objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, noise: Tensor, kl_weight: Tensor | float) -> Estimate:
        """Estimate the bound of each row."""
        return self.objective(self.model, batch, noise, kl_weight)


class GradientStep:
    """Takes gradient steps on theta and phi, leaves out those that are not finite, adds them up.

    Parameters
    ----------
    model : AutoEncoder
        Both networks.
    objective : Objective
        The bound and its gradient.
    optimizer : Optimizer
        Of the parameters of `model`.
    processes : Processes
        Those that share each batch.
    reads : bool, default=True
        Whether a number may be read from the device in each step. Otherwise the optimiser's
        fused kernel is told to stand still where the step is not finite.
    listener : callable, optional
        Called with the batch when its gradient is there.

    Attributes
    ----------
    totals : Totals
        Sums over the steps of the epoch.
    learned : list of Parameter
        What is learned.
    """

    def __init__(
        self,
        model: AutoEncoder,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        processes: Processes,
        reads: bool = True,
        listener: Callable[[Batch], None] | None = None,
    ):
        self.model, self.objective, self.optimizer = model, objective, optimizer
        self.processes, self.reads, self.listener = processes, reads, listener
        self.bound: Callable[..., Estimate] = partial(objective, model)
        if processes.size > 1:
            # A network of the user's own may have parameters that it does not use.
            own = bool(model.foreign_networks())
            self.bound = processes.parallel(Bound(model, objective), find_unused=own)
        self.generator = processes.generator()
        self.totals = Totals(model.likelihood)

    @contextmanager
    def epoch(self, kl_weight: Tensor | float) -> Iterator[Totals]:
        """Run an epoch, with this weight of the KL; give what it adds up to."""
        self.kl_weight = kl_weight
        self.learned = [p for p in self.model.parameters() if p.requires_grad]
        self.totals.clear()
        yield self.totals

    def __call__(self, batch: Batch) -> None:
        """Take one step."""
        self.totals.steps += 1
        self.run(batch)

    def run(self, batch: Batch) -> None:
        """Do what a step does on the device."""
        rows, noise = self.processes.share(
            batch, self.objective.noise(self.model, batch, self.generator)
        )
        estimate = self.bound(rows, noise, self.kl_weight)
        # Over the number of rows, not their weight: that keeps the gradient of a minibatch
        # unbiased. Times the number of processes, as they take the mean of their gradients.
        loss = rows.total(estimate.surrogate) * (-self.processes.size / batch.n_samples)
        for parameter in self.learned:
            parameter.grad = None
        self.processes.told(loss).backward()
        if self.listener is not None:
            self.listener(batch)
        self.totals.add(rows, estimate, self._advance(self._probe(loss)))

    def _advance(self, probe: Tensor) -> Tensor | bool:
        """Move the parameters, unless the step is not finite; tell whether it was."""
        if self.reads:
            sound = math.isfinite(probe)
            if sound:
                self.optimizer.step()
            return sound
        finite = torch.isfinite(probe)
        # The fused kernels skip the update by themselves where this is 1: nothing is read.
        self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.found_inf = None  # type: ignore[attr-defined]
        return finite

    def _probe(self, loss: Tensor) -> Tensor:
        """Return a number that is finite if the step is.

        Whatever goes wrong in the backward pass ends in the first gradients of the encoder, which
        is the last to be reached.
        """
        probe = loss.detach()
        for parameter in self.learned:
            # The smallest of a layer's gradients says as much as the largest: take the bias.
            if parameter.grad is not None and parameter.ndim == 1:
                return probe + parameter.grad.sum()
        return probe
