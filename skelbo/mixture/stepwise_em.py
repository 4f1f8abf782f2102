"""Stepwise EM on a stream of rows: its state, and the first rows, which are kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.row_source import RowSource
from skelbo.data.rows import Rows
from skelbo.em.loop import Ascent
from skelbo.gaussian.regularization import Regularization
from skelbo.mixture.mixture import Mixture

# Exponent of the step sizes of stepwise EM (Cappe and Moulines 2009). The first rows are fitted
# whole, so that there is no bad beginning to be forgotten fast.
FORGETTING = 0.8
# A pass of stepwise EM is worth a few iterations of EM. The rows at the beginning decide which mode
# a stream ends at, and how near to it in directions in which EM is slow. So many rows are kept, or
# so many per component, fewer if they are wide, and fitted whole each time their number has grown
# by the factor `GROWTH`: from a few starts, the last time by way of short runs from more.
FIRST_ROWS, FIRST_ROWS_PER_COMPONENT, FIRST_CELLS = 16384, 64, 2**20
GROWTH = 4
EARLY_STARTS, LAST_STARTS = 3, 5


@dataclass(frozen=True)
class FirstRows:
    """The first rows of a stream, in memory.

    Attributes
    ----------
    size : int
        Number of rows to keep before the last fit of them.
    batches : tuple of Rows
    n_rows : int
        Number of rows so far.
    weight, fitted : float
        Sum of their weights, now and when they were last fitted whole.
    """

    size: int
    batches: tuple[Rows, ...] = ()
    n_rows: int = 0
    weight: float = 0.0
    fitted: float = 0.0

    @classmethod
    def wanted(cls, n_components: int, n_features: int) -> FirstRows:
        """Return an empty collection of the size that suits a mixture."""
        least = max(FIRST_ROWS // GROWTH, FIRST_ROWS_PER_COMPONENT * n_components)
        return cls(max(least, min(FIRST_ROWS, FIRST_CELLS // n_features)))

    def joined(self, batch: Rows) -> FirstRows:
        """Return these rows and those of a batch, which is not copied."""
        n_rows, weight = self.n_rows + batch.n_present, self.weight + batch.total_weight
        return replace(self, batches=(*self.batches, batch), n_rows=n_rows, weight=weight)

    def parts(self, batch: Rows) -> list[Rows]:
        """Split a batch that is longer than `size` where the first rows end."""
        if not self.batches or batch.n_samples <= self.size:
            return [batch]
        stop = self.size - self.n_rows
        if batch.weights is not None:
            stop = int(np.searchsorted(np.cumsum(batch.weights > 0), stop)) + 1
        parts = batch.part(0, stop), batch.part(stop, batch.n_samples)
        return [part for part in parts if part.n_present]

    def kept(self) -> FirstRows | None:
        """Return the rows with the last batch copied; None if there are enough."""
        if self.enough:
            return None
        *before, last = self.batches
        weights = None if last.weights is None else np.array(last.weights)
        batches = (*before, Rows(np.array(last.X), weights))
        return replace(self, batches=batches, fitted=self.weight if self.due else self.fitted)

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray | None]:
        """All rows (n_rows, n_features) and their weights, None where all are one."""
        if len(self.batches) == 1:
            return self.batches[0].X, self.batches[0].weights
        X = np.concatenate([batch.X for batch in self.batches])
        if all(batch.weights is None for batch in self.batches):
            return X, None
        parts = [np.ones(len(b.X)) if b.weights is None else b.weights for b in self.batches]
        return X, np.concatenate(parts)

    @property
    def enough(self) -> bool:
        """True if no more rows need be kept, by their number or their weight."""
        return max(self.weight, self.n_rows) >= self.size

    @property
    def due(self) -> bool:
        """True if all rows kept are to be fitted together now."""
        sizes = (self.size / GROWTH**power for power in range(32))
        return not self.fitted or self.enough or any(self.fitted < n <= self.weight for n in sizes)

    @property
    def n_starts(self) -> int:
        """Number of starts of a fit to the rows."""
        return LAST_STARTS if self.enough else EARLY_STARTS


@dataclass(frozen=True)
class StepwiseState:
    """The statistics of the rows so far; immutable.

    Attributes
    ----------
    moments : Moments or EmissionStatistics
        Expected statistics, per row.
    weight : float
        Number of rows.
    columns : ColumnMoments
        Means and variances of the first rows.
    first : FirstRows or None
        The rows, while they are few.
    """

    moments: Any
    weight: float
    columns: ColumnMoments
    first: FirstRows | None = None

    def step(
        self, theta: Mixture, rows: RowSource, regularization: Regularization
    ) -> tuple[Ascent, StepwiseState]:
        """Return a step of stepwise EM from theta, with the bound of these rows."""
        state = self.moved(theta.e_step(rows)[1], rows.total_weight)
        theta = theta.m_step(state.moments, regularization)
        bound = theta.e_step(rows)[0]
        aligned = theta.components.aligned(state.moments)
        return Ascent(theta, bound, (bound,), True, aligned), replace(state, moments=aligned)

    def moved(self, moments: Any, weight: float) -> StepwiseState:
        """Return the statistics moved towards those of a batch, a sum over its rows."""
        size = (1 + self.weight / weight) ** -FORGETTING
        moments_so_far = self.moments.scaled(1 - size) + moments.scaled(size / weight)
        return replace(self, moments=moments_so_far, weight=self.weight + weight)
