r"""The game of a generator and a critic (Goodfellow et al. 2014), on the decoder of a model.

The generator draws z from the prior and x = f(z) + s * noise: the model p(x | z) with its noise, so
that its density is positive everywhere. The critic learns log p(x) / q(x) by logistic regression
with a penalty on its slope at the data (Mescheder et al. 2018, R1).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from skelbo.likelihoods.noise_floor import NOISE_FLOOR
from skelbo.neural.data.batches import Batch
from skelbo.neural.model.divergences import Divergence
from skelbo.neural.model.networks import AutoEncoder

# The penalty is taken at every fourth step, four times as large.
PENALTY_INTERVAL = 4
# Norm to which a gradient is cut.
LARGEST_NORM = 5.0
# Learning rate of the log of the noise, relative: it has a way of several nats to go.
NOISE_RATE = 10.0
# Momenta of Adam in a game: the other player's moves make old gradients worthless.
BETAS = (0.5, 0.9)
# Draws of the model behind an epoch's divergence, at least, and behind the last one.
JUDGED_DRAWS, FINAL_DRAWS = 256, 10_000


class Critic(nn.Module):
    """A network that estimates log p(x) / q(x), on the features that an encoder reads.

    Parameters
    ----------
    features : nn.Module
        Features of rows.
    network : nn.Module
        Maps (n_samples, n_inputs) to (n_samples, 1).
    """

    def __init__(self, features: nn.Module, network: nn.Module):
        super().__init__()
        self.features, self.network = features, network

    def forward(self, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the estimate of each row, shape (n_samples,)."""
        return self.network(self.features(targets, mask)).squeeze(-1)


class Generator(nn.Module):
    """Decoder and noise of a model as one player.

    Parameters
    ----------
    model : AutoEncoder
        All of its columns are Gaussian.

    Attributes
    ----------
    log_noise : Parameter
        Log of the noise variance over that at the start: one per column, one, or none.
    """

    base: Tensor

    def __init__(self, model: AutoEncoder):
        super().__init__()
        self.model = model
        gaussian = model.likelihood.gaussian
        assert gaussian is not None
        self.register_buffer("base", gaussian.variance.clone())
        size = {"unit": 0, "isotropic": 1, "diag": len(self.base)}[gaussian.noise]
        self.log_noise = nn.Parameter(self.base.new_zeros(size))

    def moving(self) -> list[nn.Parameter]:
        """Return the parameters of this player."""
        return [*self.model.decoder.parameters(), self.log_noise]

    def variance(self) -> Tensor:
        """Return the noise variances, shape (n_features,)."""
        return self.base * self.log_noise.exp() if self.log_noise.numel() else self.base

    def keep_noise_above_floor(self) -> None:
        """Move the noise back to its floor where it fell below it."""
        with torch.no_grad():
            self.log_noise.clamp_(min=math.log(NOISE_FLOOR))

    def forward(self, n_samples: int, generator: torch.Generator) -> Tensor:
        """Draw rows in the units of the network, shape (n_samples, n_features)."""
        z = self.model.family.sample_prior(n_samples, self.base, generator)
        mean = self.model.decode(z)
        noise = torch.empty_like(mean).normal_(generator=generator)
        return torch.addcmul(mean, self.variance().sqrt(), noise)


class GameOptions(NamedTuple):
    """Rules of a game.

    Attributes
    ----------
    divergence : Divergence
        What the generator minimises.
    penalty : float
        Weight of the penalty on the critic's slope.
    n_critic : int
        Steps of the critic for each step of the generator.
    averaging : float
        Decay of the moving average of the generator, which is the result.
    lr : float
        Learning rate; over the second half of the epochs it falls linearly.
    """

    divergence: Divergence
    penalty: float
    n_critic: int
    averaging: float
    lr: float


class AdversarialGame:
    """A game between the decoder of a model and a critic.

    Parameters
    ----------
    model : AutoEncoder
        Its decoder and noise are the generator; `finish` leaves the averaged ones in it.
    critic : Critic
        The other player.
    options : GameOptions
        Rules.
    optimizer : callable
        Makes an optimiser of parameters, with ``lr``.
    generator : torch.Generator
        Source of randomness, on the device of the model.

    Attributes
    ----------
    average : Generator
        Moving average of the generator.
    n_steps, n_skipped : int
        Number of steps, and of those that were skipped as they were not finite.
    """

    def __init__(
        self,
        model: AutoEncoder,
        critic: Critic,
        options: GameOptions,
        optimizer: Callable[..., torch.optim.Optimizer],
        generator: torch.Generator,
    ):
        self.critic, self.options, self.random = critic, options, generator
        self.generator = Generator(model)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        players = (
            [{"params": list(critic.parameters()), "lr": options.lr}],
            [
                {"params": list(model.decoder.parameters()), "lr": options.lr},
                {"params": [self.generator.log_noise], "lr": NOISE_RATE * options.lr},
            ],
        )
        self.optimizers = tuple(optimizer(groups, lr=options.lr) for groups in players)
        self.rates = [[group["lr"] for group in o.param_groups] for o in self.optimizers]
        self.n_steps = self.n_skipped = 0

    @property
    def players(self) -> tuple[nn.Module, nn.Module]:
        """The critic and the generator, in the order of their optimisers."""
        return self.critic, self.generator

    def run_epoch(self, batches: Iterable[Batch], progress: float) -> None:
        """Play one step for each batch; `progress` is the share of the epochs that are over."""
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, 2 * (1 - progress))
        for batch in batches:
            loss = self._critic_step(batch)
            if (self.n_steps + 1) % self.options.n_critic == 0:
                loss = loss + self._generator_step(batch)
            self.n_steps += 1
            if not math.isfinite(loss):  # one number per step is read back
                self.n_skipped += 1

    def _critic_step(self, batch: Batch) -> Tensor:
        """Take a step of logistic regression; return its loss."""
        n = batch.n_samples
        with torch.no_grad():
            fake = self._masked(self.generator(n, self.random), batch)
        rows = torch.cat([batch.targets, fake])
        mask = None if batch.mask is None else batch.mask.repeat(2, 1)
        real, unreal = self.critic(rows, mask).split(n)
        loss = batch.mean(softplus(-real)) + batch.mean(softplus(unreal))
        total = loss
        if self.options.penalty and self.n_steps % PENALTY_INTERVAL == 0:
            total = loss + 0.5 * PENALTY_INTERVAL * self.options.penalty * self._slope(batch)
        self._step(self.optimizers[0], list(self.critic.parameters()), total)
        return loss.detach()

    def _slope(self, batch: Batch) -> Tensor:
        """Return the mean squared slope of the critic at the data."""
        rows = batch.targets.detach().requires_grad_()
        value = self.critic(rows, batch.mask).sum()
        (slope,) = torch.autograd.grad(value, rows, create_graph=True)
        return batch.mean(slope.square().sum(-1))

    def _generator_step(self, batch: Batch) -> Tensor:
        """Take a step of the generator, and one of its average; return its loss."""
        fake = self._masked(self.generator(batch.n_samples, self.random), batch)
        loss = batch.mean(self.options.divergence.generator_loss(self.critic(fake, batch.mask)))
        self._step(self.optimizers[1], self.generator.moving(), loss)
        self.generator.keep_noise_above_floor()
        self._move_average()
        return loss.detach()

    @staticmethod
    def _masked(fake: Tensor, batch: Batch) -> Tensor:
        """Hide the cells that are missing in the batch: the critic compares what is observed."""
        return fake if batch.mask is None else fake * batch.mask

    @staticmethod
    def _step(
        optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], loss: Tensor
    ) -> None:
        """Take a step along the gradient, cut to a largest norm; none if it is not finite."""
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(parameters, LARGEST_NORM)
        if math.isfinite(norm):
            optimizer.step()

    @torch.no_grad()
    def _move_average(self) -> None:
        # The first steps count little: the average of t steps is over at most t / 10 of them.
        decay = min(self.options.averaging, (1 + self.n_steps) / (10 + self.n_steps))
        for mean, value in zip(self.average.moving(), self.generator.moving(), strict=True):
            mean.lerp_(value, 1 - decay)
        # A network of the user's own may keep statistics.
        decoders = self.average.model.decoder, self.generator.model.decoder
        for kept, buffer in zip(*(decoder.buffers() for decoder in decoders), strict=True):
            kept.copy_(buffer)

    @torch.no_grad()
    def divergence(self, held_out: Batch, n_draws: int) -> float:
        """Return the lower bound of the divergence of the averaged generator, in nats.

        Parameters
        ----------
        held_out : Batch
            Rows that the critic does not learn from.
        n_draws : int
            Draws of the model, at least; they are the same each time.
        """
        self.average.eval()
        f, n = self.options.divergence, held_out.n_samples
        repeats = -(-n_draws // n)
        random = torch.Generator(self.random.device).manual_seed(n)
        data = held_out.mean(f.data_term(self.critic(held_out.targets, held_out.mask)))
        # Every held-out row lends its mask and its weight to as many draws.
        mask = None if held_out.mask is None else held_out.mask.repeat(repeats, 1)
        fake = self.average(n * repeats, random)
        fake = fake if mask is None else fake * mask
        terms = f.model_term(self.critic(fake, mask)).view(repeats, n)
        return float(data + held_out.mean(terms.mean(0)))

    def finish(self, model: AutoEncoder) -> None:
        """Set decoder and noise of a model to the average of the generator."""
        model.decoder.load_state_dict(self.average.model.decoder.state_dict())
        gaussian = model.likelihood.gaussian
        assert gaussian is not None
        gaussian.variance.copy_(self.average.variance())
