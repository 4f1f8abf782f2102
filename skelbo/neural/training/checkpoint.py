"""Checkpoints of a training: weights, optimiser, stopping rule and generators after an epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback

from skelbo.em.checkpoint import FitCheckpoint, Resumable
from skelbo.neural.persistence import load_optimizer, net_state
from skelbo.neural.training.distributed import Processes
from skelbo.neural.training.net import VAENet

# Values of the history of an epoch.
PLAIN = (bool, int, float, str, np.generic)


def check_resumable(estimator: Any) -> None:
    """Raise ValueError if a training has a state of the user's own, or several processes."""
    if estimator.callbacks:
        raise ValueError(
            f"callbacks={estimator.callbacks!r} have a state that no checkpoint holds; leave "
            "callbacks=None, or fit without Checkpoint."
        )
    if Processes().size > 1:
        raise ValueError(
            f"Checkpoint was set on a fit of {Processes().size} processes, expected one; fit "
            "without it, or in one process."
        )


class TrainingCheckpoint(Callback):
    """Writer of the state of a training, and its way back; the last of the callbacks.

    Parameters
    ----------
    checkpoint : FitCheckpoint
    rule : Resumable
        Stopping rule of the training.
    generator : torch.Generator
        Source of randomness of the training.
    """

    def __init__(self, checkpoint: FitCheckpoint, rule: Resumable, generator: torch.Generator):
        self.checkpoint, self.rule, self.generator = checkpoint, rule, generator
        self.found = checkpoint.running()

    @property
    def n_epochs(self) -> int:
        """Number of epochs before the training was resumed."""
        return 0 if self.found is None else len(self.found["history"])

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Go on from the state that was found, if there is one."""
        if self.found is None:
            return
        state = self.found["net"]
        tensors = {name: torch.as_tensor(array) for name, array in state["weights"].items()}
        net.module_.load_state_dict(tensors)
        load_optimizer(net.optimizer_, state["optimizer"])
        for group, rate in zip(net.optimizer_.param_groups, self.found["rates"], strict=True):
            group["lr"] = rate
        net.n_epochs_, net.n_skipped_steps_ = state["n_epochs"], state["n_skipped_steps"]
        for row in self.found["history"]:
            net.history.new_epoch()
            for name, value in row.items():
                net.history.record(name, value)
        self.rule.resume(self.found["rule"])
        self.generator.set_state(torch.as_tensor(self.found["generator"]))
        if net.module_.has_custom_networks:  # which may draw from the global generator
            torch.set_rng_state(torch.as_tensor(self.found["global"]))

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Write the state, if it is time and the training goes on."""
        if net.end_ is None:
            self.checkpoint.offer(lambda: self._state(net))

    def _state(self, net: VAENet) -> dict[str, Any]:
        history = [{k: v for k, v in row.items() if isinstance(v, PLAIN)} for row in net.history]
        return {
            "net": net_state(net),
            "rates": [float(group["lr"]) for group in net.optimizer_.param_groups],
            "history": history,
            "rule": self.rule.checkpoint_state(),
            "generator": self.generator.get_state().numpy(),
            "global": torch.get_rng_state().numpy(),
        }


def as_arrays(value: Any) -> Any:
    """Return tensors as arrays, also those in a dict."""
    if isinstance(value, dict):
        return {name: as_arrays(part) for name, part in value.items()}
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def as_tensors(value: Any, like: torch.Tensor) -> Any:
    """Return arrays as tensors on the device of another, also those in a dict."""
    if isinstance(value, dict):
        return {name: as_tensors(part, like) for name, part in value.items()}
    return torch.as_tensor(value).to(like.device) if isinstance(value, np.ndarray) else value
