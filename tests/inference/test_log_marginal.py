"""log p(x): closed forms, quadrature, enumeration and importance sampling agree."""

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from skelbo import VariationalEM
from skelbo.inference.fitted_model import N_COPIES
from skelbo.inference.log_marginal import log_marginal
from skelbo.inference.posteriors.gaussian_posterior import find_mode
from skelbo.inference.sampling.importance import BaseNoise, importance_draws, log_mean_error
from skelbo.inference.sampling.sobol import ShiftedSobol
from skelbo.models import BinaryFeatureModel, FactorModel, LatentVariableModel
from tests.tables import answers, counts, real


def gauss_hermite(joint, mode, precision, n_nodes, pruned=60.0):
    """Return log p(x) by Gauss-Hermite nodes around the mode.

    Nodes whose log-weight is more than `pruned` below the largest are left out.
    """
    d = mode.shape[1]
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    grid = np.stack(np.meshgrid(*[nodes] * d, indexing="ij"), -1).reshape(-1, d)
    log_weights = np.log(np.stack(np.meshgrid(*[weights] * d, indexing="ij"), -1)).sum(-1).ravel()
    kept = log_weights > log_weights.max() - pruned
    grid, log_weights = grid[kept], log_weights[kept]
    factor = np.linalg.cholesky(precision)
    Z = mode + np.einsum("nij,si->snj", np.linalg.inv(factor), grid)
    log_det = np.log(np.einsum("nkk->nk", factor)).sum(-1)
    terms = joint.log_joint(Z) + (log_weights + 0.5 * (grid**2).sum(1))[:, None]
    log_total = special.logsumexp(terms, axis=0)
    return log_total - log_det


def joint_of(model, X):
    return model.joint(X, model.start(X, np.ones(len(X)), np.random.RandomState(0), 0))


def noise(n_draws, d):
    return BaseNoise.draw(n_draws, d, np.random.RandomState(0))


@pytest.mark.parametrize("missing", [False, True])
def test_gaussian_closed_form(missing):
    X = real(20)
    if missing:
        X[0, 1] = X[3] = np.nan
    model = FactorModel(2)
    theta = model.start(np.nan_to_num(X), np.ones(20), np.random.RandomState(0), 0)
    W = theta["loadings"]
    covariance = W @ W.T + np.diag(theta["noise_variance"])
    got, std, _ = log_marginal(model.joint(X, theta), noise(10, 2))
    for x, value in zip(X, got, strict=True):
        known = ~np.isnan(x)
        exact = 0.0
        if known.any():
            part = covariance[np.ix_(known, known)]
            exact = stats.multivariate_normal.logpdf(x[known], theta["intercepts"][known], part)
        assert np.isclose(value, exact)
    assert np.all(std == 0)


@pytest.mark.parametrize(("likelihood", "X"), [("poisson", counts(6)), ("bernoulli", answers(6))])
def test_one_latent_by_adaptive_integration(likelihood, X):
    joint = joint_of(FactorModel(1, likelihood=likelihood), X)
    got = log_marginal(joint, noise(10, 1))[0]
    for i, value in enumerate(got):
        row = joint.take([i])
        exact = integrate.quad(
            lambda z, row=row: np.exp(row.log_joint(np.full((1, 1, 1), z))).item(),
            -12,
            12,
            limit=300,
            epsabs=1e-300,
            epsrel=1e-10,
        )[0]
        assert np.isclose(value, np.log(exact), atol=1e-7)


@pytest.mark.parametrize(("likelihood", "X"), [("poisson", counts(15)), ("bernoulli", answers(15))])
@pytest.mark.parametrize("d", [1, 2])
def test_importance_sampling_meets_quadrature_within_its_error(likelihood, X, d):
    joint = joint_of(FactorModel(d, likelihood=likelihood), X)
    exact, error, points = log_marginal(joint, noise(10, d))
    draws, estimate, std = importance_draws(joint, *find_mode(joint), noise(4000, d))
    assert np.all(error < 1e-6)
    assert np.all(np.abs(estimate - exact) < 5 * std) and np.all(std < 0.05)
    assert np.allclose(draws.mean, points.mean, atol=0.2)


def test_gaussian_three_latents_by_importance_sampling():
    joint = joint_of(FactorModel(3), real(15))
    exact = log_marginal(joint, noise(10, 3))[0]
    _, estimate, std = importance_draws(joint, *find_mode(joint), noise(2000, 3))
    assert np.all(np.abs(estimate - exact) < 5 * std)


@pytest.mark.parametrize(("d", "likelihood"), [(3, "gaussian"), (5, "gaussian"), (3, "poisson")])
def test_quasi_random_scores_err_as_they_say_and_less_than_random_ones(d, likelihood):
    X = real(30) if likelihood == "gaussian" else counts(30)
    joint = joint_of(FactorModel(d, likelihood=likelihood), X)
    mode, precision = find_mode(joint)
    if likelihood == "gaussian":
        exact = log_marginal(joint, noise(10, d))[0]
    else:
        exact = gauss_hermite(joint, mode, precision, 21)
    away, said = np.empty((2, 2, 20, 30))
    for seed in range(20):
        rng = np.random.RandomState(seed)
        even = ShiftedSobol((1, d), rng, N_COPIES).run(1024)
        for k, base in enumerate([even, BaseNoise.draw(1024, d, rng)]):
            _, estimate, said[k, seed] = importance_draws(joint, mode, precision, base)
            away[k, seed] = estimate - exact
    root = np.sqrt((away**2).mean((1, 2)))
    assert root[0] < 0.7 * root[1]
    assert np.all(root < 1.2 * np.sqrt((said**2).mean((1, 2))))
    assert np.mean(np.abs(away) > 3 * said) < 0.02


def test_many_binary_latents_by_importance_sampling():
    # Twelve of sixteen features do nothing: the sum over the states of the others is log p(x).
    X = real(10)
    small, large = BinaryFeatureModel(4), BinaryFeatureModel(16)
    theta = small.start(X, np.ones(10), np.random.RandomState(0), 0)
    wide = {
        **theta,
        "loadings": np.column_stack([theta["loadings"], np.zeros((5, 12))]),
        "probabilities": np.full(16, 0.5),
    }
    exact = log_marginal(small.joint(X, theta), noise(10, 4))[0]
    estimate, std, _ = log_marginal(large.joint(X, wide), noise(4000, 16))
    assert np.all(np.abs(estimate - exact) < 5 * std) and np.all(std < 0.2)


def test_the_error_of_the_log_of_a_mean_sees_a_term_that_carries_nearly_all():
    rng = np.random.default_rng(0)
    weights = np.exp(0.1 * rng.standard_normal((16, 50)))
    shares = weights / weights.sum(0)
    linear = np.sqrt(16 / 13 * ((shares - 1 / 16) ** 2).sum(0))
    assert np.allclose(log_mean_error(shares), linear, rtol=0.05)
    assert np.all(log_mean_error(np.full((16, 1), 1 / 16)) < 1e-12)
    for most in (0.5, 0.9, 0.999, 1.0):
        shares = np.r_[most, np.full(15, (1 - most) / 15)][:, None]
        assert -np.log(1 - min(most, 1 - 1e-15)) <= log_mean_error(shares)[0] * 1.05 < 50


class TwoModes(LatentVariableModel):
    """x = z^2 + noise: the posterior has a mode on either side."""

    n_latents = 1

    def initialize(self, X, rng):
        return {"scale": torch.tensor(0.1)}

    def log_likelihood(self, X, Z, theta):
        return torch.distributions.Normal(Z**2, theta["scale"]).log_prob(X).sum(-1)


@pytest.mark.slow
def test_a_second_mode_is_not_missed():
    X = np.array([[1.0], [2.0], [0.5], [3.0]])
    estimator = VariationalEM(
        model=TwoModes(), max_iter=1, tol=1e9, n_importance_samples=5000, random_state=0
    ).fit(X)
    scale = estimator.params_["scale"]
    log_prob, std = estimator.score_samples(X, return_std=True)
    for x, value, error in zip(X[:, 0], log_prob, std, strict=True):
        exact = integrate.quad(
            lambda z, x=x: stats.norm.pdf(z) * stats.norm.pdf(x, z**2, scale),
            -6,
            6,
            points=[-np.sqrt(x), np.sqrt(x)],
            limit=500,
        )[0]
        assert abs(value - np.log(exact)) < 4 * error
        assert error > 0


def test_steps_in_two_latents_come_with_an_honest_error_though_draws_are_few():
    """Items as steep as steps: the rule with the smaller error is taken, row by row."""
    model = FactorModel(2, likelihood="bernoulli")
    W = np.array([[20.9, -0.1], [2.8, 1.4], [-20.9, 0.1]])
    b = np.array([8.0, -2.5, -8.0])
    X = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    joint = model.joint(X, {"loadings": W, "intercepts": b})
    log_prob, std, _ = log_marginal(joint, noise(20, 2))
    axis = np.arange(-8, 8, 0.02)
    Z = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 1, 2)
    log_joint = joint.log_joint(np.repeat(Z, len(X), axis=1))
    exact = special.logsumexp(log_joint, axis=0) + 2 * np.log(0.02)
    assert np.all(np.abs(log_prob - exact) < 4 * std)
    assert std.max() < 0.2
