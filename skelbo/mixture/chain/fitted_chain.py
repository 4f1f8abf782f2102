"""Answers of a fitted hidden Markov model about sequences."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from skelbo.data.rows import Block, Rows
from skelbo.data.sequences import Runs
from skelbo.elbo import ElboTerms
from skelbo.mixture.chain.forecast import Forecast, forecast
from skelbo.mixture.chain.hidden_markov_theta import HiddenMarkov
from skelbo.mixture.chain.path_draws import draw_paths, draw_posterior_paths
from skelbo.mixture.chain.path_terms import path_terms
from skelbo.mixture.chain.run_blocks import RunBlock
from skelbo.mixture.chain.sequence_rows import SequenceRows
from skelbo.mixture.chain.viterbi import best_paths


class FittedChain:
    """A model about its own centre, for new sequences.

    Parameters
    ----------
    theta : HiddenMarkov
        About zero.
    """

    def __init__(self, theta: HiddenMarkov):
        K = theta.chain.n_states
        self.origin = theta.emissions.centre(np.full(K, 1 / K))
        self.theta = theta.about(self.origin)
        self.chain, self.emissions = self.theta.chain, self.theta.emissions

    def on(self, X: np.ndarray, runs: Runs) -> ChainAnswers:
        """Return the answers about some sequences, computed when read."""
        return ChainAnswers(self, X, runs)

    def draw(self, runs: Runs, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Return rows (n_rows, p) and states (n_rows,) of sequences of these lengths."""
        states = draw_paths(self.chain, runs, rng)
        return self.emissions.sample(states, rng) + self.origin, states


class ChainAnswers:
    """Answers of a model about some sequences.

    Parameters
    ----------
    fitted : FittedChain
    X : ndarray of shape (n_rows, n_features)
    runs : Runs
    """

    def __init__(self, fitted: FittedChain, X: np.ndarray, runs: Runs):
        self.fitted, self.X, self.runs = fitted, X, runs
        self.rows = SequenceRows(
            X, runs, None, fitted.origin, fitted.chain.n_states, fitted.emissions.cells
        )

    def log_steps(self) -> np.ndarray:
        """Return log p(x_t | rows of the run before), (n_rows,), in nats."""
        return self.fitted.theta.forward_backward(self.rows).filter()[0]

    def resp(self) -> np.ndarray:
        """Return p(z_t | all rows of the run), (n_rows, K)."""
        resp = np.empty((self.runs.n_rows, self.fitted.chain.n_states))

        def keep(block: RunBlock, smoothed: np.ndarray) -> None:
            resp[block.rows] = smoothed

        self.fitted.theta.forward_backward(self.rows).smooth(keep)
        return resp

    def states(self) -> np.ndarray:
        """Return the most probable path of each run, (n_rows,)."""
        weighted = self.fitted.theta.weighted
        return best_paths(
            self.fitted.chain, self.runs, lambda rows: self.rows.log_prob(weighted, rows)
        )

    def forecast(self, steps: int) -> Forecast:
        """Return the forecast of the rows that follow each run, in the units of X."""
        ends = self.fitted.theta.forward_backward(self.rows).filter()[1]
        result = forecast(self.fitted.chain, self.fitted.emissions, ends, steps)
        return result._replace(mean=result.mean + self.fitted.origin)

    def elbo_terms(self) -> ElboTerms:
        """Return the terms of the bound, (n_rows,) each, in nats; see `path_terms`."""
        everything = slice(0, self.runs.n_rows)
        log_prob = self.rows.log_prob(self.fitted.theta.weighted, everything)
        return path_terms(self.fitted.chain, self.runs, *self._posteriors, log_prob)

    @cached_property
    def _posteriors(self) -> tuple[np.ndarray, np.ndarray]:
        return self.fitted.theta.forward_backward(self.rows).posteriors()

    def expected_cells(self, incomplete: np.ndarray) -> np.ndarray:
        """Return E[x | observed cells of the run] of the rows of a mask, (n_incomplete, p)."""
        emissions, resp = self.fitted.emissions, self.resp()[incomplete].T
        rows = Rows(self.X[incomplete], None, self.fitted.origin, *emissions.cells)

        def expectation(block: Block) -> np.ndarray:
            return emissions.expected_cells(block, resp[:, block.index])

        return rows.each(expectation, self.X.shape[1]) + self.fitted.origin

    def draw_cells(
        self, incomplete: np.ndarray, n_draws: int, rng: np.random.RandomState
    ) -> np.ndarray:
        """Return draws of the rows of a mask given all observed cells of their runs.

        A path from its exact posterior, then the missing cells from its states.
        """
        filtered = self._posteriors[0]
        paths = draw_posterior_paths(self.fitted.chain, self.runs, filtered, n_draws, rng)
        labels = paths[:, incomplete].ravel()
        steps = np.tile(self.X[incomplete] - self.fitted.origin, (n_draws, 1))
        draws = self.fitted.emissions.draw_cells(steps, labels, rng) + self.fitted.origin
        return draws.reshape(n_draws, -1, self.X.shape[1])
