"""log p(x) and the bound of networks with one latent, by quadrature."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.datasets import load_iris
from torch import nn

from skelbo import GANEstimator
from tests.neural.networks import small

IRIS = load_iris().data
GRID = np.linspace(-12, 12, 200_001)
RNG = np.random.default_rng(0)
BITS = (RNG.random((60, 3)) < [0.3, 0.5, 0.8]).astype(float)


def by_grid(log_likelihood):
    """Return log p(x) of each row from log p(x | z) on GRID, (n_samples, n_points)."""
    step = GRID[1] - GRID[0]
    return logsumexp(log_likelihood + norm.logpdf(GRID), axis=1) + np.log(step)


def linear_gaussian(model):
    """Return mean and covariance of x under a linear decoder with z ~ N(0, 1)."""
    mean, image = model.inverse_transform([[0.0], [1.0]])
    noise = np.broadcast_to(model.noise_variance_, len(mean))
    return mean, np.outer(image - mean, image - mean) + np.diag(noise)


@pytest.mark.parametrize("noise", ["unit", "isotropic", "diag"])
def test_linear_decoder_has_its_closed_form(noise):
    model = small(1, hidden_layer_sizes=(), noise=noise, max_iter=20).fit(IRIS)
    X = np.vstack([IRIS, 100 * IRIS[:2]])  # posteriors far beyond the prior, too
    log_prob, std = model.score_samples(X, return_std=True)
    exact = multivariate_normal(*linear_gaussian(model)).logpdf(X)
    np.testing.assert_allclose(log_prob, exact, rtol=1e-9)
    assert np.all(std > 0)
    assert np.all(std < 1e-5)
    assert model.gap(X).min() >= -1e-12


def test_a_game_with_one_latent_is_scored_alike():
    model = GANEstimator(1, hidden_layer_sizes=(), max_iter=2, random_state=0).fit(IRIS)
    exact = multivariate_normal(*linear_gaussian(model)).logpdf(IRIS)
    np.testing.assert_allclose(model.score_samples(IRIS), exact, rtol=1e-9)


@pytest.mark.parametrize("posterior", ["gaussian", "point"])
def test_error_covers_what_the_rule_misses(posterior):
    """A kink of the decoder is never resolved whole."""
    model = small(1, posterior=posterior, max_iter=100, lr=1e-2).fit(IRIS)
    log_prob, std = model.score_samples(IRIS, return_std=True)
    family = model.net_.module_.family
    center = np.zeros(1) if posterior == "gaussian" else family.prior_mean.numpy()
    scale = 1.0 if posterior == "gaussian" else float(family.prior_cholesky)
    mean = model.inverse_transform((center + scale * GRID)[:, None])
    noise = np.sqrt(np.broadcast_to(model.noise_variance_, 4))
    likelihood = np.array([norm.logpdf(x, mean, noise).sum(1) for x in IRIS[::10]])
    assert np.all(np.abs(log_prob[::10] - by_grid(likelihood)) < 3 * std[::10] + 1e-8)
    assert np.all(std < 1e-4)


def test_both_modes_of_a_narrow_posterior_count():
    class Square(nn.Module):
        def forward(self, z):
            return torch.cat([z.square(), 0 * z], 1)

    X = RNG.normal(size=(50, 2)) ** 2
    model = small(1, decoder=Square()).fit(X)
    model.noise_variance_ = 1e-6 * X.var(0)
    # In standardised units u = z^2 + noise: both roots of z have the same share.
    u = (X[:, 0] - X[:, 0].mean()) / X[:, 0].std()
    rows = u > 0.1
    v = (X[:, 1] - X[:, 1].mean()) / X[:, 1].std()
    root = np.sqrt(u[rows])
    smooth = np.log(2) + norm.logpdf(root) - np.log(2 * root)  # density of z^2 at u
    expected = smooth + norm.logpdf(v[rows], 0, 1e-3) - np.log(X.std(0)).sum()
    log_prob, std = model.score_samples(X[rows], return_std=True)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4)
    assert np.all(std < 1e-4)


def test_probabilities_of_all_bit_patterns_add_up_to_one():
    model = small(1, likelihood="bernoulli", max_iter=50, lr=1e-2).fit(BITS)
    patterns = np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(3, -1).T
    log_prob = model.score_samples(patterns)
    assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-5)
    proba = model.inverse_transform(GRID[:, None])
    likelihood = [np.log(np.where(x > 0, proba, 1 - proba)).sum(1) for x in patterns]
    np.testing.assert_allclose(log_prob, by_grid(np.array(likelihood)), atol=1e-5)


def test_counts_codes_and_missing_cells():
    z = RNG.normal(size=200)
    X = np.column_stack([z + 0.1 * RNG.normal(size=200), RNG.poisson(np.exp(z)), z > 0.5])
    X = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
    X[0] = np.nan
    kinds = ["gaussian", "poisson", "categorical"]
    model = small(1, likelihood=kinds, max_iter=60, lr=1e-2).fit(X)
    log_prob, std = model.score_samples(X, return_std=True)
    assert log_prob[0] == pytest.approx(0, abs=1e-9)
    by_draws, error = model._draws(4000).log_prob(X)
    assert np.all(np.abs(log_prob - by_draws) < 5 * error + 1e-6)
    assert np.all(std < 1e-4)
    # A cell adds the density of that cell given the others: a mean over its values is the rest.
    grid = np.linspace(X[:, 0][1:][~np.isnan(X[1:, 0])].min() - 3, 8, 4001)
    row = np.tile([np.nan, 2.0, 1.0], (len(grid), 1))
    rest = model.score_samples(row[:1])[0]
    row[:, 0] = grid
    assert logsumexp(model.score_samples(row)) + np.log(grid[1] - grid[0]) == pytest.approx(
        rest, abs=1e-4
    )


def test_a_row_does_not_depend_on_the_others():
    model = small(1, max_iter=50, lr=1e-2).fit(IRIS)
    terms = model.elbo_terms(IRIS)
    for rows in (slice(3, 4), slice(0, 150, 7)):
        np.testing.assert_allclose(
            model.score_samples(IRIS[rows]), model.score_samples(IRIS)[rows], rtol=1e-13
        )
        np.testing.assert_allclose(model.elbo(IRIS[rows]), terms.elbo[rows], rtol=1e-13)


def test_bound_is_that_of_draws_and_below_log_p():
    model = small(1, max_iter=50, lr=1e-2).fit(IRIS)
    log_prob, terms = model.score_samples(IRIS), model.elbo_terms(IRIS)
    assert np.all(terms.elbo <= log_prob + 1e-12)
    by_draws = model._draws(20_000).elbo_terms(IRIS)
    np.testing.assert_allclose(terms.elbo, by_draws.elbo, atol=0.1)
    np.testing.assert_allclose(terms.kl, by_draws.kl, rtol=1e-6)
    np.testing.assert_allclose(terms.energy + terms.entropy, terms.elbo)
    np.testing.assert_allclose(terms.reconstruction - terms.kl, terms.elbo)


@pytest.mark.parametrize("size", [1e3, -1e5, 1e10, 1e20, 1e30])
def test_rows_far_beyond_the_data(size):
    """Where the slopes of the decoder no longer change, log p(x) is that of a linear one."""
    model = small(1, hidden_layer_sizes=8, max_iter=50, lr=1e-2).fit(IRIS)
    X = size * np.array([[1.0, -1, 1, 1], [1, 1, 1, 1]])
    log_prob, std = model.score_samples(X, return_std=True)
    noise = np.broadcast_to(model.noise_variance_, 4)
    by_side = []
    for side in (-1.0, 1.0):
        low, high = model.inverse_transform([[1e3 * side], [2e3 * side]])
        slope, level = (high - low) / 1e3, 2 * low - high
        along = (X - level) @ (slope / noise) / (1 + (slope**2 / noise).sum())
        at_zero = -0.5 * ((X - level) ** 2 / noise).sum(1)
        by_side.append(at_zero + 0.5 * along * ((X - level) @ (slope / noise)) * (along > 0))
    np.testing.assert_allclose(
        log_prob, np.max(by_side, axis=0), rtol=1e-2 if size == 1e3 else 1e-4
    )
    assert np.all(std <= 1e-4 + 1e-14 * np.abs(log_prob))
    assert np.all(model.gap(X) >= 0)


def test_bound_of_a_posterior_outside_the_panels():
    class Away(nn.Module):
        def forward(self, x):
            return torch.cat([50 + 0 * x[:, :1], 0 * x[:, :1]], 1)

    model = small(1, hidden_layer_sizes=(), encoder=Away(), max_iter=1).fit(IRIS)
    terms = model.elbo_terms(IRIS)
    mean, image = model.inverse_transform([[0.0], [1.0]])
    noise = np.broadcast_to(model.noise_variance_, 4)
    reconstruction = norm.logpdf(IRIS, mean + 50 * (image - mean), np.sqrt(noise)).sum(1)
    reconstruction -= 0.5 * ((image - mean) ** 2 / noise).sum()  # q has the variance of the prior
    np.testing.assert_allclose(terms.reconstruction, reconstruction, rtol=1e-4)
    np.testing.assert_allclose(terms.kl, 1250)


def test_a_row_without_a_cell_has_log_p_of_zero_without_error():
    X = np.where(np.arange(600).reshape(150, 4) % 7, IRIS, np.nan)
    model = small(1, max_iter=5).fit(X)
    log_prob, std = model.score_samples(np.full((1, 4), np.nan), return_std=True)
    assert log_prob == 0
    assert std == 0
