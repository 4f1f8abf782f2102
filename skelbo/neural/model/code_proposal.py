r"""Proposal for importance sampling over code vectors: modes of p(z | x), q and the prior, mixed.

A mode is the end of a coordinate ascent of log p(x, z), one code at a time, from the codes of q or
from a draw of the prior. About each mode m the codes are taken as independent,

.. math:: r_m(z) = \prod_c p(z_c \mid z_{-c} = m_{-c}, x)

A posterior of several modes has draws about each of them: from one mode alone the estimate of
log p(x) misses the others, and its standard error does not show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.code_posterior import CodePosterior, at_codes
from skelbo.neural.model.code_prior import CodePrior, inverse_cdf
from skelbo.neural.model.latent_family import LatentDecoder

# Shares of the draws: about the modes in proportion to their mass, about each alike, of q, of p(z).
BY_MASS, ALIKE, OF_Q, OF_PRIOR = 0.4, 0.3, 0.2, 0.1
# Ascents, one from q and the others from the prior, and the visits of each position by them.
N_STARTS, SWEEPS = 8, 2


class PriorAndCodes(Protocol):
    """Prior and posterior of code vectors.

    Attributes
    ----------
    n_latents, n_codes : int
        Number of positions, and of codes of each.
    prior : CodePrior
        p(z).
    """

    n_latents: int
    n_codes: int
    prior: CodePrior

    def q(self, code: Tensor) -> CodePosterior:
        """Return q(z | x) from the encoder's output, shape (n_samples, n_outputs)."""


@dataclass(frozen=True)
class CodeProposal:
    """Mixture of products of codes and of the prior: a `LatentProposal`.

    Attributes
    ----------
    prior : CodePrior
        p(z), the last part.
    factors : Tensor of shape (n_parts, n_samples, n_positions, n_codes)
        Log-probabilities of the codes in the other parts.
    log_shares : Tensor of shape (n_parts + 1, n_samples)
        Logarithms of the weights.
    """

    prior: CodePrior
    factors: Tensor
    log_shares: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: LatentDecoder, family: PriorAndCodes, batch: Batch) -> CodeProposal:
        """Find the modes of some rows; their starts are the same for each row."""
        q = family.q(model.code(batch.targets, batch.mask))
        others = family.prior.sample(N_STARTS - 1, torch.Generator().manual_seed(0))
        n = batch.n_samples
        starts = others[:, None].expand(N_STARTS - 1, n, family.n_latents).to(q.codes)
        modes = torch.cat([q.codes[None], starts])
        about, height = _ascend(model, family, batch, modes)
        # The mass that a product holds: log p(x, z) at the mode, plus its entropy.
        mass = height - (about.exp() * about).sum((-2, -1))
        shares = BY_MASS * torch.softmax(mass, 0) + ALIKE / N_STARTS
        rest = shares.new_tensor([[OF_Q], [OF_PRIOR]]).expand(2, n)
        factors = torch.cat([about, q.log_soft[None].to(about)])
        return cls(family.prior, factors, torch.cat([shares, rest]).log())

    def draw(self, noise: Tensor) -> Tensor:
        """Return draws as a function of uniform numbers (n_draws, n_samples or 1, C + 1)."""
        n, n_positions = self.factors.shape[1:3]
        shape = (*noise.shape[:-2], n, n_positions)
        codes = noise.new_zeros(shape, dtype=torch.long)
        part = inverse_cdf(self.log_shares.T, noise[..., -1].expand(shape[:-1]))
        from_prior = (part == len(self.factors))[..., None]
        row, place = torch.arange(n, device=part.device), part.clamp(max=len(self.factors) - 1)
        for c in range(n_positions):
            own = self.factors[place, row, c]
            chosen = torch.where(from_prior, self.prior.conditional(c, codes).to(own), own)
            codes[..., c] = inverse_cdf(chosen, noise[..., c].expand(shape[:-1]))
        return codes.to(noise.dtype)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-probability of the mixture, shape (n_draws, n_samples)."""
        parts = [at_codes(factor, z) for factor in self.factors]
        parts.append(self.prior.log_prob(z).to(parts[0]))
        logs = [part + share for part, share in zip(parts, self.log_shares, strict=True)]
        return torch.logsumexp(torch.stack(logs), 0)


def _ascend(
    model: LatentDecoder, family: PriorAndCodes, batch: Batch, codes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return log p(z_c | z_-c, x) at the ends of ascents, and log p(x, z) there.

    Parameters
    ----------
    model : LatentDecoder
        Both networks.
    family : PriorAndCodes
        Its codes.
    batch : Batch
        Rows.
    codes : Tensor of int, shape (n_starts, n_samples, n_positions)
        Starts; they are moved.

    Returns
    -------
    about : Tensor of shape (n_starts, n_samples, n_positions, n_codes)
        Conditional log-probabilities.
    height : Tensor of shape (n_starts, n_samples)
        log p(x, z) in nats, in the units of the network.
    """
    about = torch.empty(*codes.shape, family.n_codes, device=codes.device)
    about = about.to(model.likelihood.offset)
    height = about[..., 0, 0]
    every = torch.arange(family.n_codes, device=codes.device)[:, None, None]
    for sweep in range(SWEEPS + 1):
        for c in range(family.n_latents):
            tried = codes.expand(family.n_codes, *codes.shape).clone()
            tried[..., c] = every
            flat = tried.flatten(0, 1)
            log_prob = model.likelihood.evaluate(model.decode(flat), batch.targets, batch.mask)
            log_joint = (log_prob.log_prob + family.prior.log_prob(flat)).view(tried.shape[:-1])
            height, best = log_joint.max(0)
            if sweep < SWEEPS:
                codes[..., c] = best
            else:
                about[..., c, :] = torch.log_softmax(log_joint, 0).movedim(0, -1)
    return about, height
