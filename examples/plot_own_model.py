"""From an empty file to standard errors: a model of your own in ten lines.

Visits to a website, counted on five days for each person. People differ in how active they are (one
hidden number each), and a share of the counts is zero because the person was away. No package has
this model; here it is, with a likelihood, an error bar on it, and standard errors.

    python examples/plot_own_model.py
"""

import numpy as np
import torch

from skelbo import MCEM, VariationalEM
from skelbo.models import LatentVariableModel


class Visits(LatentVariableModel):
    """log rate = level + slope * z; a count is 0 with probability `away`, else Poisson."""

    n_latents = 1
    constraints = {"away": "unit_interval"}

    def initialize(self, X, rng):
        days = X.shape[1]
        return {"level": X.mean(0).log(), "slope": torch.full((days,), 0.5), "away": 0.1}

    def log_likelihood(self, X, Z, theta):
        rate = (theta["level"] + theta["slope"] * Z).exp()
        visits = (1 - theta["away"]).log() + torch.distributions.Poisson(rate).log_prob(X)
        return torch.where(X == 0, torch.logaddexp(theta["away"].log(), visits), visits).sum(-1)

    def mean(self, Z, theta):  # optional: for inverse_transform and impute
        return (1 - theta["away"]) * (theta["level"] + theta["slope"] * Z).exp()


rng = np.random.default_rng(0)
truth = {"level": np.array([1.0, 0.8, 1.2, 0.5, 1.5]), "slope": np.full(5, 0.6), "away": 0.2}
rates = np.exp(truth["level"] + truth["slope"] * rng.standard_normal((500, 1)))
X = np.where(rng.random((500, 5)) < truth["away"], 0, rng.poisson(rates)).astype(float)

variational = VariationalEM(model=Visits()).fit(X)
exact = MCEM(model=Visits(), params_init=variational.params_, tol=2e-4, random_state=0).fit(X)

log_prob, std = exact.score_samples(X, return_std=True)
print(f"ELBO of VariationalEM    {500 * variational.lower_bound_:10.3f} nats")
print(f"log p(X) of VariationalEM{500 * variational.score(X):10.3f}")
print(f"log p(X) of MCEM         {log_prob.sum():10.3f} +- {std.sum():.1e}")
print(f"certified: {exact.converged_}, draws per row: {exact.n_samples_history_}\n")
print("parameter      truth   estimate   standard error   of which Monte Carlo")
for name in truth:
    rows = zip(
        np.ravel(truth[name]),
        np.ravel(exact.params_[name]),
        np.ravel(exact.standard_errors_[name]),
        np.ravel(exact.mc_standard_errors_[name]),
        strict=True,
    )
    for true, value, error, noise in rows:
        print(f"{name:10s} {true:9.3f} {value:10.3f} {error:16.3f} {noise:22.4f}")
