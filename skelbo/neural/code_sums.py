r"""Exact sums over all code vectors of a VQ-VAE: log p(x), posterior expectations, the bound.

.. math:: \log p(x) = \log \sum_z p(z)\, p(x \mid z)

What the decoder makes of a code vector does not depend on x: all of them are decoded once for a
table, and log p(x | z) of all rows is a product of matrices wherever the likelihood of a column is
linear in statistics of x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skelbo.elbo import ElboTerms
from skelbo.neural.data.batches import Batch, as_batch
from skelbo.neural.data.columns import Columns
from skelbo.neural.log_marginal import WeightedDraws
from skelbo.neural.model.codes import CodeFamily
from skelbo.neural.model.column_likelihoods import CodeColumns
from skelbo.neural.model.networks import AutoEncoder
from skelbo.neural.model.row_design import RowDesign
from skelbo.neural.model.table_likelihood import TableLikelihood

# Code vectors, and code vectors times rows, in one operation.
DECODED_AT_ONCE = 4096
CELLS_AT_ONCE = 2**21


@dataclass(frozen=True)
class CodeSums:
    """Sums over all code vectors for the rows of a table.

    Attributes
    ----------
    model : AutoEncoder
        Both networks, with a `CodeFamily`, in evaluation mode.
    columns : Columns
        Units of the data.
    """

    model: AutoEncoder
    columns: Columns

    @property
    def _family(self) -> CodeFamily:
        family = self.model.family
        assert isinstance(family, CodeFamily)
        return family

    def batch(self, X: np.ndarray) -> Batch:
        """Return rows in the units of the network."""
        return as_batch(X, self.columns, self.model.likelihood.offset)

    def code_vectors(self) -> Iterator[Tensor]:
        """Yield all code vectors in lexicographic order, int, shape (n_vectors, n_positions)."""
        family = self._family
        powers = family.n_codes ** torch.arange(family.n_latents - 1, -1, -1)
        powers = powers.to(family.codebook.device)
        total = family.n_codes**family.n_latents
        for start in range(0, total, DECODED_AT_ONCE):
            places = torch.arange(start, min(start + DECODED_AT_ONCE, total), device=powers.device)
            yield places[:, None] // powers % family.n_codes

    @torch.inference_mode()
    def total(
        self, X: np.ndarray, statistic: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> Total:
        """Return the sum of p(x, z) over all z, and the mean of a statistic of z under p(z | x).

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        statistic : callable, optional
            Maps code vectors (n_vectors, n_positions) and the decoder's outputs at them to values
            (n_vectors, n_values).

        Returns
        -------
        Total
            Of each row.
        """
        batch, family, n = self.batch(X), self._family, len(X)
        rows = RowDesign.of(self.model.likelihood, batch)
        height = torch.full((n,), -math.inf, dtype=torch.float64, device=batch.targets.device)
        mass, mean = torch.zeros_like(height), None
        for codes in self.code_vectors():
            outputs = self.model.decode(codes.to(batch.targets))
            log_prior = family.prior.log_prob(codes).double()
            factors = rows.factors(outputs)
            values = None if statistic is None else statistic(codes, outputs).double()
            if values is not None and mean is None:
                mean = values.new_zeros(n, values.shape[1])
            for place in _places(n, len(codes)):
                log_joint = rows.log_prob(outputs, factors, place).add_(log_prior)
                top = torch.maximum(height[place], log_joint.amax(1))
                shrunk = torch.exp(height[place] - top)
                weights = log_joint.sub_(top[:, None]).exp_()
                height[place] = top
                mass[place] = mass[place] * shrunk + weights.sum(1)
                if mean is not None and values is not None:
                    mean[place] = mean[place] * shrunk[:, None] + weights @ values
        mean = None if mean is None else mean / mass[:, None]
        return Total(height, mass, rows.constant, mean)

    @torch.inference_mode()
    def draw_codes(self, X: np.ndarray, n_draws: int, generator: torch.Generator) -> Tensor:
        """Return draws of p(z | x), int, shape (n_draws, n_samples, n_positions).

        Each block of code vectors takes a draw over with its share of the mass so far.
        """
        batch, family, n = self.batch(X), self._family, len(X)
        rows = RowDesign.of(self.model.likelihood, batch)
        height = torch.full((n,), -math.inf, dtype=torch.float64, device=batch.targets.device)
        mass = torch.zeros_like(height)
        drawn = torch.zeros(n_draws, n, family.n_latents, dtype=torch.long, device=height.device)
        for codes in self.code_vectors():
            outputs = self.model.decode(codes.to(batch.targets))
            log_prior, factors = family.prior.log_prob(codes).double(), rows.factors(outputs)
            for place in _places(n, len(codes)):
                log_joint = rows.log_prob(outputs, factors, place).add_(log_prior)
                top = torch.maximum(height[place], log_joint.amax(1))
                inside = torch.exp(log_joint - top[:, None]).cumsum(1)
                mass[place] = mass[place] * torch.exp(height[place] - top) + inside[:, -1]
                height[place] = top
                shape, device = (n_draws, len(inside)), generator.device
                target = torch.rand(shape, dtype=torch.float64, device=device, generator=generator)
                # A uniform point of the mass so far: the last part of it is this block's.
                target = mass[place] - (target.to(mass) * mass[place])
                before = mass[place] - inside[:, -1]
                index = torch.searchsorted(inside, (target - before).T.contiguous())
                chosen = codes[index.clamp(max=len(codes) - 1).T]
                taken = (target > before)[..., None]
                drawn[:, place] = torch.where(taken, chosen, drawn[:, place])
        return drawn

    def draw_cells(self, X: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
        """Return draws of rows given their observed cells, (n_draws, n, p), in their units."""
        like = self.model.likelihood.offset
        generator = torch.Generator(like.device).manual_seed(seed)
        result = np.empty((n_draws, *X.shape))
        for i, codes in enumerate(self.draw_codes(X, n_draws, generator)):
            with torch.inference_mode():
                x = self.model.likelihood.sample(self.model.decode(codes.to(like)), generator)
            result[i] = self.columns.restore(x.cpu().numpy())
        return result

    def log_max_resp(self, X: np.ndarray) -> np.ndarray:
        """Return log max_z p(z | x) over all code vectors."""
        return -self.total(X).mass.log().cpu().numpy()

    def log_prob(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(x), in the units of the data, and zeros: it is exact."""
        log_prob = self.total(X).log_prob + self.columns.log_jacobian(X)
        log_prob[np.isnan(X).all(axis=1)] = 0.0
        return log_prob, np.zeros(len(X))

    def code_proba(self, X: np.ndarray) -> np.ndarray:
        """Return p(z_c = k | x), shape (n_samples, n_positions, n_codes)."""
        family = self._family

        def indicators(codes: Tensor, outputs: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(codes, family.n_codes).flatten(1)

        shape = len(X), family.n_latents, family.n_codes
        return self.total(X, indicators).expectation.reshape(shape)

    def expected_cells(self, X: np.ndarray) -> np.ndarray:
        """Return E[x | observed cells], in the units of the data; of codes the likeliest one."""
        likelihood = self.model.likelihood
        total = self.total(X, lambda codes, outputs: _moments(likelihood, outputs))
        return self.columns.restore(_cells(likelihood, total.expectation))

    @torch.inference_mode()
    def hard_terms(self, X: np.ndarray) -> ElboTerms:
        """Return the terms of the bound of hard codes, in the units of the data, float64."""
        batch = self.batch(X)
        codes = torch.cat(
            [self.model.encode(b.targets, b.mask).mean for b in batch.slices(DECODED_AT_ONCE)]
        )
        rows = RowDesign.of(self.model.likelihood, batch)
        log_prob = rows.log_prob_of_each(self.model.decode(codes))
        log_prior = self._family.prior.log_prob(codes).double()
        return self._terms(X, rows, log_prob, log_prior, torch.zeros_like(log_prob))

    def _terms(
        self, X: np.ndarray, rows: RowDesign, log_prob: Tensor, log_prior: Tensor, entropy: Tensor
    ) -> ElboTerms:
        """Return the terms from means under q, without what depends on x alone."""
        jacobian = self.columns.log_jacobian(X)
        reconstruction, energy = (
            (mean + rows.constant).cpu().numpy() + jacobian
            for mean in (log_prob, log_prob + log_prior)
        )
        kl = (-entropy - log_prior).clamp_min(0.0).cpu().numpy()
        return ElboTerms(reconstruction, kl, energy, entropy.cpu().numpy())

    @torch.inference_mode()
    def sampled_terms(self, X: np.ndarray, noise: Tensor) -> ElboTerms:
        """Return the terms of the bound of soft codes, means over draws of q.

        The noise has the shape (n_draws, 1, n_positions + 1); the entropy is exact.
        """
        family, n = self._family, len(X)
        means = torch.zeros(3, n, dtype=torch.float64, device=noise.device)
        batch = self.batch(X)
        size = max(1, DECODED_AT_ONCE // len(noise))
        for i, rows in enumerate(batch.slices(size)):
            place = slice(i * size, (i + 1) * size)
            q = self.model.encode(rows.targets, rows.mask)
            z = q.draw(noise)
            outputs = self.model.decode(z)
            evaluation = self.model.likelihood.evaluate(outputs, rows.targets, rows.mask)
            means[0, place] = evaluation.log_prob.double().mean(0)
            means[1, place] = family.prior.log_prob(z).double().mean(0)
            means[2, place] = q.entropy().double()
        log_prob, log_prior, entropy = means
        empty = RowDesign.of(self.model.likelihood, batch).without_constant()
        return self._terms(X, empty, log_prob, log_prior, entropy)

    @torch.inference_mode()
    def sampled_proba(self, X: np.ndarray, draws: WeightedDraws) -> np.ndarray:
        """Return p(z_c = k | x), shape (n_samples, n_positions, n_codes), by weighted draws."""
        family, noise = self._family, draws.noise()
        proba = np.empty((len(X), family.n_latents, family.n_codes))
        for place, batch in draws.blocks(X):
            z, share = draws.weighted_latents(batch, noise)
            codes = torch.nn.functional.one_hot(z.long(), family.n_codes)
            proba[place] = torch.einsum("sn,snck->nck", share, codes.to(share)).cpu().numpy()
        return proba

    @torch.inference_mode()
    def soft_terms(self, X: np.ndarray) -> ElboTerms:
        """Return the terms of the bound of soft codes: exact means over all code vectors."""
        batch, family = self.batch(X), self._family
        parts = batch.slices(DECODED_AT_ONCE)
        log_soft = torch.cat([family.q(self.model.code(b.targets, b.mask)).log_soft for b in parts])
        log_soft = log_soft.double()
        rows, n = RowDesign.of(self.model.likelihood, batch), len(X)
        reconstruction, log_prior = log_soft.new_zeros(n), log_soft.new_zeros(n)
        for codes in self.code_vectors():
            outputs = self.model.decode(codes.to(batch.targets))
            prior, factors = family.prior.log_prob(codes).double(), rows.factors(outputs)
            for place in _places(n, len(codes)):
                terms = [log_soft[place, c][:, codes[:, c]] for c in range(codes.shape[1])]
                q = torch.stack(terms).sum(0).exp_()
                log_prior[place] += q @ prior
                reconstruction[place] += (q * rows.log_prob(outputs, factors, place)).sum(1)
        entropy = -(log_soft.exp() * log_soft).sum((1, 2))
        return self._terms(X, rows, reconstruction, log_prior, entropy)


@dataclass(frozen=True)
class Total:
    """Sum of p(x, z) over all z for each of some rows.

    Attributes
    ----------
    height : Tensor of shape (n_samples,)
        Largest log p(x, z), without what depends on x alone, in the units of the network.
    mass : Tensor of shape (n_samples,)
        Sum of p(x, z) over its largest term.
    constant : Tensor of shape (n_samples,)
        What depends on x alone.
    mean : Tensor of shape (n_samples, n_values) or None
        Mean of the statistic under p(z | x).
    """

    height: Tensor
    mass: Tensor
    constant: Tensor
    mean: Tensor | None

    @property
    def log_prob(self) -> np.ndarray:
        """Logarithm of the sum, log p(x), shape (n_samples,), in the units of the network."""
        return (self.height + self.mass.log() + self.constant).cpu().numpy()

    @property
    def expectation(self) -> np.ndarray:
        """Mean of the statistic, shape (n_samples, n_values)."""
        assert self.mean is not None
        return self.mean.cpu().numpy()


def _places(n_rows: int, n_vectors: int) -> Iterator[slice]:
    """Yield the rows in blocks, for tables of rows times code vectors."""
    size = max(1, CELLS_AT_ONCE // n_vectors)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def _moments(likelihood: TableLikelihood, outputs: Tensor) -> Tensor:
    """Return E[x | z] of the columns, group by group; of codes their probabilities."""
    found = []
    for group, _, part in likelihood.parts(outputs):
        if isinstance(group, CodeColumns):
            found.append(torch.softmax(group.predictor(part), -1).flatten(1))
        else:
            found.append(group.mean(part))
    return torch.cat(found, 1)


def _cells(likelihood: TableLikelihood, moments: np.ndarray) -> np.ndarray:
    """Return the columns in their order from means of `_moments`; of codes the likeliest one."""
    cells, start = np.empty((len(moments), likelihood.n_features)), 0
    for kind, group in likelihood.groups.items():
        members = likelihood.index(kind).cpu().numpy()
        if isinstance(group, CodeColumns):
            shape = tuple(group.exists.shape)
            end = start + shape[0] * shape[1]
            cells[:, members] = moments[:, start:end].reshape(-1, *shape).argmax(-1)
        else:
            end = start + len(members)
            cells[:, members] = moments[:, start:end]
        start = end
    return cells
