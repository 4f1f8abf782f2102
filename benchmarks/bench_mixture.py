"""Speed of a mixture of columns of any kind beside StepMix: both in one process, by turns.

    python benchmarks/bench_mixture.py [--repeats 3] [--starts 1 10] [--cases ...]
    python benchmarks/bench_mixture.py --rows 1000000

Whole fits of the same table, each with so many starts of its own, until one iteration climbs less
than 1e-10 nats per row, the default of StepMix. Columns: CPU seconds of one thread (medians of
alternating fits with seeds 0, 1, ...), their ratio, and our bound minus theirs in nats per row: the
smallest over the seeds, so that zero or more is "at least as high" each time; below 1e-9 it is
where each happened to stop. StepMix is no dependency: ``pip install stepmix``.

`--rows` fits a table of that many rows (20 categorical columns, 5 classes) in a fresh process and
prints the time and the largest memory beyond the table. Linux only.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np

from skelbo import EMMixture


def codes(n=10_000, p=20, n_classes=5, n_codes=4, concentration=1.0, seed=0):
    """Return answers of latent classes whose probabilities are Dirichlet draws."""
    rng = np.random.default_rng(seed)
    tables = rng.dirichlet(np.full(n_codes, concentration), size=(n_classes, p)).cumsum(axis=-1)
    labels, X = rng.integers(n_classes, size=n), np.empty((n, p))
    for rows in np.array_split(np.arange(n), max(1, n // 10_000)):
        uniform = rng.random((len(rows), p, 1))
        X[rows] = (uniform > tables[labels[rows], :, :-1]).sum(axis=-1)
    return X


def with_holes(X, share=0.1):
    """Return the table with missing cells."""
    return np.where(np.random.default_rng(1).random(X.shape) < share, np.nan, X)


def mixed():
    """Return ten columns of codes and five Gaussian ones of the same classes."""
    X = codes(p=15, n_codes=4)
    rng = np.random.default_rng(2)
    X[:, 10:] += rng.standard_normal((len(X), 5))
    return X


def pathologists():
    """Return 118 slides of seven pathologists: `carcinoma` of Agresti (2002), table 13.1."""
    patterns = "0000000 0000100 0100000 0100001 0100100 0100101 1000000 1010101 1100000 1100001"
    patterns += " 1100100 1100101 1100111 1101001 1101101 1101111 1110101 1110111 1111101 1111111"
    counts = [34, 2, 6, 1, 4, 5, 2, 1, 2, 1, 2, 7, 1, 1, 2, 3, 13, 5, 10, 16]
    rows = [[float(digit) for digit in pattern] for pattern in patterns.split()]
    return np.repeat(rows, counts, axis=0)


# name -> (table, classes, our likelihood, StepMix's measurement)
CASES = {
    "10000 x 20, 4 codes": (codes, 5, "categorical", "categorical"),
    "10000 x 20, 4 codes, overlapping": (
        lambda: codes(concentration=5.0),
        5,
        "categorical",
        "categorical",
    ),
    "10000 x 20, 4 codes, 10 % missing": (
        lambda: with_holes(codes()),
        5,
        "categorical",
        "categorical_nan",
    ),
    "10000 x 20, yes/no": (lambda: codes(n_codes=2), 5, "bernoulli", "bernoulli"),
    "10000 x 6, yes/no": (lambda: codes(p=6, n_codes=2), 3, "bernoulli", "bernoulli"),
    "118 x 7, yes/no (carcinoma)": (pathologists, 3, "bernoulli", "bernoulli"),
    "10000 x 15, codes and Gaussians": (
        mixed,
        5,
        ["categorical"] * 10 + ["gaussian"] * 5,
        {
            "codes": {"model": "categorical", "n_columns": 10},
            "reals": {"model": "gaussian_diag", "n_columns": 5},
        },
    ),
}


def fits(case, n_starts, seed):
    """Return the two fits of a case, as functions without arguments."""
    from stepmix.stepmix import StepMix

    make, n_classes, likelihood, measurement = CASES[case]
    X = make()
    options = {"n_init": n_starts, "max_iter": 1000, "random_state": seed}
    ours = EMMixture(n_classes, likelihood=likelihood, covariance_type="diag", tol=1e-10, **options)
    theirs = StepMix(n_classes, measurement=measurement, verbose=0, progress_bar=0, **options)
    return (lambda: ours.fit(X).lower_bound_), (lambda: theirs.fit(X).score(X))


def timed(function):
    """Return the CPU seconds of a fit, and its bound."""
    start = time.process_time()
    bound = function()
    return time.process_time() - start, bound


def compare(case, n_starts, repeats):
    """Return the median seconds, and the smallest difference of the bounds."""
    seconds, differences = [], []
    for seed in range(repeats):
        (ours, high), (theirs, low) = map(timed, fits(case, n_starts, seed))
        seconds.append((ours, theirs))
        differences.append(high - low)
    return *map(statistics.median, zip(*seconds, strict=True)), min(differences)


def long_table(n):
    """Fit a table of n rows; print time and memory."""
    X = codes(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    model = EMMixture(5, likelihood="categorical", n_init=1, random_state=0).fit(X)
    seconds = time.process_time() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{n} x 20 codes ({X.nbytes / 2**20:.0f} MiB), K = 5, one start: {seconds:.1f} s CPU,")
    print(f"{model.n_iter_} iterations, log p {model.lower_bound_:.4f} nats per row;")
    peaks = f"{after / 1024:.0f} MiB, of making the table {before / 1024:.0f}"
    print(f"largest memory of the process {peaks}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--starts", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rows is not None:
        if args.within:
            long_table(args.rows)
            return
        command = [sys.executable, __file__, "--rows", str(args.rows), "--within"]
        subprocess.run(command, check=True)
        return
    warnings.simplefilter("ignore")
    print(f"{'table':36}{'starts':>7}{'skelbo':>9}{'StepMix':>9}{'ratio':>8}{'higher by':>11}")
    for case in args.cases:
        for n_starts in args.starts:
            ours, theirs, higher = compare(case, n_starts, args.repeats)
            ratio = theirs / ours
            print(f"{case:36}{n_starts:7}{ours:9.3f}{theirs:9.3f}{ratio:8.1f}{higher:11.1e}")


if __name__ == "__main__":
    main()
