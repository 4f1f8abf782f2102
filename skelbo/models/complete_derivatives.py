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


def mixed_information(model, theta, X, Z, shares) -> tuple[np.ndarray, np.ndarray]:
    """Return E of minus the derivatives of log p(x, z) in theta and z, and twice in z, row by row.

    For real z with a standard normal prior; `shares`, (S, n), are the weights of the draws.

    Returns
    -------
    mixed : ndarray of shape (n, P, d)
    own : ndarray of shape (n, d, d)
    """
    parts, W = _CellDerivatives(model, theta, X, Z), theta["loadings"]
    (p, d), n = W.shape, len(X)
    slope = np.einsum("sn,snj->nj", shares, parts.slope)
    curvature = np.einsum("sn,snj->nj", shares, parts.curvature)
    weighted = np.einsum("sn,snj,snk->njk", shares, parts.curvature, Z, optimize=True)
    squares = (W[:, :, None] * W[:, None, :]).reshape(p, d * d)
    own = np.eye(d) + (curvature @ squares).reshape(n, d, d)
    # The mean of the derivative in z is zero; large counts magnify the rounding of z in it.
    pull = slope @ W - np.einsum("sn,snk->nk", shares, Z)
    slope = slope - curvature * (np.linalg.solve(own, pull[..., None])[..., 0] @ W.T)
    loadings = weighted[..., None] * W[:, None, :] - slope[:, :, None, None] * np.eye(d)
    columns = {"loadings": loadings, "intercepts": curvature[..., None] * W}
    if "noise_variance" in theta:
        product = np.einsum("sn,snj,snj->nj", shares, parts.slope, parts.curvature, optimize=True)
        noise = product[..., None] * W
        columns["noise_variance"] = noise.sum(1) if model.noise == "isotropic" else noise
    mixed = np.concatenate([columns[name].reshape(n, -1, d) for name in theta], axis=1)
    return mixed, own


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
