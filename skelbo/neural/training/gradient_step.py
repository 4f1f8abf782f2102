"""Gradient step on both networks: the body of the loop of Algorithm 2 (Ding 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.networks import AutoEncoder
from skelbo.neural.model.objectives import Estimate, Objective
from skelbo.neural.training.distributed import Processes
from skelbo.neural.training.epoch_sums import EpochSums


class Bound(nn.Module):
    """An objective as a module, which DistributedDataParallel can wrap.

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

    def forward(self, batch: Batch, noise: Tensor, kl_weight: float) -> Estimate:
        """Estimate the bound of each row."""
        return self.objective(self.model, batch, noise, kl_weight)


class GradientStep:
    """Gradient steps on theta and phi; steps that are not finite are skipped.

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
    generator : torch.Generator
        Source of the noise behind z.

    Attributes
    ----------
    learned : list of Parameter
        Parameters that the epoch updates.
    probed : list of Parameter
        Parameters whose gradients show whether a step is finite.
    """

    def __init__(
        self,
        model: AutoEncoder,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        processes: Processes,
        generator: torch.Generator,
    ):
        self.model, self.objective, self.optimizer = model, objective, optimizer
        self.processes, self.generator = processes, generator
        self.learned: list[nn.Parameter] = []
        self.probed: list[nn.Parameter] = []
        self.bound: Callable[..., Estimate] = partial(objective, model)
        if processes.size > 1:
            # A network of the user's own may have parameters that it does not use.
            bound = Bound(model, objective)
            self.bound = processes.parallel(bound, find_unused=model.has_custom_networks)

    def run_epoch(
        self, batches: Iterable[Batch], kl_weight: float, notify: Callable[..., None]
    ) -> EpochSums:
        """Take a step for each batch and add them up; `notify` calls skorch's hooks by name."""
        self.learned = [p for p in self.model.parameters() if p.requires_grad]
        self.probed = self.learned
        if not self.model.has_custom_networks:
            # What goes wrong in the backward pass of perceptrons reaches the first bias of the
            # encoder, the last gradient to be computed. Other networks may have other paths.
            self.probed = [p for p in self.learned if p.ndim == 1][:1]
        sums = EpochSums(self.model.likelihood)
        for batch in batches:
            notify("on_batch_begin", batch)
            loss, bound = self._run(batch, kl_weight, sums, notify)
            notify("on_batch_end", batch, loss=loss, y_pred=bound)
        return sums

    def _run(
        self, batch: Batch, kl_weight: float, sums: EpochSums, notify: Callable[..., None]
    ) -> tuple[Tensor, Tensor]:
        """Take one step; return its loss and the bounds of its rows."""
        noise = self.objective.noise(self.model, batch, self.generator)
        rows, noise = self.processes.share(batch, noise)
        estimate = self.bound(rows, noise, kl_weight)
        # Over the number of rows, not their weight: that keeps the gradient of a minibatch
        # unbiased. Times the number of processes, which take the mean of their gradients.
        loss = rows.total(estimate.surrogate) * (-self.processes.size / batch.n_samples)
        for parameter in self.learned:
            parameter.grad = None
        self.processes.poison_nonfinite(loss).backward()
        notify("on_grad_computed", batch)
        sums.steps += 1
        if math.isfinite(self._probe(loss)):
            self.optimizer.step()
            sums.add(rows, estimate)
        else:
            sums.skipped += 1
        return loss.detach(), estimate.bound

    def _probe(self, loss: Tensor) -> Tensor:
        """Return a number that is finite if the step is."""
        probe = loss.detach()
        for parameter in self.probed:
            if parameter.grad is not None:
                probe = probe + parameter.grad.sum()
        return probe
