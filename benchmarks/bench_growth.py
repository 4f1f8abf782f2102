"""Growth of time and memory of an EM iteration with n, p and K, beside the floor.

    python benchmarks/bench_growth.py [--cpu] [--plot growth.png]

Full covariances, one component of the sweep at a time. Floor: the multiply-adds that no full
covariance can do without, 4 n K (p + 1) (p + 2) / 2, at the speed of this machine's matrix product
(measured first). Memory: what a fit allocates beyond X, at most. The plot needs matplotlib.
"""

import argparse
import time
import tracemalloc
import warnings

import numpy as np
from bench_em import blobs, given
from sklearn.mixture import GaussianMixture
from timing import seconds

from skelbo import EMGaussianMixture

SWEEPS = {
    "n": [(n, 8, 8) for n in (1000, 10_000, 100_000, 500_000)],
    "p": [(20_000, p, 8) for p in (2, 4, 8, 16, 32, 64, 128)],
    "K": [(50_000, 8, K) for K in (2, 4, 8, 16, 32, 64)],
}
N_ITER = 5


def peak_flops(clock):
    """Return the operations per second of a large matrix product."""
    a = np.random.default_rng(0).standard_normal((1500, 1500))
    return 2 * 1500**3 / min(seconds(lambda: a @ a, clock) for _ in range(5))


def allocated(model, X):
    """Return the MiB that a fit allocates beyond X, at most."""
    tracemalloc.start()
    model.fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def measure(n, p, K, clock):
    """Return seconds per iteration and MiB, ours and theirs."""
    X = blobs(n, p, K, np.random.default_rng(0))
    start = GaussianMixture(K, max_iter=1, init_params="random_from_data", random_state=0)
    common = {**given(start.fit(X)), "tol": 0.0, "reg_covar": 1e-6, "max_iter": N_ITER}
    ours, theirs = EMGaussianMixture(K, **common), GaussianMixture(K, **common)
    times = [seconds(lambda model=model: model.fit(X), clock) for model in 3 * [ours, theirs]]
    memory = [allocated(model, X) for model in (ours, theirs)]
    return min(times[::2]) / N_ITER, min(times[1::2]) / N_ITER, *memory


def plot(results, path):
    """Draw time and memory against each size, ours, theirs and the floor."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots(2, 3, sharey="row")
    for column, (name, rows) in zip(axes.T, results.items(), strict=True):
        sizes, ours, theirs, floor, own, peer = zip(*rows, strict=True)
        column[0].loglog(sizes, theirs, "C1o-", label="scikit-learn")
        column[0].loglog(sizes, ours, "C0o-", label="skelbo")
        column[0].loglog(sizes, floor, "k:", label="floor")
        column[1].loglog(sizes, peer, "C1o-")
        column[1].loglog(sizes, own, "C0o-")
        column[1].axhline(64, color="k", linestyle=":")
        n, p, K = SWEEPS[name][0]
        fixed = {"n": f"p = {p}, K = {K}", "p": f"n = {n}, K = {K}", "K": f"n = {n}, p = {p}"}
        column[0].set_title(fixed[name])
        for panel in column:
            panel.set_xticks(sizes, [f"{size:g}" for size in sizes])
            panel.minorticks_off()
        column[1].set_xlabel(name)
    axes[0, 0].set_ylabel("ms per iteration")
    axes[1, 0].set_ylabel("MiB beyond X")
    axes[0, 0].legend()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", action="store_true", help="CPU seconds, for a shared machine")
    parser.add_argument("--plot", default=None, help="file to draw to")
    args = parser.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    warnings.simplefilter("ignore")
    speed = peak_flops(clock)
    print(f"matrix product: {speed / 1e9:.0f} GFLOP/s")
    header = f"{'n':>8}{'p':>5}{'K':>5}{'ms':>9}{'sklearn':>10}{'ratio':>7}{'of floor':>9}"
    print(header + f"{'MiB':>8}{'sklearn':>9}")
    results = {}
    for name, cases in SWEEPS.items():
        results[name] = []
        for sizes in cases:
            n, p, K = sizes
            a, b, own, peer = measure(n, p, K, clock)
            floor = 4 * n * K * (p + 1) * (p + 2) / 2 / speed
            size = dict(zip("npK", sizes, strict=True))[name]
            results[name].append((size, 1e3 * a, 1e3 * b, 1e3 * floor, own, peer))
            line = f"{n:>8}{p:>5}{K:>5}{1e3 * a:>9.2f}{1e3 * b:>10.2f}{b / a:>7.1f}"
            print(line + f"{floor / a:>9.0%}{own:>8.1f}{peer:>9.1f}", flush=True)
    if args.plot:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
