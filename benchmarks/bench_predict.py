"""Speed and memory of predictions of a fitted mixture beside scikit-learn's.

    python benchmarks/bench_predict.py [--cpu] [--float32]

Both predict with the same parameters, by turns in one process; ratio = scikit-learn / skelbo, so
that more than 1 is faster. Not in the means: "cloud", full covariances fitted to one Gaussian: a
row may come from any component, so that no work is left out. Last: MiB allocated beyond X and the
answer, at ten times the rows; with --float32 also how far a bound computed in float32 would be off
along a fit, in nats per row.
"""

import argparse
import statistics
import time
import tracemalloc
import warnings
from functools import partial

import numpy as np
from bench_em import TYPES, blobs
from sklearn.mixture import GaussianMixture
from timing import by_turns

from skelbo import EMGaussianMixture

SHAPES = [(150, 4, 3), (5000, 2, 5), (50000, 10, 10), (50000, 32, 16), (20000, 100, 8)]
WIDE_SHAPES = SHAPES[-2:]
METHODS = ["score_samples", "predict_proba", "transform", "predict"]


def pair(X, K, kind):
    """Return the two estimators with the same parameters."""
    theirs = GaussianMixture(K, covariance_type=kind, max_iter=5, random_state=0).fit(X)
    ours = EMGaussianMixture(
        K,
        covariance_type=kind,
        weights_init=theirs.weights_,
        means_init=theirs.means_,
        precisions_init=theirs.precisions_,
        max_iter=0,
    ).fit(X[: 10 * K])
    return ours, theirs


def compared(X, ours, theirs, single, clock):
    """Return the ratio of each method."""
    given, repeats = X.astype(np.float32) if single else X, 25 if len(X) <= 5000 else 5
    ratios = []
    for method in METHODS:
        # scikit-learn's mixture has no `transform`; the same numbers are predict_proba.
        peer = getattr(theirs, "predict_proba" if method == "transform" else method)
        mine = getattr(ours, method)
        a, b = by_turns(partial(mine, given), partial(peer, X), repeats, clock)
        ratios.append(b / a)
    return ratios


def print_line(n, p, K, kind, ratios):
    """Print a line of the table."""
    columns = "".join(f"{ratio:>15.2f}" for ratio in ratios)
    print(f"{n:>7}{p:>5}{K:>4} {kind:<10}{columns}", flush=True)


def peak(method, X):
    """Return MiB allocated beyond X and the answer."""
    tracemalloc.start()
    answer = method(X)
    size = tracemalloc.get_traced_memory()[1] - answer.nbytes
    tracemalloc.stop()
    return size / 2**20


def bound_errors(X, K, kind, n_iter=12):
    """Return the errors of a bound in float32 at successive iterations, in nats per row."""
    single = X.astype(np.float32)
    rows = single.astype(np.float64)
    options = {"max_iter": 5, "tol": 0.0, "random_state": 0, "warm_start": True}
    model = EMGaussianMixture(K, covariance_type=kind, acceleration=None, **options)
    errors = []
    for _ in range(n_iter):
        error = model.fit(rows).score_samples(single) - model.score_samples(rows)
        errors.append(error.mean())
    return np.array(errors)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", action="store_true", help="CPU seconds, for a shared machine")
    parser.add_argument("--float32", action="store_true", help="ours is given float32 rows")
    args = parser.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    print(f"{'n':>7}{'p':>5}{'K':>4} {'type':<10}" + "".join(f"{m:>15}" for m in METHODS))
    ratios = []
    for n, p, K in SHAPES:
        X = blobs(n, p, K, rng)
        for kind in TYPES:
            ratios.append(compared(X, *pair(X, K, kind), args.float32, clock))
            print_line(n, p, K, kind, ratios[-1])
    for n, p, K in WIDE_SHAPES:
        X = rng.standard_normal((n, p))
        print_line(n, p, K, "cloud", compared(X, *pair(X, K, "full"), args.float32, clock))
    for method, column in zip(METHODS, zip(*ratios, strict=True), strict=True):
        mean = statistics.geometric_mean(column)
        print(f"{method}: geometric mean {mean:.2f}, smallest {min(column):.2f}")
    X = blobs(50000, 10, 10, rng)
    ours, theirs = pair(X, 10, "full")
    X = np.tile(X, (10, 1))
    for name, model in (("skelbo", ours), ("scikit-learn", theirs)):
        print(f"score_samples of 500000 x 10: {name} peak {peak(model.score_samples, X):.1f} MiB")
    for n, p, K, kind in [(50000, 2, 5, "full"), (50000, 10, 10, "diag")] if args.float32 else []:
        errors = bound_errors(blobs(n, p, K, rng), K, kind)
        print(f"bound in float32, {n} x {p}, {K} {kind}: error {errors.mean():.1e}", end="")
        print(f", standard deviation over iterations {errors.std():.1e} nats per row")


if __name__ == "__main__":
    main()
