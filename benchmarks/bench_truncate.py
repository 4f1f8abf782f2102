"""Would a truncated E-step pay for many components? A prototype beside our full E-step.

    python benchmarks/bench_truncate.py [--rows 100000] [--components 256] [--features 16]

Truncated: each row gives responsibility only to the C components nearest to its best one (Luecke
and Eggert 2010; Salwig et al. 2025), so that rows with the same best component share one stack of
C Gaussians. The best component is sought among these C in each iteration, the lists are renewed
after each. Both paths start from the same k-means and use the library's own arithmetic. Held out
is the mean log-likelihood of new rows, all components counted.

Columns: microseconds per row and iteration; held out at the end; ratio = CPU seconds that the full
path needs to reach the held-out likelihood that the truncated one ends with (less 0.001 nats), over
those that the truncated one needs (its first labels are not counted). The full path may take four
times as long as the truncated one; "inf" means that it still has not got as far.
"""

import argparse
import time
import warnings

import numpy as np

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.rows import Block, Rows
from skelbo.gaussian.components import Components
from skelbo.gaussian.moments import Moments, positive_or_one
from skelbo.gaussian.regularization import Floor
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.initialization import start_mixture
from skelbo.mixture.log_sum_exp import normalize
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.row_sample import sample_rows

CHUNK = 2**16
# The full path may take this many times the truncated one's seconds to get as far.
PATIENCE = 4


def clusters(n, p, K, spread, rng):
    """Return rows of K Gaussians with correlated columns, their means `spread` from zero."""
    centres = spread * rng.standard_normal((K, p))
    shapes = rng.standard_normal((K, p, p)) / np.sqrt(p) + 0.5 * np.eye(p)
    labels = rng.integers(K, size=n)
    return centres[labels] + np.einsum("nij,nj->ni", shapes[labels], rng.standard_normal((n, p)))


def nearest(theta, size):
    """Return the `size` components nearest to each in its own metric, itself the first."""
    means, covariance = theta.components.means, theta.components.covariance
    distances = [
        (covariance.whiten(means - mean, k) ** 2).sum(axis=1) for k, mean in enumerate(means)
    ]
    return np.argsort(distances, axis=1)[:, :size]


def part_of(theta, chosen, origin):
    """Return some components of a mixture, their weights as they are, about another origin."""
    cov = theta.components.covariance
    arrays = cov.covariances[chosen], cov.precision_cholesky[chosen], cov.floored[chosen]
    components = Components(theta.components.means[chosen] - origin, type(cov)(*arrays))
    return Mixture(theta.weights[chosen], components)


def truncated_step(theta, X, labels, size):
    """Return the expected moments under the truncated posterior; renew the labels in place."""
    K, p = theta.components.means.shape
    kind = theta.components.covariance.structure.scatter
    weight, first = np.zeros(K), np.zeros((K, p))
    second = np.zeros((K, p, p) if kind.dense else (K, p))
    lists = nearest(theta, size)
    parts = [part_of(theta, lists[k], theta.components.means[k]) for k in range(K)]
    for start in range(0, len(X), CHUNK):
        here = labels[start : start + CHUNK]
        order = np.argsort(here, kind="stable")
        ends = np.searchsorted(here[order], np.arange(K + 1))
        values = X[start : start + CHUNK][order].T
        for k in range(K):
            rows = slice(ends[k], ends[k + 1])
            if rows.start == rows.stop:
                continue
            chosen, origin, part = lists[k], theta.components.means[k], parts[k]
            steps = values[:, rows] - origin[:, None]
            density = part.density(Block(steps, np.ones(steps.shape[1]), order[rows]))
            resp = density.log_joint()
            here[order[rows]] = chosen[resp.argmax(axis=0)]
            normalize(resp, part.log_weights)
            moments = density.moments(resp)
            mean = moments.mean + origin
            weight[chosen] += moments.weight
            first[chosen] += moments.weight[:, None] * mean
            second[chosen] += moments.scatter + kind.of_deviations(moments.weight, mean)
    mean = first / positive_or_one(weight)[:, None]
    return Moments(kind, weight, mean, second - kind.of_deviations(weight, mean))


def climb(theta, step, rule, held_out, n_iter, target=np.inf, at_most=0.0):
    """Return CPU seconds and held-out log-likelihood after each iteration.

    After `n_iter` iterations go on until the target is reached or `at_most` seconds are spent.
    """
    spent, curve = 0.0, [(0.0, -np.inf)]
    while len(curve) <= n_iter or (curve[-1][1] < target and spent < at_most):
        start = time.process_time()
        theta = theta.m_step(step(theta), rule)
        spent += time.process_time() - start
        curve.append((spent, theta.e_step(held_out)[0]))
    return np.array(curve[1:]).T


def reached(curve, target):
    """Return the CPU seconds at which a curve reaches a target, by interpolation."""
    seconds, values = curve
    if values.max() < target:
        return np.inf
    n = int(np.argmax(values >= target))
    if n == 0:
        return seconds[0]
    share = (target - values[n - 1]) / (values[n] - values[n - 1])
    return seconds[n - 1] + share * (seconds[n] - seconds[n - 1])


def case(name, X, test, K, kind, sizes, n_iter):
    """Print one line per size of the lists."""
    structure = STRUCTURES[kind]
    cells = structure.row_cells(K, X.shape[1])[0]
    rows = Rows(X, cells_per_row=cells)
    columns = ColumnMoments.of_rows(rows)
    rows, rule = rows.about(columns.mean), Floor(columns.positive_variance)
    held_out = Rows(test, origin=columns.mean, cells_per_row=cells)
    rng = np.random.RandomState(0)
    start = start_mixture("kmeans", sample_rows(rows, K), K, structure, rule, rng)
    curves = {}
    for size in sizes:
        labels = rows.each(start.labels, dtype=np.intp)

        def step(theta, labels=labels, size=size):
            return truncated_step(theta, X - columns.mean, labels, size)

        curves[size] = climb(start, step, rule, held_out, n_iter)
    longest = max(curve[0][-1] for curve in curves.values())
    best = max(curve[1][-1] for curve in curves.values())
    full = climb(
        start, lambda theta: theta.e_step(rows)[1], rule, held_out, 3, best, PATIENCE * longest
    )
    micro = 1e6 / len(X)
    each = micro * full[0][-1] / full.shape[1]
    print(f"{name:<13}{kind:<6}{'all':>5}{each:>9.2f}{full[1][-1]:>11.3f}", flush=True)
    for size, curve in curves.items():
        target = curve[1][-1] - 1e-3
        ratio = reached(full, target) / reached(curve, target)
        each = micro * curve[0][-1] / n_iter
        line = f"{name:<13}{kind:<6}{size:>5}{each:>9.2f}{curve[1][-1]:>11.3f}{ratio:>8.2f}"
        print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--components", type=int, default=256)
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--types", nargs="+", default=["full", "diag"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"n={args.rows}, p={args.features}, K={args.components}")
    print(f"{'clusters':<13}{'type':<6}{'C':>5}{'us/row':>9}{'held out':>11}{'ratio':>8}")
    rng = np.random.default_rng(0)
    K, p, n = args.components, args.features, args.rows
    for name, spread in (("apart", 2.0), ("overlapping", 0.7)):
        X = clusters(n + n // 10, p, K, spread, rng)
        for kind in args.types:
            case(name, X[:n], X[n:], K, kind, args.sizes, args.iterations)


if __name__ == "__main__":
    main()
