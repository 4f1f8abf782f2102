r"""Importance sampling of binary latents around the ends of annealed Gibbs chains.

A mean-field q covers one mode of p(z | x), and draws from it cannot tell that there are others. So
chains move from r, independent Bernoullis, to p(z | x) through (Neal 2001)

.. math:: f_\beta(z) = r(z)^{1 - \beta} \, p(x, z)^\beta, \quad
    \log w = \sum_t (\beta_{t+1} - \beta_t) \log \frac{p(x, z_t)}{r(z_t)}

and the draws come from a mixture with a component at the end of every chain: independent latents
with the probabilities that each has given all others there. Each end is the centre of a component,
whatever its weight, so that a mode that any chain has found is a part of the proposal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from skelbo.inference.sampling.draws import Draws
from skelbo.inference.sampling.gibbs import GibbsChains
from skelbo.inference.sampling.importance import BaseNoise, log_mean_error, normalised

N_CHAINS = 64
# Sweeps along the path; inverse temperatures are powers of even steps, dense where z is free.
N_SWEEPS, POWER = 32, 3
# Distance of the probabilities of a component from 0 and 1.
FLATTENED = 0.02
# Share of the components' weights that follows the weights of the chains; the rest is even.
WEIGHTED = 0.5
# Excess of the chains' own estimate, in its standard errors, beyond which draws missed states.
DISAGREEMENT = 2.0
# Cells (rows x draws x components) of densities that are held at once.
BLOCK_CELLS = 2**17


def bernoulli_log_density(Z, mean) -> np.ndarray:
    """Return the log-density of independent binary latents, summed over the last axis."""
    return (special.xlogy(Z, mean) + special.xlog1py(1 - Z, -mean)).sum(-1)


def anneal_chains(joint, n_chains: int, n_sweeps: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Return ends (n_chains, n, d) of chains from r to p(z | x), and log w, (n_chains, n).

    The mean of w is an unbiased estimate of p(x). All rows share the noise.
    """
    mean = joint.prior_mean()
    first = (rng.random_sample((n_chains, 1, len(mean))) < mean).astype(np.float64)
    chains = GibbsChains(np.tile(first, (1, joint.shape[0], 1)), common=True)
    log_weights, last = np.zeros((n_chains, joint.shape[0])), 0.0
    for beta in (np.arange(1, n_sweeps + 1) / n_sweeps) ** POWER:
        ratio = joint.log_joint(chains.Z) - bernoulli_log_density(chains.Z, mean)
        log_weights += (beta - last) * ratio
        chains.sweep(joint, rng, beta)
        last = beta
    return chains.Z, log_weights


@dataclass(frozen=True)
class StateMixture:
    """Mixture of products of Bernoullis for every row.

    Attributes
    ----------
    mean : ndarray of shape (n_components, n_rows, n_latents)
        Probabilities of one, inside (0, 1).
    weights : ndarray of shape (n_components, n_rows)
        Of the components; sum to one for every row.
    """

    mean: np.ndarray
    weights: np.ndarray

    @classmethod
    def around(cls, joint, Z, log_weights) -> StateMixture:
        """Return the mixture around ends of chains, of which the better get larger weights."""
        logits = [joint.conditional_logit(Z, k) for k in range(Z.shape[2])]
        mean = special.expit(np.nan_to_num(np.stack(logits, axis=-1), posinf=50, neginf=-50))
        even = np.full(log_weights.shape, 1 / len(Z))
        log_weights = np.where(np.isnan(log_weights), -np.inf, log_weights)
        lost = np.isneginf(log_weights).all(axis=0)
        weights = special.softmax(np.where(lost, 0.0, log_weights), axis=0)
        weights = WEIGHTED * weights + (1 - WEIGHTED) * even
        return cls(np.clip(mean, FLATTENED, 1 - FLATTENED), weights)

    def flattened(self) -> StateMixture:
        """Return the mixture with all probabilities halfway to 1/2."""
        return StateMixture(0.5 * (self.mean + 0.5), self.weights)

    def means_at(self, levels) -> np.ndarray:
        """Return the means of the components at levels (S,) of their weights, (S, n, d)."""
        bounds = np.cumsum(self.weights, axis=0)
        index = np.zeros((len(levels), self.weights.shape[1]), dtype=np.intp)
        for bound in bounds[:-1] / bounds[-1]:
            index += levels[:, None] >= bound
        return self.mean[index, np.arange(index.shape[1])]

    def log_density(self, Z) -> np.ndarray:
        """Return the log-density of states (S, n, d), (S, n)."""
        logits = special.logit(self.mean).transpose(1, 2, 0)
        constant = (np.log1p(-self.mean).sum(-1) + np.log(self.weights)).T[:, None]
        size = max(1, BLOCK_CELLS // self.weights.size)
        parts = []
        for first in range(0, len(Z), size):
            terms = np.matmul(Z[first : first + size].transpose(1, 0, 2), logits) + constant
            largest = terms.max(axis=-1, keepdims=True)
            total = np.exp(terms - largest).sum(axis=-1)
            parts.append((largest[..., 0] + np.log(total)).T)
        return np.concatenate(parts)


def even_levels(noise: BaseNoise, rng) -> np.ndarray:
    """Return numbers in [0, 1), (S,): in each chain and part of the noise evenly spaced.

    Their shifts are random, one for every chain: each number is uniform.
    """
    n_chains = noise.chains.max() + 1
    group = noise.part * n_chains + noise.chains
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=3 * n_chains)
    rank = np.empty(len(group))
    rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return (rng.random_sample(n_chains)[noise.chains] + rank / sizes[group]) % 1.0


def weigh_states(joint, mixture: StateMixture, noise: BaseNoise, rng):
    """Return states drawn from the mixture, it flattened, or r, (S, n, d), and log-weights."""
    wide, free = (np.flatnonzero(noise.part == k) for k in (1, 2))
    mean = mixture.means_at(even_levels(noise, rng))
    mean[wide] = 0.5 * (mean[wide] + 0.5)
    mean[free] = joint.prior_mean()
    Z = (special.ndtr(noise.normal) < mean).astype(np.float64)
    densities = np.stack(
        [
            mixture.log_density(Z),
            mixture.flattened().log_density(Z),
            bernoulli_log_density(Z, joint.prior_mean()),
        ]
    )
    shares = np.log(noise.shares)[:, None, None]
    return Z, joint.log_joint(Z) - special.logsumexp(densities + shares, axis=0)


def found_mass(joint, Z) -> np.ndarray:
    """Return the log of the sum of p(x, z) over the different states of Z (S, n, d), (n,).

    It is at most log p(x), whatever the states.
    """
    log_joint = joint.log_joint(Z)
    for k in range(1, len(Z)):
        seen = (Z[:k] == Z[k]).all(axis=-1).any(axis=0)
        log_joint[k, seen] = -np.inf
    return special.logsumexp(np.where(np.isnan(log_joint), -np.inf, log_joint), axis=0)


def chains_estimate(log_weights) -> tuple[np.ndarray, np.ndarray]:
    """Return the log of the mean weight of chains, (n,), and its standard error."""
    log_weights = np.where(np.isnan(log_weights), -np.inf, log_weights)
    total = special.logsumexp(log_weights, axis=0)
    shares = np.exp(log_weights - np.where(np.isneginf(total), 0.0, total))
    return total - np.log(len(log_weights)), log_mean_error(shares)


def state_draws(joint, noise: BaseNoise) -> tuple[Draws, np.ndarray, np.ndarray]:
    """Return weighted draws of binary latents, log p(x) and its standard error, (n,) each.

    The chains only make the proposal: given it the mean weight of the draws is unbiased. They are
    also the check. p(x) is no less than the sum over their ends: the error is no less than what
    the estimate lacks of it. Their weights estimate p(x) too, better where p(z | x) is spread over
    many states: where that is above the estimate by more than its error allows, the draws missed
    states, and the error is no less than the difference.
    """
    rng = np.random.RandomState(noise.seed)
    ends, log_w = anneal_chains(joint, N_CHAINS, N_SWEEPS, rng)
    Z, log_weights = weigh_states(joint, StateMixture.around(joint, ends, log_w), noise, rng)
    draws, log_prob, std = normalised(Z, log_weights, noise.chains)
    std = np.maximum(std, found_mass(joint, ends) - log_prob)
    other, error = chains_estimate(log_w)
    missed = other - log_prob
    std = np.where(missed > DISAGREEMENT * error, np.maximum(std, missed), std)
    return draws, log_prob, std
