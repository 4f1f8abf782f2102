r"""The latent family of the VQ-VAE: q is one code per position, hard or soft.

The encoder gives a vector :math:`v_c` for each position c, and the codebook K vectors
:math:`e_{ck}`. A hard q is the nearest of them; a soft one is

.. math:: q(z_c = k \mid x) \propto \pi_{ck} \exp(-|v_c - e_{ck}|^2 / 2 s_c^2)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.code_posterior import CodePosterior
from skelbo.neural.model.code_prior import CodePrior
from skelbo.neural.model.code_proposal import CodeProposal
from skelbo.neural.model.latent_family import LatentDecoder, LatentFamily, LatentProposal
from skelbo.neural.model.point import Point

# Standard deviations of the encoder's outputs below this, of squared widths s below its square,
# are those of a constant.
SMALLEST_SCALE = 1e-6
# Draws of a soft q to which the prior is fitted, per row.
PRIOR_DRAWS = 8


class CodeFamily(nn.Module, LatentFamily):
    """One of n_codes codes at each of n_latents positions: a `LatentFamily`.

    Parameters
    ----------
    n_latents, n_codes, code_size : int
        Number of positions, of codes of each, and of numbers of each code.
    soft : bool
        Whether q is soft.
    prior : {"uniform", "independent", "autoregressive"}
        Kind of p(z).

    Attributes
    ----------
    codebook : Parameter of shape (n_latents, n_codes, code_size)
        Vectors of the codes, learned by gradients if `soft`, by moving averages if not.
    log_spread : Parameter of shape (n_latents, 1)
        log s^2 of the soft q.
    log_marginals : Tensor of shape (n_latents, n_codes)
        log pi, by which the networks learn.
    shift, scale : Tensor of shape (n_latents * code_size,)
        Mean and standard deviation of the encoder's outputs at the start of the codebook.
    shares : Tensor of shape (n_latents, n_codes)
        Moving averages of the share of rows with each code.
    totals : Tensor of shape (n_latents, n_codes, code_size)
        Moving averages of their summed encodings, over the number of rows.
    n_restarted : Tensor of int
        How often a code was moved.
    decay : float
        Of the moving averages, per step.
    """

    is_discrete = True
    log_marginals: Tensor
    shift: Tensor
    scale: Tensor
    shares: Tensor
    totals: Tensor
    n_restarted: Tensor

    def __init__(self, n_latents: int, n_codes: int, code_size: int, soft: bool, prior: str):
        super().__init__()
        self.n_latents, self.n_codes, self.code_size = n_latents, n_codes, code_size
        self.soft, self.decay = soft, 0.9
        self.prior = CodePrior(prior, n_latents, n_codes)
        shape = n_latents, n_codes
        self.codebook = nn.Parameter(torch.zeros(*shape, code_size), requires_grad=soft)
        # Of two dimensions: a step is judged by the first vector of parameters, the encoder's.
        self.log_spread = nn.Parameter(torch.zeros(n_latents, 1), requires_grad=soft)
        self.register_buffer("log_marginals", torch.full(shape, -math.log(n_codes)))
        self.register_buffer("shares", torch.full(shape, 1 / n_codes))
        self.register_buffer("totals", torch.zeros(*shape, code_size))
        self.register_buffer("shift", torch.zeros(n_latents * code_size))
        self.register_buffer("scale", torch.ones(n_latents * code_size))
        self.register_buffer("n_restarted", torch.zeros((), dtype=torch.long))
        self._continuous = False
        names = f"{code_size} numbers per position (code_size)"
        self.parameter_names = names

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the encoder."""
        return self.n_latents * self.code_size

    @property
    def n_embedded(self) -> int:
        """Width of the decoder's input: the vectors of all positions."""
        return self.n_outputs

    @property
    def n_parameters(self) -> int:  # type: ignore[override]
        """Number of parameters of p(x, z): codebook and prior."""
        return self.codebook.numel() + self.prior.n_parameters

    @contextmanager
    def continuous(self) -> Iterator[None]:
        """Let the decoder read the normalised outputs of the encoder inside, without codes."""
        self._continuous = True
        try:
            yield
        finally:
            self._continuous = False

    def q(self, code: Tensor) -> Any:
        """Return q(z | x) from the encoder's output, shape (n_samples, n_outputs)."""
        if self._continuous:
            return Point(self._normalized_by_batch(code) if self.training else code)
        normalized = (code - self.shift) / self.scale
        return CodePosterior(self, normalized.view(-1, self.n_latents, self.code_size))

    @staticmethod
    def _normalized_by_batch(code: Tensor) -> Tensor:
        if len(code) < 2:
            return code
        std, mean = torch.std_mean(code, 0, correction=0)
        return (code - mean) / std.clamp(min=SMALLEST_SCALE)

    def embed(self, z: Tensor) -> Tensor:
        """Return the vectors of codes (..., n_latents), shape (..., n_embedded)."""
        return z if self._continuous else self.vectors(z.long()).flatten(-2)

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes (..., n_latents), shape (..., n_latents, code_size)."""
        return self.codebook[torch.arange(self.n_latents, device=codes.device), codes]

    def noise(
        self, n_draws: int, n_samples: int, like: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Draw uniform numbers, shape (n_draws, n_samples, n_latents + 1)."""
        shape = n_draws, n_samples, self.n_latents + 1
        device = generator.device
        return torch.rand(shape, dtype=like.dtype, device=device, generator=generator).to(like)

    def log_prior(self, z: Tensor) -> Tensor:
        """Return log p(z), shape (n_draws, n_samples)."""
        return self.prior.log_prob(z)

    def sample_prior(self, n_samples: int, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw codes, shape (n_samples, n_latents)."""
        return self.prior.sample(n_samples, generator).to(like)

    def proposal(self, model: LatentDecoder, batch: Batch) -> LatentProposal:
        """Return codes about modes of p(z | x), those of the soft q, and the prior's, mixed."""
        return CodeProposal.of(model, self, batch)

    # ------------------------------------------------------------- learning

    @torch.no_grad()
    def follow(self, q: CodePosterior, weights: Tensor | None) -> None:
        """Move the averages, and what is computed from them, by the rows of one step.

        With ``decay=0`` and all rows in the step this is one step of Lloyd's algorithm.
        """
        shares, totals = self._moments(q, weights)
        if not torch.isfinite(totals.sum()):
            return
        self.shares.lerp_(shares, 1 - self.decay)
        self.totals.lerp_(totals, 1 - self.decay)
        if not self.soft:
            used = self.shares > torch.finfo(self.shares.dtype).tiny
            means = self.totals / self.shares.where(used, torch.ones_like(self.shares))[..., None]
            self.codebook.copy_(torch.where(used[..., None], means, self.codebook))
        self._set_marginals(self.shares, 1e-3 / self.n_codes)

    def _moments(self, q: CodePosterior, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the share of each code and its summed encodings, over the number of rows."""
        n = len(q.encodings)
        w = q.encodings.new_ones(n) if weights is None else weights
        w = w / w.sum().clamp(min=torch.finfo(w.dtype).tiny)
        if self.soft:
            resp = q.log_soft.exp() * w[:, None, None]
            return resp.sum(0), torch.einsum("nck,ncd->ckd", resp, q.encodings)
        places = (q.codes + self.n_codes * torch.arange(self.n_latents).to(q.codes)).ravel()
        flat = w[:, None].expand(n, self.n_latents).reshape(-1)
        shares = self.shares.new_zeros(self.shares.numel()).index_add_(0, places, flat)
        weighted = (q.encodings * w[:, None, None]).reshape(-1, self.code_size)
        totals = weighted.new_zeros(len(shares), self.code_size).index_add_(0, places, weighted)
        return shares.view_as(self.shares), totals.view_as(self.totals)

    def _set_marginals(self, shares: Tensor, pseudo: float) -> None:
        if self.prior.kind != "uniform":
            smooth = shares + pseudo
            self.log_marginals.copy_(torch.log(smooth / smooth.sum(-1, keepdim=True)))

    @torch.no_grad()
    def start(self, codebook: Tensor, shares: Tensor, spread: Tensor) -> None:
        """Set codebook and averages from a clustering of the encoder's outputs, normalised."""
        self.codebook.copy_(codebook)
        self.shares.copy_(shares)
        self.totals.copy_(self.shares[..., None] * self.codebook)
        self.log_spread.copy_(spread.clamp(min=SMALLEST_SCALE**2).log()[:, None])
        self._set_marginals(self.shares, 1e-3 / self.n_codes)

    @torch.no_grad()
    def normalize(self, code: Tensor, weights: Tensor | None) -> Tensor:
        """Set mean and scale of the encoder's outputs; return them normalised, (n, C, size)."""
        share = torch.ones_like(code[:, 0]) if weights is None else weights
        share = (share / share.sum()).double()
        mean = share @ code.double()
        scale = (share @ (code.double() - mean).square()).sqrt()
        self.shift.copy_(mean)
        self.scale.copy_(torch.where(scale > SMALLEST_SCALE, scale, torch.ones_like(scale)))
        return ((code - self.shift) / self.scale).view(-1, self.n_latents, self.code_size)

    @torch.no_grad()
    def restart(self, dead: Tensor, encodings: Tensor) -> None:
        """Move dead codes, a mask (n_latents, n_codes), to encodings of rows, as many."""
        position = dead.nonzero()[:, 0]
        rows = torch.arange(len(position), device=dead.device)
        self.codebook[dead] = encodings[rows, position]
        self.shares[dead] = 1 / self.n_codes
        self.totals[dead] = self.codebook[dead] / self.n_codes
        self.n_restarted += len(position)

    @torch.no_grad()
    def maximize_prior(self, code: Tensor, weights: Tensor | None) -> None:
        """Fit the prior to the codes of the rows; `code` is the encoder's output."""
        q = self.q(code)
        total = float(len(code) if weights is None else weights.sum())
        self._set_marginals(self._moments(q, weights)[0], 1 / (self.n_codes * total))
        if not self.soft:
            squares = (q.encodings - self.vectors(q.codes)).square().mean(-1)
            share = torch.ones_like(squares[:, 0]) if weights is None else weights
            spread = (share @ squares) / share.sum()
            self.log_spread.copy_(spread.clamp(min=SMALLEST_SCALE**2).log()[:, None])
            self.prior.maximize(q.codes, weights)
            return
        q = self.q(code)  # of the new marginals
        generator = torch.Generator().manual_seed(len(code))
        noise = self.noise(PRIOR_DRAWS, len(code), code, generator)
        draws = q.draw(noise).long().flatten(0, 1)
        share = torch.ones_like(code[:, 0]) if weights is None else weights
        self.prior.maximize(draws, share.repeat(PRIOR_DRAWS) / PRIOR_DRAWS)
