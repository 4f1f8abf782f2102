r"""Information of complete Gaussian rows about a factor model, a closed form.

With :math:`\Sigma = W W^T + \Psi`, :math:`K = \Sigma^{-1}`, the second moments S of the rows about
b and :math:`G = K S K`,

.. math:: -\partial^2 \log p(X) = \tfrac n2 \{ \mathrm{tr}[(2 K\, d\Sigma\, G - K\, d\Sigma\, K)\,
    d\Sigma] - \mathrm{tr}[(G - K)\, d^2\Sigma] \} + \dots

Magnus and Neudecker (1988), *Matrix differential calculus*.
"""

from __future__ import annotations

import numpy as np


def expected_information(theta, weight: float) -> np.ndarray:
    """Return the Fisher information of `weight` complete rows, (P, P), in the order of theta."""
    precision = _precision(theta)
    blocks = _variance_blocks(theta, precision, precision)
    blocks["intercepts", "intercepts"] = precision
    return weight * _assembled(blocks, theta)


def observed_information(theta, weight: float, mean, covariance) -> np.ndarray:
    """Return the observed information of `weight` complete rows, (P, P), in the order of theta.

    Parameters
    ----------
    theta : dict of ndarray
    weight : float
        Number of rows.
    mean : ndarray of shape (n_features,)
        Of the rows.
    covariance : ndarray of shape (n_features, n_features)
        Of the rows about `mean`, divided by their number.
    """
    W, K = theta["loadings"], _precision(theta)
    p, d = W.shape
    away = mean - theta["intercepts"]
    G = K @ (covariance + np.outer(away, away)) @ K
    half = _variance_blocks(theta, K, G)
    back, own = _variance_blocks(theta, G, K), _variance_blocks(theta, K, K)
    blocks = {name: half[name] + back[name] - own[name] for name in half}
    bend = np.einsum("jl,km->jklm", G - K, np.eye(d)).reshape(p * d, p * d)
    blocks["loadings", "loadings"] = blocks["loadings", "loadings"] - bend
    blocks["intercepts", "intercepts"] = K
    pull, image = K @ away, K @ W
    turn = np.einsum("aj,k->ajk", K, W.T @ pull) + np.einsum("ak,j->ajk", image, pull)
    blocks["intercepts", "loadings"] = turn.reshape(p, p * d)
    blocks["intercepts", "noise_variance"] = _summed(theta, K * pull)
    return weight * _assembled(blocks, theta)


def _precision(theta) -> np.ndarray:
    W = theta["loadings"]
    noise = np.broadcast_to(theta["noise_variance"], len(W))
    scaled = W / noise[:, None]
    inner = np.eye(W.shape[1]) + W.T @ scaled
    return np.diag(1 / noise) - scaled @ np.linalg.solve(inner, scaled.T)


def _variance_blocks(theta, A, B) -> dict:
    """Return half of tr[A dS B dS], S = W W' + diag(noise), in pairs of parameters."""
    W = theta["loadings"]
    p, d = W.shape
    AW, BW = A @ W, B @ W
    loadings = (
        np.einsum("jm,lk->jklm", AW, BW)
        + np.einsum("jl,km->jklm", A, W.T @ BW)
        + np.einsum("km,jl->jklm", W.T @ AW, B)
        + np.einsum("lk,jm->jklm", AW, BW)
    ).reshape(p * d, p * d)
    cross = np.einsum("jl,lk->jkl", A, BW) + np.einsum("lk,jl->jkl", AW, B)
    return {
        ("loadings", "loadings"): 0.5 * loadings,
        ("loadings", "noise_variance"): 0.5 * _summed(theta, cross.reshape(p * d, p)),
        ("noise_variance", "noise_variance"): 0.5 * _summed(theta, _summed(theta, A * B).T).T,
    }


def _summed(theta, columns) -> np.ndarray:
    """Return derivatives in the noise variance of each column; summed where all share one."""
    if np.ndim(theta["noise_variance"]):
        return columns
    return columns.sum(1, keepdims=True)


def _assembled(blocks, theta) -> np.ndarray:
    sizes = {name: np.size(value) for name, value in theta.items()}
    full = {**blocks, **{(b, a): block.T for (a, b), block in blocks.items()}}
    rows = [[full.get((a, b), np.zeros((sizes[a], sizes[b]))) for b in theta] for a in theta]
    return np.block(rows)
