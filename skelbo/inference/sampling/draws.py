"""Weighted draws of z given x, from samplers, quadrature or enumeration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Draws:
    """Points of latent space with weights, for every row.

    Attributes
    ----------
    Z : ndarray of shape (n_draws, n_rows, n_latents)
    weights : ndarray of shape (n_draws, n_rows)
        Sum to one for every row.
    chains : ndarray of int, shape (n_draws,)
        Draws of one chain depend on each other, draws of different chains do not. Independent
        draws are chains of one.
    exact : bool
        Whether the points are the posterior itself (all states, or quadrature nodes), no sample.
    """

    Z: np.ndarray
    weights: np.ndarray
    chains: np.ndarray
    exact: bool = False

    @property
    def mean(self) -> np.ndarray:
        """Posterior mean, (n_rows, n_latents)."""
        return np.einsum("sn,snd->nd", self.weights, self.Z)

    @property
    def std(self) -> np.ndarray:
        """Posterior standard deviation, (n_rows, n_latents)."""
        return np.sqrt(np.einsum("sn,snd->nd", self.weights, (self.Z - self.mean) ** 2))

    def effective_sizes(self) -> np.ndarray:
        """Return the number of independent draws with the same error of the mean of z, (n_rows,).

        The smallest over the latents; rough for chains, as there are few of them.
        """
        if self.exact:
            return np.full(self.weights.shape[1], np.inf)
        spread = np.einsum("sn,snd->nd", self.weights, (self.Z - self.mean) ** 2)
        error = (self.deviations(self.Z) ** 2).sum(0)
        sizes = np.divide(spread, error, out=np.full(spread.shape, np.inf), where=error > 0)
        return np.minimum(sizes.min(1), len(self.Z))

    def expectation(self, values: np.ndarray) -> np.ndarray:
        """Return the weighted mean over draws of values (n_draws, n_rows)."""
        return (self.weights * values).sum(0)

    def deviations(self, values: np.ndarray) -> np.ndarray:
        """Return the share of each chain in the error of the mean, (n_chains, n_rows, ...).

        Squares of it, summed over chains, estimate the Monte Carlo variance of `expectation`.
        """
        weights = self.weights.reshape(*self.weights.shape, *[1] * (values.ndim - 2))
        shares = weights * (values - (weights * values).sum(0))
        n_chains = self.chains.max() + 1
        if n_chains < len(shares):
            sums = np.zeros((n_chains, *shares.shape[1:]))
            np.add.at(sums, self.chains, shares)
            shares = sums
        return shares * np.sqrt(n_chains / max(n_chains - 1, 1))

    def shares(self) -> np.ndarray:
        """Return the weight of each chain, (n_chains, n_rows)."""
        shares = np.zeros((self.chains.max() + 1, self.weights.shape[1]))
        np.add.at(shares, self.chains, self.weights)
        return shares

    def ratio_bias(self, deviations: np.ndarray) -> np.ndarray:
        """Return the bias, (n_rows, ...), of an `expectation` with these `deviations`.

        Normalised weights make it a ratio of two means that err together. A row's bias is far
        below its standard error, but unlike errors those of many rows do not cancel.
        """
        R, shares = len(deviations), self.shares()
        away = (shares - 1 / R) * np.sqrt(R / max(R - 1, 1))
        return -np.einsum("rn,rn...->n...", away, deviations)

    def variance(self, values: np.ndarray) -> np.ndarray:
        """Return the Monte Carlo variance of `expectation`, (n_rows,)."""
        if self.exact:
            return np.zeros(values.shape[1])
        return (self.deviations(values) ** 2).sum(0)

    def halves(self) -> tuple[Draws, Draws]:
        """Return the draws of even and of odd chains: independent of each other."""
        return self._some(self.chains % 2 == 0), self._some(self.chains % 2 == 1)

    def _some(self, chosen) -> Draws:
        weights = self.weights[chosen]
        total = weights.sum(0)
        weights = np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1 / len(weights))
        return Draws(self.Z[chosen], weights, self.chains[chosen] // 2)

    @classmethod
    def union(cls, parts: list[Draws]) -> Draws:
        """Return the union of several sets of draws, each with the same share."""
        chains, first = [], 0
        for part in parts:
            chains.append(part.chains + first)
            first += part.chains.max() + 1
        Z = np.concatenate([part.Z for part in parts])
        weights = np.concatenate([part.weights for part in parts]) / len(parts)
        return cls(Z, weights, np.concatenate(chains))

    def replaced(self, rows: np.ndarray, other: Draws) -> Draws:
        """Return these draws with those of `other`, a sample, in some of the rows."""
        if not len(rows):
            return self
        n_draws = max(len(self.Z), len(other.Z))
        Z = np.broadcast_to(self.mean, (n_draws, *self.Z.shape[1:])).copy()
        weights = np.zeros(Z.shape[:2])
        Z[: len(self.Z)], weights[: len(self.Z)] = self.Z, self.weights
        weights[:, rows] = 0.0
        Z[: len(other.Z), rows] = other.Z[:, rows]
        weights[: len(other.Z), rows] = other.weights[:, rows]
        return Draws(Z, weights, np.arange(n_draws))

    def resampled(self, n_draws: int, rng) -> np.ndarray:
        """Return draws from the weighted points, (n_draws, n_rows, n_latents)."""
        n_rows = self.weights.shape[1]
        Z = np.broadcast_to(self.Z, (len(self.Z), n_rows, self.Z.shape[2]))
        bounds = np.cumsum(self.weights, axis=0)
        uniform = rng.random_sample((n_draws, n_rows)) * bounds[-1]
        index = np.array([(row >= bounds).sum(axis=0) for row in uniform])
        return Z[np.minimum(index, len(Z) - 1), np.arange(n_rows)]

    def take(self, rows) -> Draws:
        """Return the draws of some rows."""
        Z = self.Z if self.Z.shape[1] == 1 else self.Z[:, rows]
        return Draws(Z, self.weights[:, rows], self.chains, self.exact)
