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
        log p(x_t | rows before), in nats; their sum is log p(run). From the first row on that no
        path explains they are -inf.
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

    Where no path explains the rows their posterior is not defined: the result is that of the rows
    before, and the prior from there on; no transition is counted.

    Parameters
    ----------
    chain : MarkovChain
    log_prob : ndarray of shape (n_rows, n_components)
        log p(x_t | z_t), -inf where a state excludes the row.
    """
    forward = _forward(chain, log_prob)
    totals = np.logaddexp.reduce(forward, axis=1)
    with np.errstate(invalid="ignore"):
        log_steps = np.diff(totals, prepend=0.0)
        log_steps[np.isneginf(totals)] = -np.inf
        filtered = np.exp(forward - totals[:, None])
    if np.isneginf(totals[-1]):
        return _impossible(chain, log_prob, log_steps, filtered)
    backward = _backward(chain, log_prob)
    joint = forward + backward
    resp = np.exp(joint - joint.max(axis=1, keepdims=True))
    resp /= resp.sum(axis=1, keepdims=True)
    pairs = np.zeros((chain.n_states, chain.n_states))
    for t in range(1, len(log_prob)):
        after = log_prob[t] + backward[t]
        joint = forward[t - 1][:, None] + chain.log_transmat + after
        share = np.exp(joint - joint.max())
        pairs += share / share.sum()
    return RunPosterior(log_steps, filtered, resp, pairs)


def _forward(chain: MarkovChain, log_prob: np.ndarray) -> np.ndarray:
    """Return log p(rows up to t, z_t), (n_rows, n_components)."""
    forward = np.empty_like(log_prob)
    forward[0] = chain.log_startprob + log_prob[0]
    for t in range(1, len(log_prob)):
        into = np.logaddexp.reduce(forward[t - 1][:, None] + chain.log_transmat, axis=0)
        forward[t] = into + log_prob[t]
    return forward


def _backward(chain: MarkovChain, log_prob: np.ndarray) -> np.ndarray:
    """Return log p(rows after t | z_t), (n_rows, n_components)."""
    backward = np.zeros_like(log_prob)
    for t in range(len(log_prob) - 2, -1, -1):
        after = log_prob[t + 1] + backward[t + 1]
        backward[t] = np.logaddexp.reduce(chain.log_transmat + after, axis=1)
    return backward


def _impossible(chain, log_prob, log_steps, filtered) -> RunPosterior:
    """Return the answer for a run of probability zero."""
    possible = int(np.argmax(np.isneginf(log_steps)))
    resp = chain.marginals(len(log_prob))
    if possible:
        part = run_posterior(chain, log_prob[:possible])
        resp[:possible] = part.resp
        for t in range(possible, len(resp)):
            resp[t] = resp[t - 1] @ chain.transmat
    filtered = np.where(np.isneginf(log_steps)[:, None], resp, filtered)
    return RunPosterior(log_steps, filtered, resp, np.zeros_like(chain.transmat))
