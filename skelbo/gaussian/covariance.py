r"""Covariance structures, one class each; `STRUCTURES` is the only table from name to class.

Two families differ in their arithmetic, :class:`Dense` and :class:`Diagonal`; within a family the
structures differ only in what is shared: ``pooled`` over the components, ``mixed`` over the
columns. All work with the precision's factor: :math:`\Sigma^{-1} = U U^T`, U upper triangular, so
that :math:`y = U^T (x - \mu)` is white.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from skelbo.gaussian.moments import Moments, Scatter
from skelbo.gaussian.regularization import FLOOR, Regularization, Ridge, precision_factors

LOG_2PI = float(np.log(2 * np.pi))
# Squared whitened distance of a mean from the origin up to which expanded squares, x'x - 2 x'm +
# m'm, keep twelve digits; beyond it differences are squared one component at a time.
SAFE_DISTANCE = 1e4


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

    @abstractmethod
    def reference(self, means: np.ndarray) -> np.ndarray | None:
        """Return the points about which moments must be summed, None if the origin will do."""

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
    def ridged(self, amount: float) -> Covariance:
        """Return the same covariances with `amount` added to every variance."""

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
    def from_published(cls, covariances, factors, n_components: int, p: int) -> Covariance:
        """Rebuild from the public arrays of a fitted estimator."""
        each: tuple[int, ...] = (p, p) if cls.scatter.dense else (1 if cls.mixed else p,)
        shape = (1 if cls.pooled else n_components, *each)
        arrays = (np.asarray(a, dtype=np.float64).reshape(shape) for a in (covariances, factors))
        return cls(*arrays, np.zeros(shape[0], dtype=bool))

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


class Dense(Covariance):
    """Covariances with products of different columns: `Full` and `Tied`."""

    @classmethod
    def _estimate(cls, moments: Moments) -> np.ndarray:
        weight = np.where(moments.weight > 0, moments.weight, 1.0)
        if cls.pooled:
            return (moments.scatter / moments.weight.sum())[None]
        return moments.scatter / weight[:, None, None]

    @classmethod
    def from_moments(cls, moments, regularization):
        """Divide the scatter by the weight, and make the result regular."""
        return cls(*regularization.dense(cls._estimate(moments)))

    @classmethod
    def from_precisions(cls, precisions, n_components, p):
        """Factorize given precisions."""
        precisions = np.asarray(precisions).reshape(-1, p, p)
        symmetric = np.allclose(precisions, precisions.swapaxes(1, 2))
        if not symmetric or np.any(np.linalg.eigvalsh(precisions) <= 0):
            raise ValueError("should be symmetric, positive-definite")
        flipped = np.linalg.cholesky(precisions[:, ::-1, ::-1])
        factors = flipped[:, ::-1, ::-1]
        inverses = factors @ factors.swapaxes(1, 2)
        return cls(np.linalg.inv(inverses), factors, np.zeros(len(factors), dtype=bool))

    @classmethod
    def from_vector(cls, vector, n_components, units):
        """Read log-Cholesky coordinates."""
        p = len(units)
        rows, columns = np.tril_indices(p)
        lower = np.zeros((1 if cls.pooled else n_components, p, p))
        lower[:, rows, columns] = vector.reshape(len(lower), -1)
        pivots = np.exp(np.diagonal(lower, axis1=1, axis2=2))
        if not np.all(np.isfinite(pivots)) or np.min(pivots) ** 2 < 100 * FLOOR:
            return None
        lower[:, range(p), range(p)] = pivots
        return cls._from_cholesky(lower * units[:, None])

    @classmethod
    def _from_cholesky(cls, lower: np.ndarray) -> Dense:
        covariances = lower @ lower.swapaxes(1, 2)
        return cls(covariances, precision_factors(lower), np.zeros(len(lower), dtype=bool))

    @cached_property
    def _cholesky(self) -> np.ndarray:
        """L = U^-T, with covariance L L^T."""
        return precision_factors(self.factors.swapaxes(1, 2)).swapaxes(1, 2)

    def to_vector(self, units):
        """Return log-Cholesky coordinates: the diagonals are logarithms."""
        lower = self._cholesky / units[:, None]
        p = len(units)
        lower[:, range(p), range(p)] = np.log(np.diagonal(lower, axis1=1, axis2=2))
        return lower[:, *np.tril_indices(p)].ravel()

    @cached_property
    def _half_log_det(self) -> np.ndarray:
        """Half the log-determinant of each precision."""
        return np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(axis=1)

    def expected_log_prob(self, moments, regularization=None):
        """Return sum_k N_k E[log N(x; mu_k, Sigma_k)]."""
        target = self._estimate(moments)
        if regularization is not None:
            target = regularization.dense(target)[0]
        white = np.einsum("kia,kij,kja->ka", self.factors, target, self.factors).sum(axis=1)
        p = self.factors.shape[-1]
        each = -0.5 * (p * LOG_2PI + white) + self._half_log_det
        return float(np.sum(moments.weight * each))

    def stepped(self, moments, regularization, size):
        """Step in L -> L exp(E), E lower triangular, by the Fisher-scaled gradient in E."""
        target = regularization.dense(self._estimate(moments))[0]
        white = self.factors.swapaxes(1, 2) @ target @ self.factors
        p = white.shape[-1]
        step = np.tril(size * white, -1)
        diagonal = 0.5 * (np.diagonal(white, axis1=1, axis2=2) - 1)
        step[:, range(p), range(p)] = np.exp(size * diagonal)
        return self._from_cholesky(self._cholesky @ step)

    def ridged(self, amount):
        """Add to the diagonals."""
        return type(self)(*Ridge(amount).dense(self.covariances))

    def dense(self, n_components, n_features):
        """Return the covariances, repeated if pooled."""
        return np.broadcast_to(self.covariances, (n_components, n_features, n_features))

    def color(self, noise, k):
        """Return noise L^T."""
        return noise @ self._cholesky[0 if self.pooled else k].T

    def whiten(self, steps, k):
        """Return steps U."""
        return steps @ self.factors[0 if self.pooled else k]


class Diagonal(Covariance):
    """Covariances without products of different columns: `Diag`, `Spherical`, tied or not."""

    @classmethod
    def _estimate(cls, moments: Moments) -> np.ndarray:
        weight = np.where(moments.weight > 0, moments.weight, 1.0)
        if cls.pooled:
            variances = (moments.scatter / moments.weight.sum())[None]
        else:
            variances = moments.scatter / weight[:, None]
        return variances.mean(axis=1, keepdims=True) if cls.mixed else variances

    @classmethod
    def _from_variances(cls, variances: np.ndarray, floored: np.ndarray | None = None) -> Diagonal:
        floored = np.zeros(len(variances), dtype=bool) if floored is None else floored
        return cls(variances, 1 / np.sqrt(variances), floored)

    @classmethod
    def from_moments(cls, moments, regularization):
        """Divide the scatter by the weight, average what is shared, make the result regular."""
        # Rounding can leave a tiny negative where the truth is zero.
        variances = np.maximum(cls._estimate(moments), 0.0)
        return cls._from_variances(*regularization.diagonal(variances, cls.mixed))

    @classmethod
    def from_precisions(cls, precisions, n_components, p):
        """Invert given precisions."""
        if np.any(np.asarray(precisions) <= 0):
            raise ValueError("should be positive")
        shape = (1 if cls.pooled else n_components, 1 if cls.mixed else p)
        return cls._from_variances(1 / np.asarray(precisions, dtype=float).reshape(shape))

    @classmethod
    def from_vector(cls, vector, n_components, units):
        """Read logarithms of variances."""
        shape = (1 if cls.pooled else n_components, 1 if cls.mixed else len(units))
        variances = np.exp(vector.reshape(shape))
        scale = np.mean(units**2) if cls.mixed else units**2
        if not np.all(np.isfinite(variances)) or np.any(variances < 100 * FLOOR * scale):
            return None
        return cls._from_variances(variances)

    def to_vector(self, units):
        """Return logarithms of variances."""
        return np.log(self.covariances).ravel()

    def _inverse(self, n_features: int) -> np.ndarray:
        return np.broadcast_to(self.factors**2, (len(self.factors), n_features))

    def reference(self, means):
        """Return the means where expanded squares would cancel."""
        return means if np.max((means * self.factors) ** 2) > SAFE_DISTANCE else None

    def log_prob(self, values, means):
        """Sum over the columns by matrix products, or one component at a time if far away."""
        inverse = self._inverse(len(values))
        half_log_det = 0.5 * np.log(inverse).sum(axis=1)
        if self.pooled:
            root = np.sqrt(inverse[0])
            distances = squared_distances(means * root, values * root[:, None])
        elif self.reference(means) is None:
            distances = inverse @ values**2
            distances -= 2 * ((means * inverse) @ values)
            distances += (means**2 * inverse).sum(axis=1)[:, None]
        else:
            steps = (values - m[:, None] for m in means)
            pairs = zip(inverse, steps, strict=True)
            distances = np.array([inv @ step**2 for inv, step in pairs])
        distances += len(values) * LOG_2PI
        distances *= -0.5
        distances += half_log_det[:, None]
        return distances

    def expected_log_prob(self, moments, regularization=None):
        """Return sum_k N_k E[log N(x; mu_k, Sigma_k)]."""
        p = moments.mean.shape[1]
        target = self._estimate(moments)
        if regularization is not None:
            target = regularization.diagonal(target, self.mixed)[0]
        ratio = np.broadcast_to(target * self.factors**2, (len(target), p)).sum(axis=1)
        each = -0.5 * (p * LOG_2PI + ratio - np.log(self._inverse(p)).sum(axis=1))
        return float(np.sum(moments.weight * each))

    def stepped(self, moments, regularization, size):
        """Step in the logarithms of the standard deviations."""
        target = regularization.diagonal(self._estimate(moments), self.mixed)[0]
        step = 0.5 * (target * self.factors**2 - 1)
        return self._from_variances(self.covariances * np.exp(2 * size * step))

    def ridged(self, amount):
        """Add to the variances."""
        return self._from_variances(self.covariances + amount)

    def dense(self, n_components, n_features):
        """Return diagonal matrices."""
        variances = np.broadcast_to(self.covariances, (n_components, n_features))
        return variances[:, :, None] * np.eye(n_features)

    def color(self, noise, k):
        """Return noise times standard deviations."""
        return noise / self.factors[0 if self.pooled else k]

    def whiten(self, steps, k):
        """Return steps over standard deviations."""
        return steps * self.factors[0 if self.pooled else k]


class Full(Dense):
    """Each component has its own covariance matrix."""

    scatter = Scatter.FULL

    @cached_property
    def _stack(self) -> np.ndarray:
        """All U_k^T on top of each other: one matrix product whitens for every component."""
        return np.ascontiguousarray(self.factors.swapaxes(1, 2)).reshape(-1, self.factors.shape[1])

    def reference(self, means):
        """Return the means: scatters are summed one component at a time anyway."""
        return means

    def log_prob(self, values, means):
        """Whiten for all components at once, then sum squares."""
        n_components, p = means.shape
        offset = np.einsum("kji,kj->ki", self.factors, means)
        white = (self._stack @ values).reshape(n_components, p, -1)
        white -= offset[:, :, None]
        np.square(white, out=white)
        log_prob = white.sum(axis=1)
        log_prob += p * LOG_2PI
        log_prob *= -0.5
        log_prob += self._half_log_det[:, None]
        return log_prob


class Tied(Dense):
    """All components share one covariance matrix."""

    scatter = Scatter.POOLED_FULL
    pooled = True

    def reference(self, means):
        """Return the means where expanded squares would cancel."""
        white = means @ self.factors[0]
        return means if np.max(white**2) > SAFE_DISTANCE else None

    def log_prob(self, values, means):
        """Whiten once, then take distances from the whitened means."""
        factor = self.factors[0]
        log_prob = squared_distances(means @ factor, factor.T @ values)
        log_prob += len(values) * LOG_2PI
        log_prob *= -0.5
        log_prob += self._half_log_det
        return log_prob


class Diag(Diagonal):
    """Each component has its own variance per column."""

    scatter = Scatter.DIAGONAL


class Spherical(Diagonal):
    """Each component has one variance for all columns."""

    scatter = Scatter.DIAGONAL
    mixed = True


class TiedDiag(Diagonal):
    """One variance per column, for all components."""

    scatter = Scatter.POOLED_DIAGONAL
    pooled = True


class TiedSpherical(Diagonal):
    """One variance for all columns of all components: k-means with soft borders."""

    scatter = Scatter.POOLED_DIAGONAL
    pooled = True
    mixed = True


STRUCTURES: dict[str, type[Covariance]] = {
    "full": Full,
    "tied": Tied,
    "diag": Diag,
    "spherical": Spherical,
    "tied_diag": TiedDiag,
    "tied_spherical": TiedSpherical,
}


def squared_distances(centres: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return |x_i - c_k|^2, (K, n), for centres (K, p) and values (p, n)."""
    squares = (centres**2).sum(axis=1)
    if np.max(squares) > SAFE_DISTANCE:
        return np.array([((values - c[:, None]) ** 2).sum(axis=0) for c in centres])
    distances = centres @ values
    distances *= -2
    distances += squares[:, None]
    distances += np.einsum("pn,pn->n", values, values)
    return np.maximum(distances, 0.0, out=distances)
