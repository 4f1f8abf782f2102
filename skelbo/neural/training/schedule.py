"""How long the KL warms up, and by what rule training ends."""

from __future__ import annotations

from typing import Any

from skorch.callbacks import LRScheduler

from skelbo.neural.data.batches import TableRows
from skelbo.neural.data.streaming import StreamedRows
from skelbo.neural.training.early_stopping import Levelling, Plateau
from skelbo.neural.training.net import VAENet

# `kl_warmup="auto"`: this many steps, within a third of the epochs and a hundred of them.
WARMUP_STEPS, MAX_WARMUP = 3000, 100
# Ten epochs of a small table are few steps: at least this many must pass without a rise.
PATIENCE_STEPS = 300


def warmup_epochs(kl_warmup: Any, n_batches: int, max_iter: int) -> int:
    """Return over how many epochs the weight of the KL rises.

    Parameters
    ----------
    kl_warmup : "auto" or int
        As for VAEEstimator.
    n_batches : int
        Steps of an epoch.
    max_iter : int
        Largest number of epochs.

    Returns
    -------
    int
        May be zero.

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
) -> Plateau | Levelling:
    """Return what ends the training and lowers the learning rate.

    Parameters
    ----------
    net : VAENet
        To be trained.
    rows : TableRows or StreamedRows
        What it is trained on.
    early_stopping : "auto" or bool
        As for VAEEstimator.
    n_iter_no_change : int
        Epochs without a rise.

    Returns
    -------
    Plateau or Levelling
        By the bound of rows held out or, where there are none, by that of the training.
    """
    patience = max(n_iter_no_change, -(-PATIENCE_STEPS // rows.n_batches))
    steers = not any(isinstance(c, LRScheduler) for _, c in net.callbacks_)
    if rows.held_out is not None:
        return Plateau(patience, net.kl_warmup, steers)
    window = patience if early_stopping == "auto" else None
    return Levelling(window, net.max_epochs, net.kl_warmup, steers)
