"""MCEM: its answers are those of EM within the error that it reports, and so is its end."""

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from skelbo import MCEM, VariationalEM
from skelbo.models import FactorModel
from tests.own_models import Factors
from tests.tables import counts, lsat6, real, trichoptera


def small_sample(n_persons=200):
    X, weights = lsat6()
    return X, np.round(weights * n_persons / 1000)


def test_gaussian_factor_model_meets_the_closed_form():
    X = real(100)
    exact = VariationalEM(1, model="gaussian", random_state=0).fit(X)
    away = {k: 1.3 * v for k, v in exact.params_.items()}
    drawn = MCEM(1, model="gaussian", params_init=away, random_state=0).fit(X)
    assert drawn.converged_ and drawn.n_iter_ > 1
    assert -1e-6 < 100 * (exact.score(X) - drawn.score(X)) < 0.01
    distance = np.abs(exact.params_["loadings"] - drawn.params_["loadings"])
    error, unit = drawn.mc_standard_errors_["loadings"], drawn.standard_errors_["loadings"]
    assert np.all(distance < 5 * error + 0.05 * unit)


LSAT6 = -2466.653377


TRICHOPTERA = {1: -1755.7745, 2: -1390.5568}


def shortfalls(top, X, weights, starts, **settings):
    """Return what fits lack, in total, and what they say that they lack at most."""
    total = len(X) if weights is None else weights.sum()
    lacking, limits = [], []
    for seed, start in enumerate(starts):
        fit = MCEM(random_state=seed, params_init=start, **settings).fit(X, sample_weight=weights)
        assert fit.converged_ and fit.remaining_climb_ > 0
        for name, errors in fit.mc_standard_errors_.items():
            assert np.all(errors < 0.3 * fit.standard_errors_[name])
        lacking.append(top - total * fit.score(X, sample_weight=weights))
        limits.append(total * fit.remaining_climb_)
    return np.array(lacking), np.array(limits)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["importance", "hmc"])
def test_lsat6_keeps_the_law_of_its_certificate(sampler):
    # 95 % of the fits lack no more than they say; exact maximum likelihood by quadrature.
    X, weights = lsat6()
    vem = VariationalEM(1, model="bernoulli", random_state=0).fit(X, sample_weight=weights).params_
    starts = [None, vem] * (5 if sampler == "importance" else 1)
    lacking, limits = shortfalls(
        LSAT6, X, weights, starts, n_components=1, model="bernoulli", sampler=sampler
    )
    assert np.all(lacking > -1e-5) and np.all(limits < 0.01)
    assert np.mean(lacking < limits) >= 0.8 and np.all(lacking < 0.02)


@pytest.mark.slow
def test_lsat6_parameters_within_their_monte_carlo_errors():
    X, weights = lsat6()
    exact = np.array([0.82566, 0.72274, 0.89087, 0.68837, 0.65686])
    away = []
    for seed in range(2):
        fit = MCEM(1, model="bernoulli", tol=1e-6, random_state=seed)
        fit.fit(X, sample_weight=weights)
        error = fit.mc_standard_errors_["loadings"][:, 0]
        away.append((fit.params_["loadings"][:, 0] - exact) / error)
        errors = fit.standard_errors_
        assert np.allclose(errors["loadings"][:, 0], [0.258, 0.187, 0.233, 0.185, 0.210], rtol=0.03)
        assert np.allclose(errors["intercepts"], [0.206, 0.090, 0.076, 0.099, 0.135], rtol=0.03)
    assert np.mean(np.square(away)) < 3


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.long
def test_trichoptera_ends_at_the_maximum_and_never_below_its_start(d):
    # Counts in the hundreds: z is known far better than theta, 99.9 % of the information missing.
    X = trichoptera()
    vem = VariationalEM(d, model="poisson", random_state=0).fit(X)
    lacking, _ = shortfalls(
        TRICHOPTERA[d], X, None, [vem.params_] * 8, n_components=d, model="poisson"
    )
    assert np.all(lacking < min(0.02, TRICHOPTERA[d] - 49 * vem.score(X) + 1e-3))
    lacking, _ = shortfalls(TRICHOPTERA[d], X, None, [None, None], n_components=d, model="poisson")
    assert np.all(lacking < 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("averaging", [None, "saem"])
@pytest.mark.parametrize("sampler", ["importance", "hmc"])
def test_every_way_to_draw_meets_the_maximum(sampler, averaging):
    X = trichoptera()
    lacking, _ = shortfalls(
        TRICHOPTERA[2],
        X,
        None,
        [VariationalEM(2, model="poisson", random_state=0).fit(X).params_],
        n_components=2,
        model="poisson",
        sampler=sampler,
        averaging=averaging,
    )
    assert np.all(lacking < 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["importance", "gibbs"])
@pytest.mark.parametrize("start", ["exact", None])
def test_binary_features_meet_exact_em(sampler, start):
    X = real(60)
    exact = VariationalEM(2, posterior="full", random_state=0).fit(X)
    init = exact.params_ if start else None
    lacking, limits = shortfalls(
        60 * exact.score(X), X, None, [init] * 3, n_components=2, sampler=sampler
    )
    assert np.all(lacking < 4 * limits + 1e-3)


class WithoutInformation(FactorModel):
    """A factor model that counts as too large for an information matrix."""

    max_information = 0


def test_without_an_information_matrix_the_rate_of_the_climbs_decides():
    X, weights = lsat6()
    model = WithoutInformation(1, likelihood="bernoulli")
    fit = MCEM(1, model=model, tol=1e-3, random_state=0).fit(X, sample_weight=weights)
    lacking = LSAT6 - 1000 * fit.score(X, sample_weight=weights)
    assert fit.converged_ and lacking < 1000 * fit.remaining_climb_ < 1
    for name in ("standard_errors_", "mc_standard_errors_"):
        with pytest.raises(AttributeError, match=f"{name} is not available: params_ has 10 num"):
            getattr(fit, name)


def test_number_of_draws_grows_and_never_shrinks():
    X, weights = small_sample()
    estimator = MCEM(1, model="bernoulli", random_state=0).fit(X, sample_weight=weights)
    history = estimator.n_samples_history_
    assert len(history) == estimator.n_iter_ == len(estimator.lower_bounds_)
    assert history == sorted(history)
    assert estimator.effective_sample_sizes_.shape == (32,)


def test_one_factor_of_old_faithful_ends_without_a_warning(faithful):
    """Two columns hold no information on their common factor: a verdict all the same."""
    rows = train_test_split(faithful, test_size=0.3, random_state=0)[0]
    model = MCEM(1, model="gaussian", random_state=0).fit(rows)
    assert model.converged_


def test_limit_is_named():
    X, weights = small_sample()
    with pytest.warns(ConvergenceWarning, match="max_iter=1 "):
        MCEM(1, model="bernoulli", max_iter=1, random_state=0).fit(X, sample_weight=weights)
    with pytest.warns(ConvergenceWarning, match="n_samples=64 draws"):
        MCEM(1, model="bernoulli", n_samples=4, random_state=0).fit(X, sample_weight=weights)


def test_weights_are_repetitions_and_order_does_not_matter():
    X, weights = small_sample(60)
    estimator = MCEM(1, model="bernoulli", random_state=0, tol=0.01)
    weighted = clone(estimator).fit(X, sample_weight=weights)
    repeated = clone(estimator).fit(np.repeat(X, weights.astype(int), axis=0)[::-1])
    for name, value in weighted.params_.items():
        assert np.array_equal(value, repeated.params_[name])


def test_missing_cells_pickle_and_impute():
    X = counts(40)
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    estimator = MCEM(1, model="poisson", random_state=0).fit(X)
    loaded = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(loaded.score_samples(X), estimator.score_samples(X))
    assert not np.isnan(estimator.impute(X)).any()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator", [MCEM(random_state=0), MCEM(model="gaussian", random_state=0)]
)
def test_scikit_learn_checks(estimator, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    results = check_estimator(estimator, on_fail=None)
    assert [r for r in results if r["status"] not in ("passed", "skipped")] == []
    assert len(results) >= 50


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_a_gaussian_posterior_needs_no_draws(missing):
    X = real(150, 6)
    X[np.random.default_rng(1).random(X.shape) < missing] = np.nan
    exact = VariationalEM(2, model="gaussian", posterior="exact").fit(X)
    drawn = MCEM(2, model="gaussian", random_state=0).fit(X)
    assert drawn.converged_ and abs(150 * (exact.score(X) - drawn.score(X))) < 0.01
    assert np.all(np.isinf(drawn.effective_sample_sizes_))
    assert all(np.all(errors == 0) for errors in drawn.mc_standard_errors_.values())
    assert set(drawn.n_samples_history_) == {4}


@pytest.mark.slow
def test_a_long_step_along_a_nearly_flat_direction_is_shortened():
    """Three factors of wine: the fit drew 4096 points per row beside an inflection, and gave up."""

    class FromAfar(Factors):
        def initialize(self, X, rng):
            loadings = torch.tensor(rng.standard_normal((X.shape[1], self.n_latents)))
            return {"W": (loadings * X.std(0)[:, None]).T, "b": X.mean(0), "noise": X.var(0)}

    X = StandardScaler().fit_transform(load_wine().data)
    best = VariationalEM(3, model="gaussian").fit(X).score(X)
    model = MCEM(model=FromAfar(3), random_state=0).fit(X)
    assert model.converged_
    W, b, noise = (model.params_[name] for name in ("W", "b", "noise"))
    log_prob = multivariate_normal.logpdf(X, b, W.T @ W + np.diag(noise))
    assert log_prob.mean() == pytest.approx(best, abs=1e-4)
    assert max(model.n_samples_history_) <= 512
