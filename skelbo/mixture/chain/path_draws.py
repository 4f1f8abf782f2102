"""Draws of paths: from the chain alone, and from their posterior."""

from __future__ import annotations

import numpy as np

from skelbo.data.sequences import Runs
from skelbo.mixture.chain.markov_chain import MarkovChain


def draw_paths(chain: MarkovChain, runs: Runs, rng: np.random.RandomState) -> np.ndarray:
    """Return a path of each run from the chain, (n_rows,)."""
    states = np.empty(runs.n_rows, np.intp)
    rows, stop = runs.bounds[:-1], runs.bounds[1:]
    start = np.broadcast_to(chain.startprob, (len(rows), chain.n_states))
    current = draw_states(start, rng)
    while len(rows):
        states[rows] = current
        left = rows + 1 < stop
        rows, stop, current = rows[left] + 1, stop[left], current[left]
        current = draw_states(chain.transmat[current], rng)
    return states


def draw_posterior_paths(
    chain: MarkovChain, runs: Runs, filtered: np.ndarray, n_draws: int, rng: np.random.RandomState
) -> np.ndarray:
    """Return paths from p(z | run), (n_draws, n_rows): forward filtering, backward sampling.

    Parameters
    ----------
    chain : MarkovChain
    runs : Runs
    filtered : ndarray of shape (n_rows, n_components)
        p(z_t | rows up to t).
    n_draws : int
    rng : RandomState

    References
    ----------
    Fruehwirth-Schnatter (2006), *Finite Mixture and Markov Switching Models*, algorithm 11.5.
    """
    states = np.empty((n_draws, runs.n_rows), np.intp)
    rows, first = runs.bounds[1:] - 1, runs.bounds[:-1]
    current = draw_states(np.tile(filtered[rows], (n_draws, 1)), rng).reshape(n_draws, -1)
    while len(rows):
        states[:, rows] = current
        left = rows > first
        rows, first, current = rows[left] - 1, first[left], current[:, left]
        share = filtered[rows] * chain.transmat.T[current]  # (n_draws, n_left, K)
        flat = draw_states(share.reshape(-1, chain.n_states), rng)
        current = flat.reshape(n_draws, -1)
    return states


def draw_states(weights: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return a state for each row of weights (n, K), not all zero."""
    sums = np.cumsum(weights, axis=1)
    targets = (1 - rng.random_sample(len(sums))) * sums[:, -1]  # above 0: a weight of 0 is not hit
    return (sums < targets[:, None]).sum(axis=1)
