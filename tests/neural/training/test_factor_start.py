"""Start of a VAE at the factor analysis of its training rows."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis

from skelbo import VAEEstimator
from tests.neural.networks import small

RNG = np.random.default_rng(0)
# Eight columns of different units that two factors explain.
LINEAR = (RNG.normal(size=(300, 2)) @ RNG.normal(size=(2, 8)) + 0.1 * RNG.normal(size=(300, 8))) * (
    10.0 ** np.arange(-4, 4)
)
# Steps too short to leave the start.
STILL = {"hidden_layer_sizes": (16, 12), "max_iter": 1, "lr": 1e-12, "n_importance_samples": 50}


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "softplus"])
def test_first_model_is_the_factor_analysis(activation):
    """q is exact there, so that log p(x) has no error and the bound is log p(x)."""
    model = small(2, activation=activation, **STILL).fit(LINEAR)
    X = LINEAR / LINEAR.std(0)
    exact = FactorAnalysis(2, tol=1e-8, max_iter=10_000).fit(X)
    gaussian = multivariate_normal(X.mean(0), exact.get_covariance())
    expected = gaussian.logpdf(X) - np.log(LINEAR.std(0)).sum()
    np.testing.assert_allclose(model.score_samples(LINEAR), expected, atol=0.1)
    assert model.score(LINEAR) == pytest.approx(expected.mean(), abs=2e-3)
    # The noise of the end differs a little from that to which q belongs.
    assert model.gap(LINEAR).max() < 1e-2
    assert model.net_.kl_warmup == 0


def test_isotropic_noise_is_that_of_probabilistic_pca():
    X = LINEAR / LINEAR.std(0)
    model = small(2, noise="isotropic", **STILL).fit(X)
    values = np.linalg.eigvalsh(np.cov(X.T, ddof=0))[::-1]
    assert model.noise_variance_ == pytest.approx(values[2:].mean(), rel=1e-2)
    assert model.gap(X).max() < 1e-2


@pytest.mark.parametrize(
    ("options", "table"),
    [
        ({}, RNG.normal(size=(300, 8))),  # factors explain little
        ({}, np.where(RNG.random(LINEAR.shape) < 0.1, np.nan, LINEAR)),
        ({}, LINEAR[:12]),  # any table of so few rows looks linear
        ({"activation": "tanh"}, LINEAR),
        ({"hidden_layer_sizes": (4,)}, LINEAR),
        ({"hidden_layer_sizes": ()}, LINEAR),
        ({"n_components": 5}, LINEAR),  # no restriction of the covariance
        ({"decoder": torch.nn.Linear}, LINEAR),
        (
            {"likelihood": ["bernoulli"] + 7 * ["gaussian"]},
            np.column_stack([LINEAR[:, 0] > 0, LINEAR[:, 1:]]),
        ),
        ({"posterior": "point"}, LINEAR),
    ],
)
def test_start_is_random_elsewhere(options, table):
    """Then the loadings of the first model are those of random networks."""
    options = {"n_components": 2, "early_stopping": False, **STILL, **options}
    first, other = (VAEEstimator(random_state=seed, **options).fit(table) for seed in (0, 1))
    images = [m.inverse_transform(np.eye(m.n_components)) for m in (first, other)]
    assert np.abs((images[0] - images[1]) / np.nanstd(table, 0).clip(1e-9)).max() > 1e-3


def test_start_is_the_same_from_any_seed():
    images = [
        small(2, **{**STILL, "random_state": seed}).fit(LINEAR).inverse_transform(np.eye(2))
        for seed in (0, 1)
    ]
    np.testing.assert_allclose(*images, rtol=1e-6)


@pytest.mark.slow
def test_collinear_columns_are_learned_past_their_factors():
    """A curved table with little noise: what is learned is better than its linear part."""
    z = RNG.normal(size=(400, 2))
    curved = z @ RNG.normal(size=(2, 10)) + 0.2 * z[:, :1] ** 2 + 0.05 * RNG.normal(size=(400, 10))
    model = small(2, hidden_layer_sizes=(32,), max_iter=60, lr=3e-3).fit(curved[:300])
    linear = FactorAnalysis(2).fit(curved[:300])
    assert model.score(curved[300:]) > linear.score(curved[300:]) + 1
