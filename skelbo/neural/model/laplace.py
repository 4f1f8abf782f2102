r"""Proposals for importance sampling about the mode of p(x, z) of each row.

In units in which the prior is N(0, I), the draws are those of

.. math:: (1 - \alpha)\, t_\nu(\hat z, H^{-1}) + \alpha\, N(0, I),
    \quad \hat z = \arg\max_z \log p(x, z), \quad H = -\nabla^2 \log p(x, \hat z)

so that no weight p(x, z) / q(z) exceeds p(x | z) / alpha.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)
# alpha and nu: the tails of a posterior are heavier than those of its Gaussian approximation.
PRIOR_SHARE, DEGREES = 0.1, 8
# Steps of the search for a mode; a row takes no more of them after one that gains less.
MAX_STEPS, MIN_GAIN = 20, 1e-3
# Lengths of a step that are tried at once.
LENGTHS = (1.0, 0.5, 0.1, 0.01)


class Whitening(Protocol):
    """Change of units in which the prior is N(0, I)."""

    n_latents: int
    prior_cholesky: Tensor

    def whitened(self, z: Tensor) -> Tensor:
        """Return z in these units."""

    def coloured(self, white: Tensor) -> Tensor:
        """Return z from these units."""


@dataclass(frozen=True)
class LaplaceProposal:
    """Student distributions about the modes of p(x, z), mixed with the prior: a `LatentProposal`.

    Attributes
    ----------
    mode : Tensor of shape (n_samples, n_latents)
        Centres, in units in which the prior is N(0, I).
    vectors : Tensor of shape (n_samples, n_latents, n_latents)
        Eigenvectors of H, one per column.
    scales : Tensor of shape (n_samples, n_latents)
        Inverse square roots of its eigenvalues.
    units : Whitening
        Units of z.
    """

    mode: Tensor
    vectors: Tensor
    scales: Tensor
    units: Whitening

    @property
    def mean(self) -> Tensor:
        """The modes, shape (n_samples, n_latents)."""
        return self.units.coloured(self.mode)

    @property
    def std(self) -> Tensor:
        """Standard deviations of Laplace's approximation, shape (n_samples, n_latents)."""
        root = self.units.prior_cholesky @ (self.vectors * self.scales[:, None, :])
        return root.square().sum(-1).sqrt()

    @staticmethod
    def noise(
        n_draws: int, n_samples: int, n_latents: int, like: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Draw standard normals, the scale of a Student draw and a uniform number.

        Shape (n_draws, n_samples, n_latents + 2).
        """
        options: dict[str, Any] = {
            "dtype": like.dtype,
            "device": generator.device,
            "generator": generator,
        }
        normal = torch.randn((n_draws, n_samples, n_latents), **options)
        squares = torch.randn((n_draws, n_samples, DEGREES), **options).square().sum(-1)
        uniform = torch.rand((n_draws, n_samples), **options)
        parts = normal, (DEGREES / squares).sqrt()[..., None], uniform[..., None]
        return torch.cat(parts, -1).to(like)

    def draw(self, noise: Tensor) -> Tensor:
        """Return draws, shape (n_draws, n_samples, n_latents)."""
        normal, scale, uniform = noise[..., :-2], noise[..., -2:-1], noise[..., -1:]
        rotated = torch.einsum("nij,...nj->...ni", self.vectors, normal * scale * self.scales)
        return self.units.coloured(torch.where(uniform < PRIOR_SHARE, normal, self.mode + rotated))

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of the mixture, shape (n_draws, n_samples)."""
        white = self.units.whitened(z)
        d = self.units.n_latents
        rotated = torch.einsum("nij,...ni->...nj", self.vectors, white - self.mode) / self.scales
        constant = (
            math.lgamma((DEGREES + d) / 2)
            - math.lgamma(DEGREES / 2)
            - 0.5 * d * math.log(DEGREES * math.pi)
        )
        student = constant - 0.5 * (DEGREES + d) * torch.log1p(rotated.square().sum(-1) / DEGREES)
        student = student - self.scales.log().sum(-1) + math.log1p(-PRIOR_SHARE)
        prior = math.log(PRIOR_SHARE) - 0.5 * (white.square().sum(-1) + d * LOG_2PI)
        return torch.logaddexp(student, prior) - self.units.prior_cholesky.diagonal().log().sum()


def laplace_proposal(
    log_joint: Callable[[Tensor], Tensor], start: Tensor, units: Whitening
) -> LaplaceProposal:
    """Search the mode of each row by damped Newton steps.

    Parameters
    ----------
    log_joint : callable
        Maps latents (..., n_samples, n_latents) to log p(x, z) up to a constant, (..., n_samples),
        in units in which the prior is N(0, I).
    start : Tensor of shape (n_samples, n_latents)
        Where the search begins.
    units : Whitening
        Units of z.

    Returns
    -------
    LaplaceProposal
        The result of a row does not depend on the other rows.
    """
    z, moving = start, torch.ones(len(start), dtype=torch.bool, device=start.device)
    lengths = torch.tensor((*LENGTHS, 0.0)).to(start)[:, None, None]
    for _ in range(MAX_STEPS):
        slope, values, vectors = _curvature(log_joint, z)
        step = torch.einsum("nij,nj->ni", vectors, _project(vectors, slope) / values)
        with torch.no_grad():
            tried = z + lengths * step
            height = log_joint(tried).nan_to_num(-math.inf)
            best = height.argmax(0)
            rows = torch.arange(len(z), device=z.device)
            gain = height[best, rows] - height[-1]
            z = torch.where(moving[:, None], tried[best, rows], z)
            moving = moving & (gain > MIN_GAIN)
        if not moving.any():
            break
    _, values, vectors = _curvature(log_joint, z)
    return LaplaceProposal(z, vectors, values.rsqrt(), units)


def _project(vectors: Tensor, slope: Tensor) -> Tensor:
    return torch.einsum("nij,ni->nj", vectors, slope)


def _curvature(log_joint: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of log p(x, z), and eigenvalues and vectors of minus its Hessian.

    The eigenvalues are at least 1, that of the prior alone: a posterior is hardly wider.
    """
    z = z.detach().requires_grad_()
    (slope,) = torch.autograd.grad(log_joint(z).sum(), z, create_graph=True)
    rows = [
        torch.autograd.grad(slope[:, j].sum(), z, retain_graph=True)[0] for j in range(z.shape[1])
    ]
    hessian = -torch.stack(rows, 1)
    hessian = (0.5 * (hessian + hessian.mT)).nan_to_num(0.0, 0.0, 0.0)
    values, vectors = torch.linalg.eigh(hessian)
    return slope.detach().nan_to_num(0.0, 0.0, 0.0), values.clamp(min=1.0), vectors
