r"""What every covariance structure of K Gaussians can do.

Most work with the precision's factor: :math:`\Sigma^{-1} = U U^T`, U upper triangular, so that
:math:`y = U^T (x - \mu)` is white.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from skelbo.data.rows import Block
from skelbo.gaussian.exponential_family import NaturalParameters
from skelbo.gaussian.moments import Moments, Scatter
from skelbo.gaussian.regularization import FLOOR, Regularization

LOG_2PI = float(np.log(2 * np.pi))


class BlockDensity(ABC):
    """Densities and moments of a block of rows under K weighted Gaussians.

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
        """Return log p(x, z = k), (K, n), in nats."""
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


class Covariance(ABC):
    """Covariances of K Gaussians under one structure; immutable dataclasses.

    Attributes
    ----------
    floored : ndarray of bool
        Which covariances were singular and had to be altered.
    """

    floored: np.ndarray

    scatter: ClassVar[Scatter]
    shared: ClassVar[bool] = False
    isotropic: ClassVar[bool] = False
    # The public arrays that `from_public_arrays` takes.
    state_names: ClassVar[tuple[str, ...]] = ("precisions_cholesky_",)

    n_factors: int = 0  # hidden factors per component

    @classmethod
    def first_moments(
        cls, values: np.ndarray, weights: np.ndarray, means: np.ndarray, own: bool, n_factors: int
    ) -> Moments:
        """Return moments of rows (p, n) whose labels a start has guessed, weighted (K, n).

        `own` and `n_factors` are for structures that hide more than the label.
        """
        return Moments.of_block(cls.scatter, values, weights, means)

    @classmethod
    @abstractmethod
    def from_moments(cls, moments: Moments, regularization: Regularization) -> Covariance:
        """Maximise the expected log-density: the M-step."""

    @classmethod
    @abstractmethod
    def from_precisions(cls, precisions: np.ndarray, n_components: int, p: int) -> Covariance:
        """Build from precisions in their public shape; ValueError if not positive-definite."""

    @classmethod
    @abstractmethod
    def from_vector(
        cls, vector: np.ndarray, n_components: int, units: np.ndarray
    ) -> Covariance | None:
        """Invert `to_vector`; None if the result is numerically singular."""

    @abstractmethod
    def to_vector(self, units: np.ndarray) -> np.ndarray:
        """Return unconstrained coordinates, with columns measured in `units`."""

    @abstractmethod
    def log_prob(self, values: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Return log N(x; mu_k, Sigma_k) in nats, (K, n), of complete rows ``values`` (p, n)."""

    def log_joint(
        self, values: np.ndarray, means: np.ndarray, log_weights: np.ndarray
    ) -> np.ndarray:
        """Return log p(x, z = k) in nats, (K, n), of complete rows ``values`` (p, n).

        It may be -inf for a component that no sum over those of its row would show.
        """
        return self.log_prob(values, means) + log_weights[:, None]

    def as_float32(self, means: np.ndarray, largest: float) -> Covariance | None:
        """Return the same for `log_joint` of float32 rows, None where that is not to be had.

        The terms that cancel when rows are whitened, relative to the result, are to be below
        `largest`.
        """
        return None

    def natural(self, means: np.ndarray, log_weights: np.ndarray) -> NaturalParameters | None:
        """Return the natural parameters, None where digits would cancel or nothing is gained."""
        return None

    def cancellation_size(self, means: np.ndarray) -> np.ndarray:
        """Return the size of the terms that cancel in natural parameters, (K,), in nats.

        Infinite where nothing is gained by these.
        """
        return np.full(len(means), np.inf)

    @abstractmethod
    def stepped(self, moments: Moments, regularization: Regularization, size: float) -> Covariance:
        """Move by `size` along the natural gradient of the expected log-density."""

    @abstractmethod
    def expected_log_prob(
        self, moments: Moments, regularization: Regularization | None = None
    ) -> float:
        """Return the expected log-density of rows with these moments about our own means.

        With a regularization, that of the regularized moments, which its M-step maximises.
        """

    @abstractmethod
    def dense(self, n_components: int, n_features: int) -> np.ndarray:
        """Return the covariances as a (K, p, p) array."""

    @abstractmethod
    def color(self, noise: np.ndarray, k: int) -> np.ndarray:
        """Map white rows (n, p) to rows with the covariance of component k."""

    @abstractmethod
    def whiten(self, steps: np.ndarray, k: int) -> np.ndarray:
        """Map rows of deviations (n, p) to white rows; the inverse of `color`."""

    @classmethod
    def n_parameters(cls, n_components: int, n_features: int, n_factors: int = 0) -> int:
        """Return the number of free parameters."""
        if cls.scatter.dense:
            each = n_features * (n_features + 1) // 2
        else:
            each = 1 if cls.isotropic else n_features
        return each if cls.shared else n_components * each

    @classmethod
    def shape(cls, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the public shape: shared axes are dropped."""
        each: tuple[int, ...] = () if cls.isotropic else (n_features,)
        if cls.scatter.dense:
            each = (n_features, n_features)
        return each if cls.shared else (n_components, *each)

    @classmethod
    @abstractmethod
    def from_public_arrays(cls, *arguments) -> Covariance:
        """Rebuild from the public arrays that `state_names` names, and K and p."""

    @abstractmethod
    def public_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that an estimator publishes, in public shapes."""

    def density(
        self, means: np.ndarray, block: Block, log_weights: np.ndarray
    ) -> BlockDensity | None:
        """Return densities and moments computed together; None if `log_prob` alone is special."""
        return None

    def replaced_where(self, old: Covariance, which: np.ndarray) -> Covariance:
        """Return the same with the covariances of `old` where `which` (K,) says so."""

        def chosen(name: str) -> np.ndarray:
            new = getattr(self, name)
            return np.where(which.reshape(-1, *[1] * (new.ndim - 1)), getattr(old, name), new)

        return type(self)(*(chosen(field.name) for field in fields(self)))  # type: ignore[arg-type]

    def take(self, which: np.ndarray) -> Covariance:
        """Return the covariances of some components, a mask (K,)."""
        parts = (getattr(self, field.name)[which] for field in fields(self))  # type: ignore[arg-type]
        return type(self)(*parts)


@dataclass(frozen=True)
class Matrices(Covariance):
    """Covariances that are held as they are, with the factors of their inverses.

    Attributes
    ----------
    covariances : ndarray
        Shape (K or 1, p, p) if dense, (K or 1, p or 1) if diagonal.
    precision_cholesky : ndarray
        U with precision = U U^T, of the same shape (elementwise for diagonal structures). They
        alone are enough to rebuild the rest, and in float32 they are the ones that hold the
        digits: a singular matrix's variances do not.
    floored : ndarray of bool
        Which covariances were singular and had to be altered.
    """

    covariances: np.ndarray
    precision_cholesky: np.ndarray
    floored: np.ndarray

    @property
    def reach(self) -> float:
        """Largest cell whose square can be whitened without overflow."""
        return 1e150 / max(1.0, float(np.maximum.reduce(self.precision_cholesky, axis=None)))

    def _public(self, array: np.ndarray) -> np.ndarray:
        array = array[0] if self.shared else array
        return array[..., 0] if self.isotropic else array

    def public_arrays(self) -> dict[str, np.ndarray]:
        """Return covariances, precisions and their factors in public shapes."""
        factors = self.precision_cholesky
        precisions = factors @ factors.swapaxes(-1, -2) if self.scatter.dense else factors**2
        return {
            "covariances_": self._public(self.covariances),
            "precisions_": self._public(precisions),
            "precisions_cholesky_": self._public(factors),
        }


def are_regular(shares: np.ndarray) -> bool:
    """Tell whether variances, as shares of the columns' own, are far from zero and overflow."""
    return bool(shares.min() > 100 * FLOOR and shares.max() < 1 / FLOOR)


def squared_distances(centres: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return |x_i - c_k|^2, (K, n), for centres (K, p) and values (p, n), to the last digit."""
    steps = (values - centre[:, None] for centre in centres)
    return np.array([np.einsum("pn,pn->n", step, step) for step in steps])
