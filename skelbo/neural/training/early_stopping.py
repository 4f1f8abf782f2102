"""When training ends, and which weights are kept: callbacks that the estimator adds of its own."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from skorch.callbacks import Callback

# A rise of the held-out bound below this many nats per row is none.
MIN_CLIMB = 1e-3
# The learning rate falls this many times by this factor before a plateau ends the training: most
# of what a fixed rate leaves on the table is the noise of its last steps.
DECAY, N_DECAYS = 0.2, 2


class Plateau(Callback):
    """Ends training when the held-out bound rises no more, and restores the best weights.

    The rule is in nats: the rise over the reference epoch must exceed `MIN_CLIMB` and the
    standard error of the paired differences (rows and draws are the same in every epoch). After
    `patience` epochs without such a rise the best weights are restored and the learning rate
    falls; after `N_DECAYS` falls the training is over.

    Parameters
    ----------
    patience : int
        Epochs without a rise.
    after : int
        Epochs to wait first: during the warm-up of the KL the bound may fall.
    steers : bool
        Whether the learning rate is ours to change.
    """

    def __init__(self, patience: int, after: int = 0, steers: bool = True):
        self.patience = patience
        self.after = after
        self.n_decays = N_DECAYS if steers else 0

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Forget the last training."""
        self.best, self.best_weights, self.reference = -math.inf, None, None
        self.waited, self.decays, self.epochs = 0, 0, 0
        self.converged = False

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
    def _rises(climb: torch.Tensor) -> bool:
        error = float(climb.std()) / math.sqrt(len(climb)) if len(climb) > 1 else 0.0
        return float(climb.mean()) > max(MIN_CLIMB, error)

    def _slow_down(self, net) -> None:
        self.restore(net)
        self.waited = 0
        if self.decays == self.n_decays:
            self.converged = True
            raise KeyboardInterrupt
        self.decays += 1
        for group in net.optimizer_.param_groups:
            group["lr"] *= DECAY

    def restore(self, net) -> None:
        """Put the best weights back."""
        if self.best_weights is not None:
            net.module_.load_state_dict(self.best_weights)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Keep the best weights, however training came to end; let go of everything else."""
        self.restore(net)
        self.best_weights = self.reference = None


class Levelling(Callback):
    """Ends training without rows held out: when the training bound rises no more.

    The mean bound of each window of epochs is compared with that of the window before. After one
    that did not rise the learning rate falls; after `N_DECAYS` falls the training is over. Over
    the second half of the epochs it also falls along a cosine, to a hundredth, as the end may come
    by `max_epochs`.

    Parameters
    ----------
    window : int or None
        Epochs; None for no such rule, only the cosine.
    max_epochs : int
        Length of the training at most.
    after : int
        Epochs to wait first.
    steers : bool
        Whether the learning rate is ours to change.
    """

    def __init__(self, window: int | None, max_epochs: int, after: int = 0, steers: bool = True):
        self.window = window
        self.steers = steers
        self.max_epochs = max_epochs
        self.after = after

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Forget the last training."""
        self.rates = [float(group["lr"]) for group in net.optimizer_.param_groups]
        self.bounds: list[float] = []
        self.epochs, self.decays, self.converged = 0, 0, False

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Set the learning rate of the epoch."""
        if not self.steers:
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
        if sum(last) - sum(before) > self.window * max(MIN_CLIMB, 2 * error):
            self.bounds = self.bounds[-self.window :]
            return
        self.bounds = []
        if self.decays == (N_DECAYS if self.steers else 0):
            self.converged = True
            raise KeyboardInterrupt
        self.decays += 1


def _error(values: list[float]) -> float:
    """Return the standard error of the mean of noisy values that may drift."""
    if len(values) < 2:
        return 0.0
    steps = [b - a for a, b in pairwise(values)]
    return math.sqrt(sum(s * s for s in steps) / (2 * len(steps) * len(values)))


class Report(Callback):
    """Reports each epoch to scikit-learn's callbacks.

    Parameters
    ----------
    progress : Progress
        Of the fit.
    offset : float
        What turns the loss into the bound in the units of the data.
    """

    def __init__(self, progress, offset: float):
        self.progress = progress
        self.offset = offset

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Begin to count."""
        self.epochs = 0

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Report; end the training if a callback asks for it."""
        self.epochs += 1
        bound = self.offset - net.history[-1, "train_loss"]
        if net.processes.any(self.progress.iteration(self.epochs, bound, None)):
            raise KeyboardInterrupt

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Let go of the fit: what is left must pickle."""
        self.progress = None
