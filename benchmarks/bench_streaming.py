"""How close does one pass over a stream come to the batch fit, and what do sweeps save?

    python benchmarks/bench_streaming.py [--seeds 5] [--rows 40000] [--only streams]

First table: log-likelihood of held-out rows beyond that of one Gaussian of the same covariance
type, of `partial_fit` over one pass in batches of 500 or 2000 rows as a share of that of `fit`
(mean and smallest over seeds). Both know the number of components. For comparison the share that
`fit` has of itself when it gets another random state, and the CPU seconds of all passes and fits.
Second table: how often each row is read, and CPU seconds, until the default stopping rule is met,
from the same start: EM beside incremental EM (`batch_size`), with and without acceleration; and the
bound reached, in nats per row.
"""

import argparse
import time
import warnings

import numpy as np

from skelbo import EMGaussianMixture
from skelbo.mixture.mixture import Mixture


def blobs(n, p, K, spread, rng):
    """Return rows of K Gaussians with correlated columns, overlapping where spread is small."""
    centres = spread * rng.standard_normal((K, p))
    shapes = rng.standard_normal((K, p, p)) / np.sqrt(p) + np.eye(p)
    labels = rng.choice(K, size=n, p=rng.dirichlet(np.full(K, 5.0)))
    return centres[labels] + np.einsum("nij,nj->ni", shapes[labels], rng.standard_normal((n, p)))


PROBLEMS = [(2, 3, 3.0), (2, 5, 1.5), (4, 3, 2.0), (8, 8, 2.0), (16, 10, 1.0), (4, 20, 3.0)]
TYPES = ["full", "tied", "diag"]
SIZES = (500, 2000)


def seconds(function):
    """Return CPU seconds of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def one_pass(model, X, size):
    for start in range(0, len(X), size):
        model.partial_fit(X[start : start + size])


def case(p, K, spread, kind, n, seed):
    """Return shares of the batch fit's excess, and seconds; of the streams, then of fits."""
    X = blobs(n + 10_000, p, K, spread, np.random.default_rng(seed))
    train, test = X[:n], X[n:]
    single = EMGaussianMixture(1, covariance_type=kind).fit(train).score(test)

    def excess(fit, random_state):
        model = EMGaussianMixture(K, covariance_type=kind, random_state=random_state, max_iter=500)
        spent = seconds(lambda: fit(model))
        return model.score(test) - single, spent

    runs = [excess(lambda model, size=size: one_pass(model, train, size), seed) for size in SIZES]
    runs += [excess(lambda model: model.fit(train), state) for state in (seed + 1000, seed)]
    scores, spent = np.array(runs).T
    return scores[:-1] / scores[-1], spent


def streams(n_seeds, n):
    titles = f"{'p':>3}{'K':>4}{'spread':>8} {'type':<6}{'500: mean':>10}{'min':>9}"
    print(f"{titles}{'2000: mean':>11}{'min':>8}")
    shares, spent = [], []
    for p, K, spread in PROBLEMS:
        for kind in TYPES:
            cases = [case(p, K, spread, kind, n, seed) for seed in range(n_seeds)]
            here = np.array([found for found, _ in cases])
            line = f"{p:>3}{K:>4}{spread:>8} {kind:<6}"
            for column in here.T[:-1]:
                line += f"{column.mean():>10.4f}{column.min():>9.4f}"
            print(line, flush=True)
            shares.append(here)
            spent += [used for _, used in cases]
    shares, spent = np.concatenate(shares), np.sum(spent, axis=0)
    of_streams = shares[:, :-1].ravel()
    for name, found in (("streams", of_streams), ("fits of another random state", shares[:, -1])):
        print(
            f"{name}: mean {found.mean():.4f}, smallest {found.min():.4f}, "
            f"at least 0.99 in {np.mean(found >= 0.99):.0%} of {len(found)}"
        )
    each = ", ".join(f"batches of {s} {t:.1f}" for s, t in zip(SIZES, spent[:-2], strict=True))
    print(f"CPU seconds of all passes: {each}; of all fits {spent[-1]:.1f}")


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
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--only", choices=["streams", "sweeps"])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.only != "sweeps":
        streams(args.seeds, args.rows)
    if args.only != "streams":
        sweeps()


if __name__ == "__main__":
    main()
