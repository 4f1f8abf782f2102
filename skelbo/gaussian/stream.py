"""A stream of rows as stepwise EM remembers it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skelbo.elbo import Ascent
from skelbo.gaussian.mixture import Mixture
from skelbo.gaussian.moments import Moments
from skelbo.gaussian.regularization import Columns, Regularization
from skelbo.rows import Rows, RowSource

# Exponent of the step sizes of stepwise EM (Cappe and Moulines 2009). The first rows are fitted
# whole, so that there is no bad beginning to be forgotten fast.
FORGETTING = 0.8
# Where theta is by then decides near which mode a stream ends: the first rows are kept, and fitted
# from this many starts each time they have doubled, until there are this many, or this many a
# component.
EARLY_STARTS = 3
EARLY_ROWS, EARLY_ROWS_PER_COMPONENT = 4096, 64


@dataclass(frozen=True)
class EarlyRows:
    """The first rows of a stream, in memory.

    Attributes
    ----------
    batches : tuple of Rows
        Copies of the batches.
    n_rows, fitted : int
        How many rows there are, and how many of them have been fitted whole.
    """

    batches: tuple[Rows, ...] = ()
    n_rows: int = 0
    fitted: int = 0

    def joined(self, batch: Rows) -> EarlyRows:
        """Return these rows and those of another batch."""
        weights = None if batch.weights is None else np.array(batch.weights)
        copied = Rows(np.array(batch.X), weights)
        return EarlyRows((*self.batches, copied), self.n_rows + batch.n_samples, self.fitted)

    def all_fitted(self) -> EarlyRows:
        """Return the same rows, all of them fitted."""
        return replace(self, fitted=self.n_rows)

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray | None]:
        """All rows (n_rows, n_features) and their weights, None where all are one."""
        X = np.concatenate([batch.X for batch in self.batches])
        if all(batch.weights is None for batch in self.batches):
            return X, None
        parts = [np.ones(len(b.X)) if b.weights is None else b.weights for b in self.batches]
        return X, np.concatenate(parts)

    def enough(self, n_components: int) -> bool:
        """Tell whether no more rows need be kept."""
        return self.n_rows >= max(EARLY_ROWS, EARLY_ROWS_PER_COMPONENT * n_components)

    def due(self, n_components: int) -> bool:
        """Tell whether to fit them whole."""
        return self.n_rows >= 2 * self.fitted or self.enough(n_components)


@dataclass(frozen=True)
class Stream:
    """What is known of the rows so far; immutable.

    Attributes
    ----------
    moments : Moments
        Expected moments, per row.
    weight : float
        Number of rows.
    columns : Columns
        What the first rows looked like.
    early : EarlyRows or None
        The rows themselves, while they are few.
    """

    moments: Moments
    weight: float
    columns: Columns
    early: EarlyRows | None = None

    def step(
        self, theta: Mixture, rows: RowSource, regularization: Regularization
    ) -> tuple[Ascent, Stream]:
        """Take a step of stepwise EM from theta; return it, with the bound of these rows."""
        stream = self.moved(theta.e_step(rows)[1], rows.total_weight)
        theta = theta.m_step(stream.moments, regularization)
        bound = theta.e_step(rows)[0]
        aligned = stream.moments.aligned(stream.moments)
        return Ascent(theta, bound, (bound,), True), replace(stream, moments=aligned)

    def moved(self, moments: Moments, weight: float) -> Stream:
        """Step towards the expected moments of a batch, given as a sum over its rows."""
        size = (1 + self.weight / weight) ** -FORGETTING
        known = self.moments.scaled(1 - size) + moments.scaled(size / weight)
        return replace(self, moments=known, weight=self.weight + weight)
