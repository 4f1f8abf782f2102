"""Forward-backward in logarithms: slow, for runs whose likely paths underflow otherwise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skelbo.mixture.chain.markov_chain import MarkovChain


class RunPosterior(NamedTuple):
    """Posterior of the path of one run.

    Attributes
    ----------
    log_steps : ndarray of shape (n_rows,)
        log p(x_t | rows before), in nats; their sum is log p(run). A row that no path explains has
        -inf.
    filtered : ndarray of shape (n_rows, n_components)
        p(z_t | rows up to t).
    resp : ndarray of shape (n_rows, n_components)
        p(z_t | all rows).
    pairs : ndarray of shape (n_components, n_components)
        Expected number of transitions.
    """

    log_steps: np.ndarray
    filtered: np.ndarray
    resp: np.ndarray
    pairs: np.ndarray


def run_posterior(chain: MarkovChain, log_prob: np.ndarray) -> RunPosterior:
    """Return the posterior of one run.

    A row of probability zero given the rows before has no posterior: the paths are those of the
    run in which it is missing, so that the rows after it are conditional on all others.

    Parameters
    ----------
    chain : MarkovChain
    log_prob : ndarray of shape (n_rows, n_components)
        log p(x_t | z_t), -inf where a state excludes the row.
    """
    log_steps, filtered, explained = _forward(chain, log_prob)
    backward = _backward(chain, explained)
    resp = _shares(filtered + backward, axis=1)
    pairs = np.zeros((chain.n_states, chain.n_states))
    for t in range(1, len(log_prob)):
        after = explained[t] + backward[t]
        pairs += _shares(filtered[t - 1][:, None] + chain.log_transmat + after)
    return RunPosterior(log_steps, np.exp(filtered), resp, pairs)


def _forward(chain: MarkovChain, log_prob: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return log p(x_t | rows before), log p(z_t | rows up to t), and the rows that count.

    The latter are `log_prob` with zeros, as of a missing row, where no path explains a row.
    """
    explained = np.array(log_prob)
    log_steps, filtered = np.empty(len(log_prob)), np.empty_like(log_prob)
    into = chain.log_startprob
    for t, row in enumerate(log_prob):
        log_steps[t] = np.logaddexp.reduce(into + row)
        if np.isneginf(log_steps[t]):
            explained[t], filtered[t] = 0.0, into
        else:
            filtered[t] = into + row - log_steps[t]
        into = np.logaddexp.reduce(filtered[t][:, None] + chain.log_transmat, axis=0)
    return log_steps, filtered, explained


def _backward(chain: MarkovChain, log_prob: np.ndarray) -> np.ndarray:
    """Return log p(rows after t | z_t), (n_rows, n_components), up to a constant in each row."""
    backward = np.zeros_like(log_prob)
    for t in range(len(log_prob) - 2, -1, -1):
        after = log_prob[t + 1] + backward[t + 1]
        backward[t] = np.logaddexp.reduce(chain.log_transmat + after, axis=1)
        backward[t] -= backward[t].max()
    return backward


def _shares(logs: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Return probabilities from their logarithms up to a constant, along an axis or all."""
    shares = np.exp(logs - logs.max(axis=axis, keepdims=True))
    return shares / shares.sum(axis=axis, keepdims=True)
