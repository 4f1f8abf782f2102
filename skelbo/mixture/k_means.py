r"""K-means for starts of EM: several runs side by side, each operation serving all.

On a table of a few hundred rows :class:`sklearn.cluster.KMeans` spends most of its time on
preparation; here a run is a slice of arrays (n_runs, n_clusters, n_rows).
"""

from __future__ import annotations

import numpy as np

from skelbo.data.blocks import iter_blocks

MAX_ITER = 300
# The runs end when no centre moves by more than this, squared, in units of the variance.
SHIFT = 1e-4
# Sums of squares that differ by less, in units of the scatter of all rows, are equal.
SAME = 1e-9
# The same of the distances of a row from two centres, in units of its own and their lengths, so
# that a row far from all does not make the others equal: of several nearest centres the first is
# taken. Codes and counts have many, among which rounding would choose.
TIE = 1e-12


def k_means(
    values: np.ndarray, weights: np.ndarray, n_clusters: int, n_runs: int, rng
) -> np.ndarray:
    """Return the labels (n_rows,) of the best of several runs of k-means.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_features)
        Distinct rows, centred.
    weights : ndarray of shape (n_rows,)
        Number of rows that each one stands for.
    n_clusters, n_runs : int
    rng : RandomState

    Returns
    -------
    labels : ndarray of int, shape (n_rows,)

    Notes
    -----
    Lloyd (1982) from the seeds of greedy k-means++ (Arthur and Vassilvitskii 2007).
    """
    points = values.T / (np.abs(values).max() or 1.0)  # squares neither overflow nor vanish
    total = weights.sum()
    scatter = np.square(points - (points @ weights / total)[:, None]) @ weights
    enough = SHIFT * scatter.mean() / total
    centres = _seeds(points, weights, n_clusters, n_runs, rng)
    extended = np.vstack([points, np.ones(points.shape[1])])
    weighted = (extended * weights).T
    for _ in range(MAX_ITER):
        nearest, closeness = _nearest(extended, centres)
        members = nearest[:, None] == np.arange(n_clusters)[:, None]
        sums = members.astype(float) @ weighted
        size = sums[..., -1:]
        moved = np.divide(sums[..., :-1], size, out=centres.copy(), where=size > 0)
        shift = np.square(moved - centres).sum(axis=2).max()
        centres = moved
        if shift <= enough:
            break
    # Runs often end at one partition, up to rounding: the first of them is returned.
    explained = closeness @ weights
    return nearest[np.argmax(explained >= explained.max() - SAME * scatter.sum())]


def first_nearest(
    closeness: np.ndarray, half_squares: np.ndarray, squares: np.ndarray
) -> np.ndarray:
    """Return the first centre that is nearest to each row but for rounding, (..., n).

    Parameters
    ----------
    closeness : ndarray of shape (..., K, n)
        x.c - |c|^2 / 2 of centres c and rows x.
    half_squares : ndarray of shape (..., K)
        |c|^2 / 2.
    squares : ndarray of shape (n,)
        |x|^2.
    """
    best = closeness.max(axis=-2)
    nearest = np.zeros(best.shape, np.intp)
    for k in reversed(range(closeness.shape[-2])):
        slack = TIE * (squares + half_squares[..., k, None])
        nearest[closeness[..., k, :] + slack >= best] = k
    return nearest


def nearest_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return which of some rows (K, p) is nearest to each row (n, p), (n,); the first of equals."""
    unit = np.abs(values).max() or 1.0  # squares neither overflow nor vanish
    points, centres = values / unit, rows / unit
    half_squares, squares = np.square(centres).sum(axis=1) / 2, np.square(points).sum(axis=1)
    labels = np.empty(len(points), np.intp)
    for part in iter_blocks(len(points), len(centres)):
        closeness = centres @ points[part].T - half_squares[:, None]
        labels[part] = first_nearest(closeness, half_squares, squares[part])
    return labels


def _nearest(extended: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest centre of each row, (n_runs, n_rows), and x.c - |c|^2 / 2 there.

    That is (|x|^2 - |x - c|^2) / 2, largest where the distance is smallest.
    """
    half_squares = np.square(centres).sum(axis=2) / 2
    closeness = np.concatenate([centres, -half_squares[..., None]], axis=2) @ extended
    squares = np.square(extended[:-1]).sum(axis=0)
    nearest = first_nearest(closeness, half_squares, squares)
    return nearest, closeness.max(axis=1)


def _seeds(points, weights, n_clusters, n_runs, rng) -> np.ndarray:
    """Return distant rows as first centres, (n_runs, n_clusters, n_features).

    Each is the best of a few rows, drawn in proportion to the squared distance from the centres
    before it.
    """
    n_trials = 2 + int(np.log(n_clusters))
    squares = np.square(points).sum(axis=0)
    slack = TIE * (squares @ weights)
    share = np.broadcast_to(weights, (n_runs, len(weights)))
    distances = np.full((n_runs, 1, len(weights)), np.inf)
    chosen = np.empty((n_runs, n_clusters), np.intp)
    runs = np.arange(n_runs)
    for k in range(n_clusters):
        cumulated = np.cumsum(share, axis=1)
        targets = rng.random_sample((n_runs, n_trials if k else 1)) * cumulated[:, -1:]
        pairs = zip(cumulated, targets, strict=True)
        drawn = np.array([row.searchsorted(target, "right") for row, target in pairs])
        drawn = np.minimum(drawn, len(weights) - 1)
        there = points.T[drawn]
        steps = squares[drawn][..., None] + squares - 2 * there @ points
        trials = np.minimum(distances, np.maximum(steps, 0.0))
        left = trials @ weights
        best = (left <= left.min(axis=1, keepdims=True) + slack).argmax(axis=1)
        chosen[:, k] = drawn[runs, best]
        distances = trials[runs, best][:, None]
        distances[runs, 0, chosen[:, k]] = 0.0
        share = distances[:, 0] * weights
        lost = share.sum(axis=1) == 0  # rows that differ by rounding only
        share[lost] = weights
    return points.T[chosen]
