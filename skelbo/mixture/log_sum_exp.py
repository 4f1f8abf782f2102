"""Log-sum-exp over components, with rows so far away that every density underflows."""

from __future__ import annotations

import numpy as np


def exponentiate(log_joint: np.ndarray, top: np.ndarray) -> np.ndarray:
    """Turn log p(x, z) into its exponential over that of `top`, in place; return its sum over z.

    Parameters
    ----------
    log_joint : ndarray of shape (..., n_components, n_rows)
        Overwritten.
    top : ndarray of shape (..., n_rows)
        Finite; at least the largest of its column.

    Returns
    -------
    total : ndarray of shape (..., n_rows)
    """
    np.subtract(log_joint, top[..., None, :], out=log_joint)
    return np.add.reduce(np.exp(log_joint, out=log_joint), axis=-2)


def normalize(
    log_joint: np.ndarray, log_weights: np.ndarray, weights: np.ndarray | float = 1.0
) -> np.ndarray:
    """Turn log p(x, z) into weights times p(z | x), in place, and return log p(x).

    A row whose densities all underflow has log p(x) = -inf and the prior as its posterior.

    Parameters
    ----------
    log_joint : ndarray of shape (..., n_components, n_rows)
        Overwritten, in nats. Leading axes count mixtures; there may be none.
    log_weights : ndarray of shape (..., n_components)
        log p(z).
    weights : ndarray of shape (n_rows,) or float
        Weights of the rows.

    Returns
    -------
    log_prob : ndarray of shape (..., n_rows)
        In nats.
    """
    top = np.maximum.reduce(log_joint, axis=-2)
    lost: np.ndarray | None = None
    if np.minimum.reduce(top, axis=None, initial=np.inf) == -np.inf:
        lost = np.asarray(np.isneginf(top))
        np.copyto(log_joint, log_weights[..., None], where=lost[..., None, :])
        top = np.where(lost, log_weights.max(axis=-1, keepdims=True), top)
    total = exponentiate(log_joint, top)
    log_joint *= (weights / total)[..., None, :]
    top += np.log(total, out=total)
    if lost is not None:
        top[lost] = -np.inf
    return top
