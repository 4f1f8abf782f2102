r"""Annealed importance sampling over codes, by Gibbs steps (Neal 2001).

Where few draws of the proposal r fit a row, chains move from r to p(z | x) through

.. math:: f_\beta(z) = r(z)^{1 - \beta} \, p(x, z)^\beta, \quad
    \log w = \sum_k (\beta_{k+1} - \beta_k) \log \frac{p(x, z_k)}{r(z_k)}

Each temperature draws the code of one position from its conditional distribution under f_beta. The
mean of w is an unbiased estimate of p(x), and the ends of the chains, weighted by w and moved on by
Gibbs sweeps at beta = 1, are draws of p(z | x). The noise is the same for each row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.code_prior import inverse_cdf
from skelbo.neural.model.codes import CodeFamily
from skelbo.neural.model.latent_family import LatentProposal
from skelbo.neural.model.networks import AutoEncoder

N_CHAINS = 16
# The path visits each position this often at least, and the ends of the chains as often again.
MIN_SWEEPS, POSTERIOR_SWEEPS = 4, 16


class CodeState(NamedTuple):
    """Chains at one place.

    Attributes
    ----------
    codes : Tensor of int, shape (n_chains, n_samples, n_positions)
    ratio : Tensor of shape (n_chains, n_samples)
        log p(x, z) - log r(z).
    """

    codes: Tensor
    ratio: Tensor


@dataclass(frozen=True)
class AnnealedCodes:
    """Path from a proposal to the posterior of the codes of some rows.

    Attributes
    ----------
    model : AutoEncoder
        Both networks, with a `CodeFamily`, in evaluation mode.
    batch : Batch
        Rows.
    proposal : LatentProposal
        r, of which draws and their probabilities are known.
    """

    model: AutoEncoder
    batch: Batch
    proposal: LatentProposal

    @classmethod
    def to_posterior(cls, model: AutoEncoder, batch: Batch) -> AnnealedCodes:
        """Return the path from the proposal of the family."""
        return cls(model, batch, model.proposal(batch))

    def begin(self, generator: torch.Generator) -> CodeState:
        """Return draws of r, the same noise for each row."""
        noise = self.model.family.noise(N_CHAINS, 1, self.model.likelihood.offset, generator)
        codes = self.proposal.draw(noise).long()
        start, joint = self._log_densities(codes)
        return CodeState(codes, joint - start)

    def _log_densities(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return log r(z) and log p(x, z) of codes (..., n_samples, n_positions), float64."""
        flat = codes.flatten(0, -3)
        outputs = self.model.decode(flat.to(self.model.likelihood.offset))
        likelihood = self.model.likelihood.evaluate(outputs, self.batch.targets, self.batch.mask)
        joint = likelihood.log_prob.double() + self.model.family.log_prior(flat).double()
        start = self.proposal.log_prob(flat).double()
        return start.view(codes.shape[:-1]), joint.view(codes.shape[:-1])

    def step(self, state: CodeState, beta: float, position: int, uniform: Tensor) -> CodeState:
        """Draw the codes of one position from their conditional distribution under f_beta."""
        family = self.model.family
        assert isinstance(family, CodeFamily)
        tried = state.codes.expand(family.n_codes, *state.codes.shape).clone()
        every = torch.arange(family.n_codes, device=tried.device)
        tried[..., position] = every[:, None, None]
        start, joint = self._log_densities(tried)
        log_prob = torch.log_softmax(torch.lerp(start, joint, beta), 0).movedim(0, -1)
        chosen = inverse_cdf(log_prob, uniform.expand(state.ratio.shape))
        codes = state.codes.clone()
        codes[..., position] = chosen
        return CodeState(codes, (joint - start).gather(0, chosen[None])[0])

    def run(self, n_temperatures: int, generator: torch.Generator) -> tuple[CodeState, Tensor]:
        """Return the ends of the chains and log w, shape (n_chains, n_samples)."""
        n = max(n_temperatures, MIN_SWEEPS * self.model.n_latents)
        state = self.begin(generator)
        log_w = state.ratio / n
        for k in range(1, n):
            position = (k - 1) % self.model.n_latents
            state = self.step(state, k / n, position, self._uniform(generator))
            log_w = log_w + state.ratio / n
        return state, log_w

    def posterior_draws(
        self, n_draws: int, n_temperatures: int, generator: torch.Generator
    ) -> Tensor:
        """Return draws of p(z | x), equally weighted, shape (n_draws, n_samples, n_positions).

        Of the places of all chains over the last sweeps each draw takes one, in proportion to the
        weights of the chains (systematic resampling).
        """
        state, log_w = self.run(n_temperatures, generator)
        visited = []
        for _ in range(POSTERIOR_SWEEPS):
            for position in range(self.model.n_latents):
                state = self.step(state, 1.0, position, self._uniform(generator))
            visited.append(state.codes)
        places = torch.cat(visited)
        share = torch.softmax(log_w, 0).repeat(POSTERIOR_SWEEPS, 1) / POSTERIOR_SWEEPS
        first = torch.rand(1, dtype=torch.float64, generator=generator).to(share)
        quantiles = (torch.arange(n_draws).to(share) + first) / n_draws
        index = inverse_cdf(share.T.log()[:, None], quantiles.expand(share.shape[1], n_draws)).T
        return places.gather(0, index[..., None].expand(-1, -1, places.shape[-1]))

    def _uniform(self, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(N_CHAINS, 1, dtype=torch.float64, generator=generator)
        return uniform.to(self.model.likelihood.offset.device)


@torch.no_grad()
def annealed_code_log_prob(
    model: AutoEncoder, batch: Batch, n_temperatures: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Estimate log p(x) of some rows, in nats, in the units of the network.

    Parameters
    ----------
    model : AutoEncoder
        Both networks, in evaluation mode.
    batch : Batch
        Rows.
    n_temperatures : int
        Length of the path.
    seed : int
        Seed of the noise.

    Returns
    -------
    log_prob, std : Tensor of shape (n_samples,)
        The estimate and its standard error.
    """
    generator = torch.Generator().manual_seed(seed)
    _, log_w = AnnealedCodes.to_posterior(model, batch).run(n_temperatures, generator)
    log_prob = torch.logsumexp(log_w, 0) - math.log(N_CHAINS)
    return log_prob, torch.exp(log_w - log_prob).std(0) / math.sqrt(N_CHAINS)
