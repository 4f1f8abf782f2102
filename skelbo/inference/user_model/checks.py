"""Checks, before a fit, of the parameters and densities that a torch model returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skelbo.models.constraints import constraint_of
from skelbo.models.model import LatentVariableModel

MISSING_START = "; X has missing cells (NaN): take torch.nanmean(X, 0) and the like"
MISSING = (
    "; X has missing cells (NaN), and the model does not drop them: write observed = ~X.isnan(), "
    "X = torch.where(observed, X, 0.0) before the density of the cells and "
    "torch.where(observed, cells, 0.0).sum(-1) after it, or impute X first"
)


def checked_parameters(
    model: LatentVariableModel, theta: Any, missing: bool = False
) -> dict[str, np.ndarray]:
    """Return what `initialize` returned as float64 arrays.

    Raises
    ------
    ValueError
        If parameters are not finite or outside their domains, or a constraint has no parameter.
        `missing`, whether X has missing cells, is named as a likely cause.
    """
    name = f"{type(model).__name__}.initialize"
    if not isinstance(theta, dict) or not theta:
        raise ValueError(f"{name} returned {type(theta).__name__}, expected a dict of arrays.")
    checked = {}
    for key, value in theta.items():
        value = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        checked[key] = np.array(value, dtype=np.float64)
        if not np.all(np.isfinite(checked[key])):
            hint = MISSING_START if missing else ""
            raise ValueError(f"{name} returned {key!r} with values that are not finite{hint}.")
        if not constraint_of(key, model.constraints).contains(checked[key]):
            kind = model.constraints[key]
            raise ValueError(f"{name} returned {key!r} outside its domain, {kind!r}.")
    unknown = sorted(set(model.constraints) - set(checked))
    if unknown:
        raise ValueError(
            f"{type(model).__name__}.constraints names {unknown}, expected some of "
            f"{sorted(checked)}, which initialize returned; correct the spelling."
        )
    return checked


def check_densities(
    model: LatentVariableModel, X: Tensor, theta: dict[str, Tensor], missing: bool = False
) -> None:
    """Call the model once on a few rows; raise ValueError if a density or gradient is unusable.

    `missing`, whether the rows have missing cells, is named as a likely cause.
    """
    rng = np.random.RandomState(0)
    Z = rng.standard_normal((2, len(X), model.n_latents))
    if model.latent == "binary":
        Z = (Z > 0).astype(np.float64)
    points = torch.tensor(Z, device=X.device)
    theta = {k: v.requires_grad_() for k, v in theta.items()}
    name, hint = type(model).__name__, MISSING if missing else ""
    try:
        likelihood = model.log_likelihood(X, points, theta)
    except ValueError as error:
        raise ValueError(
            f"{name}.log_likelihood raised an error at the parameters of initialize{hint}: {error}"
        ) from error
    _check_values(likelihood, f"{name}.log_likelihood", tuple(Z.shape[:2]), hint)
    prior = model.log_prior(points, theta)
    _check_values(prior, f"{name}.log_prior", tuple(Z.shape[:2]), hint)
    _check_gradients(likelihood.sum() + prior.sum(), f"{name}.log_likelihood", theta, hint)


def _check_values(value: Any, where: str, expected: tuple[int, ...], hint: str) -> None:
    """Raise where values are no finite tensor of the expected shape."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{where} returned {type(value).__name__}, expected a Tensor.")
    if tuple(value.shape) != expected:
        raise ValueError(
            f"{where} returned shape {tuple(value.shape)}, expected {expected} = "
            "(n_draws, n_samples); sum over the features."
        )
    if torch.isnan(value).any():
        raise ValueError(f"{where} returned NaN at the parameters of initialize{hint}.")
    if torch.isposinf(value).any() or torch.isneginf(value).all():
        first = float(value.detach().flatten()[0])
        raise ValueError(
            f"{where} returned {first} at the parameters of initialize, expected finite "
            "numbers; start where the data are possible."
        )


def _check_gradients(total: Tensor, where: str, theta: dict[str, Tensor], hint: str) -> None:
    """Raise where the gradient in a parameter is NaN, or none depends on it."""
    found: tuple = (None,) * len(theta)
    if total.requires_grad:
        found = torch.autograd.grad(total, list(theta.values()), allow_unused=True)
    for key, gradient in zip(theta, found, strict=True):
        if gradient is not None and torch.isnan(gradient).any():
            raise ValueError(
                f"{where} has a gradient of NaN in {key!r} at the parameters of initialize; "
                "replace bad arguments before the operation that makes NaN of them (torch.where "
                f"after it does not stop its gradient){hint}."
            )
    idle = [key for key, gradient in zip(theta, found, strict=True) if gradient is None]
    if not any(gradient is not None and gradient.any() for gradient in found):
        idle = list(theta)
    if idle:
        raise ValueError(
            f"{where} does not depend on {idle}, returned by initialize; use them (as torch "
            "operations on theta[...]) or leave them out."
        )
