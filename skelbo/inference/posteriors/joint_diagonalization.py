r"""Rotation of latent space in which a q of independent latents loses least.

A rotation R of z leaves p(x) as it is but not the bound of a diagonal Gaussian q. It loses about
:math:`\tfrac12 \sum_i \{\sum_k \log (R P_i R^T)_{kk} - \log |P_i|\}`, P_i the precision that q_i
would have without the restriction. The best R nearly diagonalises all P_i at once; at its optimum
the gradient is that of the bound itself. EM alone gets there over hundreds of iterations.
"""

from __future__ import annotations

import numpy as np

# Angles tried for every pair of axes (a right angle exchanges them), and steps that refine one.
ANGLES = np.linspace(-np.pi / 4, np.pi / 4, 13)[:-1]
REFINEMENTS, SWEEPS = 3, 2
SMALLEST_ANGLE = 1e-9


def least_loss_rotation(precision: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    """Return the rotation R, (d, d), that minimises the loss, None for the identity.

    Parameters
    ----------
    precision : ndarray of shape (n_rows, n_latents, n_latents)
    weights : ndarray of shape (n_rows,)

    References
    ----------
    Flury and Gautschi (1986) and Pham (2001), joint diagonalisation of positive definite matrices.
    """
    d = precision.shape[1]
    P, R, rotated = precision.transpose(1, 2, 0).copy(), np.eye(d), False
    for _ in range(SWEEPS):
        for k in range(d):
            for m in range(k + 1, d):
                angle = _best_angle(P[k, k], P[k, m], P[m, m], weights)
                if abs(angle) > SMALLEST_ANGLE:
                    _rotate_pair(P, R, k, m, angle)
                    rotated = True
    return R if rotated else None


def _best_angle(a, b, c, weights):
    """Return the angle that makes w' log(diagonal) of the rotated (2, 2) matrices least."""
    half_sum, half_difference = 0.5 * (a + c), 0.5 * (a - c)
    angle = ANGLES[_loss(ANGLES[:, None], half_sum, half_difference, b, weights).argmin()]
    for _ in range(REFINEMENTS):
        slope, curvature = _derivatives(angle, half_sum, half_difference, b, weights)
        if curvature <= 0:
            break
        angle -= slope / curvature
    plain, best = _loss(np.array([[0.0], [angle]]), half_sum, half_difference, b, weights)
    return angle if best < plain else 0.0


def _loss(angle, half_sum, half_difference, b, weights):
    off = half_difference * np.cos(2 * angle) + b * np.sin(2 * angle)
    return np.log(half_sum**2 - off**2) @ weights


def _derivatives(angle, half_sum, half_difference, b, weights):
    cosine, sine = np.cos(2 * angle), np.sin(2 * angle)
    off = half_difference * cosine + b * sine
    slope = 2 * (b * cosine - half_difference * sine)
    rest = half_sum**2 - off**2
    first = -2 * off * slope / rest
    second = -2 * (slope**2 - 4 * off**2) / rest - first**2
    return weights @ first, weights @ second


def _rotate_pair(P, R, k, m, angle):
    """Rotate axes k and m of all matrices P (d, d, n), in place, and apply the rotation to R."""
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    pair = [k, m]
    P[pair] = np.tensordot(rotation, P[pair], 1)
    P[:, pair] = np.einsum("ab,jbn->jan", rotation, P[:, pair])
    R[pair] = rotation @ R[pair]
