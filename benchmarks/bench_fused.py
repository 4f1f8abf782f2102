"""Gain of the compiled pass where numba is installed, and cost of loading it.

    OMP_NUM_THREADS=1 python benchmarks/bench_fused.py [--rows N ...]

CPU milliseconds of an EM iteration by matrix products and by the compiled pass, medians of runs by
turns from the same parameters; `even` is the number of iterations that win back numba's import and
the loading of the kernel. With both done beforehand: ratios of fits from one start to the mode (at
most 20 iterations where the table is large) and of whole fits at tol=1e-3, with seeds 0, 1, 2, ...
A star marks the tables that `fit` itself passes over by the kernel; here it is forced on all.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from unittest.mock import patch

import numpy as np
from bench_em import SHAPES, TYPES, blobs, given
from sklearn.mixture import GaussianMixture

from skelbo import EMGaussianMixture
from skelbo.mixture.backends import numba_pass

COST = """
from time import process_time as now; import numpy as np; a = now(); import numba; b = now()
from skelbo.mixture.backends import numba_pass; c = now(); x = np.ones((4, 256))
numba_pass.kernel()(x, x[0], x, 4, 0); print(b - a, now() - c)
"""


def cost():
    """Return CPU seconds of numba's import, of compilation, and of loading from the cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-W", "ignore", "-c", COST]
        runs = [subprocess.check_output(command, env=environment).split() for _ in range(4)]
    return float(runs[3][0]), float(runs[0][1]), float(runs[3][1])


def by_turns(X, seconds=0.5, **options):
    """Return median CPU milliseconds of fits by matrix products and by the kernel."""
    times, end = [], time.perf_counter() + seconds
    while len(times) < 4 or time.perf_counter() < end:
        times.append([time.process_time()])
        for work in (np.inf, 0):
            with patch.object(numba_pass, "MIN_WORK", work):
                EMGaussianMixture(**options, random_state=len(times)).fit(X)
            times[-1].append(time.process_time())
    return 1e3 * np.median(np.diff(times[1:]), axis=0)


def case(X, K, kind):
    """Return milliseconds of an iteration (two), and ratios: to the mode, and of whole fits."""
    common = {"n_components": K, "covariance_type": kind, "reg_covar": 1e-6}
    start = {**common, **given(GaussianMixture(**common, max_iter=1, random_state=0).fit(X))}
    steps = {**start, "tol": 0.0, "acceleration": None}
    few, many = (by_turns(X, **steps, max_iter=n_iter) for n_iter in (2, 12))
    mode = by_turns(X, **start, max_iter=5000 if X.size * K < 5e6 else 20)
    whole = by_turns(X, **common, tol=1e-3)
    return (many - few) / 10, mode[0] / mode[1], whole[0] / whole[1]


def is_used(X, K, kind):
    """Return whether a fit passes over this table by the kernel."""
    with patch.object(numba_pass, "expected", side_effect=InterruptedError):
        try:
            EMGaussianMixture(K, covariance_type=kind, max_iter=1, tol=0.0).fit(X)
        except InterruptedError:
            return True
    return False


def summarize(name, rows):
    if rows:
        each, mode, whole = np.exp(np.mean(np.log([row[1:] for row in rows]), axis=0))
        print(f"{name}: {each:.2f} an iteration, {mode:.2f} to the mode, {whole:.2f} a fit")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=None, help="tables of so many rows")
    args = parser.parse_args()
    if numba_pass.kernel() is None:
        print("not run: pip install numba")
        return
    warnings.simplefilter("ignore")
    load, compiling, cached = cost()
    print(
        f"CPU seconds: import of numba {load:.2f}, compiling {compiling:.1f} once a machine, "
        f"loading what was compiled {cached:.2f}"
    )
    columns = f"{'ms':>9}{'kernel':>9}{'ratio':>7}{'even':>7}{'mode':>7}{'fit':>7}"
    print(f"{'n':>7}{'p':>5}{'K':>4} {'type':<11}{columns}")
    table, rng = [], np.random.default_rng(0)
    for n, p, K in SHAPES:
        X = blobs(n, p, K, rng)
        for kind in TYPES if n in (args.rows or [n]) else []:
            used = "*" if is_used(X, K, kind) else ""
            (a, b), mode, whole = case(X, K, kind)
            even = f"{1e3 * (load + cached) / (a - b):>7.0f}" if a > 1.05 * b else f"{'-':>7}"
            table.append((used, a / b, mode, whole))
            numbers = f"{a:>9.3f}{b:>9.3f}{a / b:>7.2f}{even}{mode:>7.2f}{whole:>7.2f}"
            print(f"{n:>7}{p:>5}{K:>4} {kind + used:<11}{numbers}", flush=True)
    print("geometric means")
    summarize("where it is used", [row for row in table if row[0]])
    summarize("elsewhere", [row for row in table if not row[0]])


if __name__ == "__main__":
    main()
