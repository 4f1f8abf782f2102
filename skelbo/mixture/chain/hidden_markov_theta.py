r"""The hidden Markov model as the EM engine uses it: Baum-Welch.

.. math:: p(x_{1:T}, z_{1:T}; \theta) = s_{z_1} \prod_t A_{z_{t-1} z_t} \prod_t p(x_t \mid z_t)

It differs from a mixture in the E-step alone: responsibilities come from forward-backward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skelbo.gaussian.components import WeightedGaussians
from skelbo.gaussian.regularization import Regularization
from skelbo.mixture.chain.forward_backward import ForwardBackward
from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.chain.sequence_rows import SequenceRows
from skelbo.mixture.emissions import Emissions, Statistics, WeightedTable


@dataclass(frozen=True)
class PathStatistics:
    """Expected statistics of all runs under the posterior of their paths.

    Attributes
    ----------
    first : ndarray of shape (n_components,)
        Runs that begin in each state.
    pairs : ndarray of shape (n_components, n_components)
        Transitions.
    emissions : Statistics
        Of the rows given their states.
    """

    first: np.ndarray
    pairs: np.ndarray
    emissions: Statistics


@dataclass(frozen=True)
class HiddenMarkov:
    """Parameters theta of a hidden Markov model, about the origin of the rows; immutable.

    Attributes
    ----------
    chain : MarkovChain
    emissions : Emissions
    """

    chain: MarkovChain
    emissions: Emissions

    @property
    def is_regular(self) -> bool:
        """True if no covariance had to be altered to become regular."""
        return self.emissions.is_regular

    @cached_property
    def weighted(self) -> WeightedGaussians | WeightedTable:
        """The emissions as densities of blocks of rows."""
        return self.emissions.weighted(np.zeros(self.chain.n_states))

    def about(self, origin: np.ndarray) -> HiddenMarkov:
        """Return the model about `origin`, given about the present one."""
        return HiddenMarkov(self.chain, self.emissions.about(origin))

    def permuted(self, order: np.ndarray) -> HiddenMarkov:
        """Return the model with its states in another order."""
        return HiddenMarkov(self.chain.permuted(order), self.emissions.take(order))

    def forward_backward(self, rows: SequenceRows) -> ForwardBackward:
        """Return the recursions over these rows."""
        return ForwardBackward(
            self.chain,
            rows.runs,
            lambda part: rows.log_prob(self.weighted, part),
            rows.blocks,
            rows.weights,
        )

    def e_step(self, rows: SequenceRows) -> tuple[float, PathStatistics]:
        """Return log p(X; theta) in nats per row and the expected statistics."""
        paths = self.forward_backward(rows).smooth(
            lambda block, resp: rows.statistics(self.weighted, block, resp)
        )
        bound = paths.log_prob(rows.runs, rows.weights) / rows.total_weight
        return bound, PathStatistics(paths.first, paths.pairs, paths.total)

    def m_step(self, statistics: PathStatistics, regularization: Regularization) -> HiddenMarkov:
        """Return the parameters of greatest expected log p(X, z), in closed form."""
        chain = self.chain.updated(statistics.first, statistics.pairs)
        return HiddenMarkov(chain, self.emissions.updated(statistics.emissions, regularization))

    def to_vector(self, units: np.ndarray) -> np.ndarray:
        """Return logarithms of probabilities, and the coordinates of the emissions."""
        return np.concatenate([self.chain.to_vector(), self.emissions.to_vector(units)])

    def from_vector(self, vector: np.ndarray, units: np.ndarray) -> HiddenMarkov | None:
        """Return the model with these coordinates; None if no emissions have them."""
        K = self.chain.n_states
        emissions = self.emissions.from_vector(vector[K + K * K :], units)
        if emissions is None:
            return None
        return HiddenMarkov(MarkovChain.from_vector(vector[: K + K * K], K), emissions)
