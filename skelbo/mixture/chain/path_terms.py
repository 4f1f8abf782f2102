r"""The terms of the bound of a path, row by row.

.. math:: H[q(z_{1:T})] = \sum_t H[z_t \mid z_{t-1}], \qquad
    E_q[\log p(z_{1:T})] = \sum_t E_q[\log A_{z_{t-1} z_t}]

The terms of a run are those of its path; each row holds the part that the chain rule gives it.
"""

from __future__ import annotations

import numpy as np

from skelbo.data.blocks import iter_blocks
from skelbo.data.sequences import Runs
from skelbo.elbo import ElboTerms
from skelbo.mixture.chain.markov_chain import MarkovChain


def path_terms(
    chain: MarkovChain, runs: Runs, filtered: np.ndarray, resp: np.ndarray, log_prob: np.ndarray
) -> ElboTerms:
    """Return the terms of eq. 3 and 4 of Ding (2020) of each row, in nats.

    Parameters
    ----------
    chain : MarkovChain
    runs : Runs
    filtered, resp : ndarray of shape (n_rows, n_components)
        p(z_t | rows up to t) and p(z_t | all rows of the run).
    log_prob : ndarray of shape (n_rows, n_components)
        log p(x_t | z_t).

    Returns
    -------
    ElboTerms
        Arrays of shape (n_rows,), to be summed over a run.
    """
    n_rows, K = resp.shape
    energy, entropy = np.empty(n_rows), np.empty(n_rows)
    first = np.zeros(n_rows, bool)
    first[runs.bounds[:-1]] = True
    start = resp[first]
    energy[first] = _expectation(start, chain.log_startprob)
    entropy[first] = -_expectation(start, _log(start))
    for rows in iter_blocks(n_rows, K * K):
        later = rows.start + np.flatnonzero(~first[rows])
        pairs = _pairs(chain, filtered[later - 1], resp[later])
        before = pairs.sum(axis=2, keepdims=True)
        with np.errstate(invalid="ignore"):
            conditional = _log(pairs) - _log(before)
        flat = pairs.reshape(-1, K * K)
        energy[later] = _expectation(flat, chain.log_transmat.ravel())
        entropy[later] = -_expectation(flat, conditional.reshape(-1, K * K))
    reconstruction = _expectation(resp, log_prob)
    return ElboTerms(
        reconstruction=reconstruction,
        kl=np.maximum(-entropy - energy, 0.0),
        energy=energy + reconstruction,
        entropy=entropy,
    )


def _pairs(chain: MarkovChain, filtered: np.ndarray, resp: np.ndarray) -> np.ndarray:
    """Return p(z_{t-1}, z_t | all rows), (n, K, K), from the filter before and the posterior."""
    joint = filtered[:, :, None] * chain.transmat
    into = joint.sum(axis=1, keepdims=True)
    # p(z_{t-1} | z_t, rows before), at most one, however rare the transition.
    before = np.divide(joint, into, out=np.zeros_like(joint), where=into > 0)
    return before * resp[:, None, :]


def _log(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


def _expectation(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return sums along the last axis, in which 0 times infinity is 0."""
    with np.errstate(invalid="ignore"):
        return np.where(weights > 0, weights * values, 0.0).sum(axis=-1)
