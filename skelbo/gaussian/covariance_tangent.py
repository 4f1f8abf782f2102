r"""Directions in which the parameters of a covariance move it, for derivatives of log-densities.

.. math:: E_j = \partial \Sigma / \partial \phi_j = e_{a(j)} r_j^T + r_j e_{a(j)}^T

:math:`\phi` are the free elements of the covariance: its lower triangle, variances, one variance,
or loadings and noise variances. All but the loadings move the covariance linearly. Each direction
has one axis e and one vector r (a variance: half of e); one variance for all columns has the sum of
the directions of all. No matrix of a direction is formed: they would be p^2 numbers for each of
as many parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Share of the longest move, and of its square, below which parameters do not move the covariance:
# of squares rounding leaves half the digits.
FLAT, NEARLY_FLAT = 1e-9, 1e-12


@dataclass(frozen=True)
class CovarianceTangent:
    """Derivatives of one covariance in its free parameters.

    Attributes
    ----------
    axes : ndarray of int, shape (n_terms,)
        a(j): one term for each parameter, or several that belong to one.
    vectors : ndarray of shape (n_terms, n_features)
        r_j.
    units : ndarray of shape (n_parameters, n_features)
        Powers of the columns' units in each parameter: its unit is their product to these powers.
    n_factors : int
        Factors whose loadings, (n_features, n_factors), are the first parameters; mostly 0.
    """

    axes: np.ndarray
    vectors: np.ndarray
    units: np.ndarray
    n_factors: int = 0

    @property
    def n_parameters(self) -> int:
        """J."""
        return len(self.units)

    def quadratic_forms(self, v: np.ndarray) -> np.ndarray:
        """Return v' E_j v of rows v (n, p), (n, J)."""
        return self._of_parameters(2 * v[:, self.axes] * (v @ self.vectors.T), 1)

    def traces(self, A: np.ndarray) -> np.ndarray:
        """Return tr(A E_j), (J,), for a symmetric A (p, p)."""
        return self._of_parameters(2 * np.einsum("tp,tp->t", A[self.axes], self.vectors), 0)

    def products(self, A: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return A E_j v, (J, p), for a symmetric A (p, p) and v (p,)."""
        terms = A[self.axes] * (self.vectors @ v)[:, None]
        return self._of_parameters(terms + (self.vectors @ A) * v[self.axes, None], 0)

    def overlaps(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Return tr(E_i A E_j B), (J, J), for symmetric A and B (p, p)."""
        a, r = self.axes, self.vectors
        rA, rB = r @ A, r @ B
        crossed = rA[:, a] * rB[:, a].T
        terms = crossed + crossed.T + (rA @ r.T) * B[np.ix_(a, a)] + A[np.ix_(a, a)] * (rB @ r.T)
        return self._of_parameters(self._of_parameters(terms, 0), 1)

    def matrix(self, parameters: np.ndarray) -> np.ndarray:
        """Return the sum of phi_j E_j, (p, p), for phi (J,)."""
        p = self.vectors.shape[1]
        half = np.zeros((p, p))
        np.add.at(half, self.axes, parameters[:, None] * self.vectors)
        return half + half.T

    def null_space(self) -> np.ndarray:
        """Return orthonormal parameters (F, J) along which the covariance does not move."""
        eye = np.eye(self.vectors.shape[1])
        squares, directions = np.linalg.eigh(self.overlaps(eye, eye))
        near = directions[:, squares < NEARLY_FLAT * squares[-1]].T
        if not len(near):
            return near
        moves = np.array([self.matrix(direction).ravel() for direction in near])
        _, length, right = np.linalg.svd(moves.T)
        return right[int((length > FLAT * np.sqrt(squares[-1])).sum()) :] @ near

    def _of_parameters(self, terms: np.ndarray, axis: int) -> np.ndarray:
        """Return what the terms along an axis add to their parameters."""
        if self.n_parameters == len(self.axes):
            return terms
        return terms.sum(axis=axis, keepdims=True)

    def curvature(self, gradient: np.ndarray) -> np.ndarray:
        """Return the second derivatives of tr(G Sigma), (J, J), for a symmetric G (p, p)."""
        J, p = self.n_parameters, self.vectors.shape[1]
        result, q = np.zeros((J, J)), self.n_factors
        result[: p * q, : p * q] = np.kron(2 * gradient, np.eye(q))
        return result

    def rotations(self, loadings: np.ndarray) -> np.ndarray:
        """Return the directions that rotate the factors, (n_pairs, J), for loadings (p, q)."""
        q, result = self.n_factors, []
        for a in range(q):
            for b in range(a):
                turn = np.zeros_like(loadings)
                turn[:, a], turn[:, b] = loadings[:, b], -loadings[:, a]
                rest = np.zeros(self.n_parameters - turn.size)
                result.append(np.concatenate([turn.ravel(), rest]))
        return np.array(result).reshape(len(result), self.n_parameters)


def dense_tangent(p: int) -> CovarianceTangent:
    """Return the tangent of a covariance with free elements: row by row of the lower triangle."""
    rows, columns = np.tril_indices(p)
    vectors = np.eye(p)[columns]
    vectors[rows == columns] *= 0.5
    return CovarianceTangent(rows, vectors, np.eye(p)[rows] + np.eye(p)[columns])


def diagonal_tangent(p: int) -> CovarianceTangent:
    """Return the tangent of a covariance with one variance per column."""
    return CovarianceTangent(np.arange(p), 0.5 * np.eye(p), 2 * np.eye(p))


def isotropic_tangent(p: int) -> CovarianceTangent:
    """Return the tangent of a covariance with one variance for all columns of one unit."""
    return CovarianceTangent(np.arange(p), 0.5 * np.eye(p), 2 * np.eye(p)[:1])


def factor_tangent(loadings: np.ndarray) -> CovarianceTangent:
    """Return the tangent at loadings (p, q): those row by row, then the noise variances."""
    p, q = loadings.shape
    axes = np.concatenate([np.repeat(np.arange(p), q), np.arange(p)])
    vectors = np.concatenate([np.tile(loadings.T, (p, 1)), 0.5 * np.eye(p)])
    units = np.concatenate([np.repeat(np.eye(p), q, axis=0), 2 * np.eye(p)])
    return CovarianceTangent(axes, vectors, units, q)
