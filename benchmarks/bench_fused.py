"""Would a compiled kernel that fuses E-step and moments pay? Needs numba (`pip install numba`).

    OMP_NUM_THREADS=1 python benchmarks/bench_fused.py [--rows N ...]

The kernel takes `TILE` rows at a time through t(x), eta t(x), log-sum-exp and the sums of t(x), all
in cache. CPU milliseconds of a pass, medians of alternating runs from the same parameters: ours as
`fit` has it, the kernel over all rows at once. `error` is the largest relative difference of bound
and moments; `even` the passes that win back numba's import and the loading of the compiled kernel.
With both done beforehand: ratios of fits from one start to the mode (at most 20 iterations where
the table is large) and of whole fits at tol=1e-3, the kernel in place of `Mixture.expected`.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from unittest.mock import patch

import numpy as np
from bench_em import SHAPES, TYPES, blobs, given
from sklearn.mixture import GaussianMixture

from skelbo import EMGaussianMixture
from skelbo.gaussian.mixture import Expected, Mixture
from skelbo.gaussian.moments import Moments
from skelbo.gaussian.natural import NaturalView
from skelbo.rows import Block

try:
    import numba
    from llvmlite import ir
    from numba import float64, int64
    from numba.extending import intrinsic
except ImportError:
    print("not run: pip install numba")
    sys.exit()

TILE = 256
LN2, LN2_TAIL = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
ROUND = 1.5 * 2.0**52  # added, it leaves the integer in the last bits
ROOT_HALF = int(np.sqrt(0.5).view(np.int64))
E = tuple(1 / math.factorial(i) for i in range(13))  # series of exp
A = tuple(2 / (2 * i + 1) for i in range(11))  # and of 2 artanh
# A check for division by zero would keep loops over rows from being vectorised.
exact = numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
loose = numba.njit(cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


@intrinsic
def bits(context, x):
    return int64(float64), lambda context, b, sig, args: b.bitcast(args[0], ir.IntType(64))


@intrinsic
def number(context, x):
    return float64(int64), lambda context, b, sig, args: b.bitcast(args[0], ir.DoubleType())


@exact
def exp(x):
    """Return e^x for x <= 0 to 4e-16, as 2^m e^r: numba's own is not vectorised."""
    x = x if x > -708.0 else -708.0
    shifted = x * (1 / LN2) + ROUND
    m = shifted - ROUND
    r = x - m * LN2 - m * LN2_TAIL
    q = (((E[12] * r + E[11]) * r + E[10]) * r + E[9]) * r + E[8]
    q = ((((q * r + E[7]) * r + E[6]) * r + E[5]) * r + E[4]) * r + E[3]
    return number(bits(((q * r + E[2]) * r + E[1]) * r + E[0]) + (bits(shifted) << 52))


@exact
def log(x):
    """Return log(x) for x >= 1 to 4e-16, with x = 2^m y and y near 1."""
    m = (bits(x) - ROOT_HALF) >> 52
    y = number(bits(x) - (m << 52))
    s = (y - 1) / (y + 1)
    u = s * s
    q = ((((A[10] * u + A[9]) * u + A[8]) * u + A[7]) * u + A[6]) * u + A[5]
    q = ((((q * u + A[4]) * u + A[3]) * u + A[2]) * u + A[1]) * u
    return m * LN2 + (m * LN2_TAIL + (q * s + A[0] * s))


@exact
def statistics_of(values, products, t):
    """Write t(x); `products` is 0 for none, 1 for squares, 2 for all."""
    p, s = len(values), 1 + len(values)
    for i in range(p):
        a, c = values[i], t[1 + i]
        for r in range(len(a)):
            c[r] = a[r]
    for i in range(p):
        for j in range(i, (0, i + 1, p)[products]):
            a, b, c = t[1 + i], t[1 + j], t[s]
            for r in range(TILE):
                c[r] = a[r] * b[r]
            s += 1


@loose
def log_joint(eta, t, joint):
    """Write eta t(x), four components and four statistics at a time."""
    for k in range(0, len(eta), 4):
        j0, j1, j2, j3 = joint[k], joint[k + 1], joint[k + 2], joint[k + 3]
        e0, e1, e2, e3 = eta[k], eta[k + 1], eta[k + 2], eta[k + 3]
        for r in range(TILE):
            j0[r], j1[r], j2[r], j3[r] = e0[0], e1[0], e2[0], e3[0]
        for s in range(1, len(t), 4):
            t0, t1, t2, t3 = t[s], t[s + 1], t[s + 2], t[s + 3]
            a0, a1, a2, a3 = e0[s], e0[s + 1], e0[s + 2], e0[s + 3]
            b0, b1, b2, b3 = e1[s], e1[s + 1], e1[s + 2], e1[s + 3]
            c0, c1, c2, c3 = e2[s], e2[s + 1], e2[s + 2], e2[s + 3]
            d0, d1, d2, d3 = e3[s], e3[s + 1], e3[s + 2], e3[s + 3]
            for r in range(TILE):
                w, x, y, z = t0[r], t1[r], t2[r], t3[r]
                j0[r] += a0 * w + a1 * x + a2 * y + a3 * z
                j1[r] += b0 * w + b1 * x + b2 * y + b3 * z
                j2[r] += c0 * w + c1 * x + c2 * y + c3 * z
                j3[r] += d0 * w + d1 * x + d2 * y + d3 * z


@exact
def exponentiate(joint, K, top, total):
    """Turn log p(x, z) into p(x, z) / p(x, z of the largest); sum it over z."""
    for r in range(TILE):
        top[r], total[r] = joint[0, r], 0.0
    for k in range(1, K):
        for r in range(TILE):
            top[r] = joint[k, r] if joint[k, r] > top[r] else top[r]
    for k in range(K):
        for r in range(TILE):
            joint[k, r] = exp(joint[k, r] - top[r])
            total[r] += joint[k, r]


@loose
def moments(joint, K, t, top, total, weights, sums):
    """Scale to weighted responsibilities, add their sums of t(x); return the bound less h(x)."""
    bound = 0.0
    for r in range(TILE):
        bound += weights[r] * (top[r] + log(total[r]))
        total[r] = weights[r] / total[r]
    for k in range(K):
        for r in range(TILE):
            joint[k, r] *= total[r]
        sums[k, 0] += joint[k].sum()
    for k in range(0, len(joint), 4):
        j0, j1, j2, j3 = joint[k], joint[k + 1], joint[k + 2], joint[k + 3]
        for s in range(1, len(t), 4):
            t0, t1, t2, t3 = t[s], t[s + 1], t[s + 2], t[s + 3]
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = 0.0
            c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = 0.0
            for r in range(TILE):
                w, x, y, z = t0[r], t1[r], t2[r], t3[r]
                a, b, c, d = j0[r], j1[r], j2[r], j3[r]
                a0, a1, a2, a3 = a0 + a * w, a1 + a * x, a2 + a * y, a3 + a * z
                b0, b1, b2, b3 = b0 + b * w, b1 + b * x, b2 + b * y, b3 + b * z
                c0, c1, c2, c3 = c0 + c * w, c1 + c * x, c2 + c * y, c3 + c * z
                d0, d1, d2, d3 = d0 + d * w, d1 + d * x, d2 + d * y, d3 + d * z
            tile = (a0, a1, a2, a3), (b0, b1, b2, b3), (c0, c1, c2, c3), (d0, d1, d2, d3)
            for i in range(16):
                sums[k + i // 4, s + i % 4] += tile[i // 4][i % 4]
    return bound


@exact
def fused(values, weights, eta, K, products):
    """Return the bound less h(x), and the expected sums of t(x), (K, S), over tiles of rows."""
    joint, t = np.zeros((len(eta), TILE)), np.zeros((eta.shape[1], TILE))
    top, total, weight = np.empty(TILE), np.empty(TILE), np.empty(TILE)
    sums, bound = np.zeros_like(eta), 0.0
    for first in range(0, len(weights), TILE):
        rows = slice(first, min(first + TILE, len(weights)))
        for r in range(TILE):  # what the last tile has too much weighs nothing
            weight[r] = weights[first + r] if first + r < len(weights) else 0.0
        statistics_of(values[:, rows], products, t)
        log_joint(eta, t, joint)
        exponentiate(joint, K, top, total)
        bound += moments(joint, K, t, top, total, weight, sums)
    return bound, sums


NUMPY = Mixture.expected


def expected(theta, block):
    """Return `theta.expected(block)`, by the kernel where theta has a natural form."""
    natural = theta.natural
    if natural is None:
        return NUMPY(theta, block)
    (K, S), kind = natural.eta.shape, natural.kind
    eta = np.zeros((-(-K // 4) * 4, 1 - (1 - S) // 4 * 4))
    eta[:K, :S] = natural.eta
    products = 0 if kind.pooled else 1 + kind.dense
    bound, sums = fused(block.values, block.weights, eta, K, products)
    common = block.once(kind.second_moments) if kind.pooled else None
    bound += NaturalView(natural, block, block.values).total_log_base()
    return Expected(bound, Moments.of_sums(kind, sums[:K, :S].copy(), common))


def alternate(function, seconds=0.5):
    """Return median CPU milliseconds of ``function(run, by)`` by each, and the last results."""
    function(0, expected)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        times.append([time.process_time()])
        results = []
        for by in (NUMPY, expected):
            results.append(function(len(times), by))
            times[-1].append(time.process_time())
    return 1e3 * np.median(np.diff(times), axis=0), results


def one_pass(X, model):
    """Return milliseconds by NumPy and the kernel, and their difference; None if not natural."""
    theta, rows = model._view(X)
    if theta.natural is None:
        return None
    values = np.ascontiguousarray((X - rows.origin).T)
    whole = Block(values, np.ones(len(X)), np.arange(len(X)), room=values.size)

    def step(run, by):
        fresh = replace(theta)  # which knows no natural parameters yet
        return rows.total(fresh.expected) if by is NUMPY else by(fresh, whole)

    times, (a, b) = alternate(step)
    pairs = [(a.log_prob, b.log_prob)]
    pairs += [(getattr(a.moments, m), getattr(b.moments, m)) for m in ("weight", "mean", "scatter")]
    return *times, max(np.max(np.abs(x - y)) / np.max(np.abs(x)) for x, y in pairs)


def fit(X, **options):
    """Return how many times sooner a fit ends by the kernel, the seeds being 0, 1, 2, ..."""

    def once(run, by):
        with patch.object(Mixture, "expected", by):
            EMGaussianMixture(**options, random_state=run).fit(X)

    a, b = alternate(once)[0]
    return a / b


def case(X, K, kind):
    """Return `one_pass`, and the ratios of fits from one start to the mode and of whole fits."""
    common = {"n_components": K, "covariance_type": kind, "reg_covar": 1e-6}
    start = {**common, **given(GaussianMixture(**common, max_iter=1, random_state=0).fit(X))}
    result = one_pass(X, EMGaussianMixture(**start, tol=0.0, max_iter=5).fit(X))
    mode = fit(X, **start, max_iter=5000 if X.size * K < 5e6 else 20)
    return result, mode, fit(X, **common, tol=1e-3)


COST = """
from time import process_time as now; import numpy as np; a = now(); import numba; b = now()
import bench_fused; c = now(); x = np.ones((4, 256))
bench_fused.fused(x, x[0], x, 4, 0); print(b - a, now() - c)
"""


def cost():
    """Return CPU seconds of numba's import, of compilation, and of loading from the cache."""
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        options = {"cwd": here, "env": {**os.environ, "NUMBA_CACHE_DIR": folder}}
        command = [sys.executable, "-W", "ignore", "-c", COST]
        runs = [subprocess.check_output(command, **options).split() for _ in range(4)]
    return float(runs[3][0]), float(runs[0][1]), float(runs[3][1])


def summarize(name, rows):
    if rows:
        each, mode, whole = np.exp(np.mean(np.log(rows), axis=0))[2:]
        means = f"geometric means {each:.2f} a pass, {mode:.2f} to the mode, {whole:.2f} a fit"
        print(f"{name}: {means}; smallest gain of a pass {min(row[2] for row in rows):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=None, help="tables of so many rows")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    load, compiling, cached = cost()
    print(
        f"numba {numba.__version__}, CPU seconds: import {load:.2f}, compiling {compiling:.1f}, "
        f"loading what was compiled {cached:.2f}"
    )
    columns = f"{'ms':>9}{'kernel':>9}{'ratio':>7}{'error':>9}{'even':>7}{'mode':>7}{'fit':>7}"
    print(f"{'n':>7}{'p':>5}{'K':>4} {'type':<9}{columns}")
    table, rng = [], np.random.default_rng(0)
    for n, p, K in SHAPES:
        X = blobs(n, p, K, rng)
        for kind in TYPES if n in (args.rows or [n]) else []:
            result, mode, whole = case(X, K, kind)
            print(f"{n:>7}{p:>5}{K:>4} {kind:<9}", end="")
            if result is None:
                print(f"{'no natural form: not by the kernel':>41}{mode:>7.2f}{whole:>7.2f}")
                continue
            a, b, error = result
            even = 1e3 * (load + cached) / (a - b)
            table.append((n, p, a / b, mode, whole))
            columns = f"{a:>9.3f}{b:>9.3f}{a / b:>7.2f}{error:>9.0e}{even:>7.0f}"
            print(f"{columns}{mode:>7.2f}{whole:>7.2f}", flush=True)
    summarize("n >= 5000", [row for row in table if row[0] >= 5000])
    summarize("n >= 5000, p <= 4", [row for row in table if row[0] >= 5000 and row[1] <= 4])
    summarize("n < 5000", [row for row in table if row[0] < 5000])


if __name__ == "__main__":
    main()
