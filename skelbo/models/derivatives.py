r"""Derivatives of log p(x, z; theta) in theta for models that are linear in z, column by column.

The score of column j is :math:`f'(\eta_{ij})\,(1, z_i)`, minus its Hessian :math:`-f''(\eta_{ij})
(1, z_i)(1, z_i)^T`; a noise variance and the probabilities of features add one entry each.
"""

from __future__ import annotations

import numpy as np


def complete_scores(model, theta, X, Z) -> np.ndarray:
    """Return the gradient of log p(x, z; theta) in theta, (S, n, P), P in the order of theta."""
    parts = _CellDerivatives(model, theta, X, Z)
    columns = {
        "loadings": parts.slope[..., None] * Z[:, :, None, :],
        "intercepts": parts.slope,
        "noise_variance": parts.noise_slope,
        "probabilities": parts.prior_slope,
    }
    return np.concatenate([columns[name].reshape(*Z.shape[:2], -1) for name in theta], axis=2)


def complete_information(model, theta, X, Z, weights) -> np.ndarray:
    """Return minus the Hessian of E log p(x, z; theta) in theta, (P, P), summed over rows.

    `weights`, (S, n), are those of the draws times those of the rows.
    """
    parts = _CellDerivatives(model, theta, X, Z)
    first, index = 0, {}
    for name, value in theta.items():
        index[name] = first + np.arange(np.size(value)).reshape(np.shape(value))
        first += np.size(value)
    result = np.zeros((first, first))
    p, d = X.shape[1], Z.shape[2]
    design = np.concatenate([np.ones((*Z.shape[:2], 1)), Z], axis=2).reshape(-1, d + 1)
    flat = weights.reshape(-1, 1)
    outer = (flat * design)[:, :, None] * design[:, None, :]
    blocks = parts.curvature.reshape(-1, p).T @ outer.reshape(len(flat), -1)
    rows = np.column_stack([index["intercepts"], index["loadings"]])
    result[rows[:, :, None], rows[:, None, :]] = blocks.reshape(p, d + 1, d + 1)
    if "noise_variance" in theta:
        noise = np.broadcast_to(theta["noise_variance"], p)
        at = np.broadcast_to(index["noise_variance"], p)
        cross = (parts.slope.reshape(-1, p) * flat).T @ design / noise[:, None]
        own = (flat * (parts.slope**2 / noise - parts.curvature / (2 * noise)).reshape(-1, p)).sum(
            0
        )
        for j in range(p):
            result[rows[j], at[j]] += cross[j]
            result[at[j], rows[j]] += cross[j]
            result[at[j], at[j]] += own[j]
    if "probabilities" in theta:
        pi, at = theta["probabilities"], index["probabilities"]
        counts = (flat * Z.reshape(-1, d)).sum(0)
        result[at, at] = counts / pi**2 + (flat.sum() - counts) / (1 - pi) ** 2
    return result


class _CellDerivatives:
    """Derivatives of the cells in eta and in the noise variance, zero where missing."""

    def __init__(self, model, theta, X, Z):
        missing = np.isnan(X)
        known = ~missing if missing.any() else 1.0
        values = np.where(missing, 0.0, X)
        eta = theta["intercepts"] + Z @ theta["loadings"].T
        noise = np.broadcast_to(theta.get("noise_variance", 1.0), X.shape[1])
        _, slope, curvature = model.column_likelihood.derivatives(values, eta, noise)
        self.slope, self.curvature = slope * known, curvature * known
        if "noise_variance" in theta:
            self.noise_slope = 0.5 * (self.slope**2 - self.curvature)
            if model.noise == "isotropic":
                self.noise_slope = self.noise_slope.sum(-1)
        else:
            self.noise_slope = np.zeros((*Z.shape[:2], 0))
        pi = theta.get("probabilities", np.zeros(0))
        self.prior_slope = (Z - pi) / (pi * (1 - pi)) if pi.size else np.zeros((*Z.shape[:2], 0))
