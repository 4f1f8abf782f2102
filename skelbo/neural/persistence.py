"""Networks in files: what a file may hold of a net, and the net made from it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skelbo.likelihoods import LIKELIHOODS, Likelihood
from skelbo.neural.data.columns import Columns
from skelbo.neural.model.latent_family import LatentFamily
from skelbo.neural.model.networks import Features
from skelbo.neural.model.table_likelihood import TableLikelihood
from skelbo.neural.training.make_net import (
    fit_generator,
    layer_sizes,
    make_net,
)
from skelbo.neural.training.net import VAENet
from skelbo.persistence import (
    Array,
    Arrays,
    Chosen,
    Field,
    Flag,
    Mapping,
    Names,
    Number,
    Optional,
    RandomStream,
    Record,
    Sequence,
)

# What each optimiser keeps of a parameter, and may keep, in its shape but for the number of steps;
# of the user's own, whatever it keeps.
ADAM = {"step", "exp_avg", "exp_avg_sq"}, {"max_exp_avg_sq"}
OPTIMIZER_STATE: dict[type, tuple[set[str], set[str]]] = {
    torch.optim.Adam: ADAM,
    torch.optim.AdamW: ADAM,
    torch.optim.Adagrad: ({"step", "sum"}, set()),
    torch.optim.RMSprop: ({"step", "square_avg"}, {"momentum_buffer", "grad_avg"}),
    torch.optim.SGD: (set(), {"momentum_buffer"}),
}
# Limits of what is made before the arrays of a file are looked at.
MAX_LAYERS, MAX_CODE_CELLS = 1000, 2**26
SMALLEST = float(np.finfo(np.float64).tiny)
NETWORKS = ("encoder", "decoder")
NUMBERS = ("float64", "float32", "int64", "int32", "uint8", "bool")


def network_fields(estimator: Any) -> dict[str, Field | Chosen]:
    """Return the fields of an estimator's columns, net and results."""
    with torch.device("meta"):  # a family may hold tensors, whose sizes the parameters set
        family = estimator._latent_family()
    p, count = estimator.n_features_in_, Number(integer=True, low=0)
    return {
        "_columns": columns_field(p, estimator.likelihood),
        "_net": Chosen(lambda state: _net_field(estimator, state["_columns"], family)),
        "validation_lower_bounds_": Sequence(Number()),
        "active_units_": Array((family.n_latents,), ("bool",)),
        "n_skipped_steps_": count,
        "_seed": Number(integer=True, low=0, high=2**32 - 1),
        "_stream": Optional(RandomStream()),
    }


def columns_field(p: int, likelihood: Any) -> Record:
    """Return the field of `Columns`; likelihoods of the user's own are those of the parameter."""
    given = [likelihood] if isinstance(likelihood, (str, Likelihood)) else list(likelihood)
    own = [kind for kind in given if isinstance(kind, Likelihood)]
    own = [kind for kind in dict.fromkeys(own) if kind not in LIKELIHOODS.values()]
    plain, frequency = Array((p,), ("float64",)), Array((None,), ("float64",), low=0.0, high=1.0)

    def columns(**parts: Any) -> Columns:
        return _checked(Columns(**parts, own=tuple(own)))

    return Record(
        columns,
        {
            "kinds": Names(p, np.str_),
            "center": plain,
            "scale": Array((p,), ("float64",), low=SMALLEST),
            "mean": plain,
            "frequencies": Sequence(frequency, kind=tuple),
            "has_missing": Flag(),
            "constant": Array((p,), ("bool",)),
        },
    )


def _checked(columns: Columns) -> Columns:
    known = {*LIKELIHOODS, *(kind.name for kind in columns.own)}
    unknown = sorted(set(columns.kinds.tolist()) - known)
    if unknown:
        raise ValueError(f"columns have the likelihoods {unknown}, expected {sorted(known)}")
    n_categorical, sizes = int(np.sum(columns.kinds == "categorical")), columns.categories
    if len(sizes) != n_categorical or np.any(sizes < 1):
        raise ValueError(f"{n_categorical} categorical columns have the numbers of codes {sizes}")
    if n_categorical * int(sizes.max(initial=0)) > MAX_CODE_CELLS:
        raise ValueError(f"categorical columns have too many codes for a file: {sizes.max()}")
    return columns


def _net_field(estimator: Any, columns: Columns, family: LatentFamily) -> Mapping:
    count, shapes = Number(integer=True, low=0), weight_shapes(estimator, columns, family)
    own = tuple(f"{part}." for part in NETWORKS if getattr(estimator, part) is not None)
    return Mapping(
        {
            "weights": Arrays(shapes, NUMBERS, c_order=True, undeclared=own),
            "optimizer": Arrays(None, NUMBERS, c_order=True),
            "n_epochs": count,
            "n_skipped_steps": count,
            "kl_warmup": count,
        }
    )


def weight_shapes(
    estimator: Any, columns: Columns, family: LatentFamily
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an `AutoEncoder`, without making it, but for networks of the user's."""
    widths = layer_sizes(estimator.hidden_layer_sizes)
    if len(widths) > MAX_LAYERS:
        raise ValueError(f"{len(widths)} hidden layers are more than a file may have")
    likelihood = TableLikelihood(columns, estimator._noise_kind)
    features = Features(columns, columns.has_missing and estimator.encoder is None)
    shapes: dict[str, tuple[int, ...]] = {}
    parts: dict[str, Any] = {"likelihood": likelihood, "features": features, "family": family}
    for part, module in parts.items():
        state = module.state_dict() if isinstance(module, nn.Module) else {}
        shapes |= {f"{part}.{name}": tuple(value.shape) for name, value in state.items()}
    sizes = {
        "encoder": [features.n_outputs, *widths, family.n_outputs],
        "decoder": [family.n_embedded, *widths[::-1], likelihood.n_outputs],
    }
    for part in NETWORKS:
        chain = sizes[part] if getattr(estimator, part) is None else []
        for i, (inner, outer) in enumerate(pairwise(chain)):
            # An activation stands between two layers.
            shapes[f"{part}.{2 * i}.weight"] = (outer, inner)
            shapes[f"{part}.{2 * i}.bias"] = (outer,)
    return shapes


def module_state(module: nn.Module) -> dict[str, Any]:
    """Return the weights of a module as arrays by their names."""
    return {name: _array(value) for name, value in module.state_dict().items()}


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return what an optimiser keeps of each parameter, as `load_optimizer` takes it."""
    return {
        f"{number}.{name}": _array(value)
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if value is not None
    }


def net_state(net: VAENet) -> dict[str, Any]:
    """Return weights, state of the optimiser and counts, as `restored_net` takes them."""
    return {
        "weights": module_state(net.module_),
        "optimizer": optimizer_state(net.optimizer_),
        "n_epochs": net.n_epochs_,
        "n_skipped_steps": net.n_skipped_steps_,
        "kl_warmup": net.kl_warmup,
    }


def restored_net(estimator: Any, columns: Columns, state: dict[str, Any]) -> VAENet:
    """Return the net of a state that `net_state` gave.

    Raises
    ------
    ValueError
        If the networks that the parameters make have other weights.
    """
    weights = state["weights"]
    dtype = weights["likelihood.offset"].dtype if "likelihood.offset" in weights else np.float64
    with fit_generator(estimator, 0) as generator:
        family = estimator._latent_family()
        net = make_net(estimator, columns, family, np.dtype(dtype), generator)
    tensors = {name: torch.as_tensor(value) for name, value in weights.items()}
    try:
        net.module_.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            "the networks do not fit the weights; pass the encoder and decoder that were used in "
            f"fit ({error})"
        ) from None
    gaussian = net.module_.likelihood.gaussian
    if gaussian is not None and not (gaussian.variance > 0).all():
        raise ValueError("a noise variance is not positive")
    load_optimizer(net.optimizer_, state["optimizer"])
    net.n_epochs_, net.n_skipped_steps_ = state["n_epochs"], state["n_skipped_steps"]
    net.kl_warmup = state["kl_warmup"]
    net.module_.eval()
    return net


def load_optimizer(optimizer: torch.optim.Optimizer, arrays: dict[str, Any]) -> None:
    """Set what an optimiser keeps of each parameter; ValueError for what is not its own."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    known = OPTIMIZER_STATE.get(type(optimizer))
    state: dict[int, dict[str, Any]] = {}
    for key, array in arrays.items():
        number, _, name = key.partition(".")
        index = int(number) if number.isdigit() and number == str(int(number)) else -1
        if not 0 <= index < len(parameters) or not name.isidentifier():
            raise ValueError(f"the optimiser has {key!r}, which is not its own")
        shape = () if name == "step" else tuple(parameters[index].shape)
        scalar = isinstance(array, np.generic)
        if known is not None and (scalar or array.shape != shape):
            raise ValueError(f"the optimiser has {key!r} of shape {array.shape}, expected {shape}")
        state.setdefault(index, {})[name] = array.item() if scalar else torch.as_tensor(array)
    for index, values in state.items():
        if known is not None and not known[0] <= set(values) <= known[0] | known[1]:
            raise ValueError(
                f"the optimiser has {sorted(values)} of parameter {index}, expected "
                f"{sorted(known[0])}"
            )
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _array(value: Any) -> Any:
    """Return a tensor as an array, a number as a scalar."""
    return (
        np.array(value.detach().cpu().numpy(), order="C")
        if isinstance(value, Tensor)
        else np.float64(value)
    )
