"""MCEM: its answers are those of EM within the error that it reports, and so is its verdict."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator
from test_variational_em import answers, counts, lsat6, real, trichoptera

from skelbo import MCEM, VariationalEM
from skelbo.inference.draws import Draws
from skelbo.inference.gaussian_posterior import fit_gaussian
from skelbo.inference.importance import BaseNoise
from skelbo.inference.marginal import log_marginal
from skelbo.inference.sampling import make_sampler
from skelbo.models import BinaryFeatureModel, FactorModel


def small_sample(n_persons=200):
    X, weights = lsat6()
    return X, np.round(weights * n_persons / 1000)


# ------------------------------------------------------------------- samplers


@pytest.mark.parametrize(
    ("name", "likelihood"),
    [
        ("importance", "poisson"),
        ("hmc", "poisson"),
        ("importance", "bernoulli"),
        ("hmc", "bernoulli"),
        ("hmc", "gaussian"),
    ],
)
def test_samplers_of_continuous_latents_meet_quadrature(name, likelihood):
    X = {"poisson": counts(12), "bernoulli": answers(12), "gaussian": real(12)}[likelihood]
    model = FactorModel(2, likelihood=likelihood)
    theta = model.start(X, np.ones(len(X)), np.random.RandomState(0), 0)
    joint = model.joint(X, theta)
    q = fit_gaussian(joint)
    exact = log_marginal(joint, BaseNoise.draw(10, 2, np.random.RandomState(0)))[2]
    mean = q.mean if exact is None else exact.mean
    sampler = make_sampler(name, model, np.random.RandomState(1))
    sampler.restart(joint, q)
    draws = sampler.more(4000)
    error = np.sqrt((draws.deviations(draws.Z) ** 2).sum(0))
    assert np.all(np.abs(draws.mean - mean) < 6 * error + 1e-3)
    assert error.max() < 0.1


def test_gibbs_meets_enumeration():
    X = real(15)
    model = BinaryFeatureModel(3)
    theta = model.start(X, np.ones(15), np.random.RandomState(0), 0)
    joint = model.joint(X, theta)
    exact = log_marginal(joint, BaseNoise.draw(10, 3, np.random.RandomState(0)))[2]
    sampler = make_sampler("gibbs", model, np.random.RandomState(1))
    sampler.restart(joint, None)
    draws = sampler.more(20000)
    error = np.sqrt((draws.deviations(draws.Z) ** 2).sum(0))
    assert np.all(np.abs(draws.mean - exact.mean) < 6 * error + 0.01)


def test_more_draws_are_appended():
    X = counts(10)
    model = FactorModel(1, likelihood="poisson")
    joint = model.joint(X, model.start(X, np.ones(10), None, 0))
    for name in ("importance", "hmc"):
        sampler = make_sampler(name, model, np.random.RandomState(0))
        sampler.restart(joint, fit_gaussian(joint))
        first = sampler.more(100)
        both = sampler.more(100)
        assert np.array_equal(both.Z[: len(first.Z)], first.Z) and len(both.Z) == 2 * len(first.Z)
        assert np.allclose(both.weights.sum(0), 1)


def test_error_of_a_mean_of_independent_draws():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((400, 50))
    draws = Draws(values[..., None], np.full(values.shape, 1 / 400), np.arange(400))
    assert np.allclose(draws.variance(values), values.var(0, ddof=1) / 400, rtol=1e-6)
    assert np.allclose(draws.effective_sizes(), 400, rtol=0.01)


# ------------------------------------------------------------------ agreement


def test_gaussian_factor_model_meets_the_closed_form():
    X = real(100)
    exact = VariationalEM(1, model="gaussian").fit(X)
    away = {k: 1.3 * v for k, v in exact.params_.items()}
    drawn = MCEM(1, model="gaussian", params_init=away, random_state=0).fit(X)
    assert drawn.converged_ and drawn.n_iter_ > 1
    total = 100 * (exact.score(X) - drawn.score(X))
    assert -1e-6 < total < 0.005 * drawn.n_parameters_ * 10
    distance = np.abs(exact.params_["loadings"] - drawn.params_["loadings"])
    assert np.all(distance < 5 * drawn.mc_standard_errors_["loadings"] + 1e-3)


@pytest.mark.parametrize(("sampler", "tol"), [("importance", 1e-5), ("hmc", "auto")])
def test_lsat6_within_the_reported_error(sampler, tol):
    # Exact maximum likelihood: a .82566 .72274 .89087 .68837 .65686, log-likelihood -2466.653377.
    X, weights = lsat6()
    start = VariationalEM(1, model="bernoulli").fit(X, sample_weight=weights)
    estimator = MCEM(
        1, model="bernoulli", sampler=sampler, tol=tol, params_init=start.params_, random_state=0
    ).fit(X, sample_weight=weights)
    assert estimator.converged_
    assert (
        -2466.653377 - (0.3 if tol == "auto" else 0.05)
        < 1000 * estimator.score(X, sample_weight=weights)
        < -2466.6533
    )
    exact = np.array([0.82566, 0.72274, 0.89087, 0.68837, 0.65686])
    error = estimator.mc_standard_errors_["loadings"][:, 0]
    assert np.all(np.abs(estimator.params_["loadings"][:, 0] - exact) < 4 * error)
    expected = [0.258, 0.187, 0.233, 0.185, 0.210]
    # Information at a point that is off by the Monte Carlo error, not at the maximum.
    assert np.allclose(
        estimator.standard_errors_["loadings"][:, 0], expected, rtol=0.2 if tol == "auto" else 0.06
    )
    assert np.all(error < 0.25 * estimator.standard_errors_["loadings"][:, 0])


def test_trichoptera_climbs_above_the_variational_fit():
    # One factor: exact maximum by quadrature -1755.7745.
    X = trichoptera()
    start = VariationalEM(1, model="poisson").fit(X)
    estimator = MCEM(1, model="poisson", params_init=start.params_, random_state=0).fit(X)
    assert np.isclose(49 * estimator.score(X), -1755.7745, atol=0.02)


def test_gibbs_meets_exact_em_on_binary_features():
    X = real(60)
    start = VariationalEM(2, posterior="full", random_state=0).fit(X)
    drawn = MCEM(2, params_init=start.params_, random_state=0).fit(X)
    assert abs(60 * (start.score(X) - drawn.score(X))) < 0.2


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_saem_meets_em():
    X, weights = small_sample()
    exact = VariationalEM(1, model="bernoulli").fit(X, sample_weight=weights)
    saem = MCEM(1, model="bernoulli", averaging="saem", random_state=0, max_iter=80)
    saem.fit(X, sample_weight=weights)
    total = weights.sum()
    score = total * saem.score(X, sample_weight=weights)
    assert score > total * exact.score(X, sample_weight=weights) - 0.3


# ------------------------------------------------------------------ the verdict


def test_number_of_draws_grows_and_never_shrinks():
    X, weights = small_sample()
    estimator = MCEM(1, model="bernoulli", random_state=0).fit(X, sample_weight=weights)
    history = estimator.n_samples_history_
    assert len(history) == estimator.n_iter_ == len(estimator.lower_bounds_)
    assert history == sorted(history)
    assert estimator.effective_sample_sizes_.shape == (32,)


def test_limit_is_named():
    X, weights = small_sample()
    with pytest.warns(ConvergenceWarning, match="max_iter=1 "):
        MCEM(1, model="bernoulli", max_iter=1, random_state=0).fit(X, sample_weight=weights)
    with pytest.warns(ConvergenceWarning, match="n_samples=4 draws"):
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


def test_wrong_sampler_is_named():
    with pytest.raises(ValueError, match="sampler='gibbs' draws binary latents"):
        MCEM(1, model="gaussian", sampler="gibbs").fit(real())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", [MCEM(), MCEM(model="gaussian")])
def test_scikit_learn_checks(estimator, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    results = check_estimator(estimator, on_fail=None)
    assert [r for r in results if r["status"] not in ("passed", "skipped")] == []
    assert len(results) >= 50
