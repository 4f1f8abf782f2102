"""The Gaussian q(z | x) with diagonal covariance, one per row."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


class Posterior(NamedTuple):
    r"""q(z | x) = N(mean, exp(log_variance)), row by row.

    Attributes
    ----------
    mean, log_variance : Tensor of shape (n_samples, n_latents)
        What the encoder says.
    """

    mean: Tensor
    log_variance: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """Return mean + sd * noise, shape (n_draws, n_samples, n_latents): reparameterised."""
        return torch.addcmul(self.mean, torch.exp(0.5 * self.log_variance), noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z | x), shape (n_draws, n_samples)."""
        squares = (z - self.mean).square() * torch.exp(-self.log_variance)
        return -0.5 * (squares + self.log_variance + LOG_2PI).sum(-1)

    def kl(self) -> Tensor:
        """Return KL(q || N(0, I)), shape (n_samples,)."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance).sum(-1)

    def entropy(self) -> Tensor:
        """Return H[q], shape (n_samples,)."""
        return 0.5 * (self.log_variance + 1 + LOG_2PI).sum(-1)

    def detached(self) -> Posterior:
        """Return the same q, through which no gradient flows."""
        return Posterior(self.mean.detach(), self.log_variance.detach())


def log_prior(z: Tensor) -> Tensor:
    """Return log N(z; 0, I), shape (n_draws, n_samples)."""
    return -0.5 * (z.square() + LOG_2PI).sum(-1)
