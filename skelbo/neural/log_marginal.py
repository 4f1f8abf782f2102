r"""log p(x), its bounds and E[x | observed cells] by importance sampling from the encoder's q.

.. math:: \log p(x) \approx \log \frac1K \sum_k w_k, \quad w_k = \frac{p(x, z_k)}{q(z_k \mid x)}

A row that too few of the draws fit gets its log p(x) from chains that go on from q to the
posterior: see `annealed_importance`. The noise behind the z is one tensor for all rows, fixed by a
seed, so that the result of a row depends neither on its batch nor on its place in it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skelbo.autograd import gradients
from skelbo.elbo import ElboTerms
from skelbo.neural.annealed_codes import AnnealedCodes, annealed_code_log_prob
from skelbo.neural.annealed_importance import annealed_log_prob, in_float64
from skelbo.neural.data.batches import Batch, as_batch
from skelbo.neural.data.columns import Columns
from skelbo.neural.model.latent_family import LatentProposal
from skelbo.neural.model.networks import AutoEncoder
from skelbo.neural.model.objectives import log_weights

# Rows times draws that are decoded at once: their activations stay in a core's cache.
DECODED_AT_ONCE = 8192
# A row with fewer effective draws is annealed: not even their standard error can be trusted.
POOR_SAMPLE_SIZE = 10.0
# Rows that are annealed at once.
ANNEALED_AT_ONCE = 64
# A path has a temperature for every tenth importance sample, which makes it about 25 times as dear
# as these; rows whose error is still larger than `POOR_ERROR` get one four times as long.
SAMPLES_PER_TEMPERATURE, MIN_TEMPERATURES = 10, 10
LENGTHS = (1, 4)
POOR_ERROR = 0.5
TOLERATED_SHARE = 0.01
# Errors of rows far from everything reach 1e76 nats: they are cut to what float32 holds.
LARGEST_ERROR = 1e38

POOR = (
    "{share:.1%} of the rows have a standard error above {limit:g} nats by {n_draws} importance "
    "samples and by annealed chains: their log p(x) is probably too low; raise "
    "n_importance_samples."
)


class ImportanceWarning(UserWarning):
    """Warning about rows whose log p(x) is uncertain after importance sampling and annealing."""


@dataclass(frozen=True)
class WeightedDraws:
    """Importance-weighted draws of q for the rows of a table.

    Attributes
    ----------
    model : AutoEncoder
        Both networks, in evaluation mode.
    columns : Columns
        Units of the data.
    n_draws : int
        K, draws per row.
    seed : int
        Seed of the shared noise.
    """

    model: AutoEncoder
    columns: Columns
    n_draws: int
    seed: int

    @property
    def _like(self) -> Tensor:
        return self.model.likelihood.offset

    def noise(self) -> Tensor:
        """Return the noise that all rows share, shape (n_draws, 1, ...)."""
        # Drawn on the CPU in float64: the same numbers for every device and precision.
        generator = torch.Generator().manual_seed(self.seed)
        like = torch.empty(0, dtype=torch.float64)
        return self.model.family.noise(self.n_draws, 1, like, generator).to(self._like)

    def blocks(self, X: np.ndarray) -> Iterator[tuple[slice, Batch]]:
        """Yield the rows in blocks, with their place in the table."""
        size = max(1, DECODED_AT_ONCE // self.n_draws)
        for start in range(0, len(X), size):
            place = slice(start, min(start + size, len(X)))
            yield place, as_batch(X[place], self.columns, self._like)

    def log_weights(self, q: LatentProposal, batch: Batch, noise: Tensor) -> Tensor:
        """Return log p(x, z) - log q(z | x) of each draw, shape (n_draws, n_samples), float64."""
        parts = noise.split(max(1, DECODED_AT_ONCE // batch.n_samples))
        return torch.cat([log_weights(self.model, q, batch, part) for part in parts]).double()

    def log_prob(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(x) and its standard error, in the units of the data.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        log_prob, std : ndarray of shape (n_samples,)
            Float64. The error is that of the mean weight over the mean weight (delta method).
        """
        log_prob, std, size = self._importance(X)
        empty = np.isnan(X).all(axis=1)  # without a cell p(x) is 1, whatever the draws
        log_prob[empty], std[empty], size[empty] = 0.0, 0.0, self.n_draws
        poor = np.flatnonzero(self._is_poor(size))
        by_draws = log_prob.copy()
        for length in LENGTHS:
            if poor.size:
                n = length * self._n_temperatures
                log_prob[poor], std[poor] = self._anneal(X[poor], by_draws[poor], n)
                poor = poor[std[poor] > POOR_ERROR]
        if poor.size > TOLERATED_SHARE * len(X):
            share = poor.size / len(X)
            message = POOR.format(share=share, limit=POOR_ERROR, n_draws=self.n_draws)
            warnings.warn(message, ImportanceWarning, stacklevel=4)
        return log_prob + self.columns.log_jacobian(X), np.minimum(std, LARGEST_ERROR)

    @torch.inference_mode()
    def _importance(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return log p(x) by draws of q, its standard error and the effective number of draws."""
        noise = self.noise()
        log_prob, std, size = (np.empty(len(X)) for _ in range(3))
        for place, batch in self.blocks(X):
            q = self.model.proposal(batch)
            log_w = self.log_weights(q, batch, noise)
            for result, value in zip((log_prob, std, size), summary(log_w), strict=True):
                result[place] = value.cpu().numpy()
        return log_prob, std, size

    @gradients()
    def _anneal(
        self, X: np.ndarray, by_draws: np.ndarray, n_temperatures: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(x) of poor rows and its standard error, by chains from q to the posterior.

        Both estimates of p(x) are unbiased, so that either logarithm is too low in expectation: the
        larger one counts, and never falls below the bound of the same draws. If that of the draws
        is larger by more than two errors of the chains, these missed something, and the rest of the
        difference is part of the error.
        """
        model = in_float64(self.model)
        anneal = annealed_code_log_prob if model.family.is_discrete else annealed_log_prob
        annealed, error = np.empty(len(X)), np.empty(len(X))
        for start in range(0, len(X), ANNEALED_AT_ONCE):
            place = slice(start, start + ANNEALED_AT_ONCE)
            batch = as_batch(X[place], self.columns, model.likelihood.offset)
            estimate = anneal(model, batch, n_temperatures, self.seed)
            annealed[place], error[place] = (value.cpu().numpy() for value in estimate)
        missed = np.maximum(by_draws - annealed - 2 * error, 0.0)
        return np.maximum(annealed, by_draws), np.hypot(error, missed)

    @property
    def _n_temperatures(self) -> int:
        return max(MIN_TEMPERATURES, self.n_draws // SAMPLES_PER_TEMPERATURE)

    def _is_poor(self, size: np.ndarray | Tensor) -> Any:
        """Return which effective numbers of draws are too small to be used."""
        return size < min(POOR_SAMPLE_SIZE, self.n_draws / 2)

    def weighted_latents(self, batch: Batch, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return draws of z given the observed cells of some rows, and their weights.

        Parameters
        ----------
        batch : Batch
            Rows.
        noise : Tensor
            Of `noise`.

        Returns
        -------
        z : Tensor of shape (n_draws, n_samples, n_latents)
            Draws of the proposal; of codes that few of them fit, ends of annealed chains.
        share : Tensor of shape (n_draws, n_samples)
            Their weights, which add up to 1, float64.
        """
        q = self.model.proposal(batch)
        z, share = q.draw(noise), torch.softmax(self.log_weights(q, batch, noise), 0)
        if not self.model.family.is_discrete:
            return z, share
        poor = self._is_poor(1 / share.square().sum(0)).nonzero()[:, 0]
        if len(poor):
            z = z.expand(len(share), batch.n_samples, -1).clone()
            path = AnnealedCodes.to_posterior(self.model, batch.take(poor))
            generator = torch.Generator().manual_seed(self.seed)
            draws = path.posterior_draws(self.n_draws, self._n_temperatures, generator)
            z[:, poor] = draws.to(z)
            share[:, poor] = 1 / self.n_draws
        return z, share

    @torch.inference_mode()
    def elbo_terms(self, X: np.ndarray) -> ElboTerms:
        """Return the terms of the bound, in the units of the data, float64.

        KL and entropy are exact. The bound is the mean of log w, not of log p(x | z): the two
        have the same expectation, but the first has no noise where q is exact and, being taken
        over the same draws, never exceeds `log_prob`.
        """
        noise = self.noise()
        bound, kl, entropy = (np.empty(len(X)) for _ in range(3))
        for place, batch in self.blocks(X):
            q = self.model.encode(batch.targets, batch.mask)
            log_w = self.log_weights(q, batch, noise)
            found = log_w.mean(0), q.kl().clamp_min(0.0), q.entropy()
            for result, value in zip((bound, kl, entropy), found, strict=True):
                result[place] = value.cpu().numpy()
        empty = np.isnan(X).all(axis=1)
        bound = np.where(empty, -kl, bound) + self.columns.log_jacobian(X)
        return ElboTerms(bound + kl, kl, bound - entropy, entropy)

    @torch.inference_mode()
    def bound(self, X: np.ndarray, objective: str) -> np.ndarray:
        """Return the bound that was climbed, by `n_draws` draws, in the units of the data."""
        noise, result = self.noise(), np.empty(len(X))
        for place, batch in self.blocks(X):
            q = self.model.proposal(batch)
            log_w = self.log_weights(q, batch, noise)
            if objective == "iwae":
                value = torch.logsumexp(log_w, 0) - math.log(self.n_draws)
            else:
                value = log_w.mean(0)
            result[place] = value.cpu().numpy()
        return result + self.columns.log_jacobian(X)

    @torch.inference_mode()
    def posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of q, shape (n_samples, n_latents) each."""
        shape = len(X), self.model.n_latents
        mean, std = np.empty(shape), np.empty(shape)
        for start in range(0, len(X), DECODED_AT_ONCE):
            place = slice(start, start + DECODED_AT_ONCE)
            batch = as_batch(X[place], self.columns, self._like)
            q = self.model.encode(batch.targets, batch.mask)
            mean[place] = q.mean.cpu().numpy()
            std[place] = q.std.cpu().numpy()
        return mean, std

    @torch.inference_mode()
    def expectation(self, X: np.ndarray) -> np.ndarray:
        """Return E[x | observed cells], in the units of the data (Mattei and Frellsen 2019)."""
        noise, result = self.noise(), np.empty(X.shape)
        for place, batch in self.blocks(X):
            z, share = self.weighted_latents(batch, noise)
            average = self.model.likelihood.average(self.model.decode(z), share.to(self._like))
            result[place] = average.cpu().numpy()
        return self.columns.restore(result)

    @torch.inference_mode()
    def draw_cells(self, X: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
        """Return draws of rows given their observed cells, (n_draws, n, p), in their units.

        The latents are resampled from the weighted draws (Mattei and Frellsen 2019).
        """
        noise, result = self.noise(), np.empty((n_draws, *X.shape))
        generator = torch.Generator(self._like.device).manual_seed(seed)
        for place, batch in self.blocks(X):
            z, share = self.weighted_latents(batch, noise)
            index = torch.multinomial(share.T, n_draws, replacement=True, generator=generator).T
            z = z.gather(0, index[..., None].expand(-1, -1, self.model.n_latents))
            size = max(1, DECODED_AT_ONCE // batch.n_samples)
            for start in range(0, n_draws, size):
                latents = z[start : start + size].flatten(0, 1)
                x = self.model.likelihood.sample(self.model.decode(latents), generator)
                cells = self.columns.restore(x.cpu().numpy())
                result[start : start + size, place] = cells.reshape(-1, batch.n_samples, X.shape[1])
        return result


def summary(log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log mean weight, its standard error and the effective number of draws.

    The log-weights have shape (n_draws, n_samples), the results (n_samples,); the effective number
    is (sum w)^2 / sum w^2.
    """
    n_draws = len(log_w)
    log_prob = torch.logsumexp(log_w, 0) - math.log(n_draws)
    relative = torch.exp(log_w - log_prob)
    size = relative.sum(0) ** 2 / relative.square().sum(0)
    if n_draws == 1:
        return log_prob, torch.full_like(log_prob, math.nan), size
    return log_prob, relative.std(0) / math.sqrt(n_draws), size
