"""Do 95 % intervals hold the truth in 95 % of replications?

Parameters: tables are drawn from a model with known parameters and fitted anew; an interval is the
estimate +- 1.96 `standard_errors_`, one parameter of each kind. Scores: log p(x) of one row by
`score_samples(X, return_std=True)`, held against a trapezoid rule over all of z (or the sum over
all states); a new fit, and so new noise, for each replication. Coverage is printed with the band
that holds 99.9 % of calibrated answers at this number of replications. A rule whose error is a
limit, not a standard error (quadrature), may lie above the band.

    python benchmarks/bench_calibration.py [--replications 200] [--only 2PL]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from itertools import product

import numpy as np
from scipy import special, stats

from skelbo import MCEM, VAEEstimator, VariationalEM
from skelbo.models import BinaryFeatureModel, DecoderModel, FactorModel

Z_95 = stats.norm.ppf(0.975)
SLOPES = np.array([1.2, 0.8, 1.0, 1.5, 0.7, 1.1])
LEVELS = np.array([0.5, -0.4, 0.0, 0.8, -0.8, 0.2])
# Steps of the trapezoid rule in so many latents, and its ends: quadrature errs by less than 1e-9.
STEPS, ENDS = {1: 0.01, 2: 0.1, 3: 0.2}, {1: 9.0, 2: 7.0, 3: 6.0}
FEATURES = np.array([[2.0, 0.0, 2.0, 1.0, 0.0, 1.5], [0.0, 2.0, -1.5, 1.0, 2.0, 0.0]]).T


# ---------------------------------------------------------------- tables with known parameters


def draw_factor(likelihood, n, rng):
    """Return a table of a one-factor model and its parameters."""
    scale = 0.5 if likelihood == "poisson" else 1.0
    theta = {"loadings": scale * SLOPES[:, None], "intercepts": LEVELS + (scale < 1)}
    eta = theta["intercepts"] + rng.standard_normal((n, 1)) @ theta["loadings"].T
    if likelihood == "gaussian":
        theta["noise_variance"] = np.linspace(0.5, 1.5, 6)
        return eta + np.sqrt(theta["noise_variance"]) * rng.standard_normal(eta.shape), theta
    if likelihood == "poisson":
        return rng.poisson(np.exp(eta)) * 1.0, theta
    return (rng.random(eta.shape) < special.expit(eta)) * 1.0, theta


def draw_binary(n, rng):
    """Return a table of a binary-feature model and its parameters."""
    theta = {
        "loadings": FEATURES,
        "intercepts": LEVELS,
        "noise_variance": np.full(6, 0.49),
        "probabilities": np.array([0.4, 0.25]),
    }
    Z = rng.random((n, 2)) < theta["probabilities"]
    return Z @ FEATURES.T + LEVELS + 0.7 * rng.standard_normal((n, 6)), theta


def draw_line(n, rng):
    """Return a line in four columns with noise: of its decoder the noise has one sign and size."""
    z = rng.standard_normal((n, 1))
    X = z * SLOPES[:4] + 0.7 * rng.standard_normal((n, 4))
    return X, {"noise_variance": np.float64(0.49)}


def problems():
    """Yield name, drawing function and unfitted estimator."""
    exact = {"posterior": "exact", "tol": "auto"}
    names = {"2PL": "bernoulli", "Poisson": "poisson", "Gaussian": "gaussian"}
    for name, likelihood in names.items():
        yield (
            f"{name}, VariationalEM exact",
            lambda rng, kind=likelihood: draw_factor(kind, 500, rng),
            VariationalEM(1, model=likelihood, **exact),
        )
        yield (
            f"{name}, MCEM",
            lambda rng, kind=likelihood: draw_factor(kind, 500, rng),
            MCEM(1, model=likelihood),
        )
    features = BinaryFeatureModel(2, noise="diag")
    draw = lambda rng: draw_binary(250, rng)  # noqa: E731
    yield "binary, VariationalEM exact", draw, VariationalEM(2, model=features, **exact)
    yield "binary, MCEM", draw, MCEM(2, model=features)
    decoder = DecoderModel(1, hidden_layer_sizes=())
    draw = lambda rng: draw_line(60, rng)  # noqa: E731
    yield "decoder, VariationalEM", draw, VariationalEM(1, model=decoder)


def parameters(draw, estimator, n):
    """Return for each kind of parameter which intervals hold the truth."""
    holds = defaultdict(list)
    for seed in range(n):
        X, theta = draw(np.random.default_rng([seed, 1]))
        model = estimator.set_params(random_state=seed).fit(X)
        for name, truth in theta.items():
            place = (seed % np.shape(truth)[0],) if np.ndim(truth) else ()
            place += (seed % np.shape(truth)[1],) if np.ndim(truth) > 1 else ()
            error = model.standard_errors_[name][place]
            holds[name].append(abs(model.params_[name][place] - truth[place]) <= Z_95 * error)
    return holds


# ---------------------------------------------------------------- scores of single rows


def reference(model, x, likelihood, d):
    """Return log p(x) by the trapezoid rule over z, from E[x | z] alone."""
    step = STEPS[d]
    axis = np.arange(-ENDS[d], ENDS[d] + step / 2, step)
    Z = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)
    mean = model.inverse_transform(Z)
    if likelihood == "bernoulli":
        cells = stats.bernoulli.logpmf(x, mean)
    elif likelihood == "poisson":
        cells = stats.poisson.logpmf(x, mean)
    else:
        fitted = getattr(model, "params_", None)
        noise = model.noise_variance_ if fitted is None else fitted["noise_variance"]
        cells = stats.norm.logpdf(x, mean, np.sqrt(noise))
    log_joint = cells.sum(axis=1) + stats.norm.logpdf(Z).sum(axis=1)
    return special.logsumexp(log_joint) + d * np.log(step)


def enumeration(model, x, likelihood, d):
    """Return log p(x) by the sum over all states of binary latents."""
    theta = model.params_
    Z = np.array(list(product([0.0, 1.0], repeat=d)))
    log_prior = stats.bernoulli.logpmf(Z, theta["probabilities"]).sum(axis=1)
    noise = np.sqrt(theta["noise_variance"])
    cells = stats.norm.logpdf(x, Z @ theta["loadings"].T + theta["intercepts"], noise)
    return special.logsumexp(cells.sum(axis=1) + log_prior)


def scored():
    """Yield name, unfitted estimator, its likelihood, its latents and the reference."""
    short = {"max_iter": 2, "n_importance_samples": 200}
    for d, likelihood in product((1, 3), ("bernoulli", "poisson")):
        model = FactorModel(d, likelihood=likelihood)
        name = "2PL" if likelihood == "bernoulli" else "Poisson"
        yield f"{name}, {d} latents", VariationalEM(d, model=model, **short), likelihood, d
    yield (
        "binary, 16 features",
        VariationalEM(16, model=BinaryFeatureModel(16, noise="diag"), annealing=False, **short),
        "states",
        16,
    )
    for likelihood in ("gaussian", "bernoulli"):
        model = DecoderModel(3, hidden_layer_sizes=(4,), likelihood=likelihood)
        yield (
            f"decoder {likelihood}, 3 latents",
            VariationalEM(3, model=model, **short),
            likelihood,
            3,
        )
    vae = VAEEstimator(2, hidden_layer_sizes=(16,), max_iter=20, n_importance_samples=200)
    yield "VAE gaussian, 2 latents", vae, "gaussian", 2


def scores(estimator, likelihood, d, n):
    """Return which intervals of log p(x) hold the value of the reference."""
    holds = []
    for seed in range(n):
        rng = np.random.default_rng([seed, 2])
        kind = likelihood if likelihood in ("bernoulli", "poisson") else "gaussian"
        X = draw_factor(kind, 40, rng)[0]
        model = estimator.set_params(random_state=seed).fit(X)
        (log_prob,), (std,) = model.score_samples(X[:1], return_std=True)
        rule = enumeration if likelihood == "states" else reference
        truth = rule(model, X[0], kind, d)
        holds.append(abs(log_prob - truth) <= Z_95 * std + 1e-9)
    return holds


# ---------------------------------------------------------------- the table


def line(name, holds, seconds):
    """Print the coverage of one kind of interval, and the band of calibrated ones."""
    coverage, n = np.mean(holds), len(holds)
    low, high = np.array(stats.binom.interval(0.999, n, 0.95)) / n
    verdict = "inside" if low <= coverage <= high else ("above" if coverage > high else "BELOW")
    print(f"{name:46s} {coverage:8.1%}  [{low:.1%}, {high:.1%}]  {verdict:6s} {seconds:7.1f}")


def main(replications, only):
    print(f"{'interval of':46s} coverage  99.9 % band              seconds")
    for name, draw, estimator in problems():
        if only in name:
            start = time.process_time()
            holds = parameters(draw, estimator, replications)
            spent = time.process_time() - start
            for parameter, held in holds.items():
                line(f"{name}: {parameter}", held, spent)
    for name, estimator, likelihood, d in scored():
        if only in name:
            start = time.process_time()
            holds = scores(estimator, likelihood, d, replications)
            line(f"{name}: log p(x)", holds, time.process_time() - start)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--only", default="", help="part of the name")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    main(arguments.replications, arguments.only)
