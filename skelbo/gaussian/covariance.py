r"""Contracts of `skelbo.gaussian`: covariance structures and fitted covariances.

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
from skelbo.gaussian.block_density import CompletedDensity
from skelbo.gaussian.exponential_family import NaturalParameters
from skelbo.gaussian.moments import Moments, Scatter
from skelbo.gaussian.regularization import FLOOR, Regularization

# Longest step of a gradient in the logarithm of a standard deviation.
LONGEST = 1.0


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
        """Return the structure for a number of columns.

        Parameters
        ----------
        p : int
            Number of columns.
        n_factors : int
            Number of factors, of structures that have any.

        Returns
        -------
        CovarianceStructure
            With its options.
        """

    def label_moments(
        self, values: np.ndarray, weights: np.ndarray, means: np.ndarray, own: bool
    ) -> Moments:
        """Return moments of complete rows whose labels are known, for the first M-step.

        Parameters
        ----------
        values : ndarray of shape (n_features, n_rows)
            Complete rows, columns first.
        weights : ndarray of shape (n_components, n_rows)
            Responsibilities times frequency weights.
        means : ndarray of shape (n_components, n_features)
            Means of the components.
        own : bool
            Whether hidden variables are found for each component by itself.

        Returns
        -------
        Moments
            Of all rows.
        """

    def from_moments(self, moments: Moments, regularization: Regularization) -> Covariance:
        """Maximise the expected log-density: the M-step.

        Parameters
        ----------
        moments : Moments
            Expected moments, summed over the rows.
        regularization : Regularization
            Rule of the M-step.

        Returns
        -------
        Covariance
            Of this structure.

        Raises
        ------
        AscentError
            If there is no maximum.
        """

    def from_precisions(self, precisions: np.ndarray, K: int, p: int) -> Covariance:
        """Return the covariances of precisions.

        Parameters
        ----------
        precisions : ndarray of shape `shape(K, p)`
            Precisions in their public shape.
        K : int
            Number of components.
        p : int
            Number of columns.

        Returns
        -------
        Covariance
            Of this structure.

        Raises
        ------
        ValueError
            If one is not positive-definite.
        """

    def from_vector(self, vector: np.ndarray, K: int, units: np.ndarray) -> Covariance | None:
        """Return the covariances with some coordinates: the inverse of `Covariance.to_vector`.

        Parameters
        ----------
        vector : ndarray of shape (n_coordinates,)
            Any numbers.
        K : int
            Number of components.
        units : ndarray of shape (n_features,)
            Scale of each column, positive.

        Returns
        -------
        Covariance or None
            None if the result is numerically singular.
        """

    def from_public_arrays(self, arrays: Sequence[np.ndarray], K: int, p: int) -> Covariance:
        """Return the covariances of the public arrays of a fit.

        Parameters
        ----------
        arrays : sequence of ndarray of any shape
            Those that `state_names` names.
        K : int
            Number of components.
        p : int
            Number of columns.

        Returns
        -------
        Covariance
            Of this structure.
        """

    def n_parameters(self, K: int, p: int) -> int:
        """Return the number of free parameters of the covariances.

        Parameters
        ----------
        K : int
            Number of components.
        p : int
            Number of columns.

        Returns
        -------
        int
            Of all components.
        """

    def shape(self, K: int, p: int) -> tuple[int, ...]:
        """Return the public shape of the covariances.

        Parameters
        ----------
        K : int
            Number of components.
        p : int
            Number of columns.

        Returns
        -------
        tuple of int
            Shared axes are dropped.
        """

    def row_cells(self, K: int, p: int) -> tuple[int, int | None]:
        """Return the sizes of the temporaries of a row in an E-step.

        Parameters
        ----------
        K : int
            Number of components.
        p : int
            Number of columns.

        Returns
        -------
        complete : int
            Of a complete row.
        incomplete : int or None
            Of an incomplete one; None for matrices of (p, p).
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
        """Return unconstrained coordinates.

        Parameters
        ----------
        units : ndarray of shape (n_features,)
            Scale of each column, positive.

        Returns
        -------
        ndarray of shape (n_coordinates,)
            Columns are measured in `units`.
        """

    @abstractmethod
    def log_prob(self, values: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Return log N(x; mu_k, Sigma_k) of complete rows.

        Parameters
        ----------
        values : ndarray of shape (n_features, n_rows)
            Complete rows, columns first.
        means : ndarray of shape (n_components, n_features)
            Means of the components.

        Returns
        -------
        ndarray of shape (n_components, n_rows)
            In nats.
        """

    def log_joint(
        self, values: np.ndarray, means: np.ndarray, log_weights: np.ndarray
    ) -> np.ndarray:
        """Return log p(x, z = k) of complete rows.

        Parameters
        ----------
        values : ndarray of shape (n_features, n_rows)
            Complete rows, columns first.
        means : ndarray of shape (n_components, n_features)
            Means of the components.
        log_weights : ndarray of shape (n_components,)
            Logarithms of the probabilities of the components.

        Returns
        -------
        ndarray of shape (n_components, n_rows)
            In nats; possibly -inf for a component that no sum over those of its row would show.
        """
        return self.log_prob(values, means) + log_weights[:, None]

    @abstractmethod
    def density(self, means: np.ndarray, block: Block, log_weights: np.ndarray) -> CompletedDensity:
        """Return the densities and moments of a block of rows, complete or not.

        Parameters
        ----------
        means : ndarray of shape (n_components, n_features)
            Means of the components.
        block : Block
            Rows, complete or not.
        log_weights : ndarray of shape (n_components,)
            Logarithms of the probabilities of the components.

        Returns
        -------
        CompletedDensity
            Of the block.
        """

    def natural(self, means: np.ndarray, log_weights: np.ndarray) -> NaturalParameters | None:
        """Return the natural parameters.

        Parameters
        ----------
        means : ndarray of shape (n_components, n_features)
            Means of the components.
        log_weights : ndarray of shape (n_components,)
            Logarithms of the probabilities of the components.

        Returns
        -------
        NaturalParameters or None
            None where digits would cancel or nothing is gained.
        """
        return None

    def cancellation_size(self, means: np.ndarray) -> np.ndarray:
        """Return the size of the terms that cancel in natural parameters.

        Parameters
        ----------
        means : ndarray of shape (n_components, n_features)
            Means of the components.

        Returns
        -------
        ndarray of shape (n_components,)
            In nats; infinite where nothing is gained by natural parameters.
        """
        return np.full(len(means), np.inf)

    def as_float32(self, means: np.ndarray, largest: float) -> Covariance | None:
        """Return the same for `log_joint` of float32 rows.

        Parameters
        ----------
        means : ndarray of shape (n_components, n_features)
            Means of the components.
        largest : float
            Bound of the terms that cancel when rows are whitened, relative to the result.

        Returns
        -------
        Covariance or None
            None where that is not available.
        """
        return None

    @abstractmethod
    def dense(self, n_components: int, n_features: int) -> np.ndarray:
        """Return the covariances as full matrices.

        Parameters
        ----------
        n_components : int
            Number of components.
        n_features : int
            Number of columns.

        Returns
        -------
        ndarray of shape (n_components, n_features, n_features)
            Also of a structure that shares them.
        """

    @abstractmethod
    def color(self, noise: np.ndarray, k: int) -> np.ndarray:
        """Map white rows to rows with the covariance of a component.

        Parameters
        ----------
        noise : ndarray of shape (n_rows, n_features)
            White rows.
        k : int
            Number of the component.

        Returns
        -------
        ndarray of shape (n_rows, n_features)
            Deviations from the mean.
        """

    @abstractmethod
    def whiten(self, steps: np.ndarray, k: int) -> np.ndarray:
        """Map deviations to white rows: the inverse of `color`.

        Parameters
        ----------
        steps : ndarray of shape (n_rows, n_features)
            Deviations from the mean.
        k : int
            Number of the component.

        Returns
        -------
        ndarray of shape (n_rows, n_features)
            White rows.
        """

    @abstractmethod
    def public_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that an estimator publishes, in public shapes.

        Returns
        -------
        dict of str to ndarray
            By the names of the attributes.
        """

    def aligned(self, moments: Moments) -> Moments:
        """Return the moments that this was estimated from, in the coordinates of its latents.

        Parameters
        ----------
        moments : Moments
            Those that the M-step took.

        Returns
        -------
        Moments
            The same by default.
        """
        return moments

    def bolder(
        self, image: Covariance, moments: Moments, regularization: Regularization
    ) -> Covariance:
        """Return a point beyond the one that the M-step gave.

        The bound need not rise from here to there, but both steps have the same fixed points.

        Parameters
        ----------
        image : Covariance
            Result of the M-step for these moments.
        moments : Moments
            Expected moments, summed over the rows.
        regularization : Regularization
            Rule of the M-step.

        Returns
        -------
        Covariance
            `image` by default.
        """
        return image

    def replaced_where(self, old: Covariance, which: np.ndarray) -> Covariance:
        """Return the same with some covariances replaced.

        Parameters
        ----------
        old : Covariance
            Of the same structure.
        which : ndarray of bool, shape (n_components,)
            Which are those of `old`.

        Returns
        -------
        Covariance
            Of the same structure.
        """

        def chosen(name: str) -> np.ndarray:
            new = getattr(self, name)
            return np.where(which.reshape(-1, *[1] * (new.ndim - 1)), getattr(old, name), new)

        return type(self)(*(chosen(field.name) for field in fields(self)))  # type: ignore[arg-type]

    def take(self, which: np.ndarray) -> Covariance:
        """Return the covariances of some components.

        Parameters
        ----------
        which : ndarray of bool, shape (n_components,)
            Mask of components.

        Returns
        -------
        Covariance
            Of the same structure.
        """
        parts = (getattr(self, field.name)[which] for field in fields(self))  # type: ignore[arg-type]
        return type(self)(*parts)


def are_regular(shares: np.ndarray) -> bool:
    """Return whether variances are far from zero and overflow.

    Parameters
    ----------
    shares : ndarray of any shape
        Variances as shares of the columns' own.

    Returns
    -------
    bool
        Of all of them.
    """
    return bool(shares.min() > 100 * FLOOR and shares.max() < 1 / FLOOR)
