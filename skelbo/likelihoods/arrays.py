"""Functions for NumPy arrays and torch tensors; torch is not imported for NumPy arrays."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from scipy import special

# `Generator.poisson` refuses rates beyond that of int64; well below, a normal draw is as exact as
# a float64 can be.
LARGEST_POISSON_RATE = 1e15


def torch_of(x: Any) -> Any:
    """Return the module torch if x is a tensor, else None."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else None


def namespace(x: Any) -> Any:
    """Return the module, numpy or torch, whose functions take x."""
    return torch_of(x) or np


def special_functions(x: Any) -> Any:
    """Return `scipy.special` or `torch.special`: expit, logit, gammaln, log_softmax."""
    torch = torch_of(x)
    return special if torch is None else torch.special


def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)) without overflow."""
    torch = torch_of(x)
    if torch is not None:
        return torch.nn.functional.softplus(x)
    return np.maximum(x, 0) + np.log(1 + np.exp(-np.abs(x)))


def draw_normal(like: Any, rng: Any) -> Any:
    """Draw standard normals of the shape and dtype of `like`."""
    torch = torch_of(like)
    if torch is None:
        return rng.standard_normal(like.shape)
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=rng)


def draw_bernoulli(probability: Any, rng: Any) -> Any:
    """Draw zeros and ones."""
    torch = torch_of(probability)
    if torch is None:
        return (rng.random(probability.shape) < probability).astype(np.float64)
    return torch.bernoulli(probability, generator=rng)


def draw_poisson(rate: Any, rng: Any) -> Any:
    """Draw counts."""
    torch = torch_of(rate)
    if torch is not None:
        return torch.poisson(rate, generator=rng)
    large = rate > LARGEST_POISSON_RATE
    counts = rng.poisson(np.where(large, 0.0, rate)).astype(np.float64)
    if large.any():
        rates = rate[large]
        counts[large] = np.round(rates + np.sqrt(rates) * rng.standard_normal(rates.shape))
    return counts


def draw_codes(probabilities: Any, rng: Any) -> Any:
    """Draw a code 0, 1, ... from probabilities (..., n_codes), as floating-point numbers."""
    torch = torch_of(probabilities)
    if torch is not None:
        flat = probabilities.reshape(-1, probabilities.shape[-1])
        codes = torch.multinomial(flat, 1, generator=rng).reshape(probabilities.shape[:-1])
        return codes.to(probabilities.dtype)
    cumulative = np.cumsum(probabilities, axis=-1)
    uniform = rng.random(probabilities.shape[:-1])[..., None] * cumulative[..., -1:]
    return (cumulative <= uniform).sum(-1).astype(np.float64)
