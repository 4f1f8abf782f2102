"""K Gaussians side by side: one for `GaussianMLE`, several for a mixture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np

from skelbo.data.rows import Block
from skelbo.gaussian.block_density import BlockDensity, CompletedDensity
from skelbo.gaussian.conditional import conditionals
from skelbo.gaussian.covariance import Covariance, CovarianceStructure
from skelbo.gaussian.exponential_family import NaturalParameters
from skelbo.gaussian.hybrid_form import HybridForm
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

    def about(self, origin: np.ndarray) -> Components:
        """Return the Gaussians about `origin`, given about the present one."""
        return replace(self, means=self.means - origin)

    def centre(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean of a mixture with these weights, (n_features,)."""
        return np.average(self.means, 0, weights)

    def take(self, which: np.ndarray) -> Components:
        """Return some of the Gaussians, by number, in this order."""
        covariance = self.covariance
        if not covariance.structure.shared:
            covariance = covariance.take(which)
        return Components(self.means[which], covariance)

    def weighted(self, log_weights: np.ndarray) -> WeightedGaussians:
        """Return the Gaussians with the logarithms of their probabilities, (n_components,)."""
        return WeightedGaussians(self, log_weights)

    def check(self, X: np.ndarray) -> None:
        """Accept every table: all cells have a density."""

    @property
    def floored(self) -> np.ndarray:
        """Mask of the covariances that had to be altered, (n_components or 1,)."""
        return self.covariance.floored

    @property
    def is_regular(self) -> bool:
        """True if no covariance had to be altered to become regular."""
        return not self.floored.any()

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

    def aligned(self, moments: Moments) -> Moments:
        """Return the moments that these were estimated from; see `Covariance.aligned`."""
        return self.covariance.aligned(moments)

    def expected_cells(self, block: Block, resp: np.ndarray) -> np.ndarray:
        """Return E[x | observed cells], (n_rows, n_features), given `resp` (K, n_rows)."""
        if block.observed is None:
            return block.values.T
        return np.einsum("kn,kpn->np", resp, self.density(block).values)

    def draw_cells(
        self, X: np.ndarray, labels: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw missing cells given the observed ones, from the Gaussian that each label names.

        Rows, (n_rows, n_features), are about the origin; observed cells stay as they are.
        """
        result, covariances = X.copy(), self.covariance.dense(*self.means.shape)
        for k in np.unique(labels):
            rows = np.flatnonzero(labels == k)
            for given in conditionals(X[rows], self.means[k], covariances[k]):
                cells = given.mean + rng.standard_normal(given.mean.shape) @ given.root.T
                result[np.ix_(rows[given.rows], given.missing)] = cells
        return result

    def sample(self, labels: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        """Draw a row from the Gaussian that each label names, (n_rows, n_features)."""
        noise = rng.standard_normal((len(labels), self.means.shape[1]))
        X = self.means[labels]
        for k in range(len(self.means)):
            X[labels == k] += self.covariance.color(noise[labels == k], k)
        return X

    def to_vector(self, units: np.ndarray) -> np.ndarray:
        """Return unconstrained coordinates of means and covariance, columns being in `units`."""
        return np.concatenate([(self.means / units).ravel(), self.covariance.to_vector(units)])

    def from_vector(self, vector: np.ndarray, units: np.ndarray) -> Components | None:
        """Return the Gaussians with these coordinates; None if a covariance is singular."""
        means, rest = vector[: self.means.size], vector[self.means.size :]
        covariance = self.covariance.structure.from_vector(rest, len(self.means), units)
        if covariance is None:
            return None
        return Components(means.reshape(self.means.shape) * units, covariance)

    @property
    def cells(self) -> tuple[int, int | None]:
        """Sizes of the temporaries of a row in an E-step: complete, and incomplete."""
        return self.covariance.structure.row_cells(*self.means.shape)


@dataclass(frozen=True)
class WeightedGaussians:
    """K Gaussians with their probabilities, in the form that suits a block of rows.

    Attributes
    ----------
    components : Components
    log_weights : ndarray of shape (n_components,)
        Logarithms of the probabilities.
    """

    components: Components
    log_weights: np.ndarray

    @cached_property
    def natural(self) -> NaturalParameters | None:
        """The natural parameters; None where they would lose digits or save nothing."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.components.covariance.natural(self.components.means, self.log_weights)

    @cached_property
    def hybrid(self) -> HybridForm | None:
        """The components in two forms; None where one suits all."""
        with np.errstate(over="ignore", invalid="ignore"):
            means, covariance = self.components.means, self.components.covariance
            return HybridForm.of(means, covariance, self.log_weights)

    def density(self, block: Block) -> BlockDensity:
        """Return densities and moments of a block of rows."""
        form = self.natural or self.hybrid
        complete = block.observed is None
        if form is not None and complete and block.once(Block.largest) < form.reach:
            return form.density(block)
        return self.components.density(block, self.log_weights)
