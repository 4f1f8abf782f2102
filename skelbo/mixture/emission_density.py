"""Densities and expected statistics of a block of rows with mixed columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skelbo.data.rows import Block, over_rows
from skelbo.gaussian.block_density import BlockDensity
from skelbo.gaussian.components import WeightedGaussians
from skelbo.gaussian.moments import Moments
from skelbo.likelihoods.component_table import with_infinity
from skelbo.mixture.emission_layout import EmissionLayout


@dataclass(frozen=True)
class EmissionStatistics:
    """Expected statistics of rows given their components; additive over rows.

    Attributes
    ----------
    weight : ndarray of shape (n_components,)
        Sums of frequency weights times responsibilities.
    moments : Moments or None
        Of the block of Gaussian columns; None where there is none.
    sums : ndarray of shape (n_components, n_statistics)
        Sums of the sufficient statistics of the other columns.
    """

    weight: np.ndarray
    moments: Moments | None
    sums: np.ndarray

    def __add__(self, other: EmissionStatistics) -> EmissionStatistics:
        moments = None
        if self.moments is not None and other.moments is not None:
            moments = self.moments + other.moments
        return EmissionStatistics(self.weight + other.weight, moments, self.sums + other.sums)

    def scaled(self, factor: float) -> EmissionStatistics:
        """Return the statistics of the same rows with all weights times `factor`."""
        moments = None if self.moments is None else self.moments.scaled(factor)
        return EmissionStatistics(factor * self.weight, moments, factor * self.sums)

    def take(self, which: np.ndarray) -> EmissionStatistics:
        """Return the statistics of some components, by number, in this order."""
        moments = None if self.moments is None else self.moments.take(which)
        return EmissionStatistics(self.weight[which], moments, self.sums[which])


@dataclass(frozen=True)
class EmissionDensity:
    """Densities and statistics of a block: those of Gaussians times those of the other columns.

    It is a `BlockDensity`. No component is left out of `log_joint`, however small its Gaussian:
    the other columns may make up for it.

    Attributes
    ----------
    layout : EmissionLayout
        With columns that are not Gaussian.
    block : Block
    log_weights : ndarray of shape (n_components,)
    natural : ndarray of shape (n_components, n_statistics)
        Natural parameters of the other columns.
    gaussian : BlockDensity or None
        Of the Gaussian columns, weights included.
    """

    layout: EmissionLayout
    block: Block
    log_weights: np.ndarray
    natural: np.ndarray
    gaussian: BlockDensity | None

    @cached_property
    def statistics(self) -> np.ndarray:
        """t(x) of the other columns, (n_statistics, n_rows)."""
        return self.layout.statistics(self.block)

    def log_joint(self) -> np.ndarray:
        """Return log p(x, z = k) - h(x), (n_components, n_rows), in nats."""
        products = np.dot(self.natural, self.statistics)
        log_joint = with_infinity(products, self.natural)
        if self.gaussian is None:
            log_joint += self.log_weights[:, None]
        else:
            log_joint += self.gaussian.whole_log_joint()
        return log_joint

    def whole_log_joint(self) -> np.ndarray:
        """Return the same: no component is left out."""
        return self.log_joint()

    def log_base(self) -> np.ndarray:
        """Return h(x), (n_rows,), in nats."""
        base = self.layout.log_base(self.block)
        return base if self.gaussian is None else base + self.gaussian.log_base()

    def total_log_base(self) -> float:
        """Return the weighted sum of h(x) over the rows, in nats."""
        total = float(self.block.weights @ self.layout.log_base(self.block))
        return total if self.gaussian is None else total + self.gaussian.total_log_base()

    def moments(self, weights: np.ndarray) -> EmissionStatistics:
        """Return the expected statistics of the rows, weighted (n_components, n_rows)."""
        moments = None if self.gaussian is None else self.gaussian.moments(weights)
        weight = np.add.reduce(weights, axis=1) if moments is None else moments.weight
        return EmissionStatistics(weight, moments, over_rows(weights, self.statistics))


@dataclass(frozen=True)
class WeightedTable:
    """Emissions, of which not all columns are Gaussian, with their probabilities.

    Attributes
    ----------
    layout : EmissionLayout
    natural : ndarray of shape (n_components, n_statistics)
        Natural parameters of the columns that are not Gaussian.
    log_weights : ndarray of shape (n_components,)
    gaussian : WeightedGaussians or None
        Of the Gaussian columns.
    """

    layout: EmissionLayout
    natural: np.ndarray
    log_weights: np.ndarray
    gaussian: WeightedGaussians | None

    def density(self, block: Block) -> EmissionDensity:
        """Return densities and statistics of a block of rows."""
        gaussian = None
        if self.gaussian is not None:
            gaussian = self.gaussian.density(self.layout.gaussian_block(block))
        return EmissionDensity(self.layout, block, self.log_weights, self.natural, gaussian)
