"""Standard deviations of q against closed forms and quadrature; only where z is continuous."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, special, stats

from skelbo import MCEM, EMGaussianMixture, GaussianMLE, VAEEstimator, VariationalEM
from skelbo.models import FactorModel


def test_zero_where_a_row_is_complete_one_where_it_is_empty(iris):
    X = iris.copy()
    X[0], X[1, 2] = np.nan, np.nan
    for kind in ("full", "diag", "spherical"):
        std = GaussianMLE(kind).fit(iris).transform_std(X)
        assert_allclose(std[0], 1.0, rtol=1e-9)
        assert np.all(std[2:] == 0)
        assert np.all((std[1] >= 0) & (std[1] <= 1 + 1e-9)) and std[1].max() > 0


def test_of_one_gaussian_with_a_missing_cell_against_draws(iris):
    model = GaussianMLE().fit(iris)
    row = np.array([[5.0, np.nan, 2.0, np.nan]])
    latents = model.transform(model.impute(row, n_draws=4000, random_state=0)[:, 0])
    assert_allclose(latents.std(0), model.transform_std(row)[0], rtol=0.06, atol=1e-9)
    assert_allclose(latents.mean(0), model.transform(row)[0], atol=0.1)


@pytest.mark.filterwarnings("ignore::skelbo.HeywoodWarning")
@pytest.mark.parametrize("posterior", ["mean_field", "full", "exact"])
def test_of_a_gaussian_factor_model_in_closed_form(posterior, iris):
    model = VariationalEM(model=FactorModel(1, noise="diag"), posterior=posterior).fit(iris)
    loadings, noise = model.params_["loadings"][:, 0], model.params_["noise_variance"]
    expected = (1 + loadings @ (loadings / noise)) ** -0.5
    assert_allclose(model.transform_std(iris), expected, rtol=1e-9)
    assert model.transform_std(iris.astype(np.float32)).dtype == np.float32


def test_of_an_item_response_model_by_quadrature():
    rng = np.random.default_rng(0)
    eta = rng.standard_normal((300, 1)) * 1.5 + np.array([0.0, 0.5, -0.5, 1.0])
    X = (rng.random(eta.shape) < special.expit(eta)).astype(float)
    model = VariationalEM(1, model="bernoulli", posterior="exact").fit(X)
    slopes, levels = model.params_["loadings"][:, 0], model.params_["intercepts"]

    def moment(power):
        def integrand(z):
            p = special.expit(levels + slopes * z)
            return z**power * np.prod(np.where(X[0] == 1, p, 1 - p)) * stats.norm.pdf(z)

        return integrate.quad(integrand, -8, 8)[0]

    mean = moment(1) / moment(0)
    std = np.sqrt(moment(2) / moment(0) - mean**2)
    assert model.transform(X[:1])[0, 0] == pytest.approx(mean, abs=1e-6)
    assert model.transform_std(X[:1])[0, 0] == pytest.approx(std, rel=1e-6)


def test_of_a_vae_is_that_of_its_encoder(iris):
    model = VAEEstimator(2, max_iter=3, early_stopping=False, random_state=0).fit(iris)
    std = model.transform_std(iris)
    assert std.shape == (150, 2) and np.all(std > 0)


def test_labels_and_binary_latents_have_none(iris):
    mixture = EMGaussianMixture(2, random_state=0).fit(iris)
    binary = VariationalEM(1, random_state=0).fit(iris)
    for model in (mixture, binary):
        assert not hasattr(model, "transform_std")
    assert hasattr(MCEM(1, model="gaussian"), "transform_std")
    with pytest.raises(AttributeError, match="has no attribute 'transform_std'"):
        mixture.transform_std(iris)
