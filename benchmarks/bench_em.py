"""How fast is EM beside scikit-learn's? Both in one process, by turns, from the same start.

    python benchmarks/bench_em.py [--quick] [--cpu] [--float32] [--types full tied diag spherical]
        [--rows 150 1000] [--all]

Three measures, each in milliseconds (ours, scikit-learn's) and as a ratio, scikit-learn / skelbo,
so that more than 1 is faster:

- one EM iteration: a fixed number of them from the same start, divided by that number;
- to the mode: from the same start (given, and not timed) until each stops by itself, ours at its
  default tol="auto", scikit-learn at tol=1e-7; `gain` is our bound minus theirs, nats per row. One
  run each on large tables. Where 200 of their iterations would take longer than 15 s only with
  `--all`, and then without a warm-up: that may take hours;
- a whole fit at tol=1e-3, each with its own start; the runs have seeds 0, 1, 2, ..., as a lucky
  start saves more than anything else.

Medians of alternating runs. `--float32` passes float32 rows to both.
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


def seconds(function, run, clock):
    """Return the seconds that one call takes."""
    start = clock()
    function(run)
    return clock() - start


def compare(ours, theirs, repeats, clock, warm=True):
    """Return the medians of alternating runs, after one warm-up of each."""
    if warm:
        ours(0), theirs(0)
    pairs = [(seconds(ours, i, clock), seconds(theirs, i, clock)) for i in range(repeats)]
    return [statistics.median(column) for column in zip(*pairs, strict=True)]


def case(X, K, kind, repeats, n_iter, clock, everything):
    """Return seconds (ours, theirs) per iteration, to the mode and per fit, and the gain."""
    common = {"n_components": K, "covariance_type": kind, "reg_covar": 1e-6}
    start = GaussianMixture(**common, max_iter=1, init_params="random_from_data", random_state=0)
    fixed = {**common, **given(start.fit(X)), "tol": 0.0, "max_iter": n_iter}
    iterations = compare(
        lambda run: EMGaussianMixture(**fixed, acceleration=None).fit(X),
        lambda run: GaussianMixture(**fixed).fit(X),
        repeats,
        clock,
    )
    whole = {**common, "tol": 1e-3}
    fit = compare(
        lambda seed: EMGaussianMixture(**whole, random_state=seed).fit(X),
        lambda seed: GaussianMixture(**whole, random_state=seed).fit(X),
        repeats,
        clock,
    )
    mode, gain = None, None
    costly = 200 * iterations[1] / n_iter > 15
    if everything or not costly:
        start = GaussianMixture(**common, max_iter=1, random_state=0)
        options = {**common, **given(start.fit(X)), "max_iter": 5000}
        ours, theirs = EMGaussianMixture(**options), GaussianMixture(**options, tol=1e-7)
        mode = compare(
            lambda run: ours.fit(X),
            lambda run: theirs.fit(X),
            repeats if len(X) < 9999 else 1,
            clock,
            warm=not costly,
        )
        gain = ours.score(X) - theirs.score(X)
    return [t / n_iter for t in iterations], mode, fit, gain


def given(start):
    """Return the parameters of a fit as those of a start."""
    return {
        "weights_init": start.weights_,
        "means_init": start.means_,
        "precisions_init": start.precisions_,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small shapes only")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds, for a shared machine")
    parser.add_argument("--float32", action="store_true", help="float32 rows for both")
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--all", action="store_true", help="costly cases to the mode, too")
    parser.add_argument("--rows", nargs="+", type=int, default=None, help="tables of so many rows")
    args = parser.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    warnings.simplefilter("ignore")
    print(f"{platform.machine()}, numpy {np.__version__}, scikit-learn {sklearn.__version__}")
    print(f"{'':<26}{'one iteration':^26} | {'to the mode':^37} | {'whole fit':^26}")
    columns = f"{'ms':>9}{'sklearn':>10}{'ratio':>7}"
    print(f"{'n':>7}{'p':>5}{'K':>4} {'type':<9}{columns} | {columns}{'gain':>11} | {columns}")
    ratios = {"one iteration": [], "to the mode": [], "whole fit": []}
    rng = np.random.default_rng(0)
    for n, p, K in SHAPES:
        X = blobs(n, p, K, rng)
        if (args.quick and n * p * K > 10**6) or n not in (args.rows or [n]):
            continue
        X = X.astype(np.float32) if args.float32 else X
        for kind in args.types:
            repeats, n_iter = (9 if n > 1000 else 25, 100) if n <= 5000 else (3, 10)
            *pairs, gain = case(X, K, kind, repeats, n_iter, clock, args.all)
            line = []
            for column, pair in zip(ratios.values(), pairs, strict=True):
                if pair is None:
                    line.append(f"{'not run':>26}{'':>11}")
                    continue
                a, b = (1e3 * t for t in pair)
                column.append(b / a)
                line.append(f"{a:>9.2f}{b:>10.2f}{b / a:>7.2f}")
            if gain is not None:
                line[1] += f"{gain:>11.1e}"
            print(f"{n:>7}{p:>5}{K:>4} {kind:<9}" + " | ".join(line), flush=True)
    for name, column in ratios.items():
        mean = statistics.geometric_mean(column)
        print(f"{name}: geometric mean {mean:.2f}, smallest {min(column):.2f}, {len(column)} cases")


if __name__ == "__main__":
    main()
