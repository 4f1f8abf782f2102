"""log p(x) of binary latents by the sum over all states, a block of rows and states at a time."""

from __future__ import annotations

import numpy as np

from skelbo.data.blocks import iter_blocks
from skelbo.inference.posteriors.bernoulli_posterior import all_states
from skelbo.inference.sampling.draws import Draws
from skelbo.inference.sampling.importance import BaseNoise

# Latents up to which the sum over all states costs no more than annealed chains and draws do.
MAX_LISTED = 15
# States x rows of a block, and states whose densities are computed together.
BLOCK_CELLS, STATES_AT_ONCE = 2**21, 2**8


def listed_draws(joint, noise: BaseNoise) -> tuple[Draws, np.ndarray]:
    """Return draws of p(z | x), as many as the noise has, and log p(x) of each row, (n,).

    The draws invert the distribution function over the states at points of even spacing, in every
    chain of the noise anew: the frequency of a state is its probability to within one draw.
    """
    n, d = joint.shape
    states, levels = all_states(d), _levels(noise)
    log_prob, Z = np.empty(n), np.empty((len(levels), n, d))
    for rows in iter_blocks(n, len(states), BLOCK_CELLS):
        log_joint = _log_joint(joint.take(rows), states)
        largest = log_joint.max(axis=1)
        bounds = np.cumsum(np.exp(log_joint - largest[:, None]), axis=1)
        log_prob[rows] = largest + np.log(bounds[:, -1])
        for i, bound in enumerate(bounds, start=rows.start):
            at = np.searchsorted(bound, levels * bound[-1], side="right")
            Z[:, i] = states[np.minimum(at, len(states) - 1)]
    return Draws(Z, np.full(Z.shape[:2], 1 / len(Z)), noise.chains), log_prob


def _log_joint(joint, states) -> np.ndarray:
    """Return log p(x, z) of each row and state, (n, n_states)."""
    result = np.empty((joint.shape[0], len(states)))
    for first in range(0, len(states), STATES_AT_ONCE):
        part = slice(first, first + STATES_AT_ONCE)
        result[:, part] = joint.log_joint(states[part, None]).T
    return result


def _levels(noise: BaseNoise) -> np.ndarray:
    """Return numbers in [0, 1), (S,), of even spacing and with one random shift in every chain."""
    sizes = np.bincount(noise.chains)
    shifts = np.random.RandomState(noise.seed).random_sample(len(sizes))
    rank = np.empty(len(noise.chains))
    order = np.argsort(noise.chains, kind="stable")
    rank[order] = np.arange(len(rank)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return (rank + shifts[noise.chains]) / sizes[noise.chains]
