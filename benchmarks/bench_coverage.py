"""Coverage of the 95 % intervals of mixtures: how many hold the truth.

    OMP_NUM_THREADS=1 python benchmarks/bench_coverage.py --replications 400

Tables are drawn from a mixture whose components overlap, a tenth of the cells are taken away and
rows have weights; the intervals are those of `summary()`, so that weights and probabilities have
theirs in log-odds, variances in logarithms.
"""

import argparse
import time

import numpy as np

from skelbo import EMGaussianMixture, EMMixture, GaussianMLE

N_ROWS = 400


def holes(X, rng):
    return np.where(rng.random(X.shape) < 0.1, np.nan, X)


def gaussian(rng):
    X = rng.multivariate_normal([1.0, -2.0], [[2.0, 0.8], [0.8, 1.0]], N_ROWS)
    truth = {"mean[0]": 1.0, "covariance[1, 0]": 0.8, "covariance[1, 1]": 1.0}
    return GaussianMLE(), holes(X, rng), truth


def mixture(kind):
    def draw(rng):
        label = rng.random(N_ROWS) < 0.4
        X = rng.standard_normal((N_ROWS, 2)) + np.where(label[:, None], [3.0, 1.0], 0.0)
        start = {"means_init": [[0.0, 0.0], [3.0, 1.0]]}  # an order that does not change
        model = EMGaussianMixture(2, covariance_type=kind, random_state=0, **start)
        variance = {"tied": "covariances[0, 0]", "full": "covariances[1, 0, 0]"}[kind]
        return model, holes(X, rng), {"weights[1]": 0.4, "means[1, 0]": 3.0, variance: 1.0}

    return draw


def classes(rng):
    label = rng.random(N_ROWS) < 0.35
    probabilities = np.where(label[:, None], [0.9, 0.8, 0.85, 0.9, 0.2], [0.2, 0.1, 0.3, 0.25, 0.7])
    X = (rng.random(probabilities.shape) < probabilities).astype(float)
    truth = {"weights[1]": 0.35, "probabilities[1, 0]": 0.9, "probabilities[0, 2]": 0.3}
    return EMMixture(2, likelihood="bernoulli", n_init=1, random_state=0), holes(X, rng), truth


CASES = {
    "GaussianMLE": gaussian,
    "mixture, tied": mixture("tied"),
    "mixture, full": mixture("full"),
    "latent classes": classes,
}


def coverage(draw, n_replications):
    """Return the share of intervals that hold the truth, by parameter."""
    held: dict[str, int] = {}
    for seed in range(n_replications):
        model, X, truth = draw(np.random.default_rng(seed))
        columns = model.fit(X).summary().parameters
        rows = {name: place for place, name in enumerate(columns["parameter"])}
        for name, value in truth.items():
            low, high = columns["low"][rows[name]], columns["high"][rows[name]]
            held[name] = held.get(name, 0) + (low <= value <= high)
    return {name: count / n_replications for name, count in held.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--replications", type=int, default=400)
    n = parser.parse_args().replications
    spread = 3.29 * np.sqrt(0.95 * 0.05 / n)
    print(f"95 % intervals, {n} tables of {N_ROWS} rows; 99.9 % of calibrated shares are within")
    print(f"{0.95 - spread:.1%} and {min(0.95 + spread, 1.0):.1%}")
    print("estimator        parameter              holds   CPU seconds")
    for name, draw in CASES.items():
        start = time.process_time()
        shares = coverage(draw, n)
        seconds = time.process_time() - start
        for parameter, share in shares.items():
            print(f"{name:16s} {parameter:20s} {share:7.1%} {seconds:13.1f}")


if __name__ == "__main__":
    main()
