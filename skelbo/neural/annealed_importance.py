r"""Annealed importance sampling from the encoder's q to the posterior (Neal 2001).

Where few draws of q fit a row, log p(x) comes from chains that move from q to p(z | x) through

.. math:: f_\beta(z) = r(z)^{1 - \beta} \, p(x, z)^\beta, \quad
    \log w = \sum_k (\beta_{k+1} - \beta_k) \log \frac{p(x, z_k)}{r(z_k)}, \quad
    z_k \sim \mathrm{HMC}(f_{\beta_k} \mid z_{k-1})

with r = q, mixed with the prior so that a second mode of the posterior, where q has no draws, is
found too. The mean of w is an unbiased estimate of p(x) whatever the chains do: a path of few
temperatures makes it noisier, and its logarithm smaller in expectation, never larger.

The noise is the same for each row, and the arithmetic float64, so that the result of a row does
not depend on its batch.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.latent_family import LatentProposal
from skelbo.neural.model.networks import AutoEncoder

# Chains from q and from the prior; their shares are the weights of r.
CHAINS = (8, 4)
# Those of the pilot, which tunes the steps on a path with a quarter of the temperatures: the steps
# of the chains that count must not depend on these chains themselves.
PILOT_CHAINS, PILOT_STRIDE = (4, 2), 4
N_LEAPFROG = 5
# Steps in widths of the target, tuned to this share of accepted moves.
FIRST_STEP, TARGET, TUNING = 0.5, 0.8, 0.6
STEP_RANGE = (1e-4, 1.5)
# Draws of the prior whose spread gives its width.
WIDTH_DRAWS = 256


class ContinuousProposal(LatentProposal, Protocol):
    """A proposal with a width, which scales the steps of the chains."""

    @property
    def std(self) -> Tensor:
        """Standard deviation, shape (n_samples, n_latents)."""


class ChainState(NamedTuple):
    """Chains at one place: z, both log-densities and their gradients.

    Attributes
    ----------
    z : Tensor of shape (n_chains, n_samples, n_latents)
        Places.
    start, joint : Tensor of shape (n_chains, n_samples)
        log r(z) and log p(x, z).
    start_gradient, joint_gradient : Tensor of shape (n_chains, n_samples, n_latents)
        Their gradients.
    """

    z: Tensor
    start: Tensor
    joint: Tensor
    start_gradient: Tensor
    joint_gradient: Tensor

    def log_density(self, beta: float) -> Tensor:
        """Return log f_beta, up to a constant."""
        return torch.lerp(self.start, self.joint, beta)

    def gradient(self, beta: float) -> Tensor:
        """Return the gradient of log f_beta."""
        return torch.lerp(self.start_gradient, self.joint_gradient, beta)

    def where(self, accepted: Tensor, other: ChainState) -> ChainState:
        """Return the places of `other` where accepted, else those here."""
        wide = accepted[..., None]
        return ChainState(
            *(
                torch.where(wide if a.ndim == 3 else accepted, b, a)
                for a, b in zip(self, other, strict=True)
            )
        )


@dataclass(frozen=True)
class AnnealedPath:
    """Path from r to the posterior of some rows.

    Attributes
    ----------
    model : AutoEncoder
        Both networks, in evaluation mode.
    batch : Batch
        Rows.
    q : ContinuousProposal
        The encoder's, or what the family draws from instead.
    prior_std : Tensor of shape (n_latents,)
        Standard deviations of the prior.
    """

    model: AutoEncoder
    batch: Batch
    q: ContinuousProposal
    prior_std: Tensor

    @classmethod
    def to_posterior(cls, model: AutoEncoder, batch: Batch, seed: int) -> AnnealedPath:
        """Return the path from the encoder's q of each row."""
        with torch.no_grad():
            q = cast(ContinuousProposal, model.proposal(batch))
        generator = torch.Generator().manual_seed(seed)
        draws = model.family.sample_prior(WIDTH_DRAWS, model.likelihood.offset, generator)
        return cls(model, batch, q, draws.std(0))

    def begin(self, chains: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Return draws of q, then of the prior, the same noise for each row."""
        family, like = self.model.family, self.prior_std
        noise = family.noise(chains[0], 1, like, generator)
        others = family.sample_prior(chains[1], like, generator)
        shape = chains[1], self.batch.n_samples, self.model.n_latents
        return torch.cat([self.q.draw(noise), others[:, None].expand(shape)])

    def evaluate(self, z: Tensor) -> ChainState:
        """Return both log-densities and their gradients."""
        z = z.detach().requires_grad_()
        total = sum(CHAINS)
        prior = self.model.family.log_prior(z)
        parts = (
            self.q.log_prob(z) + math.log(CHAINS[0] / total),
            prior + math.log(CHAINS[1] / total),
        )
        start = torch.logaddexp(*parts)
        outputs = self.model.decode(z)
        likelihood = self.model.likelihood.evaluate(outputs, self.batch.targets, self.batch.mask)
        joint = likelihood.log_prob + prior
        (start_gradient,) = torch.autograd.grad(start.sum(), z, retain_graph=True)
        (joint_gradient,) = torch.autograd.grad(joint.sum(), z)
        return ChainState(
            z.detach(), start.detach(), joint.detach(), start_gradient, joint_gradient
        )

    def scale(self, chains: tuple[int, int], beta: float) -> Tensor:
        """Return the widths of f_beta as the chains meet it, shape (n_chains, n_samples, n)."""
        shape = self.batch.n_samples, self.model.n_latents
        from_q = self.q.std.expand(shape)
        precision = (1 - beta) / self.prior_std**2 + beta / from_q**2
        widths = (from_q, precision**-0.5)
        return torch.cat([width.expand(n, *shape) for n, width in zip(chains, widths, strict=True)])

    def move(
        self, point: ChainState, beta: float, step: Tensor, noise: Noise
    ) -> tuple[ChainState, Tensor]:
        """Move the chains by one trajectory under f_beta.

        Parameters
        ----------
        point : ChainState
            Where they are.
        beta : float
            Inverse temperature.
        step : Tensor of shape (n_chains, n_samples, n_latents)
            Step of each coordinate.
        noise : Noise
            Momenta and thresholds.

        Returns
        -------
        point : ChainState
            Where they are now.
        probability : Tensor of shape (n_chains, n_samples)
            Probability with which the move was accepted.
        """
        momentum, end = noise.momentum, point
        energy = point.log_density(beta) - 0.5 * (momentum.square()).sum(-1)
        for _ in range(N_LEAPFROG):
            momentum = momentum + 0.5 * step * end.gradient(beta)
            end = self.evaluate(end.z + step * momentum)
            momentum = momentum + 0.5 * step * end.gradient(beta)
        change = end.log_density(beta) - 0.5 * momentum.square().sum(-1) - energy
        # A trajectory that diverges is refused.
        probability = change.nan_to_num(-math.inf, -math.inf, -math.inf).clamp(max=0).exp()
        return point.where(noise.threshold < probability, end), probability


class Noise(NamedTuple):
    """Randomness of one move, the same for each row.

    Attributes
    ----------
    momentum : Tensor of shape (n_chains, 1, n_latents)
        Standard normal.
    threshold : Tensor of shape (n_chains, 1)
        Uniform on [0, 1).
    """

    momentum: Tensor
    threshold: Tensor

    @classmethod
    def draw(cls, n_chains: int, like: Tensor, generator: torch.Generator) -> Noise:
        """Draw the noise for latents like `like`, shape (n_latents,)."""
        momentum = torch.randn(n_chains, 1, len(like), dtype=like.dtype, generator=generator)
        threshold = torch.rand(n_chains, 1, dtype=like.dtype, generator=generator)
        return cls(momentum.to(like.device), threshold.to(like.device))


def _tuned_steps(path: AnnealedPath, n: int, generator: torch.Generator) -> list[Tensor]:
    """Return step sizes of both kinds of chains, shape (2, n_samples), at n temperatures."""
    like = path.prior_std
    point = path.evaluate(path.begin(PILOT_CHAINS, generator))
    size = like.new_full((2, path.batch.n_samples), FIRST_STEP * len(like) ** -0.25)
    sizes = []
    for k in range(n):
        beta = (k + 1) / n
        step = path.scale(PILOT_CHAINS, beta) * _per_chain(size, PILOT_CHAINS)[..., None]
        noise = Noise.draw(sum(PILOT_CHAINS), like, generator)
        point, probability = path.move(point, beta, step, noise)
        sizes.append(size)
        means = torch.stack([part.mean(0) for part in probability.split(PILOT_CHAINS)])
        size = (size * torch.exp(TUNING * (means - TARGET))).clamp(*STEP_RANGE)
    return sizes


def _per_chain(size: Tensor, chains: tuple[int, int]) -> Tensor:
    """Return one value per chain from one per kind of chain."""
    return torch.cat([part.expand(n, -1) for n, part in zip(chains, size, strict=True)])


def annealed_log_weights(path: AnnealedPath, n_temperatures: int, seed: int) -> Tensor:
    """Run the chains along a path.

    Parameters
    ----------
    path : AnnealedPath
        From r to the posterior of each row.
    n_temperatures : int
        Number of steps from beta = 0 to beta = 1.
    seed : int
        Seed of the noise, which all rows share.

    Returns
    -------
    Tensor of shape (n_chains, n_samples)
        log w; first those that began at draws of q, then those from the prior.
    """
    generator, like = torch.Generator().manual_seed(seed), path.prior_std
    n_tuned = max(1, n_temperatures // PILOT_STRIDE)
    sizes = _tuned_steps(path, n_tuned, generator)
    point = path.evaluate(path.begin(CHAINS, generator))
    log_w = (point.joint - point.start) / n_temperatures
    for k in range(1, n_temperatures):
        beta = k / n_temperatures
        size = sizes[(k - 1) * n_tuned // n_temperatures]
        step = path.scale(CHAINS, beta) * _per_chain(size, CHAINS)[..., None]
        noise = Noise.draw(sum(CHAINS), like, generator)
        point, _ = path.move(point, beta, step, noise)
        log_w += (point.joint - point.start) / n_temperatures
    return log_w


def stratified_summary(log_w: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log of the mean weight and its standard error, shape (n_samples,) each.

    The chains from q and those from the prior are strata, whose sizes are fixed: only the spread
    within each of them makes an error.
    """
    total = len(log_w)
    log_prob = torch.logsumexp(log_w, 0) - math.log(total)
    parts = torch.exp(log_w - log_prob).split(CHAINS)
    variance = sum(len(part) * part.var(0) for part in parts) / total**2
    return log_prob, torch.sqrt(variance)


def annealed_log_prob(
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
    path = AnnealedPath.to_posterior(model, batch, seed)
    return stratified_summary(annealed_log_weights(path, n_temperatures, seed))


def in_float64(model: AutoEncoder) -> AutoEncoder:
    """Return the model in float64; networks of the user keep the precision that they have."""
    if model.has_custom_networks or model.likelihood.offset.dtype == torch.float64:
        return model
    return copy.deepcopy(model).double()
