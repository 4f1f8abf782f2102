r"""Directions of theta that a movement of z undoes: p(x) does not change along them.

A direction v is one if there is an affine field :math:`\phi(z) = A z + b` with

.. math:: v^T \partial_\theta \log p(x, z; \theta)
    = \nabla \cdot \phi + \phi^T \nabla_z \log p(x, z; \theta)

for every x and z: by Stein's identity the posterior mean of the right side is zero, and that of the
left is the derivative of log p(x) along v. Rotations of standard normal latents are of this kind.
The equation is checked point by point, so that no error of an expectation hides such a direction.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from skelbo.models.interface import Model, Theta

# Rows and points of z per row, and the share of the largest singular value that is rounding.
N_ROWS, N_POINTS, ROUNDING = 64, 8, 1e-9


def undone_directions(model: Model, theta: Theta, X, units) -> np.ndarray:
    """Return an orthonormal basis (P, k), in units, of the directions that an affine field undoes.

    Parameters
    ----------
    model : Model
        With continuous latents.
    theta : dict of str to ndarray
    X : ndarray of shape (n_rows, n_features)
    units : ndarray of shape (n_parameters,)
        Scales of the parameters.
    """
    X, size = X[:N_ROWS], len(units)
    Z = np.random.RandomState(0).standard_normal((N_POINTS, len(X), model.n_latents))
    scores = model.scores(theta, X, Z) * units
    equations = np.concatenate([scores, _fields(model.joint(X, theta), Z)], axis=2)
    equations = equations.reshape(-1, equations.shape[2])
    equations /= np.maximum(np.linalg.norm(equations, axis=1, keepdims=True), 1e-300)
    scale = np.maximum(np.linalg.norm(equations, axis=0), 1e-300)
    _, values, right = np.linalg.svd(equations / scale)
    values = np.append(values, np.zeros(len(right) - len(values)))
    null = right[values <= ROUNDING * values[0]] / scale
    return linalg.orth(null[:, :size].T, rcond=ROUNDING)


def _fields(joint, Z) -> np.ndarray:
    """Return the right side for a basis of affine fields, (S, n, d + d * d)."""
    slope = joint.gradient(Z)[1]
    stretch = slope[..., :, None] * Z[..., None, :] + np.eye(Z.shape[2])
    return np.concatenate([slope, stretch.reshape(*slope.shape[:2], -1)], axis=2)
