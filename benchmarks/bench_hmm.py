"""Speed of Baum-Welch beside hmmlearn's: both in one process, by turns, from the same start.

    python benchmarks/bench_hmm.py [--quick] [--repeats 3]

Milliseconds of CPU of one EM iteration of a Gaussian hidden Markov model with full covariances, in
one thread: the difference between fits of 1 and of 1 + n iterations from the same parameters,
divided by n; medians of alternating runs. hmmlearn's default computes in logarithms; its `scaling`
raises where a path underflows. Ours runs with the compiled kernels (numba), and without them; more
than 1 is faster. Then collections of many short sequences, and the memory of one long one beyond X.
"""

import argparse
import logging
import platform
import statistics
import time
import tracemalloc
import warnings

import numpy as np
from threadpoolctl import threadpool_limits

from skelbo import EMHiddenMarkovModel
from skelbo.mixture.chain import run_blocks

# Rows, states, columns.
CASES = [
    (2000, 3, 1),
    (2000, 3, 16),
    (50000, 4, 1),
    (50000, 4, 16),
    (50000, 16, 1),
    (50000, 16, 16),
    (200000, 8, 1),
    (200000, 8, 16),
]
SHORT = [(10_000, 10, 4, 1), (100_000, 10, 4, 1)]  # sequences, rows of each, states, columns
LONG = (1_000_000, 16, 1)
NUMBA, NUMPY = run_blocks.MIN_COMPILED, float("inf")


def chain(T, K, p, rng):
    """Return rows of overlapping states that mostly stay, and the parameters they come from."""
    transmat = np.full((K, K), 0.1 / K) + 0.9 * np.eye(K)
    states = np.empty(T, int)
    jumps, targets = rng.random(T) < 0.1, rng.integers(K, size=T)
    states[0] = 0
    for t in range(1, T):
        states[t] = targets[t] if jumps[t] else states[t - 1]
    means = 1.5 * rng.standard_normal((K, p))
    X = means[states] + rng.standard_normal((T, p))
    start = {
        "startprob": np.full(K, 1 / K),
        "transmat": transmat / transmat.sum(axis=1, keepdims=True),
        "means": means + 0.3 * rng.standard_normal((K, p)),
        "covars": np.tile(np.eye(p), (K, 1, 1)),
    }
    return X, start


def ours(X, start, n_iter, groups=None, compiled=NUMBA):
    """Return a fit of n iterations."""
    run_blocks.MIN_COMPILED = compiled
    model = EMHiddenMarkovModel(
        len(start["startprob"]),
        startprob_init=start["startprob"],
        transmat_init=start["transmat"],
        means_init=start["means"],
        precisions_init=np.linalg.inv(start["covars"]),
        max_iter=n_iter,
        tol=0.0,
        acceleration=None,
    )
    return model.fit(X, groups=groups)


def theirs(X, start, n_iter, implementation, lengths=None):
    """Return hmmlearn's."""
    from hmmlearn.hmm import GaussianHMM

    model = GaussianHMM(
        len(start["startprob"]), "full", min_covar=0.0, covars_prior=0.0, covars_weight=0.0,
        n_iter=n_iter, tol=-np.inf, init_params="", implementation=implementation,
    )  # fmt: skip
    model.startprob_, model.transmat_ = start["startprob"], start["transmat"]
    model.means_, model.covars_ = start["means"], start["covars"]
    return model.fit(X, lengths)


def per_iteration(fit, n, repeats):
    """Return the median milliseconds of CPU of an iteration."""

    def seconds(n_iter):
        before = time.process_time()
        fit(n_iter)
        return time.process_time() - before

    fit(1)
    return statistics.median((seconds(1 + n) - seconds(1)) / n for _ in range(repeats)) * 1e3


def compare(T, K, p, repeats):
    """Print one line of the table; return the four times."""
    X, start = chain(T, K, p, np.random.default_rng(0))
    n = int(np.clip(400_000 // T, 2, 40))
    bounds = ours(X, start, 2).lower_bound_, theirs(X, start, 3, "log").monitor_.history[2] / T
    assert abs(bounds[0] - bounds[1]) < 1e-8 * abs(bounds[0]), bounds
    times = [
        per_iteration(lambda m: ours(X, start, m), n, repeats),
        per_iteration(lambda m: ours(X, start, m, compiled=NUMPY), n, repeats),
        per_iteration(lambda m: theirs(X, start, m, "log"), n, repeats),
        per_iteration(lambda m: theirs(X, start, m, "scaling"), n, repeats),
    ]
    numba, numpy, log, scaling = times
    ratios = log / numba, scaling / numba, log / numpy, scaling / numpy
    print(f"| {T} x {p}, K = {K} | " + " | ".join(f"{ms:.2f}" for ms in times), end=" | ")
    print(" | ".join(f"{ratio:.1f}" for ratio in ratios), end=" |\n", flush=True)
    return ratios


def short_sequences(N, length, K, p, repeats, with_peer):
    """Print the time of an iteration on many short sequences."""
    X, start = chain(N * length, K, p, np.random.default_rng(1))
    groups = np.repeat(np.arange(N), length)
    times = [
        per_iteration(lambda m, c=compiled: ours(X, start, m, groups, c), 2, repeats)
        for compiled in (NUMBA, NUMPY)
    ]
    line = f"| {N} sequences of {length} rows, K = {K}, p = {p} | {times[0]:.0f} | {times[1]:.0f} |"
    if with_peer:
        lengths = np.full(N, length)
        for implementation in ("log", "scaling"):
            ms = per_iteration(lambda m, i=implementation: theirs(X, start, m, i, lengths), 1, 1)
            line += f" {ms:.0f} |"
    print(line, flush=True)


def long_memory(T, K, p):
    """Print the peak memory of a fit to one long sequence, beyond X."""
    X, start = chain(T, K, p, np.random.default_rng(2))
    for name, compiled in (("numba", NUMBA), ("NumPy", NUMPY)):
        tracemalloc.start()
        before, clock = tracemalloc.get_traced_memory()[0], time.process_time()
        ours(X, start, 1, compiled=compiled)
        peak = (tracemalloc.get_traced_memory()[1] - before) / 2**20
        tracemalloc.stop()
        seconds = (time.process_time() - clock) / 2
        print(
            f"one sequence of {T} rows, K = {K}, {name}: {peak:.0f} MiB beyond X, {seconds:.1f} s"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the cases of 2000 and 50000 rows")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    import hmmlearn

    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    print(f"hmmlearn {hmmlearn.__version__}, NumPy {np.__version__}, {platform.processor()}\n")
    print("| rows, states | numba | NumPy | hmmlearn log | hmmlearn scaling "
          "| log / numba | scaling / numba | log / NumPy | scaling / NumPy |")  # fmt: skip
    print("| --- |" + " ---: |" * 8)
    with threadpool_limits(1):
        cases = [case for case in CASES if case[0] <= 50000 or not arguments.quick]
        ratios = np.array([compare(*case, arguments.repeats) for case in cases])
        means = np.exp(np.log(ratios).mean(axis=0))
        print("| geometric mean | | | | | " + " | ".join(f"{m:.1f}" for m in means) + " |")
        print("| least | | | | | " + " | ".join(f"{m:.1f}" for m in ratios.min(axis=0)) + " |\n")
        print("| ms an iteration | numba | NumPy | hmmlearn log | hmmlearn scaling |")
        print("| --- |" + " ---: |" * 4)
        for case in SHORT[: 1 if arguments.quick else 2]:
            short_sequences(*case, arguments.repeats, with_peer=case[0] <= 10_000)
        if not arguments.quick:
            print()
            long_memory(*LONG)


if __name__ == "__main__":
    main()
