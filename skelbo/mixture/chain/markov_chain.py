r"""The law of the hidden labels of a sequence.

.. math:: p(z_1 = i) = s_i, \quad p(z_t = j \mid z_{t-1} = i) = A_{ij}
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Transitions that are rarer, zeros included, can leave a state without probability from one row to
# the next: paths through it underflow unnoticed unless they are watched.
SMALLEST_SAFE = 1e-100
# Logarithms of probabilities that stand for zero, and the smallest that an extrapolation may reach.
LOG_OF_ZERO, SMALLEST_LOG = -750.0, -230.0


@dataclass(frozen=True)
class MarkovChain:
    """Probabilities of first states and of transitions; immutable.

    Attributes
    ----------
    startprob : ndarray of shape (n_components,)
    transmat : ndarray of shape (n_components, n_components)
        Rows sum to one.
    """

    startprob: np.ndarray
    transmat: np.ndarray

    @property
    def n_states(self) -> int:
        """Number of states."""
        return len(self.startprob)

    @cached_property
    def is_sparse(self) -> bool:
        """True if a transition is so rare that paths must be watched for underflow."""
        return bool(self.transmat.min() < SMALLEST_SAFE)

    @cached_property
    def log_startprob(self) -> np.ndarray:
        """Logarithms of the first probabilities, -inf for zero."""
        with np.errstate(divide="ignore"):
            return np.log(self.startprob)

    @cached_property
    def log_transmat(self) -> np.ndarray:
        """Logarithms of the transition probabilities, -inf for zero."""
        with np.errstate(divide="ignore"):
            return np.log(self.transmat)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters: zeros are not counted."""
        free = np.count_nonzero(self.transmat, axis=1) - 1
        return int(np.count_nonzero(self.startprob) - 1 + free.sum())

    def updated(self, first: np.ndarray, pairs: np.ndarray) -> MarkovChain:
        """Return the chain of greatest likelihood given expected counts.

        Parameters
        ----------
        first : ndarray of shape (n_components,)
            Expected number of runs that begin in each state.
        pairs : ndarray of shape (n_components, n_components)
            Expected number of transitions. A state that is never left keeps its row.
        """
        total = pairs.sum(axis=1, keepdims=True)
        left = total > 0
        transmat = np.where(left, pairs / np.where(left, total, 1.0), self.transmat)
        return MarkovChain(first / first.sum(), transmat)

    def permuted(self, order: np.ndarray) -> MarkovChain:
        """Return the chain with its states in another order."""
        return MarkovChain(self.startprob[order], self.transmat[np.ix_(order, order)])

    def marginals(self, n_rows: int) -> np.ndarray:
        """Return p(z_t = k), (n_rows, n_components), of a run without any observation."""
        marginals = np.empty((n_rows, self.n_states))
        marginals[:1] = self.startprob
        for t in range(1, n_rows):
            marginals[t] = marginals[t - 1] @ self.transmat
        return marginals

    def to_vector(self) -> np.ndarray:
        """Return logarithms of all probabilities, `LOG_OF_ZERO` for zero."""
        logs = np.concatenate([self.log_startprob, self.log_transmat.ravel()])
        return np.maximum(logs, LOG_OF_ZERO)

    @staticmethod
    def from_vector(vector: np.ndarray, n_states: int) -> MarkovChain:
        """Return the chain of these logarithms; zeros stay zero, others stay above it."""
        logs = np.where(vector == LOG_OF_ZERO, -np.inf, np.maximum(vector, SMALLEST_LOG))
        start, transitions = logs[:n_states], logs[n_states:].reshape(n_states, n_states)
        return MarkovChain(_normalized(start), _normalized(transitions))


def _normalized(logs: np.ndarray) -> np.ndarray:
    """Return probabilities from their logarithms up to a constant, along the last axis."""
    probabilities = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return probabilities / probabilities.sum(axis=-1, keepdims=True)
