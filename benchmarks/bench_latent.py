"""Times of latent-variable models beside the packages that people use for them.

Every pair runs in this one process, by turns, on the same data; times are CPU seconds (the median
of the runs), and both sets of parameters are judged by one function. Peers that cannot be imported
are skipped, and the line names them: scikit-learn (always there), pyPLNmodels (needs setuptools<81)
and girth.

    OMP_NUM_THREADS=1 python benchmarks/bench_latent.py [--repeats 5]
"""

import argparse
import contextlib
import io
import time
import warnings

import numpy as np
from scipy.special import logsumexp
from sklearn.datasets import load_digits
from sklearn.decomposition import FactorAnalysis

from skelbo import VariationalEM

warnings.simplefilter("ignore")


def by_turns(repeats, **functions):
    """Return the median CPU seconds of each function, and its last result."""
    seconds, results = {name: [] for name in functions}, {}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.process_time()
            with quiet():
                results[name] = function()
            seconds[name].append(time.process_time() - start)
    return {name: (np.median(seconds[name]), results[name]) for name in functions}


@contextlib.contextmanager
def quiet():
    """Swallow what a peer prints."""
    hole = io.StringIO()
    with contextlib.redirect_stdout(hole), contextlib.redirect_stderr(hole):
        yield


def line(name, seconds, value, unit, baseline=None):
    """Print a fit; with a baseline also its time as a share of that."""
    ratio = "" if baseline is None else f"   {seconds / baseline:5.2f} x the peer's time"
    print(f"  {name:46s} {seconds:7.3f} s {value:17.4f} {unit}{ratio}")


def factor_analysis(repeats):
    """Gaussian factors, against scikit-learn to the same likelihood."""
    X = load_digits().data
    X = X[:, X.std(0) > 0.5]
    print(f"Gaussian factor model, digits {X.shape[0]} x {X.shape[1]}, 8 factors")
    ours = VariationalEM(8, model="gaussian").fit(X).score(X)
    # scikit-learn needs a tighter tol than its own to come near the same likelihood.
    for tol in (1e-2, 1e-4, 1e-6, 1e-8):
        peer = FactorAnalysis(8, tol=tol, max_iter=5000, svd_method="lapack")
        if peer.fit(X).score(X) > ours - 1e-5:
            break
    runs = by_turns(
        repeats,
        skelbo=lambda: VariationalEM(8, model="gaussian").fit(X),
        default=lambda: FactorAnalysis(8).fit(X),
        peer=lambda: peer.fit(X),
    )
    baseline = runs["peer"][0]
    line("skelbo VariationalEM", runs["skelbo"][0], ours, "nats per row", baseline)
    line("sklearn FactorAnalysis, default tol", *of(runs["default"], X), "nats per row")
    line(f"sklearn FactorAnalysis, tol={tol:g}", *of(runs["peer"], X), "nats per row")
    print()


def of(run, X):
    """Return the seconds of a run and the score of its result."""
    return run[0], run[1].score(X)


def with_errors(model, X):
    """Fit a model and compute its standard errors."""
    model.fit(X)
    assert model.standard_errors_
    return model


def poisson(repeats, levels):
    """Poisson factors, against pyPLNmodels; both judged by our bound at their parameters.

    Its own `elbo` puts Stirling's formula for log x! and is on another scale. Our bound is that of
    the best diagonal Gaussian of every row, so that it is no lower than its own at its parameters.
    """
    rng = np.random.default_rng(0)
    n, p, d = 1000, 50, 5
    eta = np.linspace(*levels, p) + rng.standard_normal((n, d)) @ rng.standard_normal((d, p)) * 0.5
    X = rng.poisson(np.exp(eta)).astype(float)
    print(f"Poisson factor model, simulated counts {n} x {p}, {d} factors, intercepts {levels}")
    fits = {
        f"skelbo tol={tol}": lambda tol=tol: VariationalEM(d, model="poisson", tol=tol).fit(X)
        for tol in (1e-2, 1e-3, 1e-4, "auto")
    }
    fits["skelbo, standard errors too"] = lambda: with_errors(VariationalEM(d, model="poisson"), X)
    try:
        from pyPLNmodels import PlnPCA
    except ImportError as error:
        print(f"  pyPLNmodels cannot be imported ({error}): skipped")
    else:
        fits["pyPLNmodels PlnPCA"] = lambda: PlnPCA(X, rank=d).fit()
        fits["pyPLNmodels PlnPCA tol=1e-8 maxiter=2000"] = lambda: PlnPCA(X, rank=d).fit(
            tol=1e-8, maxiter=2000
        )
    runs = by_turns(repeats, **fits)
    baseline = runs.get("pyPLNmodels PlnPCA", [None])[0]
    judge = VariationalEM(d, model="poisson", max_iter=1).fit(X)
    for name, (seconds, fit) in runs.items():
        judge.params_ = getattr(fit, "params_", None) or {
            "loadings": np.asarray(fit.components, dtype=float),
            "intercepts": np.asarray(fit.coef, dtype=float).ravel(),
        }
        line(name, seconds, judge.elbo(X).sum(), "ELBO", baseline)
    print()


def two_parameter_logistic(repeats):
    """One trait, against girth's marginal maximum likelihood; both judged by one quadrature."""
    rng = np.random.default_rng(0)
    n, p = 5000, 30
    slopes, levels = rng.uniform(0.5, 2, p), rng.standard_normal(p)
    eta = rng.standard_normal((n, 1)) * slopes + levels
    X = (rng.random((n, p)) < 1 / (1 + np.exp(-eta))).astype(float)
    print(f"2PL latent trait model, simulated answers {n} x {p}")
    fits = {
        f"skelbo {posterior}": lambda posterior=posterior: VariationalEM(
            1, model="bernoulli", posterior=posterior
        ).fit(X)
        for posterior in ("exact", "mean_field")
    }
    try:
        from girth import twopl_mml
    except ImportError as error:
        print(f"  girth cannot be imported ({error}): skipped")
    else:
        fits["girth twopl_mml"] = lambda: twopl_mml(X.T.astype(int))
    runs = by_turns(repeats, **fits)
    baseline = runs.get("girth twopl_mml", [None])[0]
    for name, (seconds, fit) in runs.items():
        if isinstance(fit, dict):
            slopes, levels = fit["Discrimination"], -fit["Discrimination"] * fit["Difficulty"]
        else:
            slopes, levels = fit.params_["loadings"][:, 0], fit.params_["intercepts"]
        line(name, seconds, trait_log_likelihood(X, slopes, levels), "log-likelihood", baseline)
    print()


def trait_log_likelihood(X, slopes, levels):
    """Return log p(X) of a 2PL by the trapezoid rule on 2001 points: exact to rounding."""
    z = np.linspace(-10, 10, 2001)
    eta = levels + z[:, None] * slopes
    log_joint = X @ eta.T - np.logaddexp(0, eta).sum(1) - 0.5 * (z**2 + np.log(2 * np.pi))
    return (logsumexp(log_joint, axis=1) + np.log(z[1] - z[0])).sum()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    factor_analysis(repeats)
    poisson(repeats, (1, 1))
    poisson(repeats, (-1, 3))
    two_parameter_logistic(repeats)
