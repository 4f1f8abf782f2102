"""Does a mixture of factor analysers fit images better than diag and full in the same time?

    python benchmarks/bench_factor.py [--mnist FILE] [--rows 10000] [--seconds 30]
    python benchmarks/bench_factor.py --saturated

Pixels are dequantised: a uniform number of one grey level is added to each and the sum divided by
the number of levels, so that densities are honest and no column is constant. Every fit starts
from the same k-means and stops when it converges (tol=0.01 nats per image) or its CPU seconds are
spent. Held out is the mean log-likelihood in nats per image of images that were not fitted.
scikit-learn's digits (64 pixels) are always run; MNIST (784 pixels) if FILE, an .npz with uint8
arrays x_train and x_test, is given. A pixel that is constant in a cluster makes densities of test
images absurd, whatever the family; so every family is given the same choice of noise floors
(reg_covar, in units of the squared range of a pixel), and its best line counts.

--saturated: with more factors than the data carry, noise variances run to zero (Heywood cases),
where EM has no rate. Iterations and CPU seconds until the bound is within 1e-4 and 1e-6 nats per
row of the highest that any of the runs reaches in 4000 iterations, plain and accelerated.
"""

import argparse
import itertools
import time
import warnings

import numpy as np
from sklearn.datasets import load_digits, load_iris, load_wine

from skelbo import EMGaussianMixture

N_COMPONENTS = 10


class Stopwatch:
    """A callback that ends a fit once its CPU seconds are spent."""

    max_propagation_depth = None

    def __init__(self, seconds):
        self.end = time.process_time() + seconds

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, metadata=None):
        return time.process_time() > self.end


def dequantised(images, levels, rng):
    """Return pixels in (0, 1) with uniform noise of one grey level."""
    flat = images.reshape(len(images), -1).astype(float)
    return (flat + rng.random(flat.shape)) / levels


def compare(train, test, seconds, factors, ridges):
    """Print one line per family."""
    print(f"{len(train)} images of {train.shape[1]} pixels, {N_COMPONENTS} components")
    print(f"{'covariance':<12}{'ridge':>7}{'parameters':>12}", end="")
    print(f"{'iter':>6}{'CPU s':>8}{'held out':>11}")
    cases = [("diag", 0), *(("factor", q) for q in factors), ("full", 0)]
    for (kind, q), ridge in itertools.product(cases, ridges):
        model = EMGaussianMixture(
            N_COMPONENTS,
            covariance_type=kind,
            n_factors=q,
            reg_covar=ridge,
            tol=1e-2,
            max_iter=10_000,
            random_state=0,
        )
        start = time.process_time()
        model.set_callbacks(Stopwatch(seconds)).fit(train)
        spent = time.process_time() - start
        name = f"factor {q}" if kind == "factor" else kind
        line = f"{name:<12}{ridge!s:>7}{model.n_parameters_:>12}{model.n_iter_:>6}{spent:>8.1f}"
        note = "" if model.converged_ else "  (time over)"
        print(f"{line}{model.score(test):>11.2f}{note}", flush=True)


def saturated_cases():
    """Yield names, tables, numbers of components and of factors."""
    rng = np.random.default_rng(0)
    loadings = rng.standard_normal((10, 2))
    two = rng.standard_normal((500, 2)) @ loadings.T
    two += rng.standard_normal((500, 10)) * rng.uniform(0.3, 1.5, 10)
    iris, wine = load_iris().data, load_wine().data
    yield from [("two factors", two, 1, q) for q in (1, 2, 4)]
    yield from [("iris", iris, 1, 2), ("iris", iris, 2, 2)]
    yield from [("wine", wine, 3, 2), ("wine", wine, 1, 5), ("wine", wine, 3, 8)]


def saturated():
    """Print what it takes to come close to the best bound."""
    print(
        f"{'table':<13}{'K':>3}{'q':>3}{'smallest noise':>16}{'plain: 1e-4':>18}{'1e-6':>14}",
        end="",
    )
    print(f"{'accelerated: 1e-4':>21}{'1e-6':>14}")
    for name, X, K, q in saturated_cases():
        runs = []
        for acceleration in (None, "auto"):
            model = EMGaussianMixture(K, covariance_type="factor", n_factors=q, random_state=0)
            model.set_params(acceleration=acceleration, max_iter=4000, tol=0.0)
            start = time.process_time()
            bounds = np.array(model.fit(X).lower_bounds_)
            runs.append((bounds, (time.process_time() - start) / len(bounds)))
        noise = (model.noise_variances_ / X.var(axis=0)).min()
        print(f"{name:<13}{K:>3}{q:>3}{noise:>16.1e}", end="")
        best = max(bounds.max() for bounds, _ in runs)
        for (bounds, seconds), width in zip(runs, (18, 21), strict=True):
            for short, room in ((1e-4, width), (1e-6, 14)):
                close = np.flatnonzero(bounds > best - short)
                text = f"{close[0]} {seconds * close[0]:.2f} s" if len(close) else "never"
                print(f"{text:>{room}}", end="")
        print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", help=".npz with x_train and x_test")
    parser.add_argument("--rows", type=int, default=10_000, help="images of MNIST to fit")
    parser.add_argument("--seconds", type=float, default=30.0, help="CPU seconds per fit")
    parser.add_argument("--saturated", action="store_true", help="the second question only")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.saturated:
        return saturated()
    rng = np.random.default_rng(0)
    X = rng.permutation(dequantised(load_digits().images, 17, rng))
    compare(X[:1200], X[1200:], args.seconds, [2, 5, 10], [1e-4, 3e-4, 1e-3, 3e-3])
    if args.mnist:
        with np.load(args.mnist) as data:
            train = dequantised(rng.permutation(data["x_train"])[: args.rows], 256, rng)
            test = dequantised(data["x_test"][:5000], 256, rng)
        compare(train, test, args.seconds, [10, 40], [1e-6, 1e-5, 1e-4])


if __name__ == "__main__":
    main()
