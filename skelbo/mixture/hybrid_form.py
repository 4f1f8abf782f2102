"""A mixture in which some components are safe to see by natural parameters, and others are not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skelbo.data.rows import Block
from skelbo.gaussian.components import Components
from skelbo.gaussian.covariance import BlockDensity
from skelbo.gaussian.exponential_family import SAFE_TERMS, NaturalDensity, NaturalParameters
from skelbo.gaussian.moments import Moments


@dataclass(frozen=True)
class Divided:
    """K weighted Gaussians, each in the form that suits it.

    Attributes
    ----------
    natural : NaturalParameters
        All components, with zeros in place of those that are not safe.
    unsafe : ndarray of int
        Which ones these are, such as one that has collapsed far from the origin.
    others : Components
        The unsafe components.
    log_weights : ndarray
        Their log-probabilities.
    """

    natural: NaturalParameters
    unsafe: np.ndarray
    others: Components
    log_weights: np.ndarray

    @classmethod
    def of(cls, components: Components, log_weights: np.ndarray) -> Divided | None:
        """Divide components, None where all belong together."""
        means, covariance = components.means, components.covariance
        safe = covariance.cancellation_size(means) < SAFE_TERMS
        if covariance.structure.shared or safe.all() or not safe.any():
            return None
        natural = covariance.take(safe).natural(means[safe], log_weights[safe])
        if natural is None:
            return None
        eta = np.zeros((len(means), natural.eta.shape[1]))
        eta[safe] = natural.eta
        others = Components(means[~safe], covariance.take(~safe))
        natural = replace(natural, eta=eta)
        return cls(natural, np.flatnonzero(~safe), others, log_weights[~safe])

    @property
    def reach(self) -> float:
        """Rows with larger cells would overflow."""
        return self.natural.reach

    def density(self, block: Block) -> DividedView:
        """Return what the components say of a block of complete rows."""
        others = self.others.density(block, self.log_weights)
        return DividedView(self.natural.density(block), self.unsafe, others)


@dataclass(frozen=True)
class DividedView:
    """A block of complete rows as seen by the components in two forms."""

    natural: NaturalDensity
    unsafe: np.ndarray
    others: BlockDensity

    def log_joint(self) -> np.ndarray:
        """Return log p(x, z = k), (K, n), in nats."""
        log_joint = self.natural.log_joint()
        log_joint[self.unsafe] = self.others.log_joint()
        return log_joint

    def log_base(self) -> float:
        """Return zero: nothing is left out of `log_joint`."""
        return 0.0

    def total_log_base(self) -> float:
        """Return zero: nothing is left out of `log_joint`."""
        return 0.0

    def moments(self, weights: np.ndarray) -> Moments:
        """Return the expected moments of the rows, weighted (K, n)."""
        moments = self.natural.moments(weights)
        others = self.others.moments(weights[self.unsafe])
        for name in "weight", "mean", "scatter":
            getattr(moments, name)[self.unsafe] = getattr(others, name)
        return moments
