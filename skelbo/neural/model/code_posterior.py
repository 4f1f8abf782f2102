"""Distribution of code vectors given rows: q of a VQ-VAE."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from skelbo.neural.model.code_prior import inverse_cdf

# Roundings of the product of two vectors within which two squared distances are equal.
ROUNDINGS = 4


class Codebook(Protocol):
    """Parameters of q(z | x) that all rows share."""

    @property
    def codebook(self) -> Tensor:
        """Vectors of the codes, shape (n_latents, n_codes, code_size)."""

    @property
    def log_spread(self) -> Tensor:
        """Log s^2 of the soft q, shape (n_latents, 1)."""

    @property
    def log_marginals(self) -> Tensor:
        """Log pi, by which the networks learn, shape (n_latents, n_codes)."""

    @property
    def soft(self) -> bool:
        """Whether q is soft."""


@dataclass(frozen=True)
class CodePosterior:
    """q(z | x) of each row: a `LatentPosterior` of codes.

    Attributes
    ----------
    family : Codebook
        What all rows share.
    encodings : Tensor of shape (n_samples, n_latents, code_size)
        Encoder's outputs, normalised.
    """

    family: Codebook
    encodings: Tensor

    @cached_property
    def scores(self) -> Tensor:
        """Halved negative squared distances up to a constant, (n_samples, n_latents, n_codes)."""
        e = self.family.codebook
        products = torch.einsum("ncd,ckd->nck", self.encodings, e)
        return products - 0.5 * e.square().sum(-1)

    @cached_property
    def log_soft(self) -> Tensor:
        """Logarithm of the soft q, (n_samples, n_latents, n_codes)."""
        logits = self.scores * torch.exp(-self.family.log_spread)
        return torch.log_softmax(logits + self.family.log_marginals, -1)

    @cached_property
    def codes(self) -> Tensor:
        """The code of each position: the nearest, or the most probable of a soft q.

        Of codes that are equally near but for rounding it is the first.
        """
        if self.family.soft:
            return self.log_soft.argmax(-1)
        longest = self.family.codebook.abs().sum(-1).amax(-1)
        sizes = self.encodings.abs().sum(-1) + longest
        rounding = ROUNDINGS * torch.finfo(sizes.dtype).eps * sizes * longest
        nearest = self.scores >= (self.scores.amax(-1) - rounding)[..., None]
        return nearest.byte().argmax(-1)

    @property
    def mean(self) -> Tensor:
        """The codes as floating-point numbers."""
        return self.codes.to(self.encodings.dtype)

    @property
    def std(self) -> Tensor:
        """Zeros: codes have no width."""
        return torch.zeros_like(self.mean)

    def draw(self, noise: Tensor) -> Tensor:
        """Return draws as a function of uniform numbers (n_draws, n_samples or 1, C + 1)."""
        if not self.family.soft:
            return self.mean.expand(*noise.shape[:-2], *self.codes.shape)
        uniform = noise[..., :-1].expand(*noise.shape[:-2], *self.codes.shape)
        return inverse_cdf(self.log_soft, uniform).to(self.encodings.dtype)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z | x), shape (n_draws, n_samples)."""
        if self.family.soft:
            return at_codes(self.log_soft, z)
        return torch.where((z == self.mean).all(-1), 0.0, -math.inf)

    def kl(self) -> Tensor:
        """Return the KL to the independent prior, shape (n_samples,)."""
        if self.family.soft:
            terms = self.log_soft.exp() * (self.log_soft - self.family.log_marginals)
            return terms.sum((-2, -1))
        return -at_codes(self.family.log_marginals.expand_as(self.scores), self.mean)

    def entropy(self) -> Tensor:
        """Return H[q], shape (n_samples,)."""
        if self.family.soft:
            return -(self.log_soft.exp() * self.log_soft).sum((-2, -1))
        return self.encodings.new_zeros(len(self.encodings))

    def detached(self) -> CodePosterior:
        """Return the same q without gradients."""
        return CodePosterior(self.family, self.encodings.detach())

    def displaced(self, step: Tensor) -> CodePosterior:
        """Return q with its encodings moved by `step`."""
        return CodePosterior(self.family, self.encodings + step.view_as(self.encodings))


def at_codes(log_prob: Tensor, z: Tensor) -> Tensor:
    """Return the sum over positions of log-probabilities (n, C, K) at codes (..., n, C)."""
    full = log_prob.expand(*z.shape[:-2], *log_prob.shape)
    return full.gather(-1, z.long()[..., None])[..., 0].sum(-1)
