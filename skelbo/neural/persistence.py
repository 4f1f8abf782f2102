"""A fitted estimator as one file without pickle: safetensors, with JSON in its header."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import nn

from skelbo.neural.columns import Columns

FORMAT = "skelbo.VAEEstimator/1"
WEIGHTS = "net."
ARRAYS = ("center", "scale", "mean", "constant")


def _safetensors():
    try:
        from safetensors import safe_open
        from safetensors.torch import save_file
    except ImportError as error:
        raise ImportError(
            "to_file and from_file need safetensors; install it with pip install 'skelbo[files]'."
        ) from error
    return safe_open, save_file


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
    """Write a network, its columns and what else is known.

    Parameters
    ----------
    path : path-like
        File to write.
    module : AutoEncoder
        Both networks.
    columns : Columns
        Units of the data.
    facts : dict
        JSON-able.
    """
    _, save_file = _safetensors()
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
    save_file(tensors, path, metadata={"format": FORMAT, "json": json.dumps(facts)})


def read(path: Any) -> tuple[dict[str, torch.Tensor], Columns, dict[str, Any]]:
    """Read what `write` wrote.

    Parameters
    ----------
    path : path-like
        File to read.

    Returns
    -------
    weights : dict of Tensor
        State of the network.
    columns : Columns
        Units of the data.
    facts : dict
        What else is known.
    """
    safe_open, _ = _safetensors()
    with safe_open(path, framework="pt", device="cpu") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError(
                f"{path} has format {metadata.get('format')!r}, expected {FORMAT!r}; pass a file "
                "that VAEEstimator.to_file wrote."
            )
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
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
