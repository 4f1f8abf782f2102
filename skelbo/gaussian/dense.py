"""Covariances with products of different columns."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, cached_property

import numpy as np

from skelbo.elbo import LOG_2PI
from skelbo.gaussian.covariance import LONGEST, are_regular
from skelbo.gaussian.exponential_family import SAFE_TERMS, NaturalParameters
from skelbo.gaussian.matrices import Matrices
from skelbo.gaussian.missing_cells import DenseCompletion
from skelbo.gaussian.moments import Moments, positive_or_one
from skelbo.gaussian.regularization import FLOOR, to_precision_cholesky, upper_factor


class Dense(Matrices):
    """Covariance matrices with off-diagonal elements: the arithmetic of `Full` and `Tied`."""

    @classmethod
    def estimate(cls, moments: Moments) -> np.ndarray:
        """Return the maximisers (K or 1, p, p) of the expected log-density, possibly singular."""
        weight = positive_or_one(moments.weight)
        if cls.shared:
            return (moments.scatter / moments.weight.sum())[None]
        return moments.scatter / weight[:, None, None]

    @classmethod
    def from_moments(cls, moments, regularization):
        """Divide the scatter by the weight, and make the result regular."""
        return cls(*regularization.dense(cls.estimate(moments)))

    @classmethod
    def from_precisions(cls, precisions, K, p):
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
    def from_public_arrays(cls, arrays, K, p):
        """Rebuild from `precisions_cholesky_`: any roots R of the precisions R R^T."""
        shape = (1 if cls.shared else K, p, p)
        roots = np.asarray(arrays[0], dtype=np.float64).reshape(shape)
        factors = upper_roots(roots)
        lower = to_precision_cholesky(factors.swapaxes(1, 2)).swapaxes(1, 2)
        return cls(lower @ lower.swapaxes(1, 2), factors, np.zeros(shape[0], dtype=bool))

    @classmethod
    def from_vector(cls, vector, K, units):
        """Read log-Cholesky coordinates."""
        p = len(units)
        lower = np.zeros((1 if cls.shared else K, p, p))
        lower.reshape(-1, p * p)[:, lower_triangle(p)] = vector.reshape(len(lower), -1)
        diagonal = np.einsum("kii->ki", lower)
        diagonal[:] = np.exp(diagonal)
        if not are_regular(diagonal**2) or not np.isfinite(lower).all():
            return None
        covariance = cls._from_cholesky(lower * units[:, None])
        # The sum of the inverse eigenvalues: none of them is below the floor of an M-step, which
        # would fall from there. Pivots alone do not show that.
        white = covariance.precision_cholesky * units[:, None]
        return covariance if np.einsum("kpq,kpq->k", white, white).max() < 1 / FLOOR else None

    @classmethod
    def _from_cholesky(cls, lower: np.ndarray) -> Dense:
        covariances = lower @ lower.swapaxes(1, 2)
        return cls(covariances, to_precision_cholesky(lower), np.zeros(len(lower), dtype=bool))

    @cached_property
    def _cholesky(self) -> np.ndarray:
        """L = U^-T, with covariance L L^T."""
        return to_precision_cholesky(self.precision_cholesky.swapaxes(1, 2)).swapaxes(1, 2)

    def to_vector(self, units):
        """Return log-Cholesky coordinates: the diagonals are logarithms."""
        return log_cholesky(self._cholesky / units[:, None])

    @cached_property
    def _half_log_det(self) -> np.ndarray:
        """Half the log-determinant of each precision."""
        return np.add.reduce(np.log(self.precision_cholesky.diagonal(0, 1, 2)), axis=1)

    @cached_property
    def _precisions(self) -> np.ndarray:
        return self.precision_cholesky @ self.precision_cholesky.swapaxes(1, 2)

    def cancellation_size(self, means):
        """Bound the sizes of the terms of x' P x for rows of the components."""
        if not self.scatter.worth_expanding(means.shape[1]):
            return super().cancellation_size(means)
        sizes = self.covariances.diagonal(0, 1, 2) + means * means
        return np.add.reduce(sizes * self._precisions.diagonal(0, 1, 2), axis=1)

    def natural(self, means, log_weights):
        """Return eta_k = (c_k, P_k mu_k, -P_k / 2), products of two columns counted once."""
        p = means.shape[1]
        largest = np.maximum.reduce(self.cancellation_size(means))
        if not largest < SAFE_TERMS:
            return None
        precisions = self._precisions
        eta = np.empty((len(means), self.scatter.n_statistics(p)))
        linear = (precisions @ means[:, :, None])[:, :, 0]
        eta[:, 0] = log_weights + self._half_log_det - 0.5 * p * LOG_2PI
        eta[:, 0] -= 0.5 * np.einsum("kp,kp->k", linear, means)
        eta[:, 1 : p + 1] = linear
        if self.shared:
            return NaturalParameters(self.scatter, eta, self.reach, precisions[0], largest)
        index, share = upper_triangle(p)
        np.multiply(precisions.reshape(-1, p * p).take(index, 1), share, out=eta[:, p + 1 :])
        return NaturalParameters(self.scatter, eta, self.reach, None, largest)

    def complete(self, means, block):
        """Factorize a block of each matrix for every pattern of missing cells."""
        shape = (*means.shape, means.shape[1])
        covariances = np.broadcast_to(self.covariances, shape)
        U = np.broadcast_to(self.precision_cholesky, shape)
        return DenseCompletion(covariances, U, means, block)

    def expected_log_prob(self, moments, regularization=None):
        """Return sum_k N_k E[log N(x; mu_k, Sigma_k)]."""
        target = self.estimate(moments)
        if regularization is not None:
            target = regularization.dense(target)[0]
        U = self.precision_cholesky
        # tr U' S U with one product by BLAS: einsum of three operands is a loop over all.
        white = np.einsum("kia,kia->k", U, target @ U)
        p = U.shape[-1]
        each = -0.5 * (p * LOG_2PI + white) + self._half_log_det
        return float(np.sum(moments.weight * each))

    def stepped(self, moments, regularization, size):
        """Step in L -> L exp(E), E lower triangular, by the Fisher-scaled gradient in E.

        No deviation grows by more than `LONGEST`: a gradient far from a maximum is no length.
        A step towards a floored covariance is floored.
        """
        target, _, floored = regularization.dense(self.estimate(moments))
        white = self.precision_cholesky.swapaxes(1, 2) @ target @ self.precision_cholesky
        p = white.shape[-1]
        diagonal = 0.5 * (np.diagonal(white, axis1=1, axis2=2) - 1)
        sizes = size * np.minimum(1.0, LONGEST / np.maximum(diagonal.max(axis=1), LONGEST))
        step = np.tril(sizes[:, None, None] * white, -1)
        step[:, range(p), range(p)] = np.exp(sizes[:, None] * diagonal)
        return replace(self._from_cholesky(self._cholesky @ step), floored=floored)

    def dense(self, n_components, n_features):
        """Return the covariances, repeated if shared."""
        return np.broadcast_to(self.covariances, (n_components, n_features, n_features))

    def color(self, noise, k):
        """Return noise L^T."""
        return noise @ self._cholesky[0 if self.shared else k].T

    def whiten(self, steps, k):
        """Return steps U."""
        return steps @ self.precision_cholesky[0 if self.shared else k]


def log_cholesky(lower: np.ndarray) -> np.ndarray:
    """Return lower triangular matrices (K, p, p) as one vector, their diagonals as logarithms.

    The diagonals are overwritten.
    """
    p = lower.shape[-1]
    diagonal = np.einsum("kii->ki", lower)
    diagonal[:] = np.log(diagonal)
    return lower.reshape(-1, p * p).take(lower_triangle(p), axis=1).ravel()


def upper_roots(roots: np.ndarray) -> np.ndarray:
    """Return upper triangular U with positive diagonals and U U^T = R R^T, (K, p, p).

    What fits publish is such a U; users set either triangular root, or any other.
    """
    diagonals = np.diagonal(roots, axis1=1, axis2=2)
    below = np.any(np.tril(roots, -1), axis=(1, 2))
    done: np.ndarray = np.logical_and(~below, np.all(diagonals > 0, axis=1))
    if done.all():
        return roots
    upper = np.array(
        [root if ok else upper_factor(root) for root, ok in zip(roots, done, strict=True)]
    )
    rounding = 16 * np.finfo(float).eps * np.linalg.norm(upper, axis=2)
    if not (np.diagonal(upper, axis1=1, axis2=2) > rounding).all():
        raise ValueError(
            "precisions_cholesky_ has a singular matrix, expected square roots of precisions; "
            "call fit again, or set np.linalg.cholesky(precisions)."
        )
    return upper


@cache
def upper_triangle(p: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where a matrix (flat) holds its upper triangle, and its shares in -x' P x / 2."""
    rows, columns = np.triu_indices(p)
    return rows * p + columns, np.where(rows == columns, -0.5, -1.0)


@cache
def lower_triangle(p: int) -> np.ndarray:
    """Return where a matrix (flat) holds its lower triangle."""
    rows, columns = np.tril_indices(p)
    return rows * p + columns
