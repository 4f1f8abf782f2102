r"""The latent family of the auto-encoder: q is a point, p(z) a Gaussian fitted to the points.

A point has no width to sample from. log p(x) is estimated by draws around the mode of p(x, z) for
each row, which is searched from the point: a Student distribution with the curvature of
log p(x, z) there (Laplace's approximation), and some draws from the prior.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skelbo.autograd import gradients
from skelbo.neural.data.batches import Batch
from skelbo.neural.model.laplace import LaplaceProposal, laplace_proposal
from skelbo.neural.model.latent_family import LatentDecoder, LatentFamily

LOG_2PI = math.log(2 * math.pi)
# Variance that is added to that of the codes, as a share of it: their covariance may be singular.
RIDGE = 1e-6


class Point(NamedTuple):
    """q(z | x) of each row as a point: a `LatentPosterior` without a density.

    Attributes
    ----------
    mean : Tensor of shape (n_samples, n_latents)
        The points.
    """

    mean: Tensor

    @property
    def std(self) -> Tensor:
        """Zeros, shape (n_samples, n_latents)."""
        return torch.zeros_like(self.mean)

    def draw(self, noise: Tensor) -> Tensor:
        """Return the points, one copy per draw."""
        return self.mean.expand(*noise.shape[:-2], *self.mean.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return infinity at the point, minus infinity elsewhere."""
        return torch.where((z == self.mean).all(-1), math.inf, -math.inf)

    def kl(self) -> Tensor:
        """Return infinity, shape (n_samples,)."""
        return self.mean.new_full((len(self.mean),), math.inf)

    def entropy(self) -> Tensor:
        """Return minus infinity, shape (n_samples,)."""
        return -self.kl()

    def detached(self) -> Point:
        """Return the same points without gradients."""
        return Point(self.mean.detach())

    def displaced(self, step: Tensor) -> Point:
        """Return the points moved by `step`."""
        return Point(self.mean + step)


class PointFamily(nn.Module, LatentFamily):
    """q(z | x) a point, and p(z) = N(m, S) fitted to the points: a `LatentFamily`.

    Parameters
    ----------
    n_latents : int
        Dimension of z.

    Attributes
    ----------
    prior_mean : Tensor of shape (n_latents,)
        m; zero before the fit.
    prior_cholesky : Tensor of shape (n_latents, n_latents)
        Lower triangular factor of S.
    """

    prior_mean: Tensor
    prior_cholesky: Tensor
    parameter_names = "one number per latent"
    has_density = False

    def __init__(self, n_latents: int):
        super().__init__()
        self.n_latents = n_latents
        self.n_parameters = n_latents * (n_latents + 3) // 2
        self.register_buffer("prior_mean", torch.zeros(n_latents))
        self.register_buffer("prior_cholesky", torch.eye(n_latents))

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the encoder."""
        return self.n_latents

    def q(self, code: Tensor) -> Point:
        """Return the points that the encoder gives."""
        return Point(code)

    def noise(
        self, n_draws: int, n_samples: int, like: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Draw the noise of `LaplaceProposal`."""
        return LaplaceProposal.noise(n_draws, n_samples, self.n_latents, like, generator)

    def log_prior(self, z: Tensor) -> Tensor:
        """Return log N(z; m, S), shape (n_draws, n_samples)."""
        white = self.whitened(z)
        log_scale = self.prior_cholesky.diagonal().log().sum() + 0.5 * self.n_latents * LOG_2PI
        return -0.5 * white.square().sum(-1) - log_scale

    def whitened(self, z: Tensor) -> Tensor:
        """Return z in units in which the prior is N(0, I)."""
        centred = (z - self.prior_mean).reshape(-1, self.n_latents).T
        return torch.linalg.solve_triangular(self.prior_cholesky, centred, upper=False).T.view_as(z)

    def coloured(self, white: Tensor) -> Tensor:
        """Return z from units in which the prior is N(0, I)."""
        return self.prior_mean + white @ self.prior_cholesky.T

    def prior_interval(self) -> tuple[float, float]:
        """Return ten standard deviations on either side of the mean of one latent."""
        centre, reach = float(self.prior_mean), 10 * float(self.prior_cholesky)
        return centre - reach, centre + reach

    def sample_prior(self, n_samples: int, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw from N(m, S), shape (n_samples, n_latents)."""
        shape, device = (n_samples, self.n_latents), generator.device
        white = torch.randn(shape, dtype=like.dtype, device=device, generator=generator)
        return self.coloured(white.to(like))

    def maximize_prior(self, code: Tensor, weights: Tensor | None) -> None:
        """Set m and S to the moments of the points."""
        points = code.double()
        share = torch.ones_like(points[:, 0]) if weights is None else weights.double()
        share = share / share.sum()
        centre = share @ points
        centred = points - centre
        covariance = (share[:, None] * centred).T @ centred
        variance = covariance.diagonal()
        # A latent that never varies keeps a width, of the order of rounding.
        ridge = RIDGE * variance + torch.finfo(torch.float32).eps * (centre.square() + 1).mean()
        self.prior_mean.copy_(centre)
        self.prior_cholesky.copy_(torch.linalg.cholesky(covariance + torch.diag(ridge)))

    def proposal(self, model: LatentDecoder, batch: Batch) -> LaplaceProposal:
        """Return Student distributions about the modes of p(x, z), with draws of the prior."""
        with gradients():
            # Copies: tensors that are made in inference mode take no part in a derivative.
            rows = batch.map(torch.clone)
            start = self.whitened(model.encode(rows.targets, rows.mask).mean.detach())

            def log_joint(white: Tensor) -> Tensor:
                outputs = model.decode(self.coloured(white))
                log_prob = model.likelihood.evaluate(outputs, rows.targets, rows.mask).log_prob
                return log_prob - 0.5 * white.square().sum(-1)

            return laplace_proposal(log_joint, start, self)
