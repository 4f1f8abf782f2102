"""Mixtures of which some components lose no digits in natural parameters, and others do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skelbo.data.rows import Block
from skelbo.gaussian.block_density import BlockDensity
from skelbo.gaussian.covariance import Covariance
from skelbo.gaussian.exponential_family import SAFE_TERMS, NaturalDensity, NaturalParameters
from skelbo.gaussian.moments import Moments


@dataclass(frozen=True)
class HybridForm:
    """K weighted Gaussians, each in natural parameters where these lose no digits.

    Attributes
    ----------
    natural : NaturalParameters
        All components, with zeros in place of the unsafe ones.
    unsafe : ndarray of int, shape (n_unsafe,)
        Components whose natural parameters lose digits, such as one that has collapsed far from
        the origin.
    means : ndarray of shape (n_unsafe, n_features)
        Their means.
    covariance : Covariance
        Their covariances.
    log_weights : ndarray of shape (n_unsafe,)
        Logarithms of their probabilities.
    """

    natural: NaturalParameters
    unsafe: np.ndarray
    means: np.ndarray
    covariance: Covariance
    log_weights: np.ndarray

    @classmethod
    def of(
        cls, means: np.ndarray, covariance: Covariance, log_weights: np.ndarray
    ) -> HybridForm | None:
        """Divide components by the form that suits them; None if one form suits all."""
        safe = covariance.cancellation_size(means) < SAFE_TERMS
        if covariance.structure.shared or safe.all() or not safe.any():
            return None
        natural = covariance.take(safe).natural(means[safe], log_weights[safe])
        if natural is None:
            return None
        eta = np.zeros((len(means), natural.eta.shape[1]))
        eta[safe] = natural.eta
        natural = replace(natural, eta=eta)
        unsafe = np.flatnonzero(~safe)
        return cls(natural, unsafe, means[unsafe], covariance.take(unsafe), log_weights[~safe])

    @property
    def reach(self) -> float:
        """Largest cell that does not overflow."""
        return self.natural.reach

    def density(self, block: Block) -> HybridDensity:
        """Return densities and moments of a block of complete rows."""
        others = self.covariance.density(self.means, block, self.log_weights)
        return HybridDensity(self.natural.density(block), self.unsafe, others)


@dataclass(frozen=True)
class HybridDensity:
    """Densities and moments of a block of complete rows, components being in two forms."""

    natural: NaturalDensity
    unsafe: np.ndarray
    others: BlockDensity

    def log_joint(self) -> np.ndarray:
        """Return log p(x, z = k), (K, n), in nats."""
        log_joint = self.natural.log_joint()
        log_joint[self.unsafe] = self.others.log_joint()
        return log_joint

    def whole_log_joint(self) -> np.ndarray:
        """Return log p(x, z = k) of every component, however small beside the others."""
        log_joint = self.natural.log_joint()
        log_joint[self.unsafe] = self.others.whole_log_joint()
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
