"""Full matrices of every covariance type are those of the density."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from skelbo import EMGaussianMixture, EMMixture, GaussianMLE, VariationalEM
from skelbo.display.gaussian_components import gaussian_components
from skelbo.gaussian.structures import STRUCTURES


@pytest.mark.parametrize("covariance_type", list(STRUCTURES))
def test_components_of_a_mixture_give_its_density(iris, covariance_type):
    mixture = EMGaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(iris)
    means, covariances = gaussian_components(mixture)
    assert covariances.shape == (2, 4, 4)
    density = sum(
        weight * multivariate_normal(mean, covariance).pdf(iris)
        for weight, mean, covariance in zip(mixture.weights_, means, covariances, strict=True)
    )
    np.testing.assert_allclose(np.log(density), mixture.score_samples(iris), rtol=1e-8)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_one_gaussian(iris, covariance_type):
    model = GaussianMLE(covariance_type).fit(iris)
    (mean,), (covariance,) = gaussian_components(model)
    log_prob = multivariate_normal(mean, covariance).logpdf(iris)
    np.testing.assert_allclose(log_prob, model.score_samples(iris), rtol=1e-8)


def test_columns_that_are_not_gaussian_have_no_covariance(iris):
    X = np.column_stack([iris[:, 0], iris[:, 1] > 3, iris[:, 2]])
    kinds = ["gaussian", "bernoulli", "gaussian"]
    mixture = EMMixture(2, likelihood=kinds, n_init=1, random_state=0).fit(X)
    means, covariances = gaussian_components(mixture)
    assert means.shape == (2, 3) and covariances.shape == (2, 3, 3)
    block = covariances[:, [0, 2]][:, :, [0, 2]]
    np.testing.assert_array_equal(block, mixture.covariances_)
    assert np.isnan(covariances[:, 1]).all() and np.isnan(covariances[:, :, 1]).all()


def test_an_estimator_without_gaussians(iris):
    assert gaussian_components(VariationalEM(1, random_state=0).fit(iris)) is None
