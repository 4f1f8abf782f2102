"""One way to ask any sampler for draws of p(z | x): afresh at new parameters, or some more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from skelbo.inference.draws import Draws
from skelbo.inference.gibbs import GibbsChains
from skelbo.inference.hmc import HamiltonianChains
from skelbo.inference.importance import BaseNoise, normalised, weigh

N_CHAINS = 10
# Importance sampling is the cheapest and most precise of all as long as a Gaussian comes close.
MAX_IMPORTANCE_LATENTS = 10


class Sampler(ABC):
    """Draws from the posterior of every row.

    Parameters
    ----------
    rng : numpy.random.RandomState
        Every row gets noise of its own.
    """

    def __init__(self, rng):
        self.rng = rng

    @abstractmethod
    def restart(self, joint, q) -> None:
        """Turn to new parameters, `q` being the best q there; earlier draws are dropped."""

    @abstractmethod
    def more(self, n_draws: int) -> Draws:
        """Add draws for every row; return all since the restart."""


class ImportanceSampler(Sampler):
    """Independent weighted draws, proposed by the row's Gaussian q with a defensive part."""

    def restart(self, joint, q):
        """Propose from q."""
        self.joint, self.q, self.batches = joint, q, []

    def more(self, n_draws):
        """Add draws and weigh all anew."""
        n, d = self.joint.shape
        noise = BaseNoise.draw(n_draws, d, self.rng, n)
        self.batches.append(weigh(self.joint, self.q.mean, self.q.precision, noise))
        Z, log_weights = (np.concatenate(parts) for parts in zip(*self.batches, strict=True))
        return normalised(Z, log_weights)[0]


class ChainSampler(Sampler):
    """Draws of Markov chains that go on from one set of parameters to the next."""

    chains: Any = None
    batches: list[np.ndarray]

    def more(self, n_draws):
        """Let the chains go on."""
        self.batches.append(self._run(max(2, -(-n_draws // N_CHAINS))))
        Z = np.concatenate(self.batches)
        weights = np.full(Z.shape[:2], 1 / len(Z))
        return Draws(Z, weights, np.tile(np.arange(N_CHAINS), len(Z) // N_CHAINS))

    @abstractmethod
    def _run(self, n_moves: int) -> np.ndarray:
        """Return the draws of some moves."""


class GibbsSampler(ChainSampler):
    """Gibbs sweeps over binary latents."""

    def restart(self, joint, q):
        """Let the chains forget the old parameters."""
        self.joint, self.batches = joint, []
        if self.chains is None:
            self.chains = GibbsChains.begin(joint, N_CHAINS, self.rng)
        self.chains.warm_up(joint, self.rng)

    def _run(self, n_moves):
        return self.chains.run(self.joint, n_moves, self.rng)


class HamiltonianSampler(ChainSampler):
    """Hamiltonian trajectories through continuous latents."""

    def restart(self, joint, q):
        """Let the chains forget the old parameters, and tune their steps."""
        self.joint, self.precision, self.batches = joint, q.precision, []
        if self.chains is None:
            self.chains = HamiltonianChains.begin(q.mean, q.precision, N_CHAINS, self.rng)
        self.chains.warm_up(joint, q.precision, self.rng)

    def _run(self, n_moves):
        return self.chains.run(self.joint, self.precision, n_moves, self.rng)


SAMPLERS: dict[str, tuple[type[Sampler], str]] = {
    "gibbs": (GibbsSampler, "binary"),
    "hmc": (HamiltonianSampler, "continuous"),
    "importance": (ImportanceSampler, "continuous"),
}


def make_sampler(name: str, model, rng) -> Sampler:
    """Return the sampler of this name, or the best one for the model."""
    if name == "auto":
        few = model.n_latents <= MAX_IMPORTANCE_LATENTS
        name = "gibbs" if model.latent == "binary" else "importance" if few else "hmc"
    sampler, latent = SAMPLERS[name]
    if latent != model.latent:
        fitting = [key for key, (_, kind) in SAMPLERS.items() if kind == model.latent]
        raise ValueError(
            f"sampler={name!r} draws {latent} latents, got a model with {model.latent} ones; use "
            f"sampler='auto' or one of {fitting}."
        )
    return sampler(rng)
