"""Share of fits by ten starts that find the best mode, and their cost.

    python benchmarks/bench_starts.py [--seeds 20] [--starts 10] [--quick] [--reference 300]

For 20 small tables and two covariance types: the share of seeds whose fit with ``n_init=10`` ends
at the best mode or higher, and CPU milliseconds of a fit. The best mode is that of 300 single fits
from random rows (``init_params="random_from_data"``, ``random_state`` 0 to 299), each run to
convergence: the highest bound among those that end regular. A fit ends there if its bound is not
more than 1e-4 nats per row below. These bounds are written down here; ``--reference N`` computes
those of N fits instead and prints them. For comparison the same of one start and of ten
``random_from_data`` starts, which ``--quick`` leaves out. ``--table`` adds tables of numbers with
one header line, K = 3.

``rows`` are those of the smallest component of the best mode. With fewer than it has parameters of
its own (marked by *) it fits chance patterns of a handful of rows, of which a longer search finds
ever more: the last line leaves such tables out. ``highest`` is the highest bound of all fits of
this run.
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
# Highest bound of 300 fits from random rows, in nats per row, and the number of rows of the
# smallest component there.
REFERENCE = {
    ("iris", 3, "full"): (-1.201237, 44.9),
    ("iris", 3, "diag"): (-2.045736, 45.8),
    ("iris", 4, "full"): (-1.012766, 11.4),
    ("iris", 4, "diag"): (-1.765650, 22.7),
    ("wine 1-4", 3, "full"): (-4.475555, 7.0),
    ("wine 1-4", 3, "diag"): (-4.838449, 46.3),
    ("wine 6-9", 4, "full"): (-0.570730, 5.0),
    ("wine 6-9", 4, "diag"): (-1.082890, 32.4),
    ("wine 1 7 10 13", 3, "full"): (-10.172183, 48.1),
    ("wine 1 7 10 13", 3, "diag"): (-10.563043, 48.2),
    ("wine", 3, "full"): (-15.576599, 48.0),
    ("wine", 3, "diag"): (-18.507089, 51.1),
    ("cancer 1 2 5", 2, "full"): (-2.471670, 233.3),
    ("cancer 1 2 5", 2, "diag"): (-2.509261, 258.2),
    ("cancer 2 5 6", 4, "full"): (2.110896, 46.1),
    ("cancer 2 5 6", 4, "diag"): (1.987737, 111.6),
    ("cancer 6 7 9", 3, "full"): (6.285932, 96.9),
    ("cancer 6 7 9", 3, "diag"): (6.004331, 114.7),
    ("diabetes 3 4 9", 3, "full"): (-7.347194, 21.9),
    ("diabetes 3 4 9", 3, "diag"): (-7.389744, 61.3),
    ("diabetes 3 4 5 10", 5, "full"): (-15.227578, 11.6),
    ("diabetes 3 4 5 10", 5, "diag"): (-15.333260, 31.2),
    ("digits", 6, "full"): (-7.665567, 131.6),
    ("digits", 6, "diag"): (-7.678252, 116.9),
    ("digits", 5, "full"): (-11.326741, 156.4),
    ("digits", 5, "diag"): (-11.388294, 149.9),
    ("faithful", 3, "full"): (-4.097205, 34.6),
    ("faithful", 3, "diag"): (-4.143410, 18.6),
    ("faithful", 4, "full"): (-4.056584, 7.3),
    ("faithful", 4, "diag"): (-4.091474, 38.5),
    ("cigars", 2, "full"): (-5.092593, 99.0),
    ("cigars", 2, "diag"): (-5.098235, 99.0),
    ("drawn 145 x 3", 3, "full"): (-5.708870, 34.5),
    ("drawn 145 x 3", 3, "diag"): (-6.356306, 40.3),
    ("drawn 300 x 2", 6, "full"): (-0.382930, 3.9),
    ("drawn 300 x 2", 6, "diag"): (-0.593927, 15.8),
    ("drawn 400 x 4", 5, "full"): (-5.638763, 63.1),
    ("drawn 400 x 4", 5, "diag"): (-6.398485, 46.4),
    ("drawn 250 x 3", 4, "full"): (-4.155205, 6.1),
    ("drawn 250 x 3", 4, "diag"): (-4.492809, 3.0),
}


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


def reference(X, K, kind, n_fits):
    """Return the highest bound of fits from random rows, and the rows of its smallest component."""
    models, _ = fits(X, K, kind, n_fits, init_params="random_from_data")
    best = max(models, key=lambda model: (not model.failed_starts_, model.lower_bound_))
    return best.lower_bound_, best.weights_.min() * len(X)


def the_best(name, X, K, kind, n_fits):
    """Return the best mode's bound and rows: as written down, or of so many fits if not zero."""
    if n_fits:
        found = reference(X, K, kind, n_fits)
        print(f'    ("{name}", {K}, "{kind}"): ({found[0]:.6f}, {found[1]:.1f}),', flush=True)
        return found
    return REFERENCE.get((name, K, kind)) or reference(X, K, kind, 300)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--reference", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", nargs="*", default=[])
    return parser.parse_args()


def main():
    args = arguments()
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
    print(f"{'table':<20}{'K':>3} {'type':<5}{'best mode':>11}{'rows':>7} {'highest':>11}{heads}")
    shares, spent = {name: [] for name in ways}, dict.fromkeys(ways, 0.0)
    proper = []
    for name, X, K in [*tables(), *added]:
        for kind in ("full", "diag"):
            best, rows = the_best(name, X, K, kind, args.reference)
            found = {way: fits(X, K, kind, args.seeds, **options) for way, options in ways.items()}
            proper.append(rows >= parameters(X.shape[1], kind))
            bounds = {way: [m.lower_bound_ for m in fitted] for way, (fitted, _) in found.items()}
            line = f"{name:<20}{K:>3} {kind:<5}{best:>11.5f}{rows:>7.1f}"
            line += f"{' ' if proper[-1] else '*'}{max(map(max, bounds.values())):>11.5f}"
            for way, (_, cpu) in found.items():
                shares[way].append(np.mean(np.array(bounds[way]) > best - SAME))
                spent[way] += cpu
                line += f"{shares[way][-1]:>14.0%}{cpu:>7.0f}"
            print(line, flush=True)
    for what, kept in (("all", np.ones(len(proper), bool)), ("those without *", np.array(proper))):
        totals = "".join(f"{np.mean(np.array(shares[way])[kept]):>14.1%}{'':>7}" for way in ways)
        print(f"{what:<59}{totals}")
    print(f"{'ms of all':<59}" + "".join(f"{'':>14}{spent[way]:>7.0f}" for way in ways))


if __name__ == "__main__":
    main()
