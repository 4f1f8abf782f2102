"""Chains, tables of log-likelihoods, and their sums over all paths."""

from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from skelbo.data.sequences import Runs
from skelbo.mixture.chain import run_blocks
from skelbo.mixture.chain.forward_backward import ForwardBackward
from skelbo.mixture.chain.markov_chain import MarkovChain


class Paths(NamedTuple):
    """All paths of one run."""

    states: np.ndarray
    log_joint: np.ndarray

    @property
    def log_prob(self):
        return logsumexp(self.log_joint)

    @property
    def share(self):
        return np.exp(self.log_joint - self.log_prob)

    def resp(self, K):
        return np.stack([self.share @ (self.states == k) for k in range(K)], axis=1)

    def pairs(self, K):
        total = np.zeros((K, K))
        for path, share in zip(self.states, self.share, strict=True):
            np.add.at(total, (path[:-1], path[1:]), share)
        return total


def all_paths(chain, log_prob):
    """Return every path of a run and its log-joint with the rows."""
    T, K = log_prob.shape
    states = np.array(list(product(range(K), repeat=T)))
    log_start, log_transmat = chain.log_startprob, chain.log_transmat
    log_joint = [
        log_start[path[0]]
        + sum(log_transmat[a, b] for a, b in pairwise(path))
        + log_prob[np.arange(T), path].sum()
        for path in states
    ]
    return Paths(states, np.array(log_joint))


def random_chain(K, rng, zeros=()):
    """Return a chain, with zeros at some transitions."""
    transmat = rng.dirichlet(np.ones(K), K)
    for i, j in zeros:
        transmat[i, j] = 0.0
    return MarkovChain(rng.dirichlet(np.ones(K)), transmat / transmat.sum(axis=1, keepdims=True))


def runs_of_lengths(lengths):
    """Return runs of these lengths."""
    return Runs(np.concatenate([[0], np.cumsum(lengths)]), np.arange(len(lengths)))


def smoothed(chain, runs, log_prob, weights=None):
    """Return the result of both passes, and the posteriors of all rows."""
    recursions = ForwardBackward(chain, runs, lambda rows: log_prob[rows], None, weights)
    resp = np.empty_like(log_prob)

    def keep(block, smoothed):
        resp[block.rows] = smoothed

    return recursions.smooth(keep), resp, recursions


def set_block_cells(monkeypatch, cells):
    """Let the recursions run over blocks of so many cells."""
    monkeypatch.setattr(run_blocks, "COMPILED_CELLS", cells)
    monkeypatch.setattr(run_blocks, "NUMPY_CELLS", cells)
