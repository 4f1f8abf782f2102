"""Settings of torch that a fit needs, wherever it is called."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skelbo import MCEM, EMGaussianMixture, VAEEstimator, VariationalEM
from skelbo.models import LatentVariableModel


class Line(LatentVariableModel):
    """x = a + b z + noise, as a user would write it."""

    def __init__(self):
        self.n_latents = 1

    def initialize(self, X, rng):
        """Start at the mean."""
        return {"slope": torch.ones(X.shape[1]), "centre": X.mean(0)}

    def log_likelihood(self, X, Z, theta):
        """Return the density of N(a + b z, 1)."""
        return -0.5 * ((X - theta["centre"] - Z * theta["slope"]) ** 2).sum(-1)


ESTIMATORS = [
    VAEEstimator(1, max_iter=2, random_state=0),
    VariationalEM(model=Line(), max_iter=3),
    MCEM(model=Line(), max_iter=2, random_state=0),
    MCEM(model=Line(), sampler="hmc", n_samples=10, max_iter=1, random_state=0),
    VariationalEM(1, model="decoder", max_iter=2, random_state=0),
    EMGaussianMixture(2, solver="gradient", max_iter=3, random_state=0),
]


def answers(estimator, X):
    """Return what a fit and its scores come to."""
    fitted = clone(estimator).fit(X)
    found = [fitted.lower_bounds_, fitted.score_samples(X), fitted.elbo(X), fitted.transform(X)]
    if hasattr(fitted, "refine"):
        found += [fitted.refine(X, n_steps=2).elbo, fitted.partial_fit(X).lower_bounds_]
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_fits_where_gradients_are_off(estimator, without, iris):
    """The same results, bit for bit, and gradients are off again behind them."""
    X = iris[::5, :3]
    with without():
        there = answers(estimator, X)
        assert not torch.is_grad_enabled()
        assert torch.is_inference_mode_enabled() == (without is torch.inference_mode)
    for mine, other in zip(answers(estimator, X), there, strict=True):
        np.testing.assert_array_equal(mine, other)
