"""End of the training and schedule of the learning rate: the estimator's own callbacks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from skorch.callbacks import Callback, LRScheduler

from skelbo.em.checkpoint import Resumable
from skelbo.em.progress import Progress
from skelbo.neural.data.batches import TableRows
from skelbo.neural.data.streaming import StreamedRows
from skelbo.neural.training.checkpoint import as_arrays, as_tensors
from skelbo.neural.training.net import VAENet

# A rise of the bound below this many nats per row counts as none.
MIN_RISE = 1e-3
# The learning rate falls this many times by this factor before a plateau ends the training: most
# of the loss of a fixed rate is the noise of its last steps.
DECAY, N_DECAYS = 0.2, 2
# `kl_warmup="auto"`: this many steps, within a third of the epochs and a hundred of them.
WARMUP_STEPS, MAX_WARMUP = 3000, 100
# Ten epochs of a small table are few steps: at least this many must pass without a rise.
PATIENCE_STEPS = 300


class ValidationPlateau(Callback, Resumable):
    """Stopping rule by the bound of rows held out; the best weights are restored at the end.

    The rise over the reference epoch must exceed `MIN_RISE` and the standard error of the paired
    differences (rows and draws are the same in every epoch). After `patience` epochs without such
    a rise the best weights are restored and the learning rate falls; after `N_DECAYS` falls the
    training ends.

    Parameters
    ----------
    patience : int
        Epochs without a rise.
    after : int
        Epochs to wait first: during the warm-up of the KL the bound may fall.
    adjusts_lr : bool
        Whether this rule may change the learning rate.
    """

    def __init__(self, patience: int, after: int = 0, adjusts_lr: bool = True):
        self.patience = patience
        self.after = after
        self.n_decays = N_DECAYS if adjusts_lr else 0

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Reset the state."""
        self.best, self.best_weights, self.reference = -math.inf, None, None
        self.waited, self.decays, self.epochs = 0, 0, 0
        self.like = net.module_.likelihood.offset

    def checkpoint_state(self):
        """Return the best epoch, the reference and the counts."""
        kept = {"best": self.best, "weights": self.best_weights, "reference": self.reference}
        return {**as_arrays(kept), "counts": [self.waited, self.decays, self.epochs]}

    def resume(self, state):
        """Go on with them."""
        kept = as_tensors(state, self.like)
        self.best, self.best_weights = kept["best"], kept["weights"]
        self.reference = kept["reference"]
        self.waited, self.decays, self.epochs = kept["counts"]

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Compare the epoch with the best one."""
        self.epochs += 1
        if dataset_valid is None or self.epochs <= self.after:
            return
        bounds = net.held_out_bounds_
        mean = float(dataset_valid.mean(bounds))
        if mean > self.best:
            self.best = mean
            self.best_weights = {k: v.clone() for k, v in net.module_.state_dict().items()}
        if self.reference is None or self._rises(bounds - self.reference):
            self.reference, self.waited = bounds, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self._slow_down(net)

    @staticmethod
    def _rises(rise: torch.Tensor) -> bool:
        error = float(rise.std()) / math.sqrt(len(rise)) if len(rise) > 1 else 0.0
        return float(rise.mean()) > max(MIN_RISE, error)

    def _slow_down(self, net: VAENet) -> None:
        self._restore(net)
        self.waited = 0
        if self.decays == self.n_decays:
            net.stop("converged")
            return
        self.decays += 1
        for group in net.optimizer_.param_groups:
            group["lr"] *= DECAY

    def _restore(self, net: VAENet) -> None:
        if self.best_weights is not None:
            net.module_.load_state_dict(self.best_weights)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Restore the best weights, however training ended, and release the tensors."""
        self._restore(net)
        self.best_weights = self.reference = None


class TrainingPlateau(Callback, Resumable):
    """Stopping rule by the training bound, where no rows are held out.

    The mean bound of each window of epochs is compared with that of the window before. After one
    that did not rise the learning rate falls; after `N_DECAYS` falls the training ends. Over the
    second half of the epochs the rate also falls along a cosine, to a hundredth, as the training
    may end by `max_epochs`.

    Parameters
    ----------
    window : int or None
        Epochs; None for the cosine alone.
    max_epochs : int
        Largest length of the training.
    after : int
        Epochs to wait first.
    adjusts_lr : bool
        Whether this rule may change the learning rate.
    """

    def __init__(
        self, window: int | None, max_epochs: int, after: int = 0, adjusts_lr: bool = True
    ):
        self.window = window
        self.adjusts_lr = adjusts_lr
        self.max_epochs = max_epochs
        self.after = after

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Reset the state."""
        self.rates = [float(group["lr"]) for group in net.optimizer_.param_groups]
        self.bounds: list[float] = []
        self.epochs, self.decays = 0, 0

    def checkpoint_state(self):
        """Return the first rates, the bounds of the last windows and the counts."""
        return [self.rates, self.bounds, self.epochs, self.decays]

    def resume(self, state):
        """Go on with them."""
        self.rates, self.bounds, self.epochs, self.decays = state

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Set the learning rate of the epoch."""
        if not self.adjusts_lr:
            return
        progress = max(0.0, 2 * self.epochs / self.max_epochs - 1)
        factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        for group, rate in zip(net.optimizer_.param_groups, self.rates, strict=True):
            group["lr"] = rate * min(factor, DECAY**self.decays)

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Compare the last two windows."""
        self.epochs += 1
        if self.window is None or self.epochs <= self.after:
            return
        self.bounds.append(-net.history[-1, "train_loss"])
        if len(self.bounds) < 2 * self.window:
            return
        before, last = self.bounds[-2 * self.window : -self.window], self.bounds[-self.window :]
        error = math.hypot(_error(before), _error(last))
        if sum(last) - sum(before) > self.window * max(MIN_RISE, 2 * error):
            self.bounds = self.bounds[-self.window :]
            return
        self.bounds = []
        if self.decays == (N_DECAYS if self.adjusts_lr else 0):
            net.stop("converged")
        self.decays += 1


def _error(values: list[float]) -> float:
    """Return the standard error of the mean of noisy values that may drift."""
    if len(values) < 2:
        return 0.0
    steps = [b - a for a, b in pairwise(values)]
    return math.sqrt(sum(s * s for s in steps) / (2 * len(steps) * len(values)))


class ProgressReport(Callback):
    """Report of each epoch to scikit-learn's callbacks, which may end the training.

    Parameters
    ----------
    progress : Progress
        Of the fit.
    offset : float
        Difference of the bound in the units of the data and in those of the network.
    """

    def __init__(self, progress: Progress, offset: float):
        self.progress = progress
        self.offset = offset

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Report the epoch."""
        bound = self.offset - net.history[-1, "train_loss"]
        if net.processes.any(self.progress.iteration(net.n_epochs_, bound, None)):
            net.stop("callback")


def warmup_epochs(kl_warmup: Any, n_batches: int, max_iter: int) -> int:
    """Return over how many epochs of `n_batches` steps the weight of the KL rises.

    Examples
    --------
    >>> warmup_epochs("auto", n_batches=100, max_iter=500)
    30
    """
    if kl_warmup != "auto":
        return int(kl_warmup)
    return min(-(-WARMUP_STEPS // n_batches), MAX_WARMUP, max_iter // 3)


def stopping_rule(
    net: VAENet, rows: TableRows | StreamedRows, early_stopping: Any, n_iter_no_change: int
) -> ValidationPlateau | TrainingPlateau:
    """Return the rule that ends the training and lowers the learning rate."""
    patience = max(n_iter_no_change, -(-PATIENCE_STEPS // rows.n_batches))
    adjusts_lr = not any(isinstance(c, LRScheduler) for _, c in net.callbacks_)
    if rows.held_out is not None:
        return ValidationPlateau(patience, net.kl_warmup, adjusts_lr)
    window = patience if early_stopping == "auto" else None
    return TrainingPlateau(window, net.max_epochs, net.kl_warmup, adjusts_lr)
