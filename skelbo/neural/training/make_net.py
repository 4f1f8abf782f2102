"""Construction of an initialised net from an estimator's parameters."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from numbers import Integral
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback

from skelbo.autograd import load_optimizers
from skelbo.data.counts import is_count
from skelbo.neural.data.columns import Columns
from skelbo.neural.model.latent_family import LatentFamily
from skelbo.neural.model.networks import AutoEncoder
from skelbo.neural.training.generators import global_seed, make_generator
from skelbo.neural.training.net import VAENet

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
# Optimisers with a fused kernel: a fifth of a small net's step.
FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad, torch.optim.SGD)

# Parts of a skorch net with parameters of their own, ``optimizer__weight_decay`` say.
NET_PARTS = ("optimizer", "callbacks", "iterator_train", "iterator_valid", "dataset", "compile")


def resolve_device(name: str) -> str:
    """Return the torch device of a name: ``"auto"`` is CUDA if there is any."""
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


def resolve_optimizer(optimizer: Any) -> Any:
    """Return the optimiser of a name, or the given one if it can be one."""
    optimizer = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    if isinstance(optimizer, type) and not issubclass(optimizer, torch.optim.Optimizer):
        raise ValueError(
            f"optimizer={optimizer.__name__} is no optimiser of torch, expected a name or a "
            "subclass of torch.optim.Optimizer."
        )
    return optimizer


def layer_sizes(sizes: Any, name: str = "hidden_layer_sizes") -> tuple[int, ...]:
    """Return the widths of the hidden layers."""
    widths = (sizes,) if isinstance(sizes, Integral) else tuple(sizes)
    if not all(map(is_count, widths)):
        raise ValueError(
            f"{name}={sizes!r} has a width that is no integer of at least 1; give one "
            "such number per layer, or () for linear networks."
        )
    return tuple(int(n) for n in widths)


def has_custom_networks(estimator: Any) -> bool:
    """Return whether a network is the user's own."""
    return estimator.encoder is not None or estimator.decoder is not None


def seeds_globally(estimator: Any) -> bool:
    """Return whether a network of the user's own may draw from torch's global generator."""
    return any(getattr(estimator, name) is not None for name in estimator.own_network_names)


def is_linear(estimator: Any) -> bool:
    """Return whether both networks are linear maps."""
    return not has_custom_networks(estimator) and layer_sizes(estimator.hidden_layer_sizes) == ()


@contextmanager
def fit_generator(estimator: Any, seed: int) -> Iterator[torch.Generator]:
    """Yield the generator of a fit, on the CPU; a user's networks see a seeded global one."""
    generator = make_generator(seed)
    if not seeds_globally(estimator):
        yield generator
        return
    with global_seed(seed, resolve_device(estimator.device)):
        yield generator


def make_net(
    estimator: Any,
    columns: Columns,
    family: LatentFamily,
    dtype: np.dtype,
    generator: torch.Generator,
    before: VAENet | None = None,
) -> VAENet:
    """Return an initialised net, with fresh weights or with a copy of those of a net before it.

    Parameters
    ----------
    estimator : NetworkEstimator
        Its parameters determine the networks and the optimiser.
    columns : Columns
        Kind and units of each column.
    family : LatentFamily
        Form of q and of the prior.
    dtype : dtype
        Precision of the data, and so of the networks.
    generator : torch.Generator
        Source of the initial weights, on the CPU.
    before : VAENet, optional
        The net to continue.

    Returns
    -------
    VAENet
        On its device.
    """
    load_optimizers()
    if before is None:
        model = _networks(estimator, columns, family, dtype, generator)
    else:
        model = copy.deepcopy(before.module_)
    net = VAENet(
        model,
        objective=estimator._objective(),
        beta=estimator.beta,
        **_net_params(estimator),
    ).initialize()
    if before is not None and type(before.optimizer_) is type(net.optimizer_):
        state = copy.deepcopy(before.optimizer_.state_dict()["state"])
        net.optimizer_.load_state_dict({**net.optimizer_.state_dict(), "state": state})
    return net


def _net_params(estimator: Any) -> dict[str, Any]:
    """Return the parameters of skorch's NeuralNet; those of the user come last."""
    optimizer = resolve_optimizer(estimator.optimizer)
    params: dict[str, Any] = {
        "optimizer": optimizer,
        "lr": estimator.lr,
        "max_epochs": estimator.max_iter,
        "batch_size": estimator.batch_size,
        "device": resolve_device(estimator.device),
        "callbacks": [_copied(c) for c in estimator.callbacks or ()],
        "callbacks__print_log": None,
        "train_split": None,
        "verbose": 0,
    }
    if optimizer in FUSED:
        params["optimizer__fused"] = True
    return {**params, **_checked_net_params(estimator.net_params or {})}


def _checked_net_params(net_params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of skorch's NeuralNet; it takes names of its own methods for some, too."""
    known = set(signature(NeuralNet.__init__).parameters) - {"self", "module", "kwargs"}
    for name in net_params:
        part, _, rest = str(name).partition("__")
        if name not in known and not (part in NET_PARTS and rest):
            raise ValueError(
                f"net_params has {name!r}, expected parameters of skorch's NeuralNet: "
                f"{sorted(known)}, or of its {' '.join(NET_PARTS)} after two underscores."
            )
    return net_params


def _networks(
    estimator: Any,
    columns: Columns,
    family: LatentFamily,
    dtype: np.dtype,
    generator: torch.Generator,
) -> AutoEncoder:
    model = AutoEncoder(
        columns,
        family,
        estimator._noise_kind,
        generator,
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
