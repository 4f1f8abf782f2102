r"""Responsibilities of new mixtures made of the components of others.

Different modes mostly share some components: one that takes a component from another mode, or that
gives up one component and splits another, may lie higher than any that random rows lead to.

References
----------
Ueda, Nakano, Ghahramani and Hinton (2000), *SMEM algorithm for mixture models*; Pernkopf and
Bouchaffra (2005), *Genetic-based EM algorithm for learning Gaussian mixture models*.
"""

from __future__ import annotations

import numpy as np

from skelbo.mixture.k_means import first_nearest
from skelbo.mixture.log_sum_exp import normalize

# Share of the new mixtures that take a component from another one; the rest split one.
EXCHANGED = 0.3


def recombined(
    log_joint: np.ndarray,
    log_weights: np.ndarray,
    weights: np.ndarray,
    space: np.ndarray,
    n_mixtures: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Return shares of rows in the components of new mixtures, behind those of the given ones.

    Parameters
    ----------
    log_joint : ndarray of shape (n_given, n_components, n_rows)
        log p(x, z = k) of the given mixtures, in nats, up to a constant in each row.
    log_weights : ndarray of shape (n_given, n_components)
        log p(z = k).
    weights : ndarray of shape (n_rows,)
        Weights of the rows.
    space : ndarray of shape (n_rows, n_coordinates)
        The rows in coordinates in which they cluster.
    n_mixtures : int
        Number of new ones.
    rng : RandomState

    Returns
    -------
    shares : ndarray of shape (n_given + n_mixtures, n_components, n_rows)
        Weights times responsibilities. First the posteriors of the given mixtures, whose bound the
        next step of EM raises.
    """
    n_given, K, _ = log_joint.shape
    parent = rng.randint(n_given, size=n_mixtures)
    lost = rng.randint(K, size=n_mixtures)
    children = log_joint[parent]
    exchanged = rng.random_sample(n_mixtures) < (EXCHANGED if n_given > 1 else 0.0)
    numbers = np.flatnonzero(exchanged)
    other = (parent[numbers] + rng.randint(1, max(n_given, 2), size=len(numbers))) % n_given
    children[numbers, lost[numbers]] = log_joint[other, rng.randint(K, size=len(numbers))]
    if not exchanged.all():
        numbers = np.flatnonzero(~exchanged)
        children[numbers] = _split(children[numbers], lost[numbers], weights, space, rng)
    shares = np.concatenate([log_joint, children])
    normalize(shares, log_weights[np.concatenate([np.arange(n_given), parent])], weights)
    return shares


def _split(log_joint, lost, weights, space, rng) -> np.ndarray:
    """Return mixtures (n, K, n_rows) without the lost component, another one being cut in two.

    The rows of a component are cut between two of them, drawn in proportion to its responsibility.
    """
    n, K, n_rows = log_joint.shape
    numbers = np.arange(n)
    split = (lost + rng.randint(1, K, size=n)) % K
    log_joint[numbers, lost] = -np.inf
    resp = log_joint.copy()
    normalize(resp, np.zeros((n, K)))
    with np.errstate(divide="ignore", over="ignore"):
        times = rng.standard_exponential((n, n_rows)) / (resp[numbers, split] * weights)
    ends = space[np.argpartition(times, 1, axis=1)[:, :2]]
    half_squares = np.square(ends).sum(axis=2) / 2
    closeness = ends @ space.T - half_squares[:, :, None]
    nearer = first_nearest(closeness, half_squares, np.square(space).sum(axis=1)) == 0
    whole = log_joint[numbers, split]
    log_joint[numbers, split] = np.where(nearer, whole, -np.inf)
    log_joint[numbers, lost] = np.where(nearer, -np.inf, whole)
    return log_joint
