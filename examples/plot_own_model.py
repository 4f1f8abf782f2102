"""
A model of your own
===================

From an empty file to standard errors in ten lines.

Visits to a website, counted on five days for each person. People differ in how active they are (one
hidden number z each, standard normal), and a share of the counts is zero because the person was
away. A model is two methods: where theta begins, and log p(x | z; theta) in torch, for several z of
every row at once. Everything else is the library's: two ways to fit it, log p(x) of new rows with
an error bar, the latents, and standard errors.

    python examples/plot_own_model.py

Prints the two fits and a table of the parameters beside the truth, and draws it.
"""

import numpy as np
import torch
from matplotlib import pyplot as plt

from skelbo import MCEM, VariationalEM
from skelbo.models import LatentVariableModel


class Visits(LatentVariableModel):
    """log rate = level + slope * z; a count is 0 with probability `away`, else Poisson."""

    n_latents = 1
    constraints = {"away": "unit_interval"}  # the other parameters are free

    def initialize(self, X, rng):
        days = X.shape[1]
        return {"level": (X.mean(0) + 0.1).log(), "slope": torch.full((days,), 0.5), "away": 0.1}

    def log_likelihood(self, X, Z, theta):
        # X (n_rows, days), Z (n_draws, n_rows, 1) -> (n_draws, n_rows)
        known, x = ~X.isnan(), X.nan_to_num()  # a cell that is missing has no likelihood
        rate = (theta["level"] + theta["slope"] * Z).exp()
        visits = (1 - theta["away"]).log() + torch.distributions.Poisson(rate).log_prob(x)
        cells = torch.where(x == 0, torch.logaddexp(theta["away"].log(), visits), visits)
        return (cells * known).sum(-1)

    def mean(self, Z, theta):  # optional: for inverse_transform and impute
        return (1 - theta["away"]) * (theta["level"] + theta["slope"] * Z).exp()


def simulate(n_persons, rng):
    """Return the parameters of a made-up world and what is counted in it."""
    truth = {"level": np.array([1.0, 0.8, 1.2, 0.5, 1.5]), "slope": np.full(5, 0.6), "away": 0.2}
    rates = np.exp(truth["level"] + truth["slope"] * rng.standard_normal((n_persons, 1)))
    away = rng.random(rates.shape) < truth["away"]
    return truth, np.where(away, 0, rng.poisson(rates)).astype(float)


def main():
    truth, X = simulate(1000, np.random.default_rng(0))
    train, test = X[:500], X[500:]

    variational = VariationalEM(model=Visits()).fit(train)
    # Draws of the exact posterior take the bias of the Gaussian q away, beginning from its fit.
    exact = MCEM(model=Visits(), params_init=variational.params_, random_state=0).fit(train)

    print("nats per person                ELBO     log p(x), 500 others   +- error")
    for estimator in (variational, exact):
        log_prob, std = estimator.score_samples(test, return_std=True)
        name = type(estimator).__name__
        print(
            f"{name:24s} {estimator.lower_bound_:10.4f} {log_prob.mean():24.4f} {std.mean():10.1e}"
        )
    print(f"MCEM certified at the maximum: {exact.converged_}\n")

    print("parameter    truth  VariationalEM     MCEM  standard error  of which Monte Carlo")
    for name in truth:
        columns = (
            truth[name],
            variational.params_[name],
            exact.params_[name],
            exact.standard_errors_[name],
            exact.mc_standard_errors_[name],
        )
        for true, first, second, error, noise in zip(*map(np.ravel, columns), strict=True):
            print(f"{name:10s} {true:7.3f} {first:14.3f} {second:8.3f} {error:15.3f} {noise:21.4f}")

    person = np.array([[9.0, 7.0, np.nan, 6.0, 0.0]])  # the third day is not known
    print(f"\nactivity of {person[0]}: {exact.transform(person)[0, 0]:.2f}")
    print(f"visits expected on the third day: {exact.impute(person)[0, 2]:.1f}")
    draw(truth, exact)


def draw(truth, fitted):
    """Draw estimates of MCEM with 95 % intervals beside the truth."""
    _, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
    names = [f"{name} {j}" for name in ("level", "slope") for j in range(5)] + ["away"]
    true, estimates, errors = (
        np.concatenate([np.ravel(values[name]) for name in truth])
        for values in (truth, fitted.params_, fitted.standard_errors_)
    )
    ax.errorbar(range(len(names)), estimates, 1.96 * errors, fmt="o", capsize=3, label="MCEM")
    ax.plot(true, "_", color="#D55E00", markersize=14, markeredgewidth=2, label="truth")
    ax.set_xticks(range(len(names)), names, rotation=45)
    ax.set_ylabel("parameter (log-rate; away: probability)")
    ax.legend()


if __name__ == "__main__":
    main()
