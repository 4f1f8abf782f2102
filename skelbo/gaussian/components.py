"""K Gaussians side by side: one for `GaussianMLE`, several for a mixture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skelbo.data.rows import Block
from skelbo.gaussian.covariance import BlockDensity, Covariance
from skelbo.gaussian.mahalanobis import mahalanobis_cells
from skelbo.gaussian.missing_cells import Completion, complete
from skelbo.gaussian.moments import Moments
from skelbo.gaussian.regularization import Regularization


@dataclass(frozen=True)
class Components:
    """Means and covariances of K Gaussians; immutable.

    Attributes
    ----------
    means : ndarray of shape (n_components, n_features)
        About the origin of the rows they are used with.
    covariance : Covariance
    """

    means: np.ndarray
    covariance: Covariance

    @classmethod
    def from_moments(
        cls, structure: type[Covariance], moments: Moments, regularization: Regularization
    ) -> Components:
        """Maximise the expected log-density given the moments: closed-form maximum likelihood."""
        return cls(moments.mean, structure.from_moments(moments, regularization))

    def updated(self, moments: Moments, regularization: Regularization) -> Components:
        """Return `from_moments`, except that a component without weight stays as it is."""
        fitted = self.from_moments(type(self.covariance), moments, regularization)
        if self.covariance.shared or moments.weight.min() > 0:
            return fitted
        covariance = fitted.covariance.replaced_where(self.covariance, moments.weight <= 0)
        return Components(fitted.means, covariance)

    def stepped(self, moments: Moments, regularization: Regularization, size: float) -> Components:
        """Return a step of `size` along the natural gradient, instead of the maximum."""
        covariance = self.covariance.stepped(self._about_means(moments), regularization, size)
        return Components(self.means + size * (moments.mean - self.means), covariance)

    def expected_log_prob(
        self, moments: Moments, regularization: Regularization | None = None
    ) -> float:
        """Return the expected log-density, in nats, of rows with the given moments."""
        return self.covariance.expected_log_prob(self._about_means(moments), regularization)

    def _about_means(self, moments: Moments) -> Moments:
        """Return the moments with our means as centres, the scatter being about them."""
        steps = moments.mean - self.means
        scatter = moments.scatter + moments.kind.of_deviations(moments.weight, steps)
        return replace(moments, mean=self.means, scatter=scatter)

    def density(self, block: Block, log_weights: np.ndarray | float = 0.0) -> BlockDensity:
        """Return what the components say of a block, one by one and to the last digit."""
        log_weights = np.broadcast_to(log_weights, len(self.means))
        density = self.covariance.density(self.means, block, log_weights)
        if density is not None:
            return density
        if block.observed is None:
            return ComponentDensity(self, log_weights, block.values)
        completion = complete(self.covariance, self.means, block)
        return ComponentDensity(self, log_weights, completion.values, completion)

    @property
    def cells(self) -> tuple[int, int | None]:
        """Sizes of the temporaries that a row needs in an E-step: complete, and incomplete."""
        n_components, n_features = self.means.shape
        return cells_of(n_components, n_features, type(self.covariance), self.covariance.n_factors)


def cells_of(
    n_components: int, n_features: int, structure: type[Covariance], n_factors: int = 0
) -> tuple[int, int | None]:
    """Return the sizes of the temporaries that a row needs in an E-step: complete, incomplete.

    The latter is None for matrices of (n_features, n_features).
    """
    n_statistics = structure.scatter.n_statistics(n_features)
    if not structure.scatter.worth_expanding(n_features):
        n_statistics = mahalanobis_cells(n_components, n_features)
    complete = 2 * n_components * (1 + n_factors) + n_features + n_statistics
    if structure.scatter.dense:
        return complete, None
    factors = n_components * n_factors * (1 + n_factors) + n_features * n_factors**2
    return complete, 2 * n_components * n_features + factors


@dataclass(frozen=True)
class ComponentDensity(BlockDensity):
    """A density whose moments are those of the rows, with missing cells at their expectation."""

    components: Components
    log_weights: np.ndarray
    values: np.ndarray
    completion: Completion | None = None

    @cached_property
    def log_prob(self) -> np.ndarray:  # type: ignore[override]
        """Log-density of the observed cells of each row under each component, in nats."""
        if self.completion is not None:
            return self.completion.log_prob
        return self.components.covariance.log_prob(self.values, self.components.means)

    def log_joint(self) -> np.ndarray:
        """Return log p(x, z = k), (K, n), in nats; -inf where no sum over k would show it."""
        if self.completion is not None:
            return super().log_joint()
        means = self.components.means
        return self.components.covariance.log_joint(self.values, means, self.log_weights)

    def moments(self, weights: np.ndarray) -> Moments:
        """Return the expected moments of the rows, weighted (n_components, n_rows)."""
        kind = self.components.covariance.scatter
        moments = Moments.of_block(kind, self.values, weights, self.components.means)
        if self.completion is None:
            return moments
        scatter = moments.scatter + self.completion.scatter(kind, weights)
        return replace(moments, scatter=scatter)
