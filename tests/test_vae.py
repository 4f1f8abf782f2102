"""VAEEstimator: what its numbers mean, that they are right, and that it behaves as an estimator."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from torch import nn

from skelbo import ELBOMonitor, ImportanceWarning, NoiseFloorWarning, VAEEstimator

# A few epochs leave a poor q. That this is reported has a test of its own.
pytestmark = pytest.mark.filterwarnings("ignore::skelbo.ImportanceWarning")

RNG = np.random.default_rng(0)
IRIS = load_iris().data
BITS = (RNG.random((60, 1)) < [[0.3, 0.5, 0.8]]).astype(float)
COUNTS = RNG.poisson(RNG.gamma(2.0, 2.0, (60, 1)) * [[1.0, 2.0]]).astype(float)
CODES = np.column_stack([RNG.integers(0, 3, 60), RNG.integers(0, 2, 60)]).astype(float)
MIXED = np.column_stack([RNG.normal(5.0, 20.0, 60), BITS[:, 0], COUNTS[:, 0], CODES[:, 0]])
MIXED_KINDS = ["gaussian", "bernoulli", "poisson", "categorical"]


def small(n_components=2, **params):
    """A model that fits in a blink: tests of laws need no good fit."""
    defaults = {
        "hidden_layer_sizes": (8,),
        "max_iter": 5,
        "early_stopping": False,
        "random_state": 0,
        "n_importance_samples": 200,
    }
    return VAEEstimator(n_components, **{**defaults, **params})


@pytest.fixture(scope="module")
def iris_model():
    return small(max_iter=100, lr=1e-2).fit(IRIS)


def linear_gaussian(model):
    """Mean and covariance of x under a linear decoder, in the units of the data."""
    (layer,) = model.decoder_
    scale = model._columns.scale
    loadings = layer.weight.detach().numpy().astype(float) * scale[:, None]
    mean = layer.bias.detach().numpy() * scale + model._columns.center
    noise = model.net_.module_.likelihood.gaussian.variance.numpy() * scale**2
    return mean, loadings @ loadings.T + np.diag(noise)


# ------------------------------------------------------------------- scikit-learn


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_check_estimator_passes_whole_but_for_weights_in_minibatches(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    reason = "a minibatch draws noise per row: weights equal repetition only in expectation"
    results = estimator_checks.check_estimator(
        VAEEstimator(max_iter=5, random_state=0),
        expected_failed_checks={"check_sample_weight_equivalence_on_dense_data": reason},
        on_skip=None,
        on_fail=None,
    )
    failed = [r["check_name"] for r in results if r["status"] not in ("passed", "skipped")]
    assert failed == ["check_sample_weight_equivalence_on_dense_data"]
    assert len(results) >= 50


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names")
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_param_validation,
        estimator_checks.check_dataframe_column_names_consistency,
        estimator_checks.check_transformer_get_feature_names_out,
        estimator_checks.check_transformer_get_feature_names_out_pandas,
        estimator_checks.check_get_feature_names_out_error,
        estimator_checks.check_set_output_transform,
        estimator_checks.check_set_output_transform_pandas,
        estimator_checks.check_set_output_transform_polars,
        estimator_checks.check_global_output_transform_pandas,
        estimator_checks.check_inplace_ensure_writeable,
    ],
    ids=lambda check: check.__name__,
)
def test_checks_that_check_estimator_leaves_out(check):
    check("VAEEstimator", small())


@pytest.mark.slow
def test_in_pipeline_and_grid_search():
    y = load_iris().target
    pipeline = make_pipeline(small(), LogisticRegression(max_iter=1000))
    grid = {"vaeestimator__n_components": [1, 3]}
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=2).fit(IRIS, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    # Without a target the search maximises the held-out log-likelihood.
    search = GridSearchCV(small(), {"beta": [1.0, 4.0]}, cv=2).fit(IRIS)
    assert np.isfinite(search.best_score_)


def test_importing_the_library_does_not_import_torch():
    code = "import sys, skelbo; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_callers_generators_are_untouched():
    np.random.seed(0)
    torch.manual_seed(0)
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    model = small(random_state=None).fit(IRIS)
    model.score(IRIS)
    model.sample(3)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_random_state_is_exact_and_none_is_not():
    first, second = small().fit(IRIS), small().fit(IRIS)
    assert np.array_equal(first.score_samples(IRIS), second.score_samples(IRIS))
    assert np.array_equal(first.sample(4, 7)[0], second.sample(4, 7)[0])
    other = small(random_state=None).fit(IRIS)
    assert not np.array_equal(first.transform(IRIS), other.transform(IRIS))


def test_precision_of_the_input_is_kept():
    model = small().fit(IRIS.astype(np.float32))
    assert next(model.net_.module_.parameters()).dtype == torch.float32
    for dtype in (np.float32, np.float64):
        X = IRIS.astype(dtype)
        Z = model.transform(X)
        outputs = (Z, model.inverse_transform(Z), model.score_samples(X), model.impute(X))
        assert all(out.dtype == dtype for out in outputs)


def test_pickle_clone_and_unfitted(iris_model):
    loaded = pickle.loads(pickle.dumps(iris_model))
    assert np.array_equal(loaded.score_samples(IRIS), iris_model.score_samples(IRIS))
    loaded.set_params(warm_start=True).fit(IRIS)
    with pytest.raises(NotFittedError):
        clone(iris_model).score_samples(IRIS)


# ------------------------------------------------------------------ the likelihood


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
    model = pickle.loads(pickle.dumps(iris_model)).set_params(n_importance_samples=100)
    X, estimates, errors = IRIS[::10], [], []
    for seed in range(60):
        model._seed = seed
        log_prob, std = model.score_samples(X, return_std=True)
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
    for c, b in [(1e-6, 0.0), (1e6, 0.0), (1.0, 1e6), (1e-200, 0.0)]:
        other = small(noise=noise, max_iter=20).fit(c * IRIS + b)
        expected = model.score_samples(IRIS) - 4 * np.log(c)
        np.testing.assert_allclose(other.score_samples(c * IRIS + b), expected, atol=1e-4)
        np.testing.assert_allclose(other.transform(c * IRIS + b), model.transform(IRIS), atol=1e-4)


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


# ------------------------------------------------------------------------- columns


def test_likelihoods_are_chosen_per_column():
    X = np.column_stack([MIXED, np.arange(60.0)])
    model = small(likelihood="auto").fit(X)
    chosen = ["gaussian", "bernoulli", "gaussian", "categorical", "gaussian"]
    assert model.likelihood_.tolist() == chosen
    assert np.isnan(model.noise_variance_).tolist() == [kind != "gaussian" for kind in chosen]


@pytest.mark.parametrize(
    ("X", "likelihood"),
    [
        (BITS, "bernoulli"),
        (COUNTS, "poisson"),
        (CODES, "categorical"),
        (MIXED, MIXED_KINDS),
    ],
    ids=["bernoulli", "poisson", "categorical", "mixed"],
)
@pytest.mark.parametrize("missing", [False, True])
def test_every_likelihood_answers_everything(X, likelihood, missing):
    X = X.copy()
    if missing:
        X[::3, 0] = np.nan
        X[1::4, -1] = np.nan
    model = small(likelihood=likelihood, max_iter=20).fit(X)
    assert np.all(model.gap(X) >= 0)
    assert np.isfinite(model.score_samples(X)).all()
    draws, _ = model.sample(200, random_state=0)
    model.score_samples(draws)  # draws lie in the support
    complete = model.impute(X)
    assert np.array_equal(complete[~np.isnan(X)], X[~np.isnan(X)])
    assert not np.isnan(complete).any()
    assert model.inverse_transform(model.transform(X)).shape == X.shape


def test_a_decoder_starts_at_the_data_mean():
    model = small(likelihood="poisson", lr=1e-9, max_iter=1).fit(COUNTS)
    rates = model.inverse_transform(np.zeros((1, 2)))[0]
    assert np.all(np.abs(np.log(rates / COUNTS.mean(0))) < 1)


# ------------------------------------------------------------------- missing cells


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


# ------------------------------------------------------------------------- weights


def test_rows_of_weight_zero_are_absent():
    weights = (np.arange(150) % 3 > 0).astype(float)
    one = small().fit(IRIS, sample_weight=weights)
    other = small().fit(IRIS[weights > 0])
    assert np.array_equal(one.score_samples(IRIS), other.score_samples(IRIS))


@pytest.mark.slow
def test_integer_weights_move_the_fit_as_repetition_does():
    """Equal in expectation: after a long fit of a linear model, nearly equal."""
    weights = np.where(np.arange(150) < 50, 5, 1)
    # One step per epoch for either, so that both take the same number of steps.
    params = {"hidden_layer_sizes": (), "lr": 2e-2, "max_iter": 500, "batch_size": 1000}
    weighted = small(1, **params).fit(IRIS, sample_weight=weights)
    repeated = small(1, **params).fit(np.repeat(IRIS, weights, axis=0))
    difference = weighted.score_samples(IRIS) - repeated.score_samples(IRIS)
    unweighted = small(1, **params).fit(IRIS).score_samples(IRIS)
    assert np.abs(difference).mean() < 0.15
    assert np.abs(unweighted - repeated.score_samples(IRIS)).mean() > 0.3


# ----------------------------------------------------------------------- bad input


class TellsWords(nn.Module):
    def forward(self, x):
        return {"mean": x, "log_variance": x}


@pytest.mark.parametrize(
    ("X", "params", "message"),
    [
        (BITS - 0.5, {"likelihood": "bernoulli"}, "column 0 of X has the value .* expected 0 or 1"),
        (COUNTS + 0.5, {"likelihood": "poisson"}, "round the column"),
        (COUNTS - 50, {"likelihood": "poisson"}, "Negative values in data"),
        (IRIS, {"likelihood": "categorical"}, "integer codes"),
        (IRIS, {"likelihood": ["gaussian"]}, "for each of the 4 columns"),
        (IRIS, {"likelihood": "gamma"}, "likelihood"),
        (np.where(IRIS > 7, np.inf, IRIS), {}, "infinity"),
        (np.where([0, 0, 1, 0], np.nan, IRIS), {}, "column 2 of X has no observed cell"),
        (IRIS * 1e300, {}, "column 0 of X has values too large"),
        (IRIS[:1], {}, "1 sample"),
        (IRIS, {"objective": "iwae", "gradient": "score_function"}, "use gradient='dreg'"),
        (IRIS[:5], {"early_stopping": True}, "would hold out 0 of 5 rows"),
        (IRIS, {"encoder": lambda n, m: nn.Linear(n, 5)}, "encoder gave shape"),
        (IRIS, {"encoder": lambda: nn.Linear(3, 4)}, "encoder failed on one row"),
        (IRIS, {"decoder": lambda n, m: nn.Linear(n, 3)}, "decoder gave shape"),
        (IRIS, {"encoder": lambda n, m: TellsWords()}, "encoder gave a dict, expected a tensor"),
        (CODES * 1e9, {"likelihood": "categorical"}, "less than 1000; encode the column"),
        (COUNTS * 1e9, {"likelihood": "poisson"}, "less than 4.85.*use likelihood='gaussian'"),
        (IRIS, {"hidden_layer_sizes": (3.5,)}, "no integer of at least 1"),
        (IRIS, {"hidden_layer_sizes": (8, -1)}, "no integer of at least 1"),
        (IRIS, {"device": "gpu"}, "device='gpu' cannot be used here"),
        (IRIS, {"callbacks": [ELBOMonitor()]}, "go to set_callbacks"),
        (IRIS, {"optimizer": dict}, "no optimiser of torch"),
    ],
)
def test_bad_input_is_refused_by_message(X, params, message):
    with pytest.raises(ValueError, match=message):
        small(**params).fit(X)


def test_a_code_that_fit_never_saw_is_refused():
    model = small(likelihood="categorical").fit(CODES)
    with pytest.raises(ValueError, match="the code 7, expected one of the 3 codes"):
        model.score_samples(CODES + [[7.0, 0.0]] * (CODES[:, :1] == 0))


@pytest.mark.slow
def test_a_constant_column_is_reported_and_costs_nothing_else():
    X = np.column_stack([IRIS, np.full(150, 3.0)])
    with pytest.warns(NoiseFloorWarning, match=r"1 of 5 Gaussian columns .* column 4"):
        model = small(max_iter=400, lr=1e-2).fit(X)
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.filterwarnings("ignore::skelbo.ImportanceWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
def test_rows_from_anywhere_have_finite_answers(dtype, likelihood):
    X = np.round(IRIS).astype(dtype)
    model = small(likelihood=likelihood).fit(X)
    limit = np.finfo(dtype).max / 2
    rows = np.round([[limit, 0, 1, 2], [limit, limit, limit, limit], [1e9, 0, 0, 1], X[0]])
    for far in (rows, -rows) if likelihood == "gaussian" else (rows,):
        far = far.astype(dtype)
        log_prob, std = model.score_samples(far, return_std=True)
        answers = log_prob, std, model.elbo(far), model.transform(far)
        assert all(np.isfinite(answer).all() for answer in answers)
        assert log_prob[0] < log_prob[3]


def test_fewer_rows_than_a_batch():
    model = small(batch_size=1000, noise="unit").fit(IRIS[:3])
    assert np.isfinite(model.score(IRIS[:3]))


def test_steps_that_are_not_finite_end_the_fit_with_the_remedy():
    with pytest.raises(ValueError, match=r"of epoch \d+ were not finite .* smaller lr"):
        small(lr=1e200, optimizer="sgd").fit(IRIS)
