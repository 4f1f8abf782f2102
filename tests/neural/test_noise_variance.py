"""Noise variances of a net in the units of the data: what is set scores."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris

from skelbo import VQVAEEstimator
from skelbo.neural.diagnostics import check_noise
from tests.neural.networks import small

IRIS = load_iris().data
# Columns of other units than the network's.
X = IRIS * [1.0, 10.0, 0.1, 1.0]


@pytest.mark.parametrize("noise", ["isotropic", "diag"])
def test_noise_that_is_set_scores(noise):
    model = small(hidden_layer_sizes=(), noise=noise, max_iter=20, n_importance_samples=2000).fit(X)
    model.noise_variance_ = value = 1.7 * model.noise_variance_
    np.testing.assert_allclose(model.noise_variance_, value, rtol=1e-6)
    mean, *images = model.inverse_transform(np.eye(3, 2, -1))
    loadings = np.array(images) - mean
    covariance = loadings.T @ loadings + np.diag(np.broadcast_to(value, 4))
    log_prob, std = model.score_samples(X, return_std=True)
    exact = multivariate_normal(mean, covariance).logpdf(X)
    assert np.abs((log_prob - exact) / std).max() < 5


def test_noise_of_codes_scores():
    model = VQVAEEstimator(1, n_codes=4, max_iter=2, early_stopping=False, random_state=0).fit(X)
    before = model.score_samples(X)
    kept = model.noise_variance_
    model.noise_variance_ = 2 * kept
    assert np.abs(model.score_samples(X) - before).min() > 1e-3
    model.noise_variance_ = kept
    np.testing.assert_allclose(model.score_samples(X), before, rtol=1e-12)


def test_noise_is_not_edited_in_place():
    model = small(max_iter=2).fit(X)
    with pytest.raises(ValueError, match="read-only"):
        model.noise_variance_[0] = 2.0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.0, r"got the shape \(\), expected \(4,\)"),
        (np.ones(3), r"got the shape \(3,\), expected \(4,\)"),
        ([1.0, 0.0, 1.0, 1.0], "expected positive finite variances"),
        ([1.0, np.nan, 1.0, 1.0], "expected positive finite variances"),
    ],
)
def test_noise_that_is_no_variance_is_refused(value, message):
    model = small(max_iter=2).fit(X)
    with pytest.raises(ValueError, match=message):
        model.noise_variance_ = value


@pytest.mark.parametrize(
    ("options", "table", "message"),
    [
        ({"noise": "unit"}, X, "noise='unit' fixes it"),
        ({"likelihood": "bernoulli"}, (X.mean(0) < X).astype(float), "no column is Gaussian"),
    ],
)
def test_noise_that_the_model_has_not_is_refused(options, table, message):
    model = small(max_iter=2, **options).fit(table)
    with pytest.raises(ValueError, match=message):
        model.noise_variance_ = np.ones(4)


def test_columns_that_are_not_gaussian_have_no_noise():
    table = np.column_stack([X[:, 0], (X[:, 1] > 30).astype(float)])
    model = small(1, likelihood=["gaussian", "bernoulli"], max_iter=2).fit(table)
    model.noise_variance_ = [0.3, np.nan]
    np.testing.assert_allclose(model.noise_variance_, [0.3, np.nan], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 1e37), (np.float64, 1e153)])
def test_noise_whose_draws_overflow_is_refused(dtype, largest):
    """No draw of the data would be finite, nor the variance in their units."""
    model = small(noise="diag", max_iter=2).fit(X * 1e20)
    likelihood, columns = model.net_.module_.likelihood, model._columns
    variance = likelihood.gaussian.variance.double()
    variance[2] = (largest / columns.scale[2]) ** 2
    likelihood.gaussian.variance.data = variance
    check_noise(likelihood, columns, dtype, 0.1)
    likelihood.gaussian.variance[2] *= 100
    with pytest.raises(ValueError, match="column 2 .* draws overflow .*; use a smaller lr"):
        check_noise(likelihood, columns, dtype, 0.1)
