r"""Weighted points for means over a Gaussian, and over a posterior that is close to one.

Products of Gauss-Hermite nodes for few latents; where these are too many, a rule of degree five
with :math:`d^2 + 3d + 3` points on a sphere. Mysovskikh (1980); Lu and Darmofal (2004),
*Higher-dimensional integration with Gaussian weight for applications in probabilistic design*.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import special

from skelbo.elbo import LOG_2PI
from skelbo.inference.sampling.draws import Draws

# Nodes per axis of products by number of latents, and the log-share below which one is left out.
NODES = {
    1: (61, 41, 21),
    2: (31, 21, 15, 11, 9, 7),
    3: (11, 9, 7, 5),
    4: (9, 7, 5),
    5: (7, 5),
}
PRUNED = 14.0
# Latents up to which all weights of the rule of degree five are positive.
MAX_LATENTS = 6


def gaussian_rule(n_latents: int, max_points: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the best rule of at most `max_points` points, or the smallest one there is.

    Returns
    -------
    points : ndarray of shape (S, n_latents)
    log_weights : ndarray of shape (S,)
        Logarithms of weights that sum to one, or nearly so.
    """
    n_nodes = nodes_per_axis(n_latents, max_points)
    return _product_rule(n_latents, n_nodes) if n_nodes else _degree_five_rule(n_latents)


def nodes_per_axis(n_latents: int, max_points: float) -> int:
    """Return the nodes per axis of the best product of at most `max_points` points, 0 if none."""
    for n_nodes in NODES.get(n_latents, ()):
        if len(_product_rule(n_latents, n_nodes)[0]) <= max_points:
            return n_nodes
    return NODES[1][-1] if n_latents == 1 else 0


class RowRule(NamedTuple):
    """Weighted points that stand for p(z | x), and log p(x) by the same rule.

    Attributes
    ----------
    draws : Draws
    log_prob : ndarray of shape (n_rows,)
        In nats.
    """

    draws: Draws
    log_prob: np.ndarray


def posterior_rule(joint, mean, precision, max_points: float, *, turned=False) -> RowRule:
    """Return weighted points that stand for p(z | x), from a rule around a Gaussian near it.

    Parameters
    ----------
    joint : ContinuousJointDensity
        log p(x, z) of n rows.
    mean : ndarray of shape (n, d)
    precision : ndarray of shape (n, d, d)
        Of the Gaussian.
    max_points : float
        Number of points per row that can be afforded.
    turned : bool
        Whether the points are rotated: what the rotation changes is the error of the rule.
    """
    points, log_weights = gaussian_rule(mean.shape[1], max_points)
    if turned:
        points = points @ _rotation(mean.shape[1])
    factor = np.linalg.cholesky(precision)
    root = np.linalg.inv(factor)  # covariance = root' root
    Z = mean + np.einsum("nij,si->snj", root, points)
    log_density = -0.5 * ((points**2).sum(1) + points.shape[1] * LOG_2PI)
    terms = joint.log_joint(Z) + (log_weights - log_density)[:, None]
    log_total = special.logsumexp(terms, axis=0)
    draws = Draws(Z, np.exp(terms - log_total), np.arange(len(Z)), exact=True)
    return RowRule(draws, log_total - np.log(np.einsum("nkk->nk", factor)).sum(-1))


def moment_points(mean, precision) -> Draws:
    """Return 2 d points of equal weight with the mean and covariance of Gaussians.

    Exact for means of quadratic functions of z. `mean` is (n, d), `precision` (n, d, d).
    """
    n, d = mean.shape
    root = np.linalg.inv(np.linalg.cholesky(precision))
    half = np.sqrt(d) * root.transpose(1, 0, 2)
    Z = np.concatenate([mean + half, mean - half])
    return Draws(Z, np.full((2 * d, n), 0.5 / d), np.arange(2 * d), exact=True)


@cache
def _rotation(n_latents) -> np.ndarray:
    """Return a rotation that is none of the symmetries of a rule."""
    normal = np.random.RandomState(0).standard_normal((n_latents, n_latents))
    return np.linalg.qr(normal)[0]


@cache
def _product_rule(n_latents, n_nodes):
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    grid = np.stack(np.meshgrid(*[nodes] * n_latents, indexing="ij"), -1)
    shares = np.stack(np.meshgrid(*[weights / weights.sum()] * n_latents, indexing="ij"), -1)
    grid, log_weights = grid.reshape(-1, n_latents), np.log(shares).sum(-1).ravel()
    kept = log_weights > log_weights.max() - (60.0 if n_latents < 3 else PRUNED)
    return grid[kept], log_weights[kept]


@cache
def _degree_five_rule(n_latents):
    """Return vertices of a simplex, middles of its edges, their mirror images, and the centre."""
    d = n_latents
    centred = np.eye(d + 1) - 1 / (d + 1)
    vertices = np.linalg.svd(centred)[0][:, :d] * np.sqrt((d + 1) / d)
    middles = np.array([a + b for a, b in combinations(vertices, 2)])
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    points = np.sqrt(d + 2) * np.concatenate([vertices, -vertices, middles, -middles])
    scale = 1 / ((d + 1) * (d + 2)) ** 2
    weights = np.repeat(
        [0.5 * d**2 * (7 - d) * scale, 2 * (d - 1) ** 2 * scale],
        [2 * len(vertices), 2 * len(middles)],
    )
    points = np.concatenate([points, np.zeros((1, d))])
    return points, np.log(np.append(weights, 2 / (d + 2)))
