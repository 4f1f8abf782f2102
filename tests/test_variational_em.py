"""VariationalEM: its bound never falls, is below log p(x), and meets the published numbers."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

from skelbo import MCEM, HeywoodWarning, SeparationWarning, VariationalEM
from skelbo.models import BinaryFeatureModel, FactorModel
from tests.tables import answers, counts, lsat6, real, shapes, trichoptera

SETTINGS = [
    (VariationalEM(2, random_state=0), real()),
    (VariationalEM(2, posterior="full", random_state=0), real()),
    (VariationalEM(2, model="gaussian", random_state=0), real()),
    (VariationalEM(2, model="gaussian", posterior="full", random_state=0), real()),
    (VariationalEM(2, model="poisson", random_state=0), counts()),
    (VariationalEM(2, model="poisson", posterior="full", random_state=0), counts()),
    (VariationalEM(1, model="bernoulli", random_state=0), answers()),
    (VariationalEM(2, model="bernoulli", posterior="full", random_state=0), answers()),
]
IDS = [f"{e.model}-{e.posterior}-{e.n_components}" for e, _ in SETTINGS]


@pytest.fixture(params=range(len(SETTINGS)), ids=IDS)
def setting(request):
    estimator, X = SETTINGS[request.param]
    return clone(estimator), X


# ------------------------------------------------------------------ the bound


def test_bound_never_falls_and_is_that_of_the_published_parameters(setting):
    estimator, X = setting
    estimator.fit(X)
    bounds = np.array(estimator.lower_bounds_)
    assert np.diff(bounds).min(initial=0) > -1e-9
    assert len(bounds) == estimator.n_iter_ and bounds[-1] == estimator.lower_bound_
    mean_field_binary = estimator.model == "binary" and estimator.posterior == "mean_field"
    assert np.isclose(
        estimator.elbo(X).mean(), bounds[-1], atol=1e-2 if mean_field_binary else 1e-7
    )


def test_bound_is_below_log_prob_and_its_two_forms_agree(setting):
    estimator, X = setting
    estimator.fit(X)
    terms = estimator.elbo_terms(X)
    assert np.allclose(terms.elbo, terms.reconstruction - terms.kl, atol=1e-9)
    std = estimator.score_samples(X, return_std=True)[1]
    assert np.all(estimator.gap(X) >= -1e-8 - 4 * std) and np.all(terms.kl >= -1e-9)


def test_rows_do_not_influence_each_other(setting):
    estimator, X = setting
    estimator.fit(X)
    for method in (estimator.transform, estimator.score_samples, estimator.elbo):
        alone = np.concatenate([method(X[i : i + 1]) for i in range(10)])
        assert np.allclose(method(X)[:10], alone, atol=1e-8)


def test_weights_are_repetitions(setting):
    estimator, X = setting
    weights = np.random.default_rng(1).integers(0, 3, len(X))
    weighted = clone(estimator).fit(X, sample_weight=weights)
    repeated = clone(estimator).fit(np.repeat(X, weights, axis=0)[::-1])
    for name, value in weighted.params_.items():
        assert np.allclose(value, repeated.params_[name], atol=1e-8)
    assert np.allclose(weighted.transform(X), repeated.transform(X), atol=1e-8)


def test_refit_clone_and_pickle_agree(setting):
    estimator, X = setting
    first = estimator.fit(X)
    again = clone(estimator).fit(X)
    loaded = pickle.loads(pickle.dumps(first))
    assert np.array_equal(first.transform(X), again.transform(X))
    assert np.array_equal(first.score_samples(X), loaded.score_samples(X))


def test_float32_in_float32_out(setting):
    estimator, X = setting
    estimator.fit(X.astype(np.float32))
    assert estimator.transform(X.astype(np.float32)).dtype == np.float32
    assert estimator.score_samples(X.astype(np.float32)).dtype == np.float32
    assert all(np.asarray(v).dtype == np.float32 for v in estimator.params_.values())


def test_missing_cells_drop_out(setting):
    estimator, X = setting
    X = X.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    X[3] = np.nan
    estimator.fit(X)
    assert np.diff(estimator.lower_bounds_).min(initial=0) > -1e-9
    log_prob = estimator.score_samples(X)
    assert abs(log_prob[3]) < 1e-6  # nothing observed: a probability of one
    assert not np.isnan(estimator.impute(X)).any()
    known = ~np.isnan(X)
    assert np.array_equal(estimator.impute(X)[known], X[known])


def test_all_missing_row_has_the_prior_as_posterior():
    estimator = VariationalEM(2, model="poisson", posterior="full", random_state=0).fit(counts())
    nothing = np.full((1, 6), np.nan)
    assert np.allclose(estimator.transform(nothing), 0, atol=1e-8)
    assert np.allclose(estimator.elbo(nothing), 0, atol=1e-8)


def test_sample_has_the_moments_of_the_model():
    estimator = VariationalEM(2, model="gaussian", random_state=0).fit(real())
    X, Z = estimator.sample(20000, random_state=0)
    W, noise = estimator.params_["loadings"], estimator.params_["noise_variance"]
    assert np.allclose(np.cov(X.T), W @ W.T + np.diag(noise), atol=0.25)
    assert np.allclose(estimator.inverse_transform(Z), estimator.params_["intercepts"] + Z @ W.T)


# ------------------------------------------------------------ published numbers


@pytest.mark.parametrize(("d", "expected"), [(1, -470.6695), (2, -404.9628), (3, -379.9146)])
@pytest.mark.parametrize("posterior", ["mean_field", "full"])
def test_ppca_on_iris(d, expected, posterior):
    # Tipping and Bishop's closed form; a diagonal q reaches it, as axes are principal.
    X = load_iris().data
    model = FactorModel(d, noise="isotropic")
    estimator = VariationalEM(model=model, posterior=posterior, random_state=0).fit(X)
    assert np.isclose(150 * estimator.score(X), expected, atol=1e-4)
    assert np.allclose(estimator.elbo(X), estimator.score_samples(X), atol=1e-10)


def test_factor_analysis_on_wine():
    X = load_wine().data
    X = (X - X.mean(0)) / X.std(0)
    estimator = VariationalEM(1, model="gaussian", posterior="full", random_state=0).fit(X)
    assert np.isclose(len(X) * estimator.score(X), -2894.27028, atol=1e-4)
    W, noise = estimator.params_["loadings"], estimator.params_["noise_variance"]
    _, log_det = np.linalg.slogdet(W @ W.T + np.diag(noise))
    squares = np.einsum("ij,jk,ik->i", X, np.linalg.inv(W @ W.T + np.diag(noise)), X)
    closed = -0.5 * (13 * np.log(2 * np.pi) + log_det + squares)
    assert np.allclose(estimator.elbo(X), closed, atol=1e-10)


def test_gaussian_rows_path_meets_the_covariance_path():
    # One missing cell forces the row-by-row engine; its row removed by weight, both must agree.
    X = real(40)
    holed = np.vstack([X, X[0]])
    holed[-1, 0] = np.nan
    weights = np.r_[np.ones(40), 1e-9]
    plain = VariationalEM(1, model="gaussian", posterior="full", random_state=0).fit(X)
    rows = VariationalEM(1, model="gaussian", posterior="full", random_state=0).fit(
        holed, sample_weight=weights
    )
    assert np.isclose(plain.score(X), rows.score(X), atol=1e-5)


def test_heywood_case_is_named():
    data = load_iris(as_frame=True).data
    with pytest.warns(HeywoodWarning, match=r"columns 1, 2 reached .*Heywood") as caught:
        VariationalEM(2, model="gaussian", random_state=0).fit(data.to_numpy())
    assert len(caught) == 1 and caught[0].message.columns == (1, 2)
    with pytest.warns(HeywoodWarning, match=r"columns 'sepal width .*', 'petal length .*' reached"):
        VariationalEM(2, model="gaussian", random_state=0).fit(data)
    remedy = FactorModel(2, noise="isotropic")  # the warning's own words
    VariationalEM(model=remedy, random_state=0).fit(data)


def test_lsat6():
    # Bock and Aitkin's data; bound and likelihood by two independent codes.
    X, weights = lsat6()
    estimator = VariationalEM(1, model="bernoulli", posterior="full", random_state=0).fit(
        X, sample_weight=weights
    )
    assert np.isclose(1000 * estimator.lower_bound_, -2467.044882, atol=1e-4)
    assert np.isclose(1000 * estimator.score(X, sample_weight=weights), -2466.666729, atol=1e-4)
    expected = [0.80412, 0.71137, 0.89338, 0.67694, 0.64225]
    assert np.allclose(estimator.params_["loadings"][:, 0], expected, atol=1e-3)
    # Standard errors of the exact maximum, which is near.
    errors = estimator.standard_errors_
    assert np.allclose(errors["intercepts"], [0.206, 0.090, 0.076, 0.099, 0.135], rtol=0.03)
    assert np.allclose(errors["loadings"][:, 0], [0.258, 0.187, 0.233, 0.185, 0.210], rtol=0.03)
    repeated = clone(estimator).fit(np.repeat(X, weights.astype(int), axis=0))
    assert np.allclose(repeated.params_["loadings"], estimator.params_["loadings"], atol=1e-8)


def test_trichoptera():
    X = trichoptera()
    one = VariationalEM(1, model="poisson", random_state=0).fit(X)
    two = VariationalEM(2, model="poisson", random_state=0).fit(X)
    assert np.isclose(49 * one.lower_bound_, -1755.974, atol=1e-3)
    assert np.isclose(49 * two.lower_bound_, -1392.135, atol=1e-3)
    assert np.isclose(49 * two.score(X), -1390.5815, atol=2e-3)
    full = VariationalEM(2, model="poisson", posterior="full", random_state=0).fit(X)
    assert full.lower_bound_ > two.lower_bound_
    assert -1390.5568 - 0.01 < 49 * full.score(X) < -1390.5568 + 1e-3


def test_three_factors_find_a_better_mode_than_the_published_one():
    assert (
        49 * VariationalEM(3, model="poisson", random_state=0).fit(trichoptera()).lower_bound_
        > -1182.284
    )


@pytest.mark.parametrize(
    ("noise", "truth", "best"), [(0.1, 3701.9723, 3774.0129), (0.5, -6031.3305, -5952.6065)]
)
def test_binary_features_from_the_truth(noise, truth, best):
    X, theta = shapes(noise)
    model = BinaryFeatureModel(8, noise="isotropic", fit_intercept=False)
    estimator = VariationalEM(model=model, posterior="full", params_init=theta, random_state=0).fit(
        X
    )
    assert np.isclose(400 * estimator.score(X), best, atol=1e-3)
    start = model.joint(X, {**theta, "noise_variance": np.asarray(noise**2)})
    from skelbo.inference.posteriors.bernoulli_posterior import enumerate_posterior

    assert np.isclose(enumerate_posterior(start).terms.elbo.sum(), truth, atol=1e-3)


@pytest.mark.slow
def test_mean_field_from_the_truth():
    X, theta = shapes(0.5)
    model = BinaryFeatureModel(8, noise="isotropic", fit_intercept=False)
    estimator = VariationalEM(model=model, params_init=theta, random_state=0).fit(X)
    assert 400 * estimator.lower_bound_ >= -5994.9906 - 1e-3
    assert 400 * estimator.score(X) > -5959.1014 - 0.01


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_default_start_finds_the_shapes(seed):
    X, _ = shapes(0.1)
    assert 400 * VariationalEM(8, random_state=seed).fit(X).lower_bound_ > 3774.0


# -------------------------------------------------------------------- contract


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator", [VariationalEM(random_state=0), VariationalEM(model="gaussian", random_state=0)]
)
def test_scikit_learn_checks(estimator, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    results = check_estimator(estimator, on_fail=None)
    assert [r for r in results if r["status"] not in ("passed", "skipped")] == []
    assert len(results) >= 50


def test_factors_are_identified():
    estimator = VariationalEM(2, model="bernoulli", posterior="full", random_state=0).fit(answers())
    W = estimator.params_["loadings"]
    assert abs(W[:, 0] @ W[:, 1]) < 1e-9
    assert np.all(np.diff((W**2).sum(0)) <= 0)
    assert np.all(np.take_along_axis(W, np.abs(W).argmax(0)[None], 0) > 0)
    features = VariationalEM(2, random_state=0).fit(real()).params_["probabilities"]
    assert np.all(features <= 0.5) and features[0] >= features[1]


def test_warm_start_and_params_init_go_on():
    X = counts()
    full = VariationalEM(2, model="poisson", random_state=0).fit(X)
    begun = VariationalEM(2, model="poisson", params_init=full.params_, random_state=0).fit(X)
    assert begun.n_iter_ <= 3 and begun.lower_bound_ >= full.lower_bound_ - 1e-9
    warm = VariationalEM(2, model="poisson", warm_start=True, random_state=0).fit(X)
    assert warm.fit(X).n_iter_ <= 3


def test_more_starts_are_never_worse():
    X = real(40)
    one = VariationalEM(2, annealing=False, random_state=0).fit(X)
    many = VariationalEM(2, annealing=False, n_init=5, random_state=0).fit(X)
    assert many.lower_bound_ >= one.lower_bound_ - 1e-12


def test_not_converged_is_said():
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        VariationalEM(2, model="poisson", max_iter=2, random_state=0).fit(counts())


@pytest.mark.parametrize(
    ("model", "bad", "message"),
    [
        ("poisson", -1.0, "Negative values in data: column 2 .* expected counts 0, 1, 2"),
        ("poisson", 0.5, "column 2 of X has the value 0.5, .* expected counts 0, 1, 2"),
        ("bernoulli", 2.0, "0 or 1"),
    ],
)
def test_data_of_the_wrong_kind(model, bad, message):
    X = answers()
    X[1, 2] = bad
    with pytest.raises(ValueError, match=message):
        VariationalEM(1, model=model, random_state=0).fit(X)
    fitted = VariationalEM(1, model=model, random_state=0).fit(answers())
    with pytest.raises(ValueError, match=message):
        fitted.score_samples(X)


def test_more_latents_than_features():
    with pytest.raises(ValueError, match="exceeds n_features=5"):
        VariationalEM(6, model="gaussian").fit(real())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", ["binary", "gaussian", "bernoulli", "poisson"])
@pytest.mark.parametrize("posterior", ["mean_field", "full"])
def test_parameters_that_float64_cannot_score_with_are_named(model, posterior, tmp_path):
    X = {"bernoulli": answers(), "poisson": counts()}.get(model, real())
    fit = VariationalEM(2, model=model, posterior=posterior, max_iter=2, random_state=0).fit(X)
    fit.params_["loadings"] = np.full_like(fit.params_["loadings"], 1e300)
    fit.to_file(tmp_path / "model")
    for estimator in fit, VariationalEM.from_file(tmp_path / "model"):
        for ask in estimator.score_samples, estimator.elbo, estimator.score:
            with pytest.raises(ValueError, match=r"params_\['loadings'\] is as large as 1e\+300"):
                ask(X)


def test_unseen_column_and_wrong_params_init():
    X = real()
    X[:, 1] = np.nan
    with pytest.raises(ValueError, match="column 1"):
        VariationalEM(1, model="gaussian", random_state=0).fit(X)
    with pytest.raises(ValueError, match="params_init has the keys"):
        VariationalEM(1, model="gaussian", params_init={"a": 1}, random_state=0).fit(real())
    right = VariationalEM(1, model="gaussian", random_state=0).fit(real()).params_
    with pytest.raises(ValueError, match="shape"):
        VariationalEM(2, model="gaussian", params_init=right, random_state=0).fit(real())
    warm = VariationalEM(1, model="gaussian", warm_start=True, random_state=0).fit(real())
    with pytest.raises(ValueError, match="params_.* has shape .*set warm_start=False"):
        warm.fit(real()[:, :3])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", [VariationalEM, MCEM])
def test_separable_item_is_named(estimator):
    X = answers(60, 4)
    X[:, 3] = X[:, 2]
    X[:, 1] = X[:, 2]
    with pytest.warns(SeparationWarning, match="columns? [123,]+.* ran away.*separable"):
        fit = estimator(1, model="bernoulli", random_state=0).fit(X)
    assert np.all(np.isfinite(fit.score_samples(X)))


@pytest.mark.slow
def test_separable_item_ends_the_draws():
    # log p(X) has no maximum: more draws would only chase it.
    X = answers(60, 4)
    X[:, 1] = X[:, 2]
    with pytest.warns((UserWarning, ConvergenceWarning)) as caught:
        fit = MCEM(1, model="bernoulli", random_state=0).fit(X)
    assert not fit.converged_ and fit.n_samples_history_[-1] < 1000
    assert any("loadings ran away" in str(warning.message) for warning in caught)


@pytest.mark.parametrize(("model", "value"), [("bernoulli", 1), ("poisson", 0)])
def test_column_of_one_value_is_named(model, value):
    X = answers(60, 4)
    X[:, 2] = value
    with pytest.warns(SeparationWarning, match="column 2 has one value in every row"):
        fit = VariationalEM(1, model=model, random_state=0).fit(X)
    assert all(not np.isnan(errors).any() for errors in fit.standard_errors_.values())


def test_all_columns_of_one_value_are_named_in_one_warning():
    X = pd.DataFrame(answers(60, 4), columns=["one", "two", "three", "four"])
    X["two"], X["four"] = 0.0, 1.0
    with pytest.warns(SeparationWarning, match="^columns 'two', 'four' have one value") as caught:
        VariationalEM(1, model="bernoulli", random_state=0).fit(X)
    assert len(caught) == 1 and caught[0].message.columns == (1, 3)


@pytest.mark.filterwarnings("ignore:the noise variance")
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_units_of_the_data_only_shift_the_score(seed, scale, shift):
    X = real(30, 4, seed)
    plain = VariationalEM(1, model="gaussian", random_state=0).fit(X)
    moved = VariationalEM(1, model="gaussian", random_state=0).fit(scale * (X + shift))
    assert np.isclose(
        plain.score(X) - 4 * np.log(scale), moved.score(scale * (X + shift)), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("posterior", ["exact", "full"])
def test_the_bound_never_falls_at_the_floor_of_the_noise(posterior):
    """Accelerated candidates keep to the floor before they are judged."""
    for seed in range(100, 104):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((6, 5))
        X[rng.random(X.shape) < 0.25] = np.nan
        if np.isnan(X).all(0).any():
            continue
        fit = VariationalEM(2, model="gaussian", posterior=posterior, random_state=0).fit(X)
        assert np.diff(fit.lower_bounds_).min(initial=0.0) > -1e-9


@pytest.mark.parametrize("model", ["gaussian", "binary"])
@pytest.mark.parametrize(
    ("offset", "scale", "dtype"), [(1e6, 1.0, np.float32), (1e6, 1e-9, np.float64)], ids=str
)
def test_the_bound_of_an_exact_fit_is_that_of_the_published_parameters(model, offset, scale, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3)) * [1.0, 3.0, 0.5]
    X[:80, 0] += 6
    X = (offset + scale * X).astype(dtype)
    X[::7, 1] = np.nan
    fitted = VariationalEM(1, model=model, posterior="exact", random_state=0).fit(X)
    np.testing.assert_allclose(fitted.lower_bound_, fitted.score(X), rtol=1e-6)
    assert fitted.lower_bounds_[-1] == fitted.lower_bound_
