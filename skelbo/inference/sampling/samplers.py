"""Samplers of p(z | x): draws at new parameters, and more draws at the same ones."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from skelbo.data.blocks import iter_blocks
from skelbo.em.checkpoint import Resumable
from skelbo.inference.cubature import moment_points
from skelbo.inference.posteriors.bernoulli_posterior import (
    MAX_ENUMERATED,
    all_states,
    enumerate_posterior,
)
from skelbo.inference.sampling.draws import Draws
from skelbo.inference.sampling.gibbs import GibbsChains
from skelbo.inference.sampling.hmc import HamiltonianChains
from skelbo.inference.sampling.importance import normalised, weigh
from skelbo.inference.sampling.sobol import N_COPIES, ShiftedSobol

N_CHAINS = 10
BLOCK_CELLS = 2**22
# Importance sampling is the cheapest and most precise of all as long as a Gaussian comes close.
MAX_IMPORTANCE_LATENTS = 10


class Sampler(Resumable):
    """Draws from the posterior of every row.

    Parameters
    ----------
    rng : numpy.random.RandomState
        Every row gets noise of its own.
    """

    # Number of rows as which distinct rows are repeated, so that frequent ones get more draws.
    n_repeated = 0
    # Whether the same noise serves all parameters (samplers without chains).
    common = False

    def __init__(self, rng):
        self.rng = rng

    def checkpoint_state(self):
        """Return what lasts longer than the draws at one set of parameters."""
        return None

    def resume(self, state):
        """Go on with what lasts."""

    @abstractmethod
    def restart(self, joint, q) -> None:
        """Discard all draws and start at new parameters, where `q` is the best q."""

    @abstractmethod
    def more(self, n_draws: int) -> Draws:
        """Add draws for every row; return all since the restart."""


class ImportanceSampler(Sampler):
    """Weighted draws, proposed by the row's Gaussian q with a defensive part.

    Their base noise is randomised quasi-Monte Carlo, and the same at all parameters (if `common`):
    the fit climbs one smooth function, whose error is that of the noise.
    """

    noise: Any = None
    runs: list[Any]

    def checkpoint_state(self):
        """Return the shifts of the base noise and the lengths of its runs."""
        if self.noise is None:
            return None
        return [self.noise.shifts, [len(run.part) for run in self.runs]]

    def resume(self, state):
        """Make the base noise again."""
        if state is not None:
            shifts, lengths = state
            self.noise = ShiftedSobol.with_shifts(shifts)
            self.runs = [self.noise.run(length) for length in lengths]

    def restart(self, joint, q):
        """Propose from q."""
        self.joint, self.q, self.batches = joint, q, []
        if self.noise is None or not self.common:
            self.noise, self.runs = ShiftedSobol(joint.shape, self.rng), []
        self.waiting = list(self.runs)

    def more(self, n_draws):
        """Add draws and weigh all anew."""
        while self.waiting and n_draws > 0:
            n_draws -= self._add(self.waiting.pop(0))
        if n_draws > 0:
            self.runs.append(self.noise.run(n_draws))
            self._add(self.runs[-1])
        Z, log_weights, copies = (np.concatenate(p) for p in zip(*self.batches, strict=True))
        return normalised(Z, log_weights, copies)[0]

    def _add(self, noise):
        weighed = weigh(self.joint, self.q.mean, self.q.precision, noise)
        self.batches.append((*weighed, noise.chains))
        return len(noise.part)


class StateSampler(Sampler):
    """Draws of binary latents from the list of all their states, in copies of even spacing.

    A copy inverts the distribution function of a row at equidistant points, shifted at random: the
    frequency of a state is its probability to within one draw.
    """

    shifts: Any = None

    def checkpoint_state(self):
        """Return the shifts."""
        return self.shifts

    def resume(self, state):
        """Set the shifts."""
        self.shifts = state

    def restart(self, joint, q):
        """List the states."""
        n, self.states = joint.shape[0], all_states(joint.shape[1])
        blocks = iter_blocks(n, len(self.states), BLOCK_CELLS)
        self.tables = [np.cumsum(enumerate_posterior(joint.take(b)).weights, 0) for b in blocks]
        self.n_rows, self.batches = n, []
        if self.shifts is None or not self.common:
            self.shifts = []

    def more(self, n_draws):
        """Add draws to every copy."""
        number, each = len(self.batches), max(2, -(-n_draws // N_COPIES))
        if number == len(self.shifts):
            self.shifts.append(self.rng.random_sample((N_COPIES, 1, self.n_rows)))
        levels = (np.arange(each)[:, None] + self.shifts[number]) / each
        self.batches.append(self._invert(levels.reshape(-1, self.n_rows)))
        Z = self.states[np.concatenate(self.batches)]
        copies = [np.repeat(np.arange(N_COPIES), len(b) // N_COPIES) for b in self.batches]
        return Draws(Z, np.full(Z.shape[:2], 1 / len(Z)), np.concatenate(copies))

    def _invert(self, levels):
        """Return the numbers of the states at these levels of the distribution functions."""
        first, found = 0, np.empty(levels.shape, dtype=int)
        for table in self.tables:
            n = table.shape[1]
            rows, part = np.arange(n), slice(first, first + n)
            # One search for all rows: the function of row i is moved to [i, i + 1].
            ladder = (table / table[-1] * (1 - 1e-12) + rows).T.ravel()
            at = np.searchsorted(ladder, levels[:, part] * (1 - 1e-12) + rows)
            found[:, part] = np.minimum(at - rows * len(table), len(table) - 1)
            first += n
        return found


class MomentSampler(Sampler):
    """Points with the moments of p(z | x) where it is a Gaussian: expectations without error.

    For any number of draws there are two points for each latent.
    """

    def restart(self, joint, q):
        """Take the moments."""
        self.points = moment_points(*joint.start())

    def more(self, n_draws):
        """Return the points."""
        return self.points


class ChainSampler(Sampler):
    """Draws of Markov chains that continue from one set of parameters to the next."""

    n_repeated = 1000
    chains: Any = None
    batches: list[np.ndarray]

    def checkpoint_state(self):
        """Return the chains."""
        return self.chains

    def resume(self, state):
        """Set the chains."""
        self.chains = state

    def more(self, n_draws):
        """Continue the chains."""
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
        """Warm the chains up."""
        self.joint, self.batches = joint, []
        if self.chains is None:
            self.chains = GibbsChains.begin(joint, N_CHAINS, self.rng)
        self.chains.warm_up(joint, self.rng)

    def _run(self, n_moves):
        return self.chains.run(self.joint, n_moves, self.rng)


class HamiltonianSampler(ChainSampler):
    """Hamiltonian trajectories through continuous latents."""

    def restart(self, joint, q):
        """Warm the chains up and tune their steps."""
        self.joint, self.precision, self.batches = joint, q.precision, []
        if self.chains is None:
            self.chains = HamiltonianChains.begin(q.mean, q.precision, N_CHAINS, self.rng)
        self.chains.warm_up(joint, q.precision, self.rng)

    def _run(self, n_moves):
        return self.chains.run(self.joint, self.precision, n_moves, self.rng)


# "importance" also names draws from the list of states of binary latents: no chains either.
SAMPLERS: dict[str, tuple[type[Sampler], str]] = {
    "gibbs": (GibbsSampler, "binary"),
    "hmc": (HamiltonianSampler, "continuous"),
    "importance": (ImportanceSampler, "continuous"),
}


def make_sampler(name: str, model, rng) -> Sampler:
    """Return the sampler of this name, or the best one for the model."""
    binary = model.latent == "binary"
    few = model.n_latents <= (MAX_ENUMERATED if binary else MAX_IMPORTANCE_LATENTS)
    if name == "auto" and model.gaussian_posterior:
        return MomentSampler(rng)
    if name == "auto":
        name = "importance" if few else "gibbs" if binary else "hmc"
    sampler, latent = SAMPLERS[name]
    if name == "importance" and binary:
        if not few:
            raise ValueError(
                f"sampler='importance' lists all states of n_latents={model.n_latents} binary "
                f"latents, expected at most {MAX_ENUMERATED}; use sampler='gibbs'."
            )
        return StateSampler(rng)
    if latent != model.latent:
        fitting = [key for key, (_, kind) in SAMPLERS.items() if kind == model.latent]
        raise ValueError(
            f"sampler={name!r} draws {latent} latents, got a model with {model.latent} ones; use "
            f"sampler='auto' or one of {fitting}."
        )
    return sampler(rng)
