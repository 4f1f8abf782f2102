"""The latent family of the variational auto-encoder: diagonal Gaussians, standard normal prior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skelbo.neural.model.latent_family import LatentFamily

LOG_2PI = math.log(2 * math.pi)
# q's standard deviation stays within exp(-8) .. exp(4) of the prior's.
LOG_VARIANCE_RANGE = (-16.0, 8.0)


class DiagonalGaussian(NamedTuple):
    r"""q(z | x) = N(mean, exp(log_variance)) of each row: a `LatentPosterior`.

    Attributes
    ----------
    mean, log_variance : Tensor of shape (n_samples, n_latents)
        Parameters of q.
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def std(self) -> Tensor:
        """Standard deviation of q, shape (n_samples, n_latents)."""
        return torch.exp(0.5 * self.log_variance)

    def draw(self, noise: Tensor) -> Tensor:
        """Return mean + std * noise: reparameterised draws."""
        return torch.addcmul(self.mean, self.std, noise)

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

    def detached(self) -> DiagonalGaussian:
        """Return the same q without gradients to its parameters."""
        return DiagonalGaussian(self.mean.detach(), self.log_variance.detach())

    def displaced(self, step: Tensor) -> DiagonalGaussian:
        """Return q with its mean moved in standard deviations, its log-variance in nats."""
        shift, stretch = step.chunk(2, dim=-1)
        log_variance = (self.log_variance + stretch).clamp(*LOG_VARIANCE_RANGE)
        return DiagonalGaussian(self.mean + self.std * shift, log_variance)


@dataclass(frozen=True)
class GaussianFamily(LatentFamily):
    """q(z | x) = N(mu, diag(sigma^2)) and p(z) = N(0, I): a `LatentFamily`.

    Attributes
    ----------
    n_latents : int
        Dimension of z.
    """

    n_latents: int
    parameter_names = "all means, then all log-variances"

    @property
    def n_outputs(self) -> int:
        """Number of parameters of q per row: means, then log-variances."""
        return 2 * self.n_latents

    def q(self, code: Tensor) -> DiagonalGaussian:
        """Return q(z | x) from the encoder's output, shape (n_samples, n_outputs)."""
        mean, log_variance = code.chunk(2, dim=-1)
        return DiagonalGaussian(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def noise(
        self, n_draws: int, n_samples: int, like: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Draw standard normal noise, shape (n_draws, n_samples, n_latents)."""
        shape, device = (n_draws, n_samples, self.n_latents), generator.device
        return torch.randn(shape, dtype=like.dtype, device=device, generator=generator).to(like)

    def log_prior(self, z: Tensor) -> Tensor:
        """Return log N(z; 0, I), shape (n_draws, n_samples)."""
        return -0.5 * (z.square() + LOG_2PI).sum(-1)

    def sample_prior(self, n_samples: int, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw from N(0, I), shape (n_samples, n_latents)."""
        return self.noise(1, n_samples, like, generator)[0]
