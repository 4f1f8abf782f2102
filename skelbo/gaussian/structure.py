r"""What every covariance structure of K Gaussians can do.

All work with the precision's factor: :math:`\Sigma^{-1} = U U^T`, U upper triangular, so that
:math:`y = U^T (x - \mu)` is white.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skelbo.gaussian.moments import Moments, Scatter
from skelbo.gaussian.natural import Natural
from skelbo.gaussian.regularization import FLOOR, Regularization

LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Covariance(ABC):
    """Covariances of K Gaussians under one structure; immutable.

    Attributes
    ----------
    covariances : ndarray
        Shape (K or 1, p, p) if dense, (K or 1, p or 1) if diagonal.
    factors : ndarray
        U with precision = U U^T, of the same shape (elementwise for diagonal structures).
    floored : ndarray of bool
        Which covariances were singular and had to be altered.
    """

    covariances: np.ndarray
    factors: np.ndarray
    floored: np.ndarray

    scatter: ClassVar[Scatter]
    pooled: ClassVar[bool] = False
    mixed: ClassVar[bool] = False

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

    @property
    def reach(self) -> float:
        """Largest cell whose square can be whitened without overflow."""
        return 1e150 / max(1.0, float(np.maximum.reduce(self.factors, axis=None)))

    def natural(self, means: np.ndarray, log_weights: np.ndarray) -> Natural | None:
        """Return the natural parameters, None where digits would cancel or nothing is gained."""
        return None

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
    def n_parameters(cls, n_components: int, n_features: int) -> int:
        """Return the number of free parameters."""
        if cls.scatter.dense:
            each = n_features * (n_features + 1) // 2
        else:
            each = 1 if cls.mixed else n_features
        return each if cls.pooled else n_components * each

    @classmethod
    def shape(cls, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the public shape: shared axes are dropped."""
        each: tuple[int, ...] = () if cls.mixed else (n_features,)
        if cls.scatter.dense:
            each = (n_features, n_features)
        return each if cls.pooled else (n_components, *each)

    @classmethod
    @abstractmethod
    def from_published(cls, factors: np.ndarray, n_components: int, p: int) -> Covariance:
        """Rebuild from the public factors of a fitted estimator.

        They alone are enough, and in float32 they are the ones that hold the digits: a singular
        matrix's variances do not.
        """

    def _public(self, array: np.ndarray) -> np.ndarray:
        array = array[0] if self.pooled else array
        return array[..., 0] if self.mixed else array

    def published(self) -> dict[str, np.ndarray]:
        """Return covariances, precisions and their factors in public shapes."""
        factors = self.factors
        precisions = factors @ factors.swapaxes(-1, -2) if self.scatter.dense else factors**2
        return {
            "covariances_": self._public(self.covariances),
            "precisions_": self._public(precisions),
            "precisions_cholesky_": self._public(factors),
        }


def is_regular(shares: np.ndarray) -> bool:
    """Tell whether variances, as shares of the columns' own, are far from zero and overflow."""
    return bool(np.all(shares > 100 * FLOOR) and np.all(shares < 1 / FLOOR))


def squared_distances(centres: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return |x_i - c_k|^2, (K, n), for centres (K, p) and values (p, n), to the last digit."""
    steps = (values - centre[:, None] for centre in centres)
    return np.array([np.einsum("pn,pn->n", step, step) for step in steps])
