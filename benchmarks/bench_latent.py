"""How long do latent-variable models take, beside the packages that people use for them?

Every pair runs in this one process on the same data. Peers that are not installed are skipped:
scikit-learn (always there), pyPLNmodels and girth (pip install pyPLNmodels girth).

    python benchmarks/bench_latent.py
"""

import contextlib
import io
import time
import warnings

import numpy as np
from scipy.special import gammaln
from sklearn.datasets import load_digits
from sklearn.decomposition import FactorAnalysis

from skelbo import VariationalEM

warnings.simplefilter("ignore")


def timed(function, repeats=3):
    """Return the shortest time of some runs, and the last result."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def line(name, seconds, value, unit):
    print(f"  {name:34s} {seconds:8.3f} s   {value:16.4f} {unit}")


def factor_analysis():
    X = load_digits().data
    X = X[:, X.std(0) > 0.5]
    print(f"Gaussian factor model, digits {X.shape[0]} x {X.shape[1]}, 8 factors")
    ours, fit = timed(lambda: VariationalEM(8, model="gaussian").fit(X))
    line("skelbo.VariationalEM (whole fit)", ours, fit.score(X), "nats per row")
    # scikit-learn needs a tighter tol than its own to come near the same likelihood.
    for tol in (1e-2, 1e-4, 1e-6, 1e-8):
        theirs, peer = timed(
            lambda tol=tol: FactorAnalysis(8, tol=tol, max_iter=5000, svd_method="lapack").fit(X), 1
        )
        line(f"sklearn FactorAnalysis tol={tol:g}", theirs, peer.score(X), "nats per row")
        if peer.score(X) > fit.score(X) - 1e-5:
            break
    print(f"  ratio skelbo / sklearn: {ours / theirs:.2f}\n")


def poisson():
    rng = np.random.default_rng(0)
    n, p, d = 1000, 50, 5
    eta = 1 + rng.standard_normal((n, d)) @ rng.standard_normal((d, p)) * 0.5
    X = rng.poisson(np.exp(eta)).astype(float)
    print(f"Poisson factor model, simulated counts {n} x {p}, {d} factors")
    ours, fit = timed(lambda: VariationalEM(d, model="poisson", tol=1e-4).fit(X), 1)
    line("skelbo.VariationalEM", ours, n * fit.lower_bound_, "ELBO")
    try:
        from pyPLNmodels import PlnPCA
    except ImportError:
        print("  pyPLNmodels is not installed\n")
        return
    with contextlib.redirect_stdout(io.StringIO()):
        theirs, peer = timed(lambda: PlnPCA(X, rank=d).fit(), 1)
    # It approximates log x! by Stirling's formula: put the exact value in.
    with np.errstate(all="ignore"):
        stirling = np.where(X > 0, X * np.log(X) - X + 0.5 * np.log(2 * np.pi * X), 0.0)
    exact = float(peer.elbo) - (gammaln(X + 1) - stirling).sum()
    line("pyPLNmodels PlnPCA", theirs, exact, "ELBO")
    print(f"  ratio skelbo / pyPLNmodels: {ours / theirs:.2f}\n")


def two_parameter_logistic():
    rng = np.random.default_rng(0)
    n, p = 5000, 30
    slopes, levels = rng.uniform(0.5, 2, p), rng.standard_normal(p)
    eta = rng.standard_normal((n, 1)) * slopes + levels
    X = (rng.random((n, p)) < 1 / (1 + np.exp(-eta))).astype(float)
    print(f"2PL latent trait model, simulated answers {n} x {p}")
    ours, fit = timed(lambda: VariationalEM(1, model="bernoulli", tol=1e-5).fit(X), 1)
    line("skelbo.VariationalEM", ours, n * fit.score(X), "log-likelihood")
    try:
        from girth import twopl_mml
    except ImportError:
        print("  girth is not installed\n")
        return
    theirs, peer = timed(lambda: twopl_mml(X.T.astype(int)), 1)
    a, b = peer["Discrimination"], peer["Difficulty"]
    given = {"loadings": a[:, None], "intercepts": -a * b}
    judge = VariationalEM(1, model="bernoulli", params_init=given, tol=1e9).fit(X)
    judge.params_ = given
    line("girth twopl_mml", theirs, n * judge.score(X), "log-likelihood")
    print(f"  ratio skelbo / girth: {ours / theirs:.2f}\n")


if __name__ == "__main__":
    factor_analysis()
    poisson()
    two_parameter_logistic()
