"""Annealed importance sampling: quadrature, closed forms, unbiasedness, and when it is used."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from torch import nn

from skelbo.neural import Columns, GaussianFamily, WeightedDraws
from skelbo.neural.annealed_importance import (
    AnnealedPath,
    annealed_log_weights,
    stratified_summary,
)
from skelbo.neural.data.batches import as_batch
from skelbo.neural.model.networks import AutoEncoder
from tests.neural.networks import small

NOISE_STD = 0.3


class Square(nn.Module):
    """A decoder for which z and -z are the same."""

    def forward(self, z):
        return torch.cat([z.square(), 0.5 * z.square()], dim=1)


class OneSided(nn.Module):
    """An encoder that finds one of the two modes only: the square root of the first column."""

    def forward(self, x):
        mean = x[:, :1].clamp(min=0.05).sqrt()
        return mean, torch.full_like(mean, 2 * np.log(0.15))


@pytest.fixture(scope="module")
def bimodal():
    """p(z | x) with two modes, q on one of them."""
    X = np.array([[0.6, 0.2], [1.0, 0.5], [2.0, 1.1]])
    columns = Columns(
        np.array(["gaussian"] * 2),
        *np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]),
        frequencies=(),
        has_missing=False,
        constant=np.zeros(2, dtype=bool),
    )
    model = AutoEncoder(
        columns, GaussianFamily(1), "diag", torch.Generator(), OneSided(), Square()
    ).double()
    model.likelihood.gaussian.variance.fill_(NOISE_STD**2)
    z = np.linspace(-8, 8, 40_001)[:, None]
    log_joint = (
        norm.logpdf(z)
        + norm.logpdf(X[:, None], np.stack([z**2, 0.5 * z**2], -1)[:, 0], NOISE_STD).sum(-1)[
            ..., None
        ]
    )
    exact = logsumexp(log_joint[..., 0], axis=1) + np.log(z[1, 0] - z[0, 0])
    return model.eval(), columns, X, exact


def annealed(model, columns, X, n_temperatures, seed):
    batch = as_batch(X, columns, model.likelihood.offset)
    path = AnnealedPath.to_posterior(model, batch, seed)
    return annealed_log_weights(path, n_temperatures, seed)


@pytest.mark.slow
def test_a_second_mode_that_q_misses_is_found(bimodal):
    model, columns, X, exact = bimodal
    by_q, error_of_q = WeightedDraws(model, columns, 500, 0)._importance(X)[:2]
    np.testing.assert_allclose((by_q - exact)[1:], -np.log(2), atol=0.1)  # and it does not notice
    assert error_of_q.max() < 0.1
    estimates = [stratified_summary(annealed(model, columns, X, 50, seed)) for seed in range(12)]
    log_prob, std = (torch.stack(part).numpy() for part in zip(*estimates, strict=True))
    error = log_prob - exact
    assert np.abs(error.mean(0)).max() < 0.25
    # One seed serves all rows: the errors of a row over seeds are what `std` is about.
    assert 0.4 < np.sqrt(np.mean(error**2)) / std.mean() < 2


@pytest.mark.slow
def test_the_mean_weight_is_unbiased_on_the_shortest_path(bimodal):
    model, columns, X, exact = bimodal
    log_w = torch.stack([annealed(model, columns, X, 2, seed).logsumexp(0) for seed in range(200)])
    ratio = np.exp(log_w.numpy() - np.log(12) - exact)
    assert np.all(np.abs(ratio.mean(0) - 1) < 4 * ratio.std(0) / np.sqrt(len(ratio)))


def linear_fit(n_importance_samples):
    """Return a linear VAE whose q is poor, its table, and mean and covariance of its p(x)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 30)) + 0.3 * rng.normal(size=(50, 30))
    model = small(
        6, hidden_layer_sizes=(), max_iter=10, n_importance_samples=n_importance_samples
    ).fit(X)
    mean, *images = model.inverse_transform(np.eye(7, 6, -1))
    loadings = np.array(images).T - mean[:, None]
    return model, X, mean, loadings @ loadings.T + np.diag(model.noise_variance_)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skelbo.ImportanceWarning")
def test_rows_that_few_draws_fit_get_the_closed_form():
    model, X, mean, covariance = linear_fit(300)
    X[::2, 3] = np.nan
    draws = model._draws()
    by_draws, _, size = draws._importance(X)
    poor = size < 10
    assert poor.mean() > 0.1
    exact = np.empty(len(X))
    for i, row in enumerate(X):
        seen = ~np.isnan(row)
        normal = multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)])
        exact[i] = normal.logpdf(row[seen])
    log_prob, std = model.score_samples(X, return_std=True)
    error = (log_prob - exact)[poor]
    assert np.abs(error).max() < 5 * std[poor].max()
    before = (by_draws + model._columns.log_jacobian(X) - exact)[poor]
    assert np.abs(error).mean() < 0.5 * np.abs(before).mean()
    assert model.gap(X).min() >= 0
    np.testing.assert_array_equal(log_prob, model.score_samples(X))
    alone = np.concatenate([model.score_samples(row[None]) for row in X[poor][:5]])
    np.testing.assert_allclose(alone, log_prob[poor][:5], rtol=1e-8)


@pytest.mark.filterwarnings("ignore::skelbo.ImportanceWarning")
def test_rows_with_enough_draws_are_left_alone():
    model, X, *_ = linear_fit(500)
    by_draws, _, size = model._draws()._importance(X[:10])
    enough = size >= 10
    assert enough.any()
    expected = (by_draws + model._columns.log_jacobian(X[:10]))[enough]
    np.testing.assert_array_equal(model.score_samples(X[:10])[enough], expected)


@pytest.mark.filterwarnings("ignore::skelbo.ImportanceWarning")
def test_float32_and_no_grad_change_nothing():
    """Chains need gradients and float64, whatever the caller's context and the fit's precision."""
    X = np.random.default_rng(0).normal(size=(5, 30)).astype(np.float32)
    single = small(6, hidden_layer_sizes=(), max_iter=3, n_importance_samples=50).fit(X)
    expected = single.score_samples(X)
    with torch.no_grad():
        np.testing.assert_array_equal(single.score_samples(X), expected)
    with torch.inference_mode():
        np.testing.assert_array_equal(single.score_samples(X), expected)
    assert expected.dtype == np.float32
