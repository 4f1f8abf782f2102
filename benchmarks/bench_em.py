"""How fast is EM beside scikit-learn's? Both in one process, by turns, from the same start.

    python benchmarks/bench_em.py [--quick] [--cpu] [--types full tied diag spherical]

Columns: milliseconds per EM iteration (a fixed number of them, same start, float64) and for a
whole default-like fit to the same tolerance (start included); ratio = scikit-learn / skelbo, so
that more than 1 is faster. Medians of alternating runs.
"""

import argparse
import platform
import statistics
import time
import warnings

import numpy as np
import sklearn
from sklearn.mixture import GaussianMixture

from skelbo import EMGaussianMixture

SHAPES = [
    (150, 4, 3),
    (1000, 2, 2),
    (5000, 2, 5),
    (20000, 20, 8),
    (100000, 2, 8),
    (50000, 10, 10),
    (50000, 32, 16),
    (20000, 100, 8),
    (200000, 8, 8),
    (200000, 8, 32),
]
TYPES = ["full", "tied", "diag", "spherical"]


def blobs(n, p, K, rng):
    """Return rows of K overlapping Gaussians with correlated columns."""
    centres = 2.0 * rng.standard_normal((K, p))
    shapes = rng.standard_normal((K, p, p)) / np.sqrt(p) + np.eye(p)
    labels = rng.integers(K, size=n)
    noise = rng.standard_normal((n, p))
    return centres[labels] + np.einsum("nij,nj->ni", shapes[labels], noise)


def seconds(function, clock):
    """Return the seconds that one call takes."""
    start = clock()
    function()
    return clock() - start


def compare(ours, theirs, repeats, clock):
    """Return the medians of alternating runs, after one warm-up of each."""
    ours(), theirs()
    pairs = [(seconds(ours, clock), seconds(theirs, clock)) for _ in range(repeats)]
    return [statistics.median(column) for column in zip(*pairs, strict=True)]


def case(X, K, kind, repeats, n_iter, clock):
    """Return seconds per iteration and per fit, ours and theirs."""
    start = GaussianMixture(
        K, covariance_type=kind, max_iter=1, init_params="random_from_data", random_state=0
    ).fit(X)
    given = {
        "weights_init": start.weights_,
        "means_init": start.means_,
        "precisions_init": start.precisions_,
    }
    common = {"n_components": K, "covariance_type": kind, "reg_covar": 1e-6}
    fixed = {**common, **given, "tol": 0.0, "max_iter": n_iter}
    per_iteration = compare(
        lambda: EMGaussianMixture(**fixed, acceleration=None).fit(X),
        lambda: GaussianMixture(**fixed).fit(X),
        repeats,
        clock,
    )
    whole = {**common, "tol": 1e-3, "random_state": 0}
    per_fit = compare(
        lambda: EMGaussianMixture(**whole).fit(X),
        lambda: GaussianMixture(**whole).fit(X),
        repeats,
        clock,
    )
    return [t / n_iter for t in per_iteration] + per_fit


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small shapes only")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds, for a shared machine")
    parser.add_argument("--types", nargs="+", default=TYPES)
    args = parser.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    warnings.simplefilter("ignore")
    print(f"{platform.machine()}, numpy {np.__version__}, scikit-learn {sklearn.__version__}")
    header = f"{'n':>7}{'p':>5}{'K':>4} {'type':<10}"
    columns = f"{'ms/iter':>10}{'sklearn':>10}{'ratio':>7} | {'ms/fit':>10}{'sklearn':>10}"
    print(f"{header}{columns}{'ratio':>7}")
    ratios = []
    rng = np.random.default_rng(0)
    for n, p, K in SHAPES:
        if args.quick and n * p * K > 10**6:
            continue
        X = blobs(n, p, K, rng)
        for kind in args.types:
            repeats, n_iter = (15, 20) if n <= 5000 else (3, 4)
            a, b, c, d = (1e3 * t for t in case(X, K, kind, repeats, n_iter, clock))
            ratios.append((b / a, d / c))
            line = f"{n:>7}{p:>5}{K:>4} {kind:<10}"
            line += f"{a:>10.2f}{b:>10.2f}{b / a:>7.2f} | {c:>10.1f}{d:>10.1f}{d / c:>7.2f}"
            print(line, flush=True)
    for name, column in zip(("per iteration", "per fit"), zip(*ratios, strict=True), strict=True):
        mean = statistics.geometric_mean(column)
        print(f"{name}: geometric mean {mean:.2f}, smallest {min(column):.2f}")


if __name__ == "__main__":
    main()
