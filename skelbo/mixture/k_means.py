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
# Squares that differ by less, in units of the scatter of all rows, are equal: of several nearest
# centres the first is taken. Codes and counts have many, among which rounding would choose.
SAME = 1e-9


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
    slack = same_closeness(points.T, weights)
    centres = _seeds(points, weights, n_clusters, n_runs, rng, SAME * scatter.sum())
    extended = np.vstack([points, np.ones(points.shape[1])])
    weighted = (extended * weights).T
    for _ in range(MAX_ITER):
        nearest, closeness = _nearest(extended, centres, slack)
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


def same_closeness(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the difference up to which two of x.c - |c|^2 / 2 are equal, of centred rows x."""
    squares = np.square(values).sum(axis=1)
    return SAME * float(squares @ weights) / float(weights.sum())


def first_largest(closeness: np.ndarray, slack: float) -> np.ndarray:
    """Return the first index at which an array (..., K, n) is largest but for `slack`, (..., n)."""
    return (closeness >= closeness.max(axis=-2, keepdims=True) - slack).argmax(axis=-2)


def nearest_rows(values: np.ndarray, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return which of some rows (K, p) is nearest to each row (n, p), (n,); the first of equals."""
    unit = np.abs(values).max() or 1.0  # squares neither overflow nor vanish
    points, centres = values / unit, rows / unit
    half_squares, slack = np.square(centres).sum(axis=1) / 2, same_closeness(points, weights)
    labels = np.empty(len(points), np.intp)
    for part in iter_blocks(len(points), len(centres)):
        closeness = centres @ points[part].T - half_squares[:, None]
        labels[part] = first_largest(closeness, slack)
    return labels


def _nearest(
    extended: np.ndarray, centres: np.ndarray, slack: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest centre of each row, (n_runs, n_rows), and x.c - |c|^2 / 2 there.

    That is (|x|^2 - |x - c|^2) / 2, largest where the distance is smallest.
    """
    half_squares = np.square(centres).sum(axis=2, keepdims=True) / 2
    closeness = np.concatenate([centres, -half_squares], axis=2) @ extended
    best = closeness[:, 0].copy()
    nearest = np.zeros(best.shape, np.intp)
    for k in range(1, centres.shape[1]):
        closer = closeness[:, k] > best + slack
        nearest[closer] = k
        np.maximum(best, closeness[:, k], out=best)
    return nearest, best


def _seeds(points, weights, n_clusters, n_runs, rng, slack) -> np.ndarray:
    """Return distant rows as first centres, (n_runs, n_clusters, n_features).

    Each is the best of a few rows, drawn in proportion to the squared distance from the centres
    before it.
    """
    n_trials = 2 + int(np.log(n_clusters))
    squares = np.square(points).sum(axis=0)
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
