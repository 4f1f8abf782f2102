"""Speed of EM beside scikit-learn's: both in one process, by turns, from the same start.

    python benchmarks/bench_em.py [--quick] [--cpu | --threads N] [--float32]
        [--types full tied diag spherical] [--rows 150 1000] [--all] [--numpy]

Three measures, each in milliseconds (ours, scikit-learn's) and as a ratio, scikit-learn / skelbo,
so that more than 1 is faster:

- one EM iteration: a fixed number of them from the same start, divided by that number;
- to the mode: from the same start (given, and not timed) until each stops by itself, ours at its
  default tol="auto", scikit-learn at tol=1e-7; `higher by` is our bound minus theirs, nats per
  row, and `as high` the ratio where ours ends at the iteration that comes within 1e-8 nats per row
  of their bound, or above. One run each on large tables. Where 200 of their iterations would take
  longer than 15 s only with `--all`, and then without a warm-up: that may take hours;
- a whole fit at tol=1e-3, each with its own start; the runs have seeds 0, 1, 2, ..., as a lucky
  start saves more than anything else.

Medians of alternating runs. `--threads N` lets both libraries use N threads, by the clock, and adds
`gain`: our time with one thread / with N. `--float32` passes float32 rows, to scikit-learn those
rows in whichever precision it is faster with, and adds `gain`: our time for float64 rows / for
float32 ones. `--numpy` leaves passes to NumPy where numba is installed.
"""

import argparse
import platform
import statistics
import time
import warnings
from dataclasses import dataclass, field

import numpy as np
import sklearn
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from skelbo import EMGaussianMixture
from skelbo.mixture.backends import numba_pass

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


@dataclass
class Bench:
    """Timing of ours, of scikit-learn's, and of ours without the option in question.

    Attributes
    ----------
    threads : int or None
        Of both libraries; None leaves them as they are.
    single : bool
        Whether rows are float32.
    """

    clock: object
    threads: int | None
    single: bool
    sklearn_single: list = field(default_factory=list)

    def compare(self, ours, theirs, X, repeats, warm=True):
        """Return medians of alternating runs: ours, scikit-learn's, and ours without.

        There is one warm-up of each by option.
        """
        rows = X.astype(np.float32) if self.single else X
        runs = [(theirs, rows, self.threads), (ours, rows, self.threads)]
        if self.single:
            runs = [(theirs, X, self.threads), (ours, X, self.threads), *runs]
        elif self.threads is not None:
            runs = [(ours, X, 1), *runs]
        times = [[self.seconds(*run, max(i, 0)) for run in runs] for i in range(-warm, repeats)]
        *without, peer, mine = map(statistics.median, zip(*times[warm:], strict=True))
        if self.single:
            self.sklearn_single.append(peer < without[0])
            peer = min(peer, without[0])
        return mine, peer, without[-1] if without else None

    def seconds(self, fit, X, threads, number):
        """Return the seconds that one run takes."""
        if threads is not None:
            time.sleep(0.05)  # BLAS's threads keep cores busy for a while after a product
        with threadpool_limits(threads):
            start = self.clock()
            fit(X, number)
            return self.clock() - start


def case(bench, X, K, kind, repeats, n_iter, everything):
    """Return times per iteration, to the mode and per fit (see `Bench.compare`), and the rest."""
    common = {"n_components": K, "covariance_type": kind, "reg_covar": 1e-6}
    start = GaussianMixture(**common, max_iter=1, init_params="random_from_data", random_state=0)
    fixed = {**common, **given(start.fit(X)), "tol": 0.0, "max_iter": n_iter}
    iterations = bench.compare(
        lambda X, run: EMGaussianMixture(**fixed, acceleration=None).fit(X),
        lambda X, run: GaussianMixture(**fixed).fit(X),
        X,
        repeats,
    )
    whole = {**common, "tol": 1e-3}
    fit = bench.compare(
        lambda X, seed: EMGaussianMixture(**whole, random_state=seed).fit(X),
        lambda X, seed: GaussianMixture(**whole, random_state=seed).fit(X),
        X,
        repeats,
    )
    mode, higher, as_high = None, None, None
    costly = 200 * iterations[1] / n_iter > 15
    if everything or not costly:
        start = GaussianMixture(**common, max_iter=1, random_state=0)
        options = {**common, **given(start.fit(X)), "max_iter": 5000}
        ours, theirs = EMGaussianMixture(**options), GaussianMixture(**options, tol=1e-7)
        mode = bench.compare(
            lambda X, run: ours.fit(X),
            lambda X, run: theirs.fit(X),
            X,
            repeats if len(X) < 9999 else 1,
            warm=not costly,
        )
        target = theirs.score(X)
        higher = ours.score(X) - target
        there = np.flatnonzero(np.array(ours.lower_bounds_) >= target - 1e-8)
        if there.size:
            ours.set_params(max_iter=int(there[0]) + 1)
            runs = range(repeats if len(X) < 9999 else 1)
            times = [bench.seconds(lambda X, run: ours.fit(X), X, bench.threads, i) for i in runs]
            as_high = mode[1] / statistics.median(times)
    return [None if t is None else t / n_iter for t in iterations], mode, fit, higher, as_high


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
    parser.add_argument("--threads", type=int, default=None, help="threads of both, by the clock")
    parser.add_argument("--float32", action="store_true", help="float32 rows")
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--all", action="store_true", help="costly cases to the mode, too")
    parser.add_argument("--rows", nargs="+", type=int, default=None, help="tables of so many rows")
    parser.add_argument("--numpy", action="store_true", help="no compiled passes")
    args = parser.parse_args()
    if args.numpy:
        numba_pass.MIN_WORK = np.inf
    by = "NumPy" if args.numpy or numba_pass.kernel() is None else "numba where tables are large"
    clock = time.process_time if args.cpu and args.threads is None else time.perf_counter
    bench = Bench(clock, args.threads, args.float32)
    warnings.simplefilter("ignore")
    print(f"{platform.machine()}, numpy {np.__version__}, scikit-learn {sklearn.__version__}")
    print(f"our passes by {by}")
    table = Table(gains=args.threads is not None or args.float32)
    rng = np.random.default_rng(0)
    for n, p, K in SHAPES:
        X = blobs(n, p, K, rng)
        if (args.quick and n * p * K > 10**6) or n not in (args.rows or [n]):
            continue
        for kind in args.types:
            repeats, n_iter = (9 if n > 1000 else 25, 100) if n <= 5000 else (3, 10)
            runs = repeats, n_iter, args.all
            table.add(f"{n:>7}{p:>5}{K:>4} {kind:<9}", *case(bench, X, K, kind, *runs))
    table.summarise()
    if args.float32:
        print(f"scikit-learn was faster in float32 in {np.mean(bench.sklearn_single):.0%}")


class Table:
    """Lines of three measures, and their means."""

    NAMES = "one iteration", "to the mode", "whole fit"

    def __init__(self, gains):
        self.gains = gains
        self.ratios = {name: [] for name in self.NAMES}
        self.gained = {name: [] for name in self.NAMES}
        self.as_high = []
        columns = f"{'ms':>9}{'sklearn':>10}{'ratio':>7}" + f"{'gain':>6}" * gains
        width = len(columns)
        titles = [f"{name:^{width}}" for name in self.NAMES]
        titles[1] = f"{self.NAMES[1]:^{width + 19}}"
        print(f"{'':<26}" + " | ".join(titles))
        title = f"{'n':>7}{'p':>5}{'K':>4} {'type':<9}"
        print(f"{title}{columns} | {columns}{'higher by':>11}{'as high':>8} | {columns}")

    def add(self, title, iterations, mode, fit, higher, as_high):
        """Print the line of one case."""
        cells = []
        for name, times in zip(self.NAMES, (iterations, mode, fit), strict=True):
            cells.append(f"{'not run':>{26 + 6 * self.gains}}{'':>19}")
            if times is None:
                continue
            ours, theirs, without = times
            self.ratios[name].append(theirs / ours)
            cells[-1] = f"{1e3 * ours:>9.2f}{1e3 * theirs:>10.2f}{theirs / ours:>7.2f}"
            if self.gains:
                self.gained[name].append(without / ours)
                cells[-1] += f"{without / ours:>6.2f}"
        if higher is not None:
            cells[1] += f"{higher:>11.1e}" + (f"{as_high:>8.2f}" if as_high else f"{'-':>8}")
        if as_high:
            self.as_high.append(as_high)
        print(title + " | ".join(cells), flush=True)

    def summarise(self):
        """Print the means of each measure."""
        for name in self.NAMES:
            for what, column in (("", self.ratios[name]), (" gain", self.gained[name])):
                self.summarise_one(name + what, column)
        self.summarise_one("as high as scikit-learn", self.as_high)

    @staticmethod
    def summarise_one(name, column):
        """Print the mean of one measure, if there is any."""
        if column:
            mean, least = statistics.geometric_mean(column), min(column)
            summary = f"geometric mean {mean:.2f}, smallest {least:.2f}"
            print(f"{name}: {summary}, {len(column)} cases")


if __name__ == "__main__":
    main()
