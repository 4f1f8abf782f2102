r"""The mixture as a model of rows x and hidden labels z.

.. math:: p(x, z = k; \theta) = \pi_k\, p_k(x)

The components :math:`p_k` are Gaussians, or those times likelihoods of other columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special

from skelbo.data.row_source import RowSource
from skelbo.data.rows import Block
from skelbo.elbo import ElboTerms
from skelbo.gaussian.block_density import BlockDensity
from skelbo.gaussian.components import Components
from skelbo.gaussian.covariance import CovarianceStructure
from skelbo.gaussian.exponential_family import NaturalParameters
from skelbo.gaussian.hybrid_form import HybridForm
from skelbo.gaussian.moments import Moments
from skelbo.gaussian.regularization import Regularization
from skelbo.mixture.log_sum_exp import normalize


@dataclass(frozen=True)
class ExpectedStatistics:
    """Result of an E-step over some rows; additive.

    Attributes
    ----------
    log_prob : float
        Weighted sum of log p(x) in nats: the bound, as q is the exact posterior.
    moments : Moments or EmissionStatistics
        Expected statistics under the posterior.
    """

    log_prob: float
    moments: Any

    def __add__(self, other: ExpectedStatistics) -> ExpectedStatistics:
        return ExpectedStatistics(self.log_prob + other.log_prob, self.moments + other.moments)


@dataclass(frozen=True)
class LabelPosterior:
    """Exact posterior of the labels of a block of rows.

    Attributes
    ----------
    log_joint : ndarray of shape (n_components, n_rows)
        log p(x, z = k; theta) in nats.
    log_prob : ndarray of shape (n_rows,)
        log p(x; theta) in nats.
    resp : ndarray of shape (n_components, n_rows)
        Responsibilities p(z = k | x; theta).
    """

    log_joint: np.ndarray
    log_prob: np.ndarray
    resp: np.ndarray


@dataclass(frozen=True)
class Mixture:
    """Parameters theta of a mixture, about the origin of the rows; immutable.

    Attributes
    ----------
    weights : ndarray of shape (n_components,)
        Probabilities of the labels.
    components : Components or Emissions
        The Gaussians, or the distributions of mixed columns. What concerns matrices alone
        (`from_moments`, `natural`, `hybrid`, `bolder`, `gradient_step`) needs Gaussians.
    """

    weights: np.ndarray
    components: Any

    @classmethod
    def from_moments(
        cls, structure: CovarianceStructure, moments: Moments, regularization: Regularization
    ) -> Mixture:
        """Return the maximum likelihood fit to moments of rows with known labels."""
        components = Components.from_moments(structure, moments, regularization)
        return cls(moments.weight / moments.weight.sum(), components)

    def about(self, origin: np.ndarray) -> Mixture:
        """Return the mixture about `origin`, given about the present one."""
        return Mixture(self.weights, self.components.about(origin))

    @property
    def is_regular(self) -> bool:
        """True if no covariance had to be altered to become regular."""
        return self.components.is_regular

    @cached_property
    def log_weights(self) -> np.ndarray:
        """Logarithms of the weights."""
        with np.errstate(divide="ignore"):
            return np.log(self.weights)

    @cached_property
    def weighted(self) -> Any:
        """The components with their weights, for densities of blocks."""
        return self.components.weighted(self.log_weights)

    @property
    def natural(self) -> NaturalParameters | None:
        """The natural parameters of Gaussians; see `WeightedGaussians`."""
        return self.weighted.natural

    @property
    def hybrid(self) -> HybridForm | None:
        """The Gaussians in two forms; see `WeightedGaussians`."""
        return self.weighted.hybrid

    def density(self, block: Block) -> BlockDensity:
        """Return densities and moments of a block of rows."""
        return self.weighted.density(block)

    def posterior(self, block: Block) -> LabelPosterior:
        """Compute q(z) = p(z | x; theta) for a block of rows."""
        density = self.density(block)
        log_joint = density.log_joint()
        resp = log_joint.copy()
        log_prob = normalize(resp, self.log_weights)
        base = density.log_base()
        return LabelPosterior(log_joint + base, log_prob + base, resp)

    def log_prob(self, block: Block) -> np.ndarray:
        """Return log p(x; theta) of a block of rows, (n,), in nats."""
        density = self.density(block)
        log_prob = normalize(density.log_joint(), self.log_weights) + density.log_base()
        log_prob[block.empty] = 0.0  # p(x) is one there, the sum of the weights only to rounding
        return log_prob

    def resp(self, block: Block) -> np.ndarray:
        """Return p(z = k | x; theta) of a block of rows, (K, n)."""
        resp = self.density(block).log_joint()
        normalize(resp, self.log_weights)
        return resp

    def labels(self, block: Block) -> np.ndarray:
        """Return the most probable component of each row of a block, (n,)."""
        log_joint = self.density(block).log_joint()
        labels = log_joint.argmax(axis=0)
        labels[np.isneginf(np.maximum.reduce(log_joint, axis=0))] = self.weights.argmax()
        return labels

    def expected(self, block: Block) -> ExpectedStatistics:
        """Return the E-step's statistics of one block."""
        density = self.density(block)
        resp = density.log_joint()
        log_prob = normalize(resp, self.log_weights, block.weights)
        bound = float(np.add.reduce(block.weights * log_prob)) + density.total_log_base()
        return ExpectedStatistics(bound, density.moments(resp))

    def e_step(self, rows: RowSource) -> tuple[float, Any]:
        """Return the bound in nats per row and the expected moments, with q = p(z | x; theta).

        With this q the gap of eq. 2 of Ding (2020) is zero: the bound is log p(X; theta).
        """
        expected = rows.total(self.expected)
        return expected.log_prob / rows.total_weight, expected.moments

    def m_step(self, moments: Any, regularization: Regularization) -> Mixture:
        """Maximise the energy, the first term of eq. 3 of Ding (2020), in closed form."""
        components = self.components.updated(moments, regularization)
        return Mixture(moments.weight / moments.weight.sum(), components)

    def bolder(self, image: Mixture, moments: Moments, regularization: Regularization) -> Mixture:
        """Return a point beyond `image`, the M-step's; see `Covariance.bolder`."""
        components = self.components.bolder(image.components, moments, regularization)
        return Mixture(image.weights, components)

    def gradient_step(self, moments: Moments, regularization: Regularization) -> Mixture:
        """Return one guarded gradient step: the M-step of generalized EM.

        The gradient of the expected log-joint is scaled by the Fisher information of the complete
        data, and the step is halved until the expected log-joint rises.
        """
        here = self.expected_log_joint(moments, regularization)
        target = moments.weight / moments.weight.sum()
        slope = np.divide(target, self.weights, out=np.ones_like(target), where=self.weights > 0)
        size = 1.0
        while size > 1e-6:
            with np.errstate(all="ignore"):  # the first, longest step may overflow
                weights = self.weights * np.exp(np.minimum(size * (slope - 1), 50.0))
                components = self.components.stepped(moments, regularization, size)
                candidate = Mixture(weights / weights.sum(), components)
                there = candidate.expected_log_joint(moments, regularization)
            if there >= here and np.isfinite(there):
                return candidate
            size /= 2
        return self

    def expected_log_joint(
        self, moments: Moments, regularization: Regularization | None = None
    ) -> float:
        """Return Q(theta), the expected log p(x, z; theta) of rows with these moments, in nats."""
        weighted = np.where(moments.weight > 0, moments.weight, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            labels = np.where(weighted > 0, weighted * np.log(self.weights), 0.0).sum()
        return float(labels) + self.components.expected_log_prob(moments, regularization)

    def total_entropy(self, block: Block) -> float:
        """Return the weighted sum over the rows of the entropy of their labels, in nats."""
        resp = self.resp(block)
        return float(block.weights @ special.entr(resp).sum(axis=0))

    def elbo_terms(self, block: Block) -> ElboTerms:
        """Return the terms of eq. 3 and 4 of Ding (2020) for a block of rows."""
        q = self.posterior(block)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_resp = np.log(q.resp)
            log_ratio = log_resp - self.log_weights[:, None]

        def expect(values: np.ndarray) -> np.ndarray:
            return np.where(q.resp > 0, q.resp * values, 0.0).sum(axis=0)

        with np.errstate(invalid="ignore"):
            return ElboTerms(
                reconstruction=expect(q.log_joint - self.log_weights[:, None]),
                kl=np.maximum(expect(log_ratio), 0.0),
                energy=expect(q.log_joint),
                entropy=-expect(log_resp),
            )

    def to_vector(self, units: np.ndarray) -> np.ndarray:
        """Return unconstrained coordinates: log-weights, then those of the components."""
        return np.concatenate([self.log_weights, self.components.to_vector(units)])

    def from_vector(self, vector: np.ndarray, units: np.ndarray) -> Mixture | None:
        """Return the mixture with these coordinates; None if the components do not exist."""
        n_components = len(self.weights)
        log_weights = vector[:n_components]
        weights = np.exp(log_weights - log_weights.max())
        components = self.components.from_vector(vector[n_components:], units)
        return None if components is None else Mixture(weights / weights.sum(), components)
