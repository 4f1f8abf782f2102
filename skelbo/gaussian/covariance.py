r"""Contracts of `skelbo.gaussian`: covariance structures, fitted covariances, row densities.

A new structure is one class in one file, and one line of the table in `skelbo.gaussian.structures`.
Most derive from `Dense` or `Diagonal`, which hold the triangular factor of the precision:
:math:`\Sigma^{-1} = U U^T`, U upper triangular.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from typing import Protocol

import numpy as np

from skelbo.data.rows import Block
from skelbo.gaussian.exponential_family import NaturalParameters
from skelbo.gaussian.moments import Moments, Scatter
from skelbo.gaussian.regularization import FLOOR, Regularization


class CovarianceStructure(Protocol):
    """Structure of the covariances of K Gaussians in p columns: a class, or an object with options.

    Attributes
    ----------
    scatter : Scatter
        What the M-step needs of the rows.
    shared, isotropic : bool
        Whether all components share one covariance, and all columns one variance.
    state_names : tuple of str
        Public arrays that `from_public_arrays` takes.
    solvers : frozenset of str
        Solvers of `EMGaussianMixture` that are implemented.
    has_bolder_step : bool
        Whether `Covariance.bolder` is implemented, for complete rows.
    """

    @property
    def scatter(self) -> Scatter: ...  # noqa: D102
    @property
    def shared(self) -> bool: ...  # noqa: D102
    @property
    def isotropic(self) -> bool: ...  # noqa: D102
    @property
    def state_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def solvers(self) -> frozenset[str]: ...  # noqa: D102
    @property
    def has_bolder_step(self) -> bool: ...  # noqa: D102

    def configured(self, p: int, n_factors: int) -> CovarianceStructure:
        """Return the structure for p columns; `n_factors` concerns those with hidden factors."""

    def label_moments(
        self, values: np.ndarray, weights: np.ndarray, means: np.ndarray, own: bool
    ) -> Moments:
        """Return moments of complete rows whose labels are known, for the first M-step.

        Parameters
        ----------
        values : ndarray of shape (n_features, n_rows)
        weights : ndarray of shape (n_components, n_rows)
        means : ndarray of shape (n_components, n_features)
        own : bool
            Whether hidden variables are found for each component by itself.
        """

    def from_moments(self, moments: Moments, regularization: Regularization) -> Covariance:
        """Maximise the expected log-density: the M-step. AscentError if that is impossible."""

    def from_precisions(self, precisions: np.ndarray, K: int, p: int) -> Covariance:
        """Build from precisions in their public shape; ValueError if not positive-definite."""

    def from_vector(self, vector: np.ndarray, K: int, units: np.ndarray) -> Covariance | None:
        """Invert `Covariance.to_vector`; None if the result is numerically singular."""

    def from_public_arrays(self, arrays: Sequence[np.ndarray], K: int, p: int) -> Covariance:
        """Rebuild from the public arrays that `state_names` names."""

    def n_parameters(self, K: int, p: int) -> int:
        """Return the number of free parameters of the covariances."""

    def shape(self, K: int, p: int) -> tuple[int, ...]:
        """Return the public shape of the covariances: shared axes are dropped."""

    def row_cells(self, K: int, p: int) -> tuple[int, int | None]:
        """Return the sizes of the temporaries of a row in an E-step: complete, and incomplete.

        The latter is None for matrices of (p, p).
        """


class Covariance(ABC):
    """Covariances of K Gaussians; an immutable dataclass of arrays with the components first.

    Attributes
    ----------
    floored : ndarray of bool, shape (n_components or 1,)
        Which covariances were singular and had to be altered.
    """

    floored: np.ndarray

    @property
    @abstractmethod
    def structure(self) -> CovarianceStructure:
        """The structure, with its options."""

    @abstractmethod
    def to_vector(self, units: np.ndarray) -> np.ndarray:
        """Return unconstrained coordinates, columns being measured in `units` (n_features,)."""

    @abstractmethod
    def log_prob(self, values: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Return log N(x; mu_k, Sigma_k) of complete rows.

        Parameters
        ----------
        values : ndarray of shape (n_features, n_rows)
        means : ndarray of shape (n_components, n_features)

        Returns
        -------
        ndarray of shape (n_components, n_rows)
            In nats.
        """

    def log_joint(
        self, values: np.ndarray, means: np.ndarray, log_weights: np.ndarray
    ) -> np.ndarray:
        """Return log p(x, z = k), (n_components, n_rows), in nats, of complete rows.

        It may be -inf for a component that no sum over those of its row would show.
        """
        return self.log_prob(values, means) + log_weights[:, None]

    @abstractmethod
    def density(self, means: np.ndarray, block: Block, log_weights: np.ndarray) -> CompletedDensity:
        """Return the densities and moments of a block of rows, complete or not."""

    def natural(self, means: np.ndarray, log_weights: np.ndarray) -> NaturalParameters | None:
        """Return the natural parameters, None where digits would cancel or nothing is gained."""
        return None

    def cancellation_size(self, means: np.ndarray) -> np.ndarray:
        """Return the size, in nats, of the terms that cancel in natural parameters.

        Shape (n_components,); infinite where nothing is gained by natural parameters.
        """
        return np.full(len(means), np.inf)

    def as_float32(self, means: np.ndarray, largest: float) -> Covariance | None:
        """Return the same for `log_joint` of float32 rows, None where that is not available.

        The terms that cancel when rows are whitened, relative to the result, are to be below
        `largest`.
        """
        return None

    @abstractmethod
    def dense(self, n_components: int, n_features: int) -> np.ndarray:
        """Return the covariances as an array (n_components, n_features, n_features)."""

    @abstractmethod
    def color(self, noise: np.ndarray, k: int) -> np.ndarray:
        """Map white rows (n_rows, n_features) to rows with the covariance of component k."""

    @abstractmethod
    def whiten(self, steps: np.ndarray, k: int) -> np.ndarray:
        """Map rows of deviations (n_rows, n_features) to white rows; the inverse of `color`."""

    @abstractmethod
    def public_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that an estimator publishes, in public shapes."""

    def aligned(self, moments: Moments) -> Moments:
        """Return the moments that this was estimated from, in the coordinates of its latents."""
        return moments

    def bolder(
        self, image: Covariance, moments: Moments, regularization: Regularization
    ) -> Covariance:
        """Return a point beyond `image`, which the M-step gave for these moments.

        The bound need not rise from here to there, but both steps have the same fixed points.
        """
        return image

    def replaced_where(self, old: Covariance, which: np.ndarray) -> Covariance:
        """Return the same with the covariances of `old` in place of some, a mask (K,)."""

        def chosen(name: str) -> np.ndarray:
            new = getattr(self, name)
            return np.where(which.reshape(-1, *[1] * (new.ndim - 1)), getattr(old, name), new)

        return type(self)(*(chosen(field.name) for field in fields(self)))  # type: ignore[arg-type]

    def take(self, which: np.ndarray) -> Covariance:
        """Return the covariances of some components, a mask (K,)."""
        parts = (getattr(self, field.name)[which] for field in fields(self))  # type: ignore[arg-type]
        return type(self)(*parts)


class BlockDensity(Protocol):
    """Densities and moments of a block of rows under K weighted Gaussians."""

    def log_joint(self) -> np.ndarray:
        """Return log p(x, z = k) - h(x), (n_components, n_rows), in nats.

        It may be -inf for a component that no sum over those of its row would show.
        """

    def whole_log_joint(self) -> np.ndarray:
        """Return the same of every component, however small beside the others."""

    def log_base(self) -> np.ndarray | float:
        """Return h(x), (n_rows,) or zero, in nats."""

    def total_log_base(self) -> float:
        """Return the weighted sum of h(x) over the rows, in nats."""

    def moments(self, weights: np.ndarray) -> Moments:
        """Return the expected moments of the rows, weighted (n_components, n_rows)."""


class CompletedDensity(ABC):
    """Densities one component at a time, to the last digit, of rows with or without gaps.

    It is a `BlockDensity` with h(x) = 0.

    Attributes
    ----------
    log_weights : ndarray of shape (n_components,)
        Logarithms of the components' probabilities.
    log_prob : ndarray of shape (n_components, n_rows)
        Log-density of the observed cells of each row under each component, in nats.
    values : ndarray of shape (n_features, n_rows) or (n_components, n_features, n_rows)
        The rows, with missing cells at their expectation under each component.
    """

    log_weights: np.ndarray
    log_prob: np.ndarray
    values: np.ndarray

    def log_joint(self) -> np.ndarray:
        """Return log p(x, z = k), (n_components, n_rows), in nats."""
        return self.log_prob + self.log_weights[:, None]

    def whole_log_joint(self) -> np.ndarray:
        """Return log p(x, z = k) of every component, however small beside the others."""
        return self.log_prob + self.log_weights[:, None]

    def log_base(self) -> float:
        """Return zero: nothing is left out of `log_joint`."""
        return 0.0

    def total_log_base(self) -> float:
        """Return zero: nothing is left out of `log_joint`."""
        return 0.0

    @abstractmethod
    def moments(self, weights: np.ndarray) -> Moments:
        """Return the expected moments of the rows, weighted (n_components, n_rows)."""


def are_regular(shares: np.ndarray) -> bool:
    """Return whether variances, as shares of the columns' own, are far from zero and overflow."""
    return bool(shares.min() > 100 * FLOOR and shares.max() < 1 / FLOOR)
