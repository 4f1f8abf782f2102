r"""Directions in which the parameters of a covariance move it, for derivatives of log-densities.

.. math:: E_j = \partial \Sigma / \partial \phi_j

:math:`\phi` are the free elements of the covariance: its lower triangle, variances, one variance,
or loadings and noise variances. All but the loadings move the covariance linearly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CovarianceTangent:
    """Derivatives of one covariance in its free parameters.

    Attributes
    ----------
    directions : ndarray of shape (n_parameters, n_features, n_features)
        First derivatives, symmetric.
    units : ndarray of shape (n_parameters, n_features)
        Powers of the columns' units in each parameter: its unit is their product to these powers.
    n_factors : int
        Factors whose loadings, (n_features, n_factors), are the first parameters; mostly 0.
    """

    directions: np.ndarray
    units: np.ndarray
    n_factors: int = 0

    def curvature(self, gradient: np.ndarray) -> np.ndarray:
        """Return the second derivatives of tr(G Sigma), (J, J), for a symmetric G (p, p)."""
        J, p = self.directions.shape[:2]
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
                rest = np.zeros(len(self.directions) - turn.size)
                result.append(np.concatenate([turn.ravel(), rest]))
        return np.array(result).reshape(len(result), len(self.directions))


def dense_tangent(p: int) -> CovarianceTangent:
    """Return the tangent of a covariance with free elements: row by row of the lower triangle."""
    rows, columns = np.tril_indices(p)
    directions = np.zeros((len(rows), p, p))
    number = np.arange(len(rows))
    directions[number, rows, columns] = directions[number, columns, rows] = 1.0
    units = np.eye(p)[rows] + np.eye(p)[columns]
    return CovarianceTangent(directions, units)


def diagonal_tangent(p: int) -> CovarianceTangent:
    """Return the tangent of a covariance with one variance per column."""
    directions = np.zeros((p, p, p))
    directions[range(p), range(p), range(p)] = 1.0
    return CovarianceTangent(directions, 2 * np.eye(p))


def isotropic_tangent(p: int) -> CovarianceTangent:
    """Return the tangent of a covariance with one variance for all columns of one unit."""
    return CovarianceTangent(np.eye(p)[None], 2 * np.eye(p)[:1])


def factor_tangent(loadings: np.ndarray) -> CovarianceTangent:
    """Return the tangent at loadings (p, q): those row by row, then the noise variances."""
    p, q = loadings.shape
    directions = np.zeros((p * q + p, p, p))
    for a in range(p):
        for b in range(q):
            directions[a * q + b, a] += loadings[:, b]
            directions[a * q + b, :, a] += loadings[:, b]
        directions[p * q + a, a, a] = 1.0
    units = np.concatenate([np.repeat(np.eye(p), q, axis=0), 2 * np.eye(p)])
    return CovarianceTangent(directions, units, q)
