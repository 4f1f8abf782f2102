r"""What a decoder's outputs say about columns of one kind: log p(x | z), its mean, its draws.

Outputs have shape (n_draws, n_samples, n_outputs), targets (n_samples, n_columns).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from skelbo.neural.data.columns import MARGIN, MAX_LOG_RATE

# A Gaussian decoder's likelihood is unbounded (Mattei and Frellsen 2018): its noise keeps this
# share of the column's standard deviation at least.
NOISE_FLOOR = 1e-3


class Evaluation(NamedTuple):
    """A likelihood at some outputs.

    Attributes
    ----------
    log_prob : Tensor of shape (n_draws, n_samples)
        log p(x | z) over the observed cells, nats, in the units of the network.
    squares : Tensor of shape (n_draws, n_samples, n_gaussian) or None
        Squared residuals of the Gaussian columns, zero at missing cells.
    """

    log_prob: Tensor
    squares: Tensor | None


def _observed(log_prob: Tensor, mask: Tensor | None) -> Tensor:
    """Sum over the observed cells of each row."""
    return (log_prob if mask is None else log_prob * mask).sum(-1)


class GaussianColumns(nn.Module):
    r"""Columns with :math:`u_j \mid z \sim N(f_j(z), v_j)`, v shared by all rows.

    Parameters
    ----------
    scale : ndarray of shape (n_columns,)
        Scale of each column in the units of the data.
    noise : {"unit", "isotropic", "diag"}
        v = 1 in standardised units; one variance in the units of the data; one per column.
    """

    variance: Tensor
    squared_scale: Tensor
    offset: Tensor

    def __init__(self, scale: np.ndarray, noise: str):
        super().__init__()
        self.noise = noise
        self.n_outputs = len(scale)
        self.register_buffer("variance", torch.ones(len(scale)))
        # Square of the scale, relative, so that "isotropic" is exact in any units.
        squared = (scale / scale.max()) ** 2
        self.register_buffer("squared_scale", torch.as_tensor(squared))
        if noise == "isotropic":
            self.variance.copy_(self.squared_scale.mean() / self.squared_scale)
        self.register_buffer("offset", torch.zeros(len(scale)))

    def evaluate(self, outputs: Tensor, targets: Tensor, mask: Tensor | None) -> Evaluation:
        """Return log p(u | z) and the squared residuals."""
        squares = (outputs - targets).square()
        constants = torch.log(2 * math.pi * self.variance)
        if mask is not None:
            squares = squares * mask
        constant = constants.sum() if mask is None else mask @ constants
        return Evaluation((squares @ self.variance.reciprocal() + constant) * -0.5, squares)

    def maximize(self, variance: Tensor, rate: float) -> None:
        """Move v towards its closed-form maximum, the mean squared residual under q: a theta-step.

        Parameters
        ----------
        variance : Tensor of shape (n_columns,)
            Mean squared residuals of an epoch.
        rate : float
            Share of the move that is made.
        """
        if self.noise == "unit":
            return
        if self.noise == "isotropic":
            pooled = (variance * self.squared_scale).mean()
            floored = pooled.clamp(min=NOISE_FLOOR**2 * self.squared_scale.mean())
            variance = floored / self.squared_scale
        self.variance.lerp_(variance.clamp(min=NOISE_FLOOR**2), rate)

    @property
    def n_parameters(self) -> int:
        """Number of free noise variances."""
        return {"unit": 0, "isotropic": 1, "diag": self.n_outputs}[self.noise]

    @property
    def at_floor(self) -> Tensor:
        """Whether each column's noise lies at its floor."""
        return self.variance <= NOISE_FLOOR**2 * (1 + 1e-6)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return E[u | z]."""
        return outputs

    def sample(self, outputs: Tensor) -> Tensor:
        """Draw u given z."""
        return outputs + self.variance.sqrt() * torch.randn_like(outputs)


class BernoulliColumns(nn.Module):
    r"""Columns of 0 and 1; outputs are logits about that of the data mean."""

    n_parameters = 0
    offset: Tensor

    def __init__(self, mean: np.ndarray):
        super().__init__()
        self.n_outputs = len(mean)
        p = torch.as_tensor(mean).clamp(MARGIN, 1 - MARGIN)
        self.register_buffer("offset", torch.logit(p))

    def evaluate(self, outputs: Tensor, targets: Tensor, mask: Tensor | None) -> Evaluation:
        """Return log p(x | z) = x logit - log(1 + exp(logit))."""
        log_prob = targets * outputs - nn.functional.softplus(outputs)
        return Evaluation(_observed(log_prob, mask), None)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return P(x = 1 | z)."""
        return torch.sigmoid(outputs)

    def sample(self, outputs: Tensor) -> Tensor:
        """Draw x given z."""
        return torch.bernoulli(torch.sigmoid(outputs))


class PoissonColumns(nn.Module):
    r"""Columns of counts; outputs are log rates about that of the data mean."""

    n_parameters = 0
    offset: Tensor

    def __init__(self, mean: np.ndarray):
        super().__init__()
        self.n_outputs = len(mean)
        self.register_buffer("offset", torch.as_tensor(mean).clamp(min=MARGIN).log())

    def evaluate(self, outputs: Tensor, targets: Tensor, mask: Tensor | None) -> Evaluation:
        """Return log p(x | z) = x log rate - rate - log x!."""
        log_rate = outputs.clamp(max=MAX_LOG_RATE)
        log_prob = targets * log_rate - log_rate.exp() - torch.lgamma(targets + 1)
        return Evaluation(_observed(log_prob, mask), None)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the rate."""
        return outputs.clamp(max=MAX_LOG_RATE).exp()

    def sample(self, outputs: Tensor) -> Tensor:
        """Draw x given z."""
        return torch.poisson(self.mean(outputs))


class CategoricalColumns(nn.Module):
    r"""Columns of codes; outputs are one logit per code, column after column."""

    n_parameters = 0
    offset: Tensor
    position: Tensor
    exists: Tensor

    def __init__(self, frequencies: tuple[np.ndarray, ...]):
        super().__init__()
        sizes = [len(f) for f in frequencies]
        self.n_outputs = sum(sizes)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        code = np.arange(max(sizes))
        exists = code < np.array(sizes)[:, None]
        # Columns may differ in their number of codes: pad to the largest, as one tensor.
        position = np.where(exists, starts[:, None] + code, 0)
        self.register_buffer("position", torch.as_tensor(position))
        self.register_buffer("exists", torch.as_tensor(exists))
        offset = np.log(np.concatenate(frequencies).clip(MARGIN))
        self.register_buffer("offset", torch.as_tensor(offset))

    def _log_probs(self, outputs: Tensor) -> Tensor:
        logits = outputs[..., self.position].masked_fill(~self.exists, -math.inf)
        return torch.log_softmax(logits, dim=-1)

    def evaluate(self, outputs: Tensor, targets: Tensor, mask: Tensor | None) -> Evaluation:
        """Return log p(x | z), the log-probability of each code."""
        log_probs = self._log_probs(outputs)
        codes = targets.long()[..., None].expand(*log_probs.shape[:-1], 1)
        return Evaluation(_observed(log_probs.gather(-1, codes)[..., 0], mask), None)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the most probable code: the mean of codes says nothing."""
        return self._log_probs(outputs).argmax(-1).to(outputs.dtype)

    def average(self, outputs: Tensor, share: Tensor) -> Tensor:
        """Return the most probable code under weighted draws."""
        probs = (self._log_probs(outputs).exp() * share[..., None, None]).sum(0)
        return probs.argmax(-1).to(outputs.dtype)

    def sample(self, outputs: Tensor) -> Tensor:
        """Draw x given z."""
        probs = self._log_probs(outputs).exp()
        draws = torch.multinomial(probs.reshape(-1, probs.shape[-1]), 1)
        return draws.reshape(probs.shape[:-1]).to(outputs.dtype)
