"""Does a mixture of factor analysers fit images better than diag and full in the same time?

    python benchmarks/bench_factor.py [--mnist FILE] [--rows 10000] [--seconds 30]

Pixels are dequantised: a uniform number of one grey level is added to each and the sum divided by
the number of levels, so that densities are honest and no column is constant. Every fit starts
from the same k-means and stops when it converges (tol=0.01 nats per image) or its CPU seconds are
spent. Held out is the mean log-likelihood in nats per image of images that were not fitted.
scikit-learn's digits (64 pixels) are always run; MNIST (784 pixels) if FILE, an .npz with uint8
arrays x_train and x_test, is given. A pixel that is constant in a cluster makes densities of test
images absurd, whatever the family; so every family is given the same choice of noise floors
(reg_covar, in units of the squared range of a pixel), and its best line counts.
"""

import argparse
import itertools
import time
import warnings

import numpy as np
from sklearn.datasets import load_digits

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", help=".npz with x_train and x_test")
    parser.add_argument("--rows", type=int, default=10_000, help="images of MNIST to fit")
    parser.add_argument("--seconds", type=float, default=30.0, help="CPU seconds per fit")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
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
