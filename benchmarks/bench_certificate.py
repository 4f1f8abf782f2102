"""Is MCEM's certificate to be trusted?

Fits from cold starts and from a VariationalEM to data whose maximum is known by quadrature: how
much they lack, in nats in total, how much they say that they lack at most (`remaining_climb_`, to
be kept by 95 % of them), draws per row of the last iteration, and CPU seconds of a fit.

    python benchmarks/bench_certificate.py [--seeds 20]
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np

from skelbo import MCEM, VariationalEM

DATA = Path(__file__).parent.parent / "examples" / "data"


def problems():
    """Yield name, X, weights, model, latents and the maximum of log p(X)."""
    table = np.loadtxt(DATA / "lsat6.csv", delimiter=",", skiprows=1)
    yield "LSAT6", table[:, :5], table[:, 5], "bernoulli", 1, -2466.653377
    counts = np.loadtxt(DATA / "trichoptera_counts.csv", delimiter=",", skiprows=1)
    yield "trichoptera 1", counts, None, "poisson", 1, -1755.7745
    yield "trichoptera 2", counts, None, "poisson", 2, -1390.5568


def report(name, X, weights, top, starts, **settings):
    """Fit from every start and print one line."""
    total = len(X) if weights is None else weights.sum()
    rows, begun = [], time.process_time()
    for seed, start in enumerate(starts):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = MCEM(random_state=seed, params_init=start, **settings)
            fit.fit(X, sample_weight=weights)
        lacking = top - total * fit.score(X, sample_weight=weights)
        limit = total * fit.remaining_climb_
        rows.append((fit.converged_, lacking <= limit + 1e-4, lacking, limit))
        draws = fit.n_samples_history_[-1]
    seconds = (time.process_time() - begun) / len(starts)
    certified, kept, lacking, limit = np.array(rows, dtype=float).T
    print(
        f"{name:28s} {certified.mean():9.0%} {kept.mean():6.0%} {lacking.mean():9.4f} "
        f"{lacking.max():9.4f} {limit.mean():9.4f} {draws:6d} {seconds:7.2f}",
        flush=True,
    )


def main(seeds):
    print(f"{'':28s} certified   kept   lacking       max    at most  draws CPU s/fit")
    for name, X, weights, model, d, top in problems():
        vem = VariationalEM(d, model=model).fit(X, sample_weight=weights).params_
        settings = {"n_components": d, "model": model}
        report(f"{name}, cold", X, weights, top, [None] * seeds, **settings)
        report(f"{name}, from VEM", X, weights, top, [vem] * seeds, **settings)
        few = [vem] * max(1, seeds // 4)
        report(f"{name}, hmc", X, weights, top, few, sampler="hmc", **settings)
        report(f"{name}, saem", X, weights, top, few, averaging="saem", **settings)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    main(parser.parse_args().seeds)
