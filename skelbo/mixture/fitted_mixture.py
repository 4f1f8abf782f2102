"""The terms of the bound, imputation and sampling of a fitted mixture."""

from __future__ import annotations

import numpy as np

from skelbo.data.rows import Block, Rows
from skelbo.elbo import ElboTerms
from skelbo.mixture.mixture import Mixture


class FittedMixture:
    """A mixture about its own centre, for new rows.

    Parameters
    ----------
    theta : Mixture
        About zero.
    """

    def __init__(self, theta: Mixture):
        self.origin = theta.components.centre(theta.weights)
        self.theta = theta.about(self.origin)

    def rows(self, X: np.ndarray) -> Rows:
        """Return the rows of a table about the centre; ValueError for a cell without a density."""
        self.theta.components.check(X)
        return Rows(X, None, self.origin, *self.theta.components.cells)

    def elbo_terms(self, X: np.ndarray) -> ElboTerms:
        """Return the terms of the bound of each row, (n,) each, in nats."""
        stacked = self.rows(X).each(lambda block: self.theta.elbo_terms(block).stack(), 4)
        return ElboTerms(*stacked.T)

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Return log p(x; theta) of each row, (n,), in nats."""
        return self.rows(X).each(self.theta.log_prob)

    def resp(self, X: np.ndarray) -> np.ndarray:
        """Return p(z = k | x; theta) of each row, (n, K)."""
        return self.rows(X).each(lambda block: self.theta.resp(block).T, len(self.theta.weights))

    def labels(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable component of each row, (n,)."""
        return self.rows(X).each(self.theta.labels, dtype=np.intp)

    def expected_cells(self, X: np.ndarray) -> np.ndarray:
        """Return E[x | observed cells] of every cell, (n, p)."""

        def expectation(block: Block) -> np.ndarray:
            return self.theta.components.expected_cells(block, self.theta.resp(block))

        return self.rows(X).each(expectation, X.shape[1]) + self.origin

    def draw_cells(self, X: np.ndarray, n_draws: int, rng: np.random.RandomState) -> np.ndarray:
        """Return draws of incomplete rows given their observed cells, (n_draws, n, p).

        A label from its exact posterior, then the missing cells from that component.
        """
        labels = draw_labels(self.resp(X), n_draws, rng).ravel()
        steps = np.tile(X - self.origin, (n_draws, 1))
        draws = self.theta.components.draw_cells(steps, labels, rng) + self.origin
        return draws.reshape(n_draws, *X.shape)

    def draw(self, n_samples: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Return draws of x (n_samples, p) and of the labels (n_samples,), in their order."""
        counts = rng.multinomial(n_samples, self.theta.weights)
        labels = np.repeat(np.arange(len(counts)), counts)
        return self.theta.components.sample(labels, rng) + self.origin, labels


def draw_labels(resp: np.ndarray, n_draws: int, rng: np.random.RandomState) -> np.ndarray:
    """Return draws of labels, (n_draws, n_rows), for probabilities (n_rows, K)."""
    bounds = np.cumsum(resp, axis=1)[:, :-1]
    uniform = rng.random_sample((n_draws, len(resp)))
    return (uniform[:, :, None] > bounds).sum(axis=2)
