"""From an estimator's parameters to a net that can be trained."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback

from skelbo.neural.data.columns import Columns
from skelbo.neural.model.networks import AutoEncoder
from skelbo.neural.model.objectives import Objective
from skelbo.neural.training.net import VAENet
from skelbo.neural.training.optimizers import optimizer_options


def chosen_device(name: str) -> str:
    """Return the device that is meant: ``"auto"`` is CUDA if there is any."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={name!r} cannot be used here ({str(error).splitlines()[0]}); expected 'auto', "
            "'cpu' or another torch device of this machine."
        ) from error
    return name


def layer_sizes(sizes: Any) -> tuple[int, ...]:
    """Return the widths of the hidden layers."""
    widths = (sizes,) if isinstance(sizes, Integral) else tuple(sizes)
    if not all(isinstance(n, Integral) and int(n) >= 1 for n in widths):
        raise ValueError(
            f"hidden_layer_sizes={sizes!r} has a width that is no integer of at least 1; give one "
            "such number per layer, or () for linear networks."
        )
    return tuple(int(n) for n in widths)


# What a fit that goes on from another must have in common with it.
LASTING = (
    "n_components",
    "likelihood",
    "noise",
    "hidden_layer_sizes",
    "activation",
    "encoder",
    "decoder",
)


def lasting_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters that fix what the networks are."""
    return {name: getattr(estimator, name) for name in LASTING}


def check_lasting(estimator: Any, before: dict[str, Any]) -> None:
    """Refuse to go on from networks that were made for other parameters."""
    for name, now in lasting_parameters(estimator).items():
        if now is not before[name] and repr(now) != repr(before[name]):
            raise ValueError(
                f"{name} is {now!r}, but the networks to go on from were made for "
                f"{before[name]!r}; use warm_start=False or a new estimator."
            )


def is_linear(estimator: Any) -> bool:
    """Tell whether both networks are linear maps."""
    own = estimator.encoder is not None or estimator.decoder is not None
    return not own and layer_sizes(estimator.hidden_layer_sizes) == ()


@contextmanager
def seeded(rng: np.random.RandomState, device: str):
    """Seed torch from `rng`, and give the caller's generators back untouched."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(rng.randint(2**31 - 1)))
        yield


def make_net(estimator: Any, columns: Columns, dtype: np.dtype, before: VAENet | None) -> VAENet:
    """Make an initialised net, with fresh weights or those of a net before it.

    Parameters
    ----------
    estimator : VAEEstimator
        Its parameters say what to make.
    columns : Columns
        What the columns are.
    dtype : dtype
        Of the data, and so of the networks.
    before : VAENet or None
        The net to go on from.

    Returns
    -------
    VAENet
        On its device.
    """
    model = _networks(estimator, columns, dtype) if before is None else before.module_
    optimizer, options = optimizer_options(estimator.optimizer)
    if isinstance(optimizer, type) and not issubclass(optimizer, torch.optim.Optimizer):
        raise ValueError(
            f"optimizer={optimizer.__name__} is no optimiser of torch, expected a name or a "
            "subclass of torch.optim.Optimizer."
        )
    params: dict[str, Any] = {
        "optimizer": optimizer,
        "lr": estimator.lr,
        "max_epochs": estimator.max_iter,
        "batch_size": estimator.batch_size,
        "device": chosen_device(estimator.device),
        "callbacks": [_copied(c) for c in estimator.callbacks or ()],
        "callbacks__print_log": None,
        "train_split": None,
        "verbose": 0,
        **{f"optimizer__{name}": value for name, value in options.items()},
        **(estimator.net_params or {}),
    }
    objective = Objective(estimator.objective, estimator.gradient, estimator.n_samples)
    net = VAENet(model, objective=objective, beta=estimator.beta, **params).initialize()
    if before is not None and type(before.optimizer_) is type(net.optimizer_):
        state = {**net.optimizer_.state_dict(), "state": before.optimizer_.state_dict()["state"]}
        net.optimizer_.load_state_dict(state)
    return net


def _networks(estimator: Any, columns: Columns, dtype: np.dtype) -> AutoEncoder:
    model = AutoEncoder(
        columns,
        estimator.n_components,
        estimator.noise,
        estimator.encoder,
        estimator.decoder,
        layer_sizes(estimator.hidden_layer_sizes),
        estimator.activation,
    )
    model.to(torch.float32 if dtype == np.float32 else torch.float64)
    model.check_shapes()
    return model


def _copied(callback: Any) -> Any:
    """Return a copy: fit writes to callbacks, but never to a constructor parameter."""
    if isinstance(callback, tuple) and len(callback) == 2:
        return callback[0], _copied(callback[1])
    if isinstance(callback, type):
        return callback
    if not isinstance(callback, Callback):
        raise ValueError(
            f"callbacks has {callback!r}, expected skorch callbacks or pairs of name and callback; "
            "those of scikit-learn go to set_callbacks."
        )
    return copy.copy(callback)
