"""Training of a net until its bound is stationary, and the record of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from skorch.callbacks import Callback

from skelbo.em.progress import Progress
from skelbo.neural.data.batches import TableRows
from skelbo.neural.data.streaming import StreamedRows
from skelbo.neural.training.checkpoint import TrainingCheckpoint
from skelbo.neural.training.early_stopping import ProgressReport, stopping_rule
from skelbo.neural.training.net import VAENet


class Training(NamedTuple):
    """Record of a training.

    Attributes
    ----------
    lower_bounds, validation_lower_bounds : list of float
        Mean bound per row after each epoch, in nats, in the units of the data: of the training
        rows, and of those held out.
    end : {"converged", "max_epochs", "warm_up", "callback", "interrupted"}
        Cause of the end: the stopping rule (or the last epoch, without one), the number of
        epochs, their number while the weight of the KL was still rising, a callback, or Ctrl-C.
    """

    lower_bounds: list[float]
    validation_lower_bounds: list[float]
    end: str

    @property
    def converged(self) -> bool:
        """True if the training came to its own end."""
        return self.end == "converged"


def train(
    net: VAENet,
    rows: TableRows | StreamedRows,
    generator: torch.Generator,
    progress: Progress,
    offset: float,
    early_stopping: Any,
    n_iter_no_change: int,
    callbacks: Sequence[Callback] = (),
) -> Training:
    """Train a net, then set its noise and its prior to their closed-form maxima.

    Parameters
    ----------
    net : VAENet
        Initialised.
    rows : TableRows or StreamedRows
        Training rows, with those held out.
    generator : torch.Generator
        Source of randomness, on the device of the net.
    progress : Progress
        Report to scikit-learn's callbacks.
    offset : float
        Difference of the bound in the units of the data and in those of the network.
    early_stopping : "auto" or bool
        As for VAEEstimator.
    n_iter_no_change : int
        Epochs without a rise.
    callbacks : sequence of Callback
        Of the latent family; they come last.

    Returns
    -------
    Training
        Of at least one epoch.
    """
    rule = stopping_rule(net, rows, early_stopping, n_iter_no_change)
    # After the user's callbacks: these find every epoch as they would without a stopping rule.
    hooks, n_epochs = [rule, ProgressReport(progress, offset), *callbacks], net.max_epochs
    # A phase before that Ctrl-C ended is resumed first: its file stays as it is.
    if progress.checkpoint is not None and not progress.interrupted:
        file = TrainingCheckpoint(progress.checkpoint, rule, generator)
        hooks, n_epochs = [*hooks, file], n_epochs - file.n_epochs
    net.train(rows, generator, hooks, n_epochs)
    progress.interrupted |= net.end_ == "interrupted"
    net.maximize_noise(rows)
    net.maximize_prior(rows)
    done = [row for row in net.history if "train_loss" in row]
    return Training(
        [offset - float(row["train_loss"]) for row in done],
        [offset - float(row["valid_loss"]) for row in done if "valid_loss" in row],
        _end(net, early_stopping),
    )


def _end(net: VAENet, early_stopping: Any) -> str:
    """Return the cause of the end; without a stopping rule the last epoch is convergence."""
    if net.end_ != "max_epochs":
        return str(net.end_)
    if net.beta and net.n_epochs_ <= net.kl_warmup:
        return "warm_up"
    return "converged" if early_stopping is False else "max_epochs"
