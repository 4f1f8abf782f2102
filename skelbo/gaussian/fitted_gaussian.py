"""Latents, imputation and draws of one fitted Gaussian, for new rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skelbo.data.rows import Block, Rows
from skelbo.gaussian.components import Components
from skelbo.gaussian.conditional import ConditionalGaussian, conditionals


@dataclass(frozen=True)
class FittedGaussian:
    """A Gaussian x = mean + L z with standard normal z.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        In float64.
    centred : Components
        The Gaussian about its mean, the only component.
    """

    mean: np.ndarray
    centred: Components

    def rows(self, X: np.ndarray) -> Rows:
        """Return the rows of a table (n, p) about the mean."""
        return Rows(X, origin=self.mean, cells_per_row=X.shape[1])

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Return log p(x) of the observed cells of each row, (n,), in nats."""
        return self.rows(X).each(lambda block: self.centred.density(block).log_prob[0])

    def latents(self, X: np.ndarray) -> np.ndarray:
        """Return E[z | observed cells] of each row, (n, p)."""

        def whiten(block: Block) -> np.ndarray:
            return self.centred.covariance.whiten(self._expectation(block), 0)

        return self.rows(X).each(whiten, X.shape[1])

    def latents_std(self, X: np.ndarray) -> np.ndarray:
        """Return the standard deviations of z given the observed cells of each row, (n, p)."""
        covariance, std = self.centred.covariance, np.zeros(X.shape)
        for given in self._conditionals(X):
            steps = np.zeros((len(given.missing), X.shape[1]))
            steps[:, given.missing] = given.root.T
            std[given.rows] = np.sqrt((covariance.whiten(steps, 0) ** 2).sum(axis=0))
        return std

    def reconstruct(self, Z: np.ndarray) -> np.ndarray:
        """Return x at latents (n, p), in float64."""
        return self.mean + self.centred.covariance.color(Z.astype(np.float64), 0)

    def expected_cells(self, X: np.ndarray) -> np.ndarray:
        """Return E[x | observed cells] of every cell, (n, p)."""
        return self.rows(X).each(self._expectation, X.shape[1]) + self.mean

    def draw_cells(self, X: np.ndarray, n_draws: int, rng: np.random.RandomState) -> np.ndarray:
        """Return draws of incomplete rows given their observed cells, (n_draws, n, p)."""
        steps = np.tile(X - self.mean, (n_draws, 1))
        labels = np.zeros(n_draws * len(X), dtype=int)
        draws = self.centred.draw_cells(steps, labels, rng) + self.mean
        return draws.reshape(n_draws, *X.shape)

    def _expectation(self, block: Block) -> np.ndarray:
        """Return E[x | observed cells] - mean, (n, p)."""
        values = self.centred.density(block).values
        return (values if values.ndim == 2 else values[0]).T

    def _conditionals(self, X: np.ndarray) -> Iterator[ConditionalGaussian]:
        """Yield the distributions of the missing cells of the rows, about the mean."""
        p = X.shape[1]
        covariance = self.centred.covariance.dense(1, p)[0]
        return conditionals(X - self.mean, np.zeros(p), covariance)
