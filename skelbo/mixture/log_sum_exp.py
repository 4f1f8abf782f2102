"""Log-sum-exp over components, with rows so far away that every density underflows."""

from __future__ import annotations

import numpy as np


def exponentiate(log_joint: np.ndarray, top: np.ndarray) -> np.ndarray:
    """Turn log p(x, z) (K, n) into its exponential over that of `top` (n,), in place; sum over z.

    Parameters
    ----------
    log_joint : ndarray of shape (n_components, n_rows)
        Overwritten.
    top : ndarray of shape (n_rows,)
        Finite; at least the largest of its column.

    Returns
    -------
    total : ndarray of shape (n_rows,)
    """
    np.subtract(log_joint, top, out=log_joint)
    return np.add.reduce(np.exp(log_joint, out=log_joint), axis=0)


def normalize(
    log_joint: np.ndarray, log_weights: np.ndarray, weights: np.ndarray | float = 1.0
) -> np.ndarray:
    """Turn log p(x, z) into weights times p(z | x), in place, and return log p(x).

    A row whose densities all underflow has log p(x) = -inf and the prior as its posterior.

    Parameters
    ----------
    log_joint : ndarray of shape (n_components, n_rows)
        Overwritten, in nats.
    log_weights : ndarray of shape (n_components,)
        log p(z).
    weights : ndarray of shape (n_rows,) or float
        Weights of the rows.

    Returns
    -------
    log_prob : ndarray of shape (n_rows,)
        In nats.
    """
    top = np.maximum.reduce(log_joint, axis=0)
    lost = None
    if np.minimum.reduce(top) == -np.inf:
        lost = np.isneginf(top)
        log_joint[:, lost] = log_weights[:, None]
        top[lost] = log_weights.max()
    total = exponentiate(log_joint, top)
    log_joint *= weights / total
    top += np.log(total, out=total)
    if lost is not None:
        top[lost] = -np.inf
    return top
