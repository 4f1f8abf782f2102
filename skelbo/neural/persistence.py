"""Files of fitted estimators without pickle: safetensors, with JSON in the header."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from skelbo.neural.data.columns import Columns
from skelbo.neural.diagnostics import noise_variance
from skelbo.neural.training.make_net import fit_generator, make_net, network_parameters

FORMAT = "skelbo.VAEEstimator/1"
WEIGHTS = "net."
ARRAYS = ("center", "scale", "mean", "constant")
# Attributes that are written as they are.
FACTS = (
    "lower_bound_",
    "lower_bounds_",
    "validation_lower_bounds_",
    "n_iter_",
    "converged_",
    "n_skipped_steps_",
    "n_features_in_",
    "_seed",
)


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            "to_file and from_file need safetensors; install it with pip install 'skelbo[files]'."
        ) from error
    return safetensors


def plain_parameters(params: dict[str, Any]) -> dict[str, Any]:
    """Return those constructor parameters that JSON can hold; the others are left out."""
    plain = {}
    for name, value in params.items():
        if isinstance(value, (np.ndarray, np.generic)):
            value = value.tolist()
        try:
            json.dumps(value)
        except TypeError:
            continue
        plain[name] = list(value) if isinstance(value, tuple) else value
    return plain


def write(path: Any, module: nn.Module, columns: Columns, facts: dict[str, Any]) -> None:
    """Write both networks, the units of the columns, and facts that JSON can hold."""
    save_file = _safetensors().torch.save_file
    tensors = {
        WEIGHTS + k: v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()
    }
    for name in ARRAYS:
        tensors[f"columns.{name}"] = torch.as_tensor(np.array(getattr(columns, name)))
    for j, frequencies in enumerate(columns.frequencies):
        tensors[f"columns.frequencies.{j}"] = torch.as_tensor(np.array(frequencies))
    facts = {
        **facts,
        "kinds": columns.kinds.tolist(),
        "has_missing": columns.has_missing,
        "n_categorical": len(columns.frequencies),
    }
    metadata = {"format": FORMAT, "json": json.dumps(facts)}
    _replace(path, lambda place: save_file(tensors, place, metadata=metadata))


def _replace(path: Any, write_to: Callable[[Path], None]) -> None:
    """Write a file beside its place and move it there, so that no half of it is ever read."""
    target = Path(path)
    # Several processes that train together each write a file of their own, with the same content.
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        write_to(beside)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def read(path: Any) -> tuple[dict[str, torch.Tensor], Columns, dict[str, Any]]:
    """Return the state of the networks, the columns and the facts that `write` wrote."""
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is no safetensors file ({error}); pass a file that VAEEstimator.to_file wrote."
        ) from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {metadata.get('format')!r}, expected {FORMAT!r}; pass a file "
            "that VAEEstimator.to_file wrote."
        )
    facts = json.loads(metadata["json"])
    columns = Columns(
        np.array(facts.pop("kinds"), dtype="<U11"),
        frequencies=tuple(
            tensors[f"columns.frequencies.{j}"].numpy() for j in range(facts.pop("n_categorical"))
        ),
        has_missing=facts.pop("has_missing"),
        **{name: tensors[f"columns.{name}"].numpy() for name in ARRAYS},
    )
    weights = {k[len(WEIGHTS) :]: v for k, v in tensors.items() if k.startswith(WEIGHTS)}
    return weights, columns, facts


def save(estimator: Any, path: Any) -> None:
    """Write a fitted VAEEstimator to a file."""
    names = getattr(estimator, "feature_names_in_", None)
    module = estimator.net_.module_
    facts = {name: getattr(estimator, name) for name in FACTS if hasattr(estimator, name)}
    facts |= {
        "params": plain_parameters(estimator.get_params(deep=False)),
        "active_units_": estimator.active_units_.tolist(),
        "feature_names_in_": None if names is None else names.tolist(),
        "dtype": str(module.likelihood.offset.dtype).removeprefix("torch."),
    }
    write(path, module, estimator._columns, facts)


def load(kind: type, path: Any, params: dict[str, Any]) -> Any:
    """Return the fitted estimator of a class from a file; `params` override its parameters."""
    weights, columns, facts = read(path)
    estimator = kind(**{**_constructor(facts.pop("params")), **params})
    dtype, names = np.dtype(facts.pop("dtype")), facts.pop("feature_names_in_")
    with fit_generator(estimator, 0) as generator:
        net = make_net(estimator, columns, estimator._latent_family(), dtype, generator)
    try:
        net.module_.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"the networks do not fit the weights in {path}; pass the encoder and decoder "
            f"that were used in fit. {error}"
        ) from None
    net.module_.eval()
    if names is not None:
        estimator.feature_names_in_ = np.array(names, dtype=object)
    estimator.active_units_ = np.array(facts.pop("active_units_"))
    for name, value in facts.items():
        setattr(estimator, name, value)
    estimator.net_, estimator._columns = net, columns
    estimator._network_parameters = network_parameters(estimator)
    estimator.likelihood_ = columns.kinds.astype(object)
    likelihood = net.module_.likelihood
    estimator.noise_variance_ = noise_variance(likelihood, columns, estimator._noise_kind)
    return estimator


def _constructor(written: dict[str, Any]) -> dict[str, Any]:
    """Return constructor parameters as they were before they were JSON."""
    if isinstance(written["hidden_layer_sizes"], list):  # JSON has no tuples
        written["hidden_layer_sizes"] = tuple(written["hidden_layer_sizes"])
    if written["device"].startswith("cuda") and not torch.cuda.is_available():
        written["device"] = "auto"  # fitted on another machine
    return written
