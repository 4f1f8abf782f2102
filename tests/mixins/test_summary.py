"""Summaries: estimates, errors, intervals within domains, statistics, warnings, three formats."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError

from skelbo import (
    MCEM,
    EMGaussianMixture,
    EMHiddenMarkovModel,
    EMMixture,
    GaussianMLE,
    VAEEstimator,
    VariationalEM,
)
from skelbo.gaussian.structures import STRUCTURES
from skelbo.meta import CriterionSearch
from skelbo.mixins.summary import MAX_PRINTED, interval
from skelbo.models import FactorModel
from tests.own_models import Features

COLUMNS = ["parameter", "estimate", "std_error", "low", "high", "note"]


def test_estimates_errors_and_intervals(faithful):
    table = pd.DataFrame(faithful, columns=["eruptions", "waiting"])
    model = EMGaussianMixture(2, random_state=0).fit(table)
    frame = model.summary().to_frame().set_index("parameter")
    assert list(frame.columns) == COLUMNS[1:]
    assert len(frame) == 2 + 4 + 6  # the lower triangles of two matrices
    errors = model.standard_errors_
    mean = frame.loc["means[1, waiting]"]
    assert mean["estimate"] == model.means_[1, 1]
    assert mean["std_error"] == errors["means"][1, 1]
    assert mean["high"] - mean["low"] == pytest.approx(2 * 1.959964 * mean["std_error"], rel=1e-6)
    off = frame.loc["covariances[0, waiting, eruptions]"]
    assert off["estimate"] == model.covariances_[0, 1, 0]
    variance = frame.loc["covariances[0, waiting, waiting]"]
    assert variance["low"] * variance["high"] == pytest.approx(variance["estimate"] ** 2)
    assert set(frame["note"]) == {""}


@pytest.mark.parametrize("kind", STRUCTURES)
def test_every_covariance_type_has_a_row_for_each_number(kind, iris):
    model = EMGaussianMixture(2, covariance_type=kind, n_factors=1, random_state=0).fit(iris)
    names = model.summary().parameters["parameter"]
    assert len(set(names)) == len(names)
    n_factor = 8 if kind == "factor" else 0
    expected = {"full": 20, "tied": 10, "diag": 8, "spherical": 2, "tied_diag": 4, "factor": 8}
    expected["tied_spherical"] = 1
    assert len(names) == 2 + 8 + expected[kind] + n_factor


def test_intervals_stay_within_domains():
    assert_allclose(interval(1.0, 1.0), [-0.959964, 2.959964], rtol=1e-6)
    low, high = interval(1.0, 1.0, "positive")
    assert 0 < low < 1 < high and low * high == pytest.approx(1.0)
    low, high = interval(0.9, 0.2, "unit_interval")
    assert 0 < low < 0.9 < high < 1
    assert interval(1e-300, 1.0, "positive")[0] >= 0


def test_statistics_of_the_fit_and_of_rows(faithful):
    model = EMGaussianMixture(2, random_state=0).fit(faithful)
    statistics = model.summary().statistics
    assert statistics == {
        "log-likelihood per row": model.lower_bound_,
        "parameters": 11,
        "iterations": model.n_iter_,
        "converged": True,
    }
    weights = np.arange(272) % 3
    found = model.summary(faithful, weights).statistics
    for name in ("aic", "bic", "icl"):
        assert found[name.upper()] == getattr(model, name)(faithful, sample_weight=weights)
    assert "ICL" not in GaussianMLE().fit(faithful).summary(faithful).statistics


def test_a_subclass_names_its_bound_as_its_parent_does(faithful):
    class OwnGaussian(GaussianMLE):
        pass

    assert "log-likelihood per row" in OwnGaussian().fit(faithful).summary().statistics
    model = VariationalEM(1, model="gaussian").fit(faithful)
    assert "lower bound per row" in model.summary().statistics


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_bound_that_is_the_log_likelihood_has_that_name(faithful):
    answers = (faithful > np.median(faithful, axis=0)).astype(float)
    items = VariationalEM(1, model="bernoulli", posterior="exact").fit(answers)
    assert items.summary().statistics["log-likelihood per row"] == items.lower_bound_
    np.testing.assert_allclose(items.lower_bound_, items.score(answers), rtol=1e-6)
    for posterior, name in [("point", "log-likelihood"), ("gaussian", "lower bound")]:
        network = VAEEstimator(1, posterior=posterior, max_iter=1, random_state=0).fit(faithful)
        assert f"{name} per row" in network.summary().statistics


def test_kinds_of_latents_and_of_columns(faithful):
    """One attribute that pictures read, of every estimator and of a search around one."""
    answers = (faithful > np.median(faithful, axis=0)).astype(float)
    models = [
        (GaussianMLE(), faithful, "continuous", "gaussian"),
        (EMGaussianMixture(2, random_state=0), faithful, "label", "gaussian"),
        (EMMixture(2, random_state=0), answers, "label", "bernoulli"),
        (EMHiddenMarkovModel(2, random_state=0), faithful, "chain", "gaussian"),
        (VariationalEM(1, model="bernoulli"), answers, "continuous", "bernoulli"),
        (VariationalEM(1, random_state=0), faithful, "binary", "gaussian"),
        (CriterionSearch(GaussianMLE(), {"tol": [1.0]}), faithful, "continuous", "gaussian"),
    ]
    for model, X, latents, columns in models:
        fitted = model.fit(X)
        assert fitted.latent_kind == latents
        assert list(fitted.column_likelihoods_) == [columns] * 2
        assert hasattr(fitted, "transform_std") == (latents == "continuous")
        assert hasattr(fitted, "icl") == (latents in ("label", "chain"))


def test_mixed_columns_have_each_parameter_once():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "age": rng.standard_normal(120),
            "smokes": (rng.random(120) < 0.4).astype(float),
            "visits": rng.poisson(3, 120).astype(float),
            "town": rng.integers(0, 3, 120).astype(float),
        }
    )
    kinds = ["gaussian", "bernoulli", "poisson", "categorical"]
    names = EMMixture(1, likelihood=kinds).fit(X).summary().parameters["parameter"]
    assert names == [
        "means[0, age]",
        "covariances[0, age, age]",
        "probabilities[0, smokes]",
        "rates[0, visits]",
        *(f"category_probabilities[town][0, {code}]" for code in range(3)),
    ]


@pytest.mark.parametrize("model", [EMGaussianMixture, EMMixture, EMHiddenMarkovModel])
def test_a_spherical_variance_is_of_a_component_not_of_a_column(model, faithful):
    """More components than columns: the index of a component is no index of a column."""
    table = pd.DataFrame(faithful, columns=["eruptions", "waiting"])
    fitted = model(3, covariance_type="spherical", n_init=1, random_state=0).fit(table)
    frame = fitted.summary().to_frame().set_index("parameter")
    for component in range(3):
        estimate = frame.loc[f"covariances[{component}]", "estimate"]
        assert estimate == fitted.covariances_[component]


def test_parameters_of_states_have_the_names_of_their_columns():
    """They are those of components: no mean beside a rate, no position within a block."""
    rng = np.random.default_rng(0)
    columns = {"town": rng.integers(0, 3, 60), "visits": rng.poisson(3, 60), "age": rng.random(60)}
    kinds = ["categorical", "poisson", "gaussian"]
    table = pd.DataFrame({name: values.astype(float) for name, values in columns.items()})
    names = EMHiddenMarkovModel(1, likelihood=kinds).fit(table).summary().parameters["parameter"]
    assert names == [
        "startprob[0]",
        "transmat[0, 0]",
        "means[0, age]",
        "covariances[0, age, age]",
        "rates[0, visits]",
        *(f"category_probabilities[town][0, {code}]" for code in range(3)),
    ]


def test_latent_models_take_their_domains_from_the_model(iris):
    table = pd.DataFrame(iris, columns=list("abcd"))
    model = VariationalEM(model=FactorModel(1, noise="isotropic")).fit(table)
    frame = model.summary().to_frame().set_index("parameter")
    assert "loadings[c, 0]" in frame.index and "intercepts[a]" in frame.index
    noise = frame.loc["noise_variance"]
    assert noise["low"] * noise["high"] == pytest.approx(noise["estimate"] ** 2)
    rng = np.random.default_rng(0)
    own = VariationalEM(model=Features(), random_state=0).fit(rng.standard_normal((60, 3)))
    assert "scale" in own.summary().parameters["parameter"]


def test_edges_and_what_is_not_determined_have_words_instead_of_numbers():
    rng = np.random.default_rng(0)
    X = (rng.random((200, 2)) < 0.4).astype(float)
    summary = EMMixture(2, likelihood="bernoulli", random_state=0).fit(X).summary()
    frame = summary.to_frame()
    lost = frame[frame["note"] == "not determined by the rows"]
    assert len(lost) and lost[["std_error", "low", "high"]].isna().all(axis=None)
    assert any("not determined by the rows" in message for message in summary.warnings)
    label = np.arange(300) < 150
    X = (rng.random((300, 5)) < np.where(label[:, None], 0.9, 0.2)).astype(float)
    X[label, 0] = 1.0
    edge = EMMixture(2, likelihood="bernoulli", random_state=0, tol=1e-13).fit(X).summary()
    assert "at the edge of its domain" in edge.parameters["note"]
    assert "inf" not in str(edge) and "nan" not in str(edge)


def test_warnings_name_what_to_look_at(faithful):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = EMGaussianMixture(3, max_iter=1, random_state=0).fit(faithful)
        early = copy.deepcopy(model)  # of a fit whose errors were not computed yet
        summary = model.summary()
    assert summary.warnings[0].startswith("the fit did not converge")
    without = early.summary().warnings
    assert any(message.startswith("no standard errors: ") for message in without)
    assert copy.deepcopy(model).summary().warnings == summary.warnings
    assert "warning: the fit did not converge" in str(summary)


def test_text_and_html(faithful):
    table = pd.DataFrame(faithful, columns=["<b>", "waiting"])
    summary = GaussianMLE().fit(table).summary()
    text, html = str(summary), summary._repr_html_()
    assert text == repr(summary) and text.startswith("GaussianMLE()\n\nparameter")
    assert "&lt;b&gt;" in html and "<b>]" not in html
    assert html.count("<tr>") == 1 + 5 + 4


def test_a_long_table_is_cut_in_print_alone():
    X = np.random.default_rng(0).standard_normal((200, 15))
    summary = GaussianMLE().fit(X).summary()
    assert len(summary.parameters["parameter"]) == 135
    assert f"and {135 - MAX_PRINTED} more: to_frame() has all" in str(summary)
    assert len(summary.to_frame()) == 135


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_estimator_has_one(faithful):
    net = VAEEstimator(1, max_iter=2, early_stopping=False, hidden_layer_sizes=4, random_state=0)
    estimators = [
        net,
        MCEM(model=FactorModel(1, noise="isotropic"), random_state=0),
        EMHiddenMarkovModel(2, random_state=0),
        CriterionSearch(GaussianMLE(), {"covariance_type": ["full", "diag"]}),
    ]
    for estimator in estimators:
        summary = estimator.fit(faithful).summary(faithful)
        assert list(summary.parameters) == COLUMNS and summary.parameters["parameter"]
        assert np.isfinite(summary.statistics["log p(x) per row"])
        assert np.isfinite(summary.to_frame()["estimate"]).all()
    chain, halves = estimators[2].fit(faithful), np.repeat([0, 1], 136)
    statistics = chain.summary(faithful, groups=halves).statistics
    assert statistics["BIC"] == chain.bic(faithful, groups=halves)
    with pytest.raises(NotFittedError):
        GaussianMLE().summary()
