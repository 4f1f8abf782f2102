"""Distance of one pass over a stream from the batch fit.

    python benchmarks/bench_streaming.py [--seeds 5] [--rows 40000]

Printed: log-likelihood of held-out rows beyond that of one Gaussian of the same covariance
type, of `partial_fit` over one pass in batches of 500 or 2000 rows as a share of that of `fit`
(mean and smallest over seeds). The number of components is given. For comparison the share that
`fit` has of itself when it gets another random state, and the CPU seconds of all passes and fits.
"""

import argparse
import time
import warnings

import numpy as np

from skelbo import EMGaussianMixture


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=40_000)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    streams(args.seeds, args.rows)


if __name__ == "__main__":
    main()
