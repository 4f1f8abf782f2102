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
        self.origin = np.average(theta.components.means, 0, theta.weights)
        self.theta = theta.about(self.origin)

    def rows(self, X: np.ndarray) -> Rows:
        """Return the rows of a table about the centre."""
        return Rows(X, None, self.origin, *self.theta.components.cells)

    def elbo_terms(self, X: np.ndarray) -> ElboTerms:
        """Return the terms of the bound of each row, (n,) each, in nats."""
        stacked = self.rows(X).each(lambda block: self.theta.elbo_terms(block).stack(), 4)
        return ElboTerms(*stacked.T)

    def expected_cells(self, X: np.ndarray) -> np.ndarray:
        """Return E[x | observed cells] of every cell, (n, p)."""

        def expectation(block: Block) -> np.ndarray:
            if block.observed is None:
                return block.values.T
            values = self.theta.components.density(block).values
            return np.einsum("kn,kpn->np", self.theta.posterior(block).resp, values)

        return self.rows(X).each(expectation, X.shape[1]) + self.origin

    def draw(self, n_samples: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Return draws of x (n_samples, p) and of the labels (n_samples,), in their order."""
        theta = self.theta
        counts = rng.multinomial(n_samples, theta.weights)
        labels = np.repeat(np.arange(len(counts)), counts)
        noise = rng.standard_normal((n_samples, len(self.origin)))
        X = theta.components.means[labels] + self.origin
        for k in range(len(counts)):
            X[labels == k] += theta.components.covariance.color(noise[labels == k], k)
        return X, labels
