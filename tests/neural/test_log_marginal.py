"""log p(x), its bounds and its expectations: closed forms, quadrature, laws."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA

from skelbo import ImportanceWarning, VAEEstimator
from skelbo.neural import Columns, WeightedDraws
from tests.neural.networks import small
from tests.tables import real

# A few epochs leave a poor q. That this is reported has a test of its own.
pytestmark = pytest.mark.filterwarnings("ignore::skelbo.ImportanceWarning")

IRIS = load_iris().data
RNG = np.random.default_rng(0)
BITS = (RNG.random((60, 1)) < [[0.3, 0.5, 0.8]]).astype(float)


@pytest.fixture(scope="module")
def iris_model():
    return small(max_iter=100, lr=1e-2).fit(IRIS)


def linear_gaussian(model):
    """Return mean and covariance of x under a linear decoder, in the units of the data."""
    mean, *images = model.inverse_transform(np.eye(model.n_components + 1, model.n_components, -1))
    loadings = np.array(images).T - mean[:, None]
    # In standardised units the noise of noise="unit" is one.
    return mean, loadings @ loadings.T + np.diag(np.broadcast_to(model.noise_variance_, 4))


# ------------------------------------------------------------ the likelihood


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["unit", "isotropic", "diag"])
def test_importance_sampling_finds_the_closed_form_at_any_parameters(noise):
    """Early in training q is far from exact, yet log p(x) must be right within its error."""
    model = small(hidden_layer_sizes=(), noise=noise, max_iter=20, n_importance_samples=4000)
    model.fit(IRIS)
    assert model.gap(IRIS).mean() > 0.01
    exact = multivariate_normal(*linear_gaussian(model)).logpdf(IRIS)
    log_prob, std = model.score_samples(IRIS, return_std=True)
    assert np.all(std > 0)
    assert np.abs((log_prob - exact) / std).max() < 5
    assert np.all(model.elbo(IRIS) <= log_prob)


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["reparameterized", "dreg"])
@pytest.mark.long
def test_linear_vae_is_probabilistic_pca(gradient):
    model = VAEEstimator(
        2,
        hidden_layer_sizes=(),
        noise="isotropic",
        gradient=gradient,
        lr=1e-2,
        max_iter=3000,
        random_state=0,
    ).fit(IRIS)
    pca = PCA(2).fit(IRIS)
    # scikit-learn divides by n - 1: its score lies a little below the maximum likelihood.
    assert model.score(IRIS) == pytest.approx(pca.score(IRIS), abs=5e-3)
    assert model.gap(IRIS).mean() < 2e-3  # q is exact: ELBO = log p(x)
    assert model.noise_variance_ == pytest.approx(pca.noise_variance_, rel=0.05)
    assert model.converged_
    assert model.n_parameters_ == 4 * 2 + 4 + 1


def test_standard_error_is_the_spread_over_seeds(iris_model):
    columns = Columns.read(IRIS, None, "gaussian")
    X, estimates, errors = IRIS[::10], [], []
    for seed in range(60):
        draws = WeightedDraws(iris_model.net_.module_, columns, 100, seed)
        log_prob, std = draws.log_prob(X)
        estimates.append(log_prob)
        errors.append(std)
    spread = np.std(estimates, axis=0)
    assert 0.7 < np.median(spread / np.mean(errors, axis=0)) < 1.4


def test_density_integrates_to_one():
    X = IRIS[:, :1]
    model = small(1, max_iter=50, n_importance_samples=2000).fit(X)
    grid = np.linspace(-5, 20, 400)[:, None]
    mass = np.exp(model.score_samples(grid)).sum() * (grid[1, 0] - grid[0, 0])
    assert mass == pytest.approx(1, abs=0.01)


def test_probabilities_of_all_bit_patterns_add_up_to_one():
    model = small(likelihood="bernoulli", max_iter=50, n_importance_samples=4000).fit(BITS)
    patterns = np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(3, -1).T
    assert np.exp(model.score_samples(patterns)).sum() == pytest.approx(1, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["unit", "isotropic", "diag"])
def test_change_of_units(noise):
    """log p(c x + b) = log p(x) - p log c, and the latents stay."""
    model = small(noise=noise, max_iter=20).fit(IRIS)
    for c, b in [(1e-6, 0.0), (1e6, 0.0), (1.0, 1e6), (1e-130, 0.0)]:
        other = small(noise=noise, max_iter=20).fit(c * IRIS + b)
        expected = model.score_samples(IRIS) - 4 * np.log(c)
        np.testing.assert_allclose(other.score_samples(c * IRIS + b), expected, atol=1e-4)
        np.testing.assert_allclose(other.transform(c * IRIS + b), model.transform(IRIS), atol=1e-4)
    with pytest.raises(ValueError, match="column 0 of X has a standard deviation of .* underflows"):
        small(noise=noise, max_iter=20).fit(1e-200 * IRIS)


def test_columns_of_very_different_scales():
    scales = np.array([1e6, 1e-6, 1.0, 1e3])
    log_prob = small(max_iter=20).fit(IRIS * scales).score_samples(IRIS * scales)
    expected = small(max_iter=20).fit(IRIS).score_samples(IRIS) - np.log(scales).sum()
    np.testing.assert_allclose(log_prob, expected, atol=1e-6)


def test_terms_of_the_bound_agree(iris_model):
    terms = iris_model.elbo_terms(IRIS)
    np.testing.assert_allclose(terms.energy + terms.entropy, terms.reconstruction - terms.kl)
    assert np.all(terms.kl >= 0)
    assert np.all(iris_model.gap(IRIS) >= 0)
    assert iris_model.lower_bound_ == pytest.approx(terms.elbo.mean())
    assert iris_model.lower_bounds_[-1] == iris_model.lower_bound_
    assert len(iris_model.lower_bounds_) == iris_model.n_iter_ == 100


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_gets_the_same_alone_as_in_any_batch(iris_model, dtype):
    X = IRIS[:40].astype(dtype)
    order = np.random.default_rng(0).permutation(len(X))
    for method in ("score_samples", "elbo", "transform"):
        whole = getattr(iris_model, method)(X)
        alone = np.concatenate([getattr(iris_model, method)(X[i : i + 1]) for i in range(40)])
        np.testing.assert_allclose(alone, whole, rtol=1e-6)
        np.testing.assert_allclose(getattr(iris_model, method)(X[order]), whole[order], rtol=1e-6)


def test_a_poor_effective_sample_size_is_reported():
    X = np.random.default_rng(0).normal(size=(50, 30)) * 10
    model = small(15, hidden_layer_sizes=(), max_iter=2, n_importance_samples=50).fit(X)
    with pytest.warns(ImportanceWarning, match="% of the rows .* raise n_importance_samples"):
        model.score_samples(X)


def test_samples_have_the_mean_and_covariance_of_the_model():
    model = small(hidden_layer_sizes=(), max_iter=50).fit(IRIS)
    X, Z = model.sample(20_000, random_state=0)
    mean, covariance = linear_gaussian(model)
    np.testing.assert_allclose(X.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(X.T), covariance, atol=0.05 * covariance.max())
    assert Z.shape == (20_000, 2)


def test_refinement_splits_the_gap():
    model = small(max_iter=30).fit(IRIS)
    refined = model.refine(IRIS[:30])
    assert np.all(refined.amortization_gap >= 0)
    assert np.all(refined.approximation_gap >= -1e-9)
    assert refined.amortization_gap.mean() > 0
    np.testing.assert_allclose(refined.elbo - refined.amortization_gap, model.elbo(IRIS[:30]))
    log_prob, std = model.score_samples(IRIS[:30], return_std=True)
    error = 5 * (std + refined.log_prob_std) + 1e-3
    assert np.all(np.abs(refined.log_prob - log_prob) < error)


def test_refined_q_of_a_linear_model_with_one_latent_is_the_posterior():
    model = small(1, hidden_layer_sizes=(), max_iter=3).fit(IRIS)
    assert model.refine(IRIS[:20], n_steps=400).approximation_gap.max() < 1e-3
    assert model.gap(IRIS[:20]).max() > 1e-2


# ---------------------------------------------------------- missing cells


@pytest.mark.slow
def test_scores_of_incomplete_rows_are_those_of_the_observed_cells():
    model = small(hidden_layer_sizes=(), max_iter=200, lr=1e-2, n_importance_samples=4000)
    X = IRIS.copy()
    X[::2, 1] = np.nan
    X[::3, 2] = np.nan
    model.fit(X)
    mean, covariance = linear_gaussian(model)
    log_prob, std = model.score_samples(X, return_std=True)
    for row, estimate, error in zip(X, log_prob, std, strict=True):
        seen = ~np.isnan(row)
        normal = multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)])
        assert abs(normal.logpdf(row[seen]) - estimate) < 5 * error + 1e-6
    nothing = np.full((1, 4), np.nan)
    assert model.score_samples(nothing)[0] == pytest.approx(0, abs=5 * model.gap(nothing)[0] + 0.1)


@pytest.mark.slow
def test_imputation_is_the_conditional_mean():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 1)) * [[1.0, 2.0, -1.0]] + 0.1 * rng.normal(size=(300, 3))
    holes = X.copy()
    holes[rng.random(X.shape) < 0.3] = np.nan
    model = small(1, hidden_layer_sizes=(16,), max_iter=300, lr=1e-2).fit(holes)
    error = (model.impute(holes) - X)[np.isnan(holes)]
    guess = (np.nanmean(holes, 0) - X)[np.isnan(holes)]
    assert np.mean(error**2) < 0.4 * np.mean(guess**2)


def test_only_new_rows_with_missing_cells():
    model = small(max_iter=50).fit(IRIS)
    X = IRIS.copy()
    X[:, 0] = np.nan
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("noise", ["diag", "isotropic", "unit"])
def test_a_row_without_cells_has_probability_one(noise):
    """Draws of z have no part in it; the bound is minus the KL of what the encoder makes of it."""
    X = real()
    X[0] = np.nan
    model = VAEEstimator(
        2, hidden_layer_sizes=(4,), noise=noise, max_iter=3, n_importance_samples=20, random_state=0
    ).fit(X)
    log_prob, std = model.score_samples(X[:2], return_std=True)
    assert log_prob[0] == 0 and std[0] == 0 and log_prob[1] < 0
    terms = model.elbo_terms(X[:1])
    assert terms.elbo[0] == pytest.approx(-terms.kl[0], rel=1e-12)
    assert terms.kl[0] >= 0 and terms.reconstruction[0] == pytest.approx(0, abs=1e-12)
