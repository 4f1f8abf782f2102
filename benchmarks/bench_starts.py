"""Share of fits by ten starts that find the best mode, and their cost.

    python benchmarks/bench_starts.py [--seeds 20] [--starts 10] [--random 300] [--quick]

For 20 small tables and two covariance types: the share of seeds whose fit with ``n_init=10`` ends
at the best mode, the best being the highest bound that any fit of the run finds, one with 300
random starts among them; and CPU milliseconds of a fit. For comparison the same of one start and of
ten ``random_from_data`` starts, which ``--quick`` leaves out. ``--table`` adds tables of numbers
with one header line, K = 3.

``rows`` are those of the smallest component of the best mode. With fewer than it has parameters of
its own (marked by *) it fits chance patterns of a handful of rows, of which a longer search finds
ever more: the last line leaves such tables out.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA

from skelbo import EMGaussianMixture

# Nats per row within which two modes count as the same.
SAME = 1e-4


def drawn(n, p, K, spread, seed, weights=None):
    """Return rows of K Gaussians with correlated columns of different scales."""
    rng = np.random.default_rng(seed)
    centres = spread * rng.standard_normal((K, p))
    shapes = rng.standard_normal((K, p, p)) / np.sqrt(p) + 0.3 * np.eye(p)
    labels = rng.choice(K, size=n, p=weights)
    X = centres[labels] + np.einsum("nij,nj->ni", shapes[labels], rng.standard_normal((n, p)))
    return X * 10.0 ** rng.uniform(-2, 2, p)


def cigars(seed=0):
    """Return two long parallel clusters, which k-means cuts across."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((200, 2)) * [10.0, 0.5] + np.repeat([[0.0, 0.0], [0.0, 3.0]], 100, 0)


def tables():
    """Yield name, table and number of components."""
    iris, wine = load_iris().data, load_wine().data
    cancer, diabetes = load_breast_cancer().data, load_diabetes(scaled=False).data
    digits = PCA(3, random_state=0).fit_transform(load_digits().data)
    faithful = Path(__file__).parents[1] / "examples/data/faithful.csv"
    faithful = np.loadtxt(faithful, delimiter=",", skiprows=1)[:, -2:]
    yield "iris", iris, 3
    yield "iris", iris, 4
    yield "wine 1-4", wine[:, :4], 3
    yield "wine 6-9", wine[:, 5:9], 4
    yield "wine 1 7 10 13", wine[:, [0, 6, 9, 12]], 3
    yield "wine", wine, 3
    yield "cancer 1 2 5", cancer[:, [0, 1, 4]], 2
    yield "cancer 2 5 6", cancer[:, [1, 4, 5]], 4
    yield "cancer 6 7 9", cancer[:, [5, 6, 8]], 3
    yield "diabetes 3 4 9", diabetes[:, [2, 3, 8]], 3
    yield "diabetes 3 4 5 10", diabetes[:, [2, 3, 4, 9]], 5
    yield "digits", digits[:, :2], 6
    yield "digits", digits, 5
    yield "faithful", faithful, 3
    yield "faithful", faithful, 4
    yield "cigars", cigars(), 2
    yield "drawn 145 x 3", drawn(145, 3, 3, 1.5, 0), 3
    yield "drawn 300 x 2", drawn(300, 2, 6, 2.0, 1), 6
    yield "drawn 400 x 4", drawn(400, 4, 5, 1.0, 2), 5
    yield "drawn 250 x 3", drawn(250, 3, 4, 1.5, 3, [0.7, 0.2, 0.07, 0.03]), 4


def fits(X, K, kind, seeds, **options):
    """Return the fits with several seeds, and CPU milliseconds of one."""
    start, models = time.process_time(), []
    for seed in range(seeds):
        model = EMGaussianMixture(K, covariance_type=kind, random_state=seed, max_iter=1000)
        models.append(model.set_params(**options).fit(X))
    return models, 1e3 * (time.process_time() - start) / seeds


def parameters(p, kind):
    """Return the number of parameters of a component of its own: mean and covariance."""
    return p + p * (p + 1) // 2 if kind == "full" else 2 * p


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--random", type=int, default=300)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", nargs="*", default=[])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    added = [(Path(f).stem, np.loadtxt(f, delimiter=",", skiprows=1), 3) for f in args.table]
    ways = {
        f"n_init={args.starts}": {"n_init": args.starts},
        "n_init=1": {},
        "random rows": {"n_init": args.starts, "init_params": "random_from_data"},
    }
    if args.quick:
        ways = dict(list(ways.items())[:1])
    heads = "".join(f"{name:>14}{'ms':>7}" for name in ways)
    print(f"{'table':<20}{'K':>3} {'type':<5}{'best bound':>13}{'rows':>7} {heads}")
    shares, spent = {name: [] for name in ways}, dict.fromkeys(ways, 0.0)
    proper = []
    for name, X, K in [*tables(), *added]:
        for kind in ("full", "diag"):
            found = {way: fits(X, K, kind, args.seeds, **options) for way, options in ways.items()}
            rest = {"n_init": args.random, "init_params": "random_from_data"}
            models = [model for way, _ in found.values() for model in way]
            models += [] if args.quick else fits(X, K, kind, 1, **rest)[0]
            best = max(models, key=lambda model: model.lower_bound_)
            rows, own = best.weights_.min() * len(X), parameters(X.shape[1], kind)
            proper.append(rows >= own)
            line = f"{name:<20}{K:>3} {kind:<5}{best.lower_bound_:>13.5f}{rows:>7.1f}"
            line += " " if proper[-1] else "*"
            for way, (fitted, cpu) in found.items():
                bounds = np.array([model.lower_bound_ for model in fitted])
                shares[way].append(np.mean(bounds > best.lower_bound_ - SAME))
                spent[way] += cpu
                line += f"{shares[way][-1]:>14.0%}{cpu:>7.0f}"
            print(line, flush=True)
    for what, kept in (("all", np.ones(len(proper), bool)), ("those without *", np.array(proper))):
        totals = "".join(f"{np.mean(np.array(shares[way])[kept]):>14.0%}{'':>7}" for way in ways)
        print(f"{what:<50}{totals}")
    print(f"{'ms of all':<50}" + "".join(f"{'':>14}{spent[way]:>7.0f}" for way in ways))


if __name__ == "__main__":
    main()
