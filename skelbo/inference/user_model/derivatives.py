"""Derivatives of log p(x, z; theta) in theta, of a model written in torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from skelbo.inference.user_model.joint import log_densities
from skelbo.models.constraints import constraint_of
from skelbo.models.interface import Theta

# Step of central differences, relative to a parameter's size.
DIFFERENCE = 1e-5


def scores_and_hessian(model, theta, X, Z, shares, *, hessian=True):
    """Return the gradient of each log p(x, z; theta), and the Hessian of their weighted sum.

    The gradient of the sum is linear in the weights: its derivatives in them are the scores, those
    in theta the Hessian, and one pass backwards for each parameter gives both.

    Parameters
    ----------
    model : LatentVariableModel
    theta : dict of str to Tensor
    X : Tensor of shape (n_rows, n_features)
    Z : Tensor of shape (n_draws, n_rows, n_latents)
    shares : Tensor of shape (n_draws, n_rows)
        Weights of the sum.
    hessian : bool
        Whether the Hessian is needed.

    Returns
    -------
    scores : ndarray of shape (n_draws, n_rows, n_parameters)
    curvature : ndarray of shape (n_parameters, n_parameters)
        Zero if it is not needed.
    """
    theta = {name: value.requires_grad_() for name, value in theta.items()}
    shares = shares.requires_grad_()
    joint = log_densities(model, X, Z, theta)[1]
    size = sum(value.numel() for value in theta.values())
    scores, curvature = np.zeros((*joint.shape, size)), np.zeros((size, size))
    if not joint.requires_grad:  # refused by the model
        return scores + np.nan, curvature + np.nan
    parts = tuple(theta.values())
    slopes = torch.autograd.grad(joint, parts, shares, create_graph=True, allow_unused=True)
    for k, slope in _entries(parts, slopes):
        wanted = (shares, *(parts if hessian else ()))
        own, *rest = torch.autograd.grad(slope, wanted, retain_graph=True, allow_unused=True)
        if own is not None:
            scores[..., k] = own.cpu().numpy()
        if hessian:
            curvature[k] = _row(parts, rest)
    return scores, curvature


def neighbours(theta: Theta, constraints) -> Iterator[tuple[Theta, Theta, float]]:
    """Yield theta with one entry raised, with it lowered, and by how much; inside the domains."""
    for name, value in theta.items():
        distance = constraint_of(name, constraints).distance(value)
        for index in np.ndindex(np.shape(value)):
            largest = float(0.5 * distance[index])
            step = min(DIFFERENCE * max(float(np.abs(value[index])), 1e-2), largest)
            yield _moved(theta, name, index, step), _moved(theta, name, index, -step), step


def _moved(theta: Theta, name: str, index: tuple[int, ...], step: float) -> Theta:
    value = np.array(theta[name], dtype=np.float64)
    value[index] += step
    return {**theta, name: value}


def _entries(parts, slopes) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the number of each entry of theta that has an effect, and the gradient in it."""
    first = 0
    for part, slope in zip(parts, slopes, strict=True):
        if slope is not None:
            yield from enumerate(slope.reshape(-1).unbind(), first)
        first += part.numel()


def _row(parts, slopes) -> np.ndarray:
    """Return derivatives in all entries of theta as one vector, zero where there is no effect."""
    pairs = zip(parts, slopes, strict=True)
    filled = [torch.zeros_like(part) if slope is None else slope for part, slope in pairs]
    return torch.cat([slope.reshape(-1) for slope in filled]).cpu().numpy()
