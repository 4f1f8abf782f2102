"""The auto-encoder: PCA where it is linear, a normalised density, and no bound."""

import pickle

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import estimator_checks
from torch import nn

from skelbo import VAEEstimator
from tests.neural.networks import small

IRIS = load_iris().data
HOLES = np.where(np.random.default_rng(1).random(IRIS.shape) < 0.2, np.nan, IRIS)


def auto_encoder(n_components=2, **params):
    return small(n_components, posterior="point", **params)


@pytest.fixture(scope="module")
def linear():
    options = {"hidden_layer_sizes": (), "lr": 2e-2, "max_iter": 250, "n_importance_samples": 2000}
    return auto_encoder(**options).fit(IRIS)


def density(model):
    """Return p(x) of a linear auto-encoder in closed form."""
    zero = np.zeros((1, 2))
    intercept = model.inverse_transform(zero)[0]
    loadings = (model.inverse_transform(np.eye(2)) - intercept).T
    prior = model.net_.module_.family
    factor = loadings @ prior.prior_cholesky.numpy()
    mean = intercept + loadings @ prior.prior_mean.numpy()
    noise = np.broadcast_to(model.noise_variance_, 4)
    return multivariate_normal(mean, factor @ factor.T + np.diag(noise))


def test_a_linear_auto_encoder_spans_the_principal_subspace(linear):
    pca = PCA(2).fit(IRIS)
    found = linear.inverse_transform(linear.transform(IRIS)) - IRIS
    best = pca.inverse_transform(pca.transform(IRIS)) - IRIS
    assert np.sum(best**2) * (1 - 1e-9) <= np.sum(found**2) < 1.01 * np.sum(best**2)
    # One noise for all columns, in the units of the data: the mean squared residual.
    assert isinstance(linear.noise_variance_, float)
    assert linear.noise_variance_ == pytest.approx(np.mean(found**2), rel=1e-4)


def test_the_prior_is_the_gaussian_of_the_codes(linear):
    codes, prior = linear.transform(IRIS), linear.net_.module_.family
    np.testing.assert_allclose(prior.prior_mean, codes.mean(0), rtol=1e-6, atol=1e-6)
    root = prior.prior_cholesky.numpy()
    np.testing.assert_allclose(root @ root.T, np.cov(codes.T, ddof=0), rtol=1e-3, atol=1e-4)


def test_log_p_of_a_linear_auto_encoder_is_its_closed_form(linear):
    exact = density(linear).logpdf(IRIS)
    log_prob, std = linear.score_samples(IRIS, return_std=True)
    assert np.all(np.abs(log_prob - exact) < 6 * std + 1e-9)
    assert std.max() < 0.05
    assert linear.lower_bound_ == pytest.approx(exact.mean(), abs=0.02)
    assert linear.lower_bounds_[-1] == linear.lower_bound_


def test_missing_cells_are_integrated_out_and_imputed_by_regression(linear):
    holes = IRIS[::15].copy()
    holes[:, 2] = np.nan
    normal, seen = density(linear), [0, 1, 3]
    exact = multivariate_normal(normal.mean[seen], normal.cov[np.ix_(seen, seen)])
    log_prob, std = linear.score_samples(holes, return_std=True)
    # The encoder has no flags of missing cells, the search for the mode needs none.
    assert np.all(np.abs(log_prob - exact.logpdf(holes[:, seen])) < 6 * std + 1e-9)
    gain = np.linalg.solve(normal.cov[np.ix_(seen, seen)], normal.cov[seen, 2])
    expected = normal.mean[2] + (holes[:, seen] - normal.mean[seen]) @ gain
    np.testing.assert_allclose(linear.impute(holes)[:, 2], expected, atol=0.05)
    empty = np.full((1, 4), np.nan)
    assert linear.score_samples(empty)[0] == 0


@pytest.mark.parametrize("n_components", [1, 2])
@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
def test_the_density_integrates_to_one(n_components, likelihood):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(4, 0.6, 60), rng.normal(9, 0.6, 30)])[:, None]
    X = np.round(X) if likelihood == "poisson" else X
    options = {"lr": 1e-2, "max_iter": 60, "noise": "unit", "n_importance_samples": 500}
    model = auto_encoder(n_components, likelihood=likelihood, **options).fit(X)
    step = 1.0 if likelihood == "poisson" else 0.2
    grid = np.arange(0 if likelihood == "poisson" else -20, 40, step)[:, None]
    # All rows share their draws, so that errors add up.
    assert np.exp(model.score_samples(grid)).sum() * step == pytest.approx(1, abs=0.02)


def test_samples_have_the_moments_of_the_density(linear):
    X, Z = linear.sample(20_000, random_state=0)
    normal = density(linear)
    np.testing.assert_allclose(X.mean(0), normal.mean, atol=0.05)
    np.testing.assert_allclose(np.cov(X.T), normal.cov, atol=0.1)
    prior = linear.net_.module_.family
    np.testing.assert_allclose(Z.mean(0), prior.prior_mean, atol=0.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beta", 4.0),
        ("kl_warmup", 3),
        ("n_samples", 5),
        ("gradient", "dreg"),
        ("objective", "iwae"),
    ],
)
def test_what_has_no_meaning_with_a_point_is_refused_by_name(name, value):
    model = auto_encoder(**{name: value})
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=f"{name}=.* has no meaning with posterior='point'"):
            fit(IRIS)
    assert not hasattr(model, "net_")


@pytest.mark.parametrize("name", ["elbo", "elbo_terms", "gap", "refine"])
def test_a_point_has_no_bound(linear, name):
    assert not hasattr(linear, name)
    with pytest.raises(AttributeError, match=name) as error:
        getattr(linear, name)
    assert "posterior='point'" in str(error.value.__cause__)
    assert hasattr(small(), name)


def test_a_point_has_no_width_and_the_model_its_parameters(linear):
    mean, std = linear._draws().posterior(IRIS)
    np.testing.assert_array_equal(mean, linear.transform(IRIS))
    assert not std.any()
    # 2 x 4 loadings, 4 intercepts, one noise, the mean and the covariance of two codes.
    assert linear.n_parameters_ == 8 + 4 + 1 + 2 + 3


def test_the_posterior_goes_on_with_the_networks():
    model = auto_encoder(warm_start=True).fit(IRIS)
    with pytest.raises(ValueError, match="posterior='gaussian' is not that of the fit"):
        model.set_params(posterior="gaussian").fit(IRIS)


def test_going_on():
    model = auto_encoder(lr=1e-2)
    for _ in range(3):
        model.partial_fit(HOLES)
    assert len(model.lower_bounds_) == 3
    assert np.all(np.diff(model.lower_bounds_) > 0)
    before = model.lower_bound_
    model.set_params(warm_start=True, max_iter=20).fit(HOLES)
    assert model.lower_bound_ > before
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.score_samples(HOLES), model.score_samples(HOLES))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_score_alike_alone_and_together(dtype):
    model = auto_encoder(3, max_iter=20).fit(HOLES.astype(dtype))
    X = HOLES[:20].astype(dtype)
    together = model.score_samples(X)
    assert together.dtype == dtype
    alone = np.concatenate([model.score_samples(row[None]) for row in X])
    np.testing.assert_allclose(alone, together, rtol=1e-9 if dtype == np.float64 else 1e-3)


def test_rows_from_anywhere_have_finite_scores():
    model = auto_encoder(max_iter=20).fit(IRIS.astype(np.float32))
    far = np.array([[1e30, 0, 1, 2], [-3e38, 3e38, 0, 0], [1e9, 0, 0, 1]], dtype=np.float32)
    answers = model.score_samples(far), model.transform(far), model.impute(far)
    assert all(np.isfinite(answer).all() for answer in answers)


@pytest.mark.parametrize("X", [IRIS[:, :1], np.repeat(IRIS[:3], 4, axis=0)], ids=["one", "few"])
@pytest.mark.filterwarnings("ignore::skelbo.NoiseFloorWarning")
def test_more_latents_than_the_rows_determine_have_finite_scores(X):
    model = auto_encoder(5, max_iter=30).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.sample(5, 0)[0]).all()


def test_a_multiple_of_the_table_shifts_the_scores_alone():
    one, other = (auto_encoder().fit(c * IRIS) for c in (1.0, 1e3))
    difference = one.score_samples(IRIS) - other.score_samples(1e3 * IRIS)
    np.testing.assert_allclose(difference, 4 * np.log(1e3), atol=1e-6)


def test_networks_of_ones_own_have_one_output_per_latent():
    assert (
        auto_encoder(encoder=nn.Linear, decoder=nn.Linear).fit(IRIS).transform(IRIS).shape[1] == 2
    )
    with pytest.raises(ValueError, match=r"expected \(1, 2\).*\(one number per latent\)"):
        auto_encoder(encoder=lambda n, m: nn.Linear(n, 4)).fit(IRIS)


@pytest.mark.slow
def test_held_out_rows_end_the_training():
    X = np.random.default_rng(0).normal(size=(300, 6))
    options = {"early_stopping": "auto", "max_iter": 400, "lr": 1e-2, "batch_size": 20}
    model = auto_encoder(**options).fit(X)
    assert model.converged_ and model.n_iter_ < 400
    with pytest.warns(ConvergenceWarning, match="still rising"):
        auto_encoder(early_stopping=True, max_iter=3).fit(X)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::skelbo.ImportanceWarning")
@pytest.mark.filterwarnings("ignore::skelbo.NoiseFloorWarning")
def test_check_estimator_passes_whole_but_for_weights_in_minibatches(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    reason = "the order of the rows in minibatches is random"
    results = estimator_checks.check_estimator(
        VAEEstimator(posterior="point", max_iter=5, n_importance_samples=20, random_state=0),
        expected_failed_checks={"check_sample_weight_equivalence_on_dense_data": reason},
        on_skip=None,
        on_fail=None,
    )
    failed = [r["check_name"] for r in results if r["status"] not in ("passed", "skipped")]
    assert set(failed) <= {"check_sample_weight_equivalence_on_dense_data"}
    assert len(results) >= 50
