"""How close does one pass over a stream come to the batch fit, and what do sweeps save?

    python benchmarks/bench_streaming.py [--seeds 5]

First table: log-likelihood of held-out rows beyond that of one Gaussian of the same covariance
type, of `partial_fit` over one pass in batches of 500 or 2000 rows as a share of that of `fit`
(mean and smallest over seeds). Both know the number of components. Second table: how often each
row is read, and CPU seconds, until the default stopping rule is met, from the same start: EM beside
incremental EM (`batch_size`), with and without acceleration; and the bound reached, in nats per
row.
"""

import argparse
import time
import warnings

import numpy as np

from skelbo import EMGaussianMixture
from skelbo.gaussian.mixture import Mixture


def blobs(n, p, K, spread, rng):
    """Return rows of K Gaussians with correlated columns, overlapping where spread is small."""
    centres = spread * rng.standard_normal((K, p))
    shapes = rng.standard_normal((K, p, p)) / np.sqrt(p) + np.eye(p)
    labels = rng.choice(K, size=n, p=rng.dirichlet(np.full(K, 5.0)))
    return centres[labels] + np.einsum("nij,nj->ni", shapes[labels], rng.standard_normal((n, p)))


PROBLEMS = [(2, 3, 3.0), (2, 5, 1.5), (4, 3, 2.0), (8, 8, 2.0), (16, 10, 1.0), (4, 20, 3.0)]
TYPES = ["full", "tied", "diag"]


def share(p, K, spread, kind, size, seed):
    """Return the excess of the stream as a share of that of the batch fit."""
    rng = np.random.default_rng(seed)
    X = blobs(50_000, p, K, spread, rng)
    train, test = X[:40_000], X[40_000:]
    options = {"covariance_type": kind, "random_state": seed, "max_iter": 500}
    batch = EMGaussianMixture(K, **options).fit(train).score(test)
    stream = EMGaussianMixture(K, **options)
    for start in range(0, len(train), size):
        stream.partial_fit(train[start : start + size])
    single = EMGaussianMixture(1, covariance_type=kind).fit(train).score(test)
    return (stream.score(test) - single) / (batch - single)


def streams(n_seeds):
    titles = f"{'p':>3}{'K':>4}{'spread':>8} {'type':<6}{'500: mean':>10}{'min':>9}"
    print(f"{titles}{'2000: mean':>11}{'min':>8}")
    everything = []
    for p, K, spread in PROBLEMS:
        for kind in TYPES:
            line = f"{p:>3}{K:>4}{spread:>8} {kind:<6}"
            for size in (500, 2000):
                shares = [share(p, K, spread, kind, size, seed) for seed in range(n_seeds)]
                everything += shares
                line += f"{np.mean(shares):>10.4f}{min(shares):>9.4f}"
            print(line, flush=True)
    print(
        f"mean {np.mean(everything):.4f}, smallest {min(everything):.4f}, "
        f"at least 0.99 in {np.mean(np.array(everything) >= 0.99):.0%}"
    )


def reads(X, K, kind, **options):
    """Return how often every row was read in a fit, CPU seconds, and the bound reached."""
    count = 0
    expected = Mixture.expected

    def counted(self, block):
        nonlocal count
        count += block.values.shape[1]
        return expected(self, block)

    model = EMGaussianMixture(K, covariance_type=kind, random_state=0, max_iter=3000, **options)
    Mixture.expected = counted
    start = time.process_time()
    try:
        model.fit(X)
    finally:
        Mixture.expected = expected
    seconds = time.process_time() - start
    steps = np.diff(model.lower_bounds_)
    assert steps.min() > -1e-9, "the bound fell"
    return count / len(X), seconds, model.lower_bound_


WAYS = {
    "EM": {"acceleration": None},
    "EM accelerated": {},
    "batches": {"acceleration": None, "batch_size": 2000},
    "batches accelerated": {"batch_size": 2000},
}


def sweeps():
    print(f"{'p':>3}{'K':>4}{'spread':>8} {'type':<6}{'':20}{'reads':>7}{'s':>8}{'bound':>13}")
    for p, K, spread in PROBLEMS:
        X = blobs(40_000, p, K, spread, np.random.default_rng(1))
        for kind in ("full", "diag"):
            for way, options in WAYS.items():
                passes, seconds, bound = reads(X, K, kind, **options)
                line = f"{p:>3}{K:>4}{spread:>8} {kind:<6}{way:<20}"
                print(f"{line}{passes:>7.0f}{seconds:>8.2f}{bound:>13.6f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    streams(args.seeds)
    sweeps()


if __name__ == "__main__":
    main()
