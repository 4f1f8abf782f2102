"""A fit is a transaction, for every estimator: all of it is published at the end, or nothing."""

import signal
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from skelbo import MCEM, EMGaussianMixture, GaussianMLE, VAEEstimator, VariationalEM
from skelbo.models import FactorModel

X = np.random.default_rng(0).standard_normal((60, 4)) + 3 * (np.arange(60) % 3)[:, None]
HOLES = np.where(np.random.default_rng(1).random(X.shape) < 0.2, np.nan, X)
FACTOR = FactorModel(1, noise="isotropic")
ESTIMATORS = {
    "GaussianMLE": GaussianMLE(),
    "EMGaussianMixture": EMGaussianMixture(3, random_state=0),
    "VariationalEM": VariationalEM(1, model=FACTOR, random_state=0),
    "MCEM": MCEM(1, model=FACTOR, random_state=0),
    "VAEEstimator": VAEEstimator(1, max_iter=3, hidden_layer_sizes=(4,), random_state=0),
}
every_estimator = pytest.mark.parametrize("name", ESTIMATORS)
REFUSED = {
    "too few columns": (np.ones((1, 3)), {}),
    "infinite": (np.where(X > 5, np.inf, X)[:, :2], {}),
    "column without cells": (np.c_[X[:, :2], np.full(60, np.nan)], {}),
    "weights": (X[:, :3], {"sample_weight": -np.ones(60)}),
    "strings": (np.array([["a", "b"]] * 60), {}),
}


class Interrupter:
    """Callback that does as Ctrl-C at an iteration of a start."""

    max_propagation_depth = None

    def __init__(self, iteration, start=0):
        self.iteration, self.start = iteration, start

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, metadata=None):
        at_start = context.parent is not None and context.parent.task_id == self.start
        if at_start and metadata and metadata.get("n_iter") == self.iteration:
            signal.raise_signal(signal.SIGINT)


def fitted(name, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clone(ESTIMATORS[name]).set_params(**params).fit(X)


@pytest.mark.parametrize("case", REFUSED)
@every_estimator
def test_a_refused_fit_leaves_the_estimator_as_it_was(name, case):
    """A fitted one goes on to answer; one that was not fitted is not fitted afterwards."""
    table, arguments = REFUSED[case]
    model = fitted(name)
    state, score = dict(vars(model)), model.score(X)
    fits = [model.fit] + ([model.partial_fit] if hasattr(model, "partial_fit") else [])
    for fit in fits:
        with pytest.raises((ValueError, TypeError)):
            fit(table, **arguments)
        assert vars(model).keys() == state.keys()
        assert all(vars(model)[key] is value for key, value in state.items())
    assert model.score(X) == score
    new = clone(model)
    with pytest.raises((ValueError, TypeError)):
        new.fit(table, **arguments)
    assert vars(new).keys() == vars(clone(model)).keys()
    with pytest.raises(NotFittedError):
        check_is_fitted(new)
    with pytest.raises(NotFittedError):
        new.score(X)


INTERRUPTED = {
    **{name: ESTIMATORS[name] for name in ("GaussianMLE", "EMGaussianMixture", "MCEM")},
    "profile": VariationalEM(1, model=FactorModel(1)),
    "gradient": VariationalEM(1, model="bernoulli"),
    "grid": VariationalEM(1, model="bernoulli", posterior="exact"),
    "mean field": VariationalEM(2, random_state=0),
}


@pytest.mark.parametrize("name", INTERRUPTED)
def test_ctrl_c_keeps_the_best_so_far(name):
    """With a warning; where q is exact the bound is the score of what is kept."""
    model = clone(INTERRUPTED[name]).set_callbacks(Interrupter(2))
    table = HOLES
    if name in ("gradient", "grid"):
        table = np.where(np.isnan(HOLES), np.nan, HOLES > 3)
    with pytest.warns(ConvergenceWarning, match="interrupted after 2 iterations"):
        model.fit(table)
    assert model.n_iter_ == len(model.lower_bounds_) == 2 and not model.converged_
    assert np.isfinite(model.score(table))
    if name in ("GaussianMLE", "EMGaussianMixture", "profile", "grid"):
        assert model.score(table) == pytest.approx(model.lower_bound_, abs=1e-9)


def test_ctrl_c_in_a_later_start_keeps_the_best_of_all():
    model = EMGaussianMixture(3, n_init=3, init_params="random", random_state=0)
    best = clone(model).set_params(n_init=1).fit(HOLES).lower_bound_
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.set_callbacks(Interrupter(1, start=1)).fit(HOLES)
    assert model.lower_bound_ >= best


def test_ctrl_c_before_there_is_something_to_keep_is_passed_on():
    class Early(Interrupter):
        def on_fit_task_begin(self, estimator, context):
            signal.raise_signal(signal.SIGINT)

    model = fitted("EMGaussianMixture")
    score = model.score(X)
    with pytest.raises(KeyboardInterrupt):
        model.set_callbacks(Early(1)).fit(HOLES[:, :2])
    assert model.score(X) == score


@pytest.mark.parametrize("n_jobs", [None, 1])
def test_ctrl_c_in_a_search_ends_the_search(n_jobs):
    fits = []

    class Counted(Interrupter):
        def setup(self, estimator, context):
            fits.append(estimator)

    model = EMGaussianMixture(2, random_state=0)
    for nested, prefix in (
        (model, ""),
        (make_pipeline(StandardScaler(), model), "emgaussianmixture__"),
    ):
        search = GridSearchCV(nested, {f"{prefix}n_components": [2, 3]}, cv=2, n_jobs=n_jobs)
        fits.clear()
        with pytest.raises(KeyboardInterrupt):
            search.set_callbacks(Counted(2)).fit(HOLES)
        assert len(fits) == 1


CHANGES = {
    "GaussianMLE": [{"covariance_type": "diag"}],
    "EMGaussianMixture": [{"covariance_type": "diag"}, {"n_components": 2}],
    "VariationalEM": [{"model": "bernoulli"}, {"n_components": 2}],
    "MCEM": [{"model": "bernoulli"}, {"n_components": 2}],
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_parameter_is_named(name):
    """All that uses the fitted attributes names it; set back, or fitted anew, they are fine."""
    model = fitted(name)
    before, score = model.get_params(deep=False), model.score(X)
    methods = ["score", "score_samples", "elbo", "gap", "transform", "impute", "aic", "bic"]
    for change in CHANGES[name]:
        (parameter,) = change
        model.set_params(**change)
        for method in methods:
            with pytest.raises(ValueError, match=f"{parameter}=.* is not that of the fit"):
                getattr(model, method)(X)
        with pytest.raises(ValueError, match=f"{parameter}="):
            model.sample(2)
        with pytest.raises(ValueError, match=f"{parameter}="):
            model.n_parameters_  # noqa: B018
        if hasattr(model, "partial_fit"):
            with pytest.raises(ValueError, match=f"{parameter}="):
                model.partial_fit(X)
        model.set_params(**{parameter: before[parameter]})
        assert model.score(X) == score


def test_a_warm_start_with_another_shape_is_refused():
    model = EMGaussianMixture(1, covariance_type="factor", n_factors=1, warm_start=True).fit(X)
    with pytest.raises(ValueError, match="n_factors=2 is not that of the fit, n_factors=1"):
        model.set_params(n_factors=2).fit(X)
    assert model.set_params(n_factors=2, warm_start=False).fit(X).loadings_.shape[2] == 2
    tied = EMGaussianMixture(2, covariance_type="tied", random_state=0).fit(X)
    assert tied.set_params(n_factors=3).score(X) == tied.score(X)  # it has no factors


def test_attributes_set_by_hand_belong_to_the_parameters_of_today(iris):
    by_fit = EMGaussianMixture(2, covariance_type="diag", random_state=0).fit(iris)
    by_hand = EMGaussianMixture(2, covariance_type="diag")
    for attribute in ("weights_", "means_", "precisions_cholesky_", "n_features_in_"):
        setattr(by_hand, attribute, getattr(by_fit, attribute))
    np.testing.assert_array_equal(by_hand.score_samples(iris), by_fit.score_samples(iris))
