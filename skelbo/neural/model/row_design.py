"""Statistics of rows in which log p(x | z) is linear: a product of matrices for many z at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.column_likelihoods import CodeColumns, GaussianColumns
from skelbo.neural.model.table_likelihood import TableLikelihood

# Cells (rows x vectors x columns) worked on at a time where no matrix product serves.
CELLS_AT_ONCE = 2**18


@dataclass(frozen=True)
class RowDesign:
    """Statistics of rows in which log p(x | z) is linear, group of columns by group.

    Attributes
    ----------
    likelihood : TableLikelihood
        Likelihoods of the columns.
    batch : Batch
        Rows in the units of the network.
    statistics : list of Tensor or None
        Of each group, shape (n_samples, n_statistics), float64; None where the likelihood is not
        linear in any.
    constant : Tensor of shape (n_samples,)
        What depends on x alone: to be added to all results at the end, as it may be large.
    """

    likelihood: TableLikelihood
    batch: Batch
    statistics: list[Tensor | None]
    constant: Tensor

    @classmethod
    def of(cls, likelihood: TableLikelihood, batch: Batch) -> RowDesign:
        """Compute the statistics of rows."""
        constant = batch.targets.new_zeros(batch.n_samples, dtype=torch.float64)
        found: list[Tensor | None] = []
        for kind, group in likelihood.groups.items():
            rows = _columns(batch, likelihood.index(kind))
            x = rows.targets.double()
            seen = None if rows.mask is None else rows.mask.double()
            found.append(_statistics(group, x, seen))
            if found[-1] is not None:
                constant = constant + _constant(group, x, seen)
        return cls(likelihood, batch, found, constant)

    def without_constant(self) -> RowDesign:
        """Return the statistics with zeros for what depends on x alone."""
        return replace(self, constant=torch.zeros_like(self.constant))

    def factors(self, outputs: Tensor) -> list[Tensor | None]:
        """Return the factors of the statistics at outputs (n_vectors, n_outputs), float64."""
        complete = self.batch.mask is None
        parts = zip(self.likelihood.parts(outputs), self.statistics, strict=True)
        return [None if s is None else _factors(g, part, complete) for (g, _, part), s in parts]

    def log_prob(
        self, outputs: Tensor, factors: list[Tensor | None], place: slice | Tensor
    ) -> Tensor:
        """Return log p(x | z) of some rows at all outputs, (n_rows, n_vectors), float64."""
        batch = self.batch.map(lambda tensor: tensor[place])
        total = self.constant.new_zeros(batch.n_samples, len(outputs))
        for (group, members, part), s, factor in zip(
            self.likelihood.parts(outputs), self.statistics, factors, strict=True
        ):
            if s is not None and factor is not None:
                total.addmm_(s[place], factor.T)
                continue
            rows, size = _columns(batch, members), max(1, CELLS_AT_ONCE // part.numel())
            for i, some in enumerate(rows.slices(size)):
                evaluation = group.evaluate(part[:, None], some.targets, some.mask)
                total[i * size : (i + 1) * size] += evaluation.log_prob.T
        return total

    def log_prob_of_each(self, outputs: Tensor) -> Tensor:
        """Return log p(x | z) of each row at the output of its own, (n_samples,), float64."""
        total = torch.zeros_like(self.constant)
        for (group, members, part), s, factor in zip(
            self.likelihood.parts(outputs), self.statistics, self.factors(outputs), strict=True
        ):
            if s is not None and factor is not None:
                total += (s * factor).sum(1)
            else:
                rows = _columns(self.batch, members)
                total += group.evaluate(part, rows.targets, rows.mask).log_prob
        return total


def _columns(batch: Batch, members: Tensor) -> Batch:
    """Return some columns of a batch."""
    mask = None if batch.mask is None else batch.mask.index_select(1, members)
    return Batch(batch.targets.index_select(1, members), mask)


def _statistics(group: Any, x: Tensor, seen: Tensor | None) -> Tensor | None:
    """Return statistics of the cells of a group, zero at missing ones; None if there are none."""
    if isinstance(group, CodeColumns):
        codes = torch.arange(group.exists.shape[1], dtype=x.dtype, device=x.device)
        hot = (x[..., None] == codes).double()
        return (hot if seen is None else hot * seen[..., None]).flatten(1)
    if not (isinstance(group, GaussianColumns) or group.likelihood.linear):
        return None
    return torch.cat([x, x.new_ones(len(x), 1) if seen is None else seen], 1)


def _factors(group: Any, outputs: Tensor, complete: bool) -> Tensor:
    """Return the factors of `_statistics`, shape (n_vectors, n_statistics)."""
    eta = group.predictor(outputs.double())
    if isinstance(group, CodeColumns):
        return torch.log_softmax(eta, -1).clamp(min=-1e30).flatten(1)
    if isinstance(group, GaussianColumns):
        slope = eta / group.variance.double()
        normalizer = 0.5 * eta * slope
    else:
        slope, normalizer = group.likelihood.linear_form(eta)
    if complete:
        normalizer = normalizer.sum(-1, keepdim=True)
    return torch.cat([slope, -normalizer], 1)


def _constant(group: Any, x: Tensor, seen: Tensor | None) -> Tensor:
    """Return the part of log p(x | z) of a group that depends on x alone, (n_samples,)."""
    if isinstance(group, GaussianColumns):
        variance = group.variance.double()
        cells = -0.5 * (x.square() / variance + torch.log(2 * math.pi * variance))
    else:
        base = group.likelihood.log_base(x)
        cells = base if isinstance(base, Tensor) else torch.full_like(x, base)
    return (cells if seen is None else cells * seen).sum(1)
