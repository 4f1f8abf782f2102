"""K Gaussians side by side: one for `GaussianMLE`, several for a mixture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from skelbo.data.rows import Block
from skelbo.gaussian.covariance import CompletedDensity, Covariance, CovarianceStructure
from skelbo.gaussian.matrices import Matrices
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
        cls, structure: CovarianceStructure, moments: Moments, regularization: Regularization
    ) -> Components:
        """Maximise the expected log-density given the moments: closed-form maximum likelihood."""
        return cls(moments.mean, structure.from_moments(moments, regularization))

    def updated(self, moments: Moments, regularization: Regularization) -> Components:
        """Return `from_moments`, except that a component without weight stays as it is."""
        structure = self.covariance.structure
        fitted = self.from_moments(structure, moments, regularization)
        if structure.shared or moments.weight.min() > 0:
            return fitted
        covariance = fitted.covariance.replaced_where(self.covariance, moments.weight <= 0)
        return Components(fitted.means, covariance)

    def bolder(
        self, image: Components, moments: Moments, regularization: Regularization
    ) -> Components:
        """Return a point beyond `image`, which `updated` gave; see `Covariance.bolder`."""
        covariance = self.covariance.bolder(image.covariance, moments, regularization)
        return replace(image, covariance=covariance)

    def stepped(self, moments: Moments, regularization: Regularization, size: float) -> Components:
        """Return a step of `size` along the natural gradient, instead of the maximum."""
        covariance = self._matrices.stepped(self._about_means(moments), regularization, size)
        return Components(self.means + size * (moments.mean - self.means), covariance)

    def expected_log_prob(
        self, moments: Moments, regularization: Regularization | None = None
    ) -> float:
        """Return the expected log-density, in nats, of rows with the given moments."""
        return self._matrices.expected_log_prob(self._about_means(moments), regularization)

    @property
    def _matrices(self) -> Matrices:
        """The covariance, of a structure that `CovarianceStructure.solvers` admits."""
        return cast(Matrices, self.covariance)

    def _about_means(self, moments: Moments) -> Moments:
        """Return the moments with our means as centres, the scatter being about them."""
        steps = moments.mean - self.means
        scatter = moments.scatter + moments.kind.of_deviations(moments.weight, steps)
        return replace(moments, mean=self.means, scatter=scatter)

    def density(self, block: Block, log_weights: np.ndarray | float = 0.0) -> CompletedDensity:
        """Return the densities of a block, one component at a time and to the last digit."""
        log_weights = np.broadcast_to(log_weights, len(self.means))
        return self.covariance.density(self.means, block, log_weights)

    @property
    def cells(self) -> tuple[int, int | None]:
        """Sizes of the temporaries of a row in an E-step: complete, and incomplete."""
        return self.covariance.structure.row_cells(*self.means.shape)
