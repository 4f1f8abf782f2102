"""EMHiddenMarkovModel: published numbers, laws of sequences, scikit-learn's conventions."""

import os
import pickle
import signal
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator

import skelbo
from skelbo import ELBOMonitor, EMHiddenMarkovModel
from tests.likelihoods.test_new_likelihood import Geometric
from tests.test_estimators import EXTRA_CHECKS

DATA = Path(__file__).parents[1] / "examples" / "data"

# Rows of a sequence are not exchangeable.
EXPECTED_FAILURES = {
    "check_methods_subset_invariance": "a row's posterior depends on the rows beside it",
    "check_methods_sample_order_invariance": "rows of a sequence are not exchangeable",
    "check_sample_weight_equivalence_on_dense_data": "weights differ within the one sequence",
    "check_sample_weights_not_overwritten": "weights differ within the one sequence",
}
N_CHECKS = 53


@pytest.fixture(scope="module")
def earthquakes():
    """Earthquakes of magnitude 7 and more, 1900 to 2006: Zucchini and MacDonald, table 1.1."""
    return np.loadtxt(DATA / "earthquakes.csv", delimiter=",", skiprows=1)[:, 1:]


def sequences_of(lengths, p=2, seed=0):
    """Return sequences of two states, some cells missing, and the ids of their rows."""
    rng = np.random.default_rng(seed)
    tables = []
    for length in lengths:
        states = np.cumsum(rng.random(length) < 0.15) % 2
        X = 3.0 * states[:, None] + rng.standard_normal((length, p))
        X[rng.random(X.shape) < 0.05] = np.nan
        tables.append(X)
    return skelbo.sequences(tables)


# ------------------------------------------------------------------------ published numbers


# States -> -log L, rates, transitions, AIC, BIC: Zucchini, MacDonald and Langrock (2016), tables
# 3.1 and 6.1, with more digits by an independent implementation in logarithms.
PUBLISHED = {
    2: (341.8787010117, [15.4207619, 26.0182357],
        [[0.92837394, 0.07162606], [0.11903439, 0.88096561]], 693.757402, 707.121546),
    3: (328.5274833802, [13.1337617, 19.7131641, 29.7097233],
        [[0.93929388, 0.03209847, 0.02860765], [0.04040172, 0.90643612, 0.05316216],
         [0.0, 0.19025585, 0.80974415]], 679.054967, 708.456084),
}  # fmt: skip


@pytest.mark.parametrize("K", PUBLISHED)
def test_earthquakes(earthquakes, K):
    minus_log_prob, rates, transmat, aic, bic = PUBLISHED[K]
    model = EMHiddenMarkovModel(K, likelihood="poisson", random_state=0).fit(earthquakes)
    assert model.converged_
    assert -107 * model.lower_bound_ == pytest.approx(minus_log_prob, abs=1e-7)
    assert -107 * model.score(earthquakes) == pytest.approx(minus_log_prob, abs=1e-7)
    assert_allclose(model.rates_.ravel(), rates, atol=1e-4)
    assert_allclose(model.transmat_, transmat, atol=1e-5)
    assert_allclose(model.startprob_, np.eye(K)[0], atol=1e-10)
    assert model.aic(earthquakes) == pytest.approx(aic, abs=1e-6)
    assert model.bic(earthquakes) == pytest.approx(bic, abs=1e-6)


def test_one_state_is_one_poisson(earthquakes):
    model = EMHiddenMarkovModel(1, likelihood="poisson").fit(earthquakes)
    assert -107 * model.lower_bound_ == pytest.approx(391.91892817, abs=1e-7)
    assert model.rates_[0, 0] == pytest.approx(earthquakes.mean())


# Rates -> -log L at iterations 0, 1, 2 and 30: Zucchini, MacDonald and Langrock (2016), table 4.1
# and 4.2, with more digits by an independent implementation in logarithms.
TRACES = {
    (10, 30): (413.27542, 343.76023, 343.13618, 341.87871),
    (10, 20, 30): (342.90781, 332.12143, 330.63689, 328.52748),
}


@pytest.mark.parametrize("rates", TRACES)
def test_traces_of_em(earthquakes, rates):
    K = len(rates)
    given = {
        "rates_init": rates,
        "startprob_init": np.full(K, 1 / K),
        "transmat_init": np.where(np.eye(K) == 1, 1 - 0.1 * (K - 1), 0.1),
    }
    model = EMHiddenMarkovModel(K, likelihood="poisson", acceleration=None, tol=0.0, **given)
    start = clone(model).set_params(max_iter=0).fit(earthquakes)
    assert -107 * start.lower_bound_ == pytest.approx(TRACES[rates][0], abs=6e-6)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model.set_params(max_iter=30).fit(earthquakes)
    found = -107 * np.array(model.lower_bounds_)[[0, 1, 29]]
    assert_allclose(found, TRACES[rates][1:], atol=6e-6)


def umbrella(**options):
    """Return the umbrella world of Russell and Norvig, *Artificial Intelligence*, section 14.2."""
    return EMHiddenMarkovModel(
        2, likelihood="bernoulli", max_iter=0, startprob_init=[0.5, 0.5],
        transmat_init=[[0.7, 0.3], [0.3, 0.7]], probabilities_init=[0.9, 0.2], **options
    )  # fmt: skip


def test_a_model_of_which_everything_is_given_is_scored():
    X = np.array([[1.0], [1.0], [0.0], [1.0], [1.0]])
    model = umbrella().fit(X)
    assert model.n_iter_ == 0 and not model.converged_
    assert model.score_samples(X).sum() == pytest.approx(-3.372502044, abs=1e-9)
    assert_allclose(
        model.predict_proba(X)[:, 0], [0.8673, 0.8204, 0.3075, 0.8204, 0.8673], atol=5e-5
    )
    assert_array_equal(model.predict(X), [0, 0, 1, 0, 0])
    # Filtering is smoothing at the last row: 0.818 and 0.883 (section 14.2.1).
    filtered = [model.predict_proba(X[:t])[-1, 0] for t in (1, 2)]
    assert_allclose(filtered, [0.818, 0.883], atol=5e-4)
    assert_allclose(model.forecast(X[:1], 1).state_proba[0, 0], [0.627, 0.373], atol=5e-4)


# ------------------------------------------------------------------------- laws of sequences


@pytest.fixture(scope="module")
def fitted():
    X, groups = sequences_of([40, 1, 25, 30])
    return X, groups, EMHiddenMarkovModel(2, random_state=0).fit(X, groups=groups)


def test_transitions_are_counted_within_sequences_alone(fitted):
    """T minus the number of runs; joined sequences would give another likelihood."""
    X, groups, model = fitted
    assert model.score(X, groups=groups) == pytest.approx(model.lower_bound_, rel=1e-12)
    assert model.score(X) != pytest.approx(model.lower_bound_, abs=1e-3)
    parts = [X[groups == g] for g in range(4)]
    each = np.concatenate([model.score_samples(part) for part in parts])
    assert_allclose(model.score_samples(X, groups=groups), each, rtol=1e-12)
    states = np.concatenate([model.predict(part) for part in parts])
    assert_array_equal(model.predict(X, groups=groups), states)
    resp = np.concatenate([model.predict_proba(part) for part in parts])
    assert_allclose(model.transform(X, groups), resp, atol=1e-12)


def test_a_score_is_the_step_from_one_prefix_to_the_next(fitted):
    X, groups, model = fitted
    part = X[groups == 2]
    totals = [model.score_samples(part[:t]).sum() for t in range(1, len(part) + 1)]
    assert_allclose(np.diff(totals, prepend=0.0), model.score_samples(part), atol=1e-11)


def test_order_of_sequences_changes_nothing_and_order_of_rows_does(fitted):
    X, groups, model = fitted
    order = np.concatenate([np.flatnonzero(groups == g) for g in (3, 0, 2, 1)])
    other = clone(model).fit(X[order], groups=groups[order])
    assert other.lower_bound_ == pytest.approx(model.lower_bound_, abs=1e-10)
    assert_allclose(other.means_, model.means_, atol=1e-5)
    shuffled = np.random.default_rng(0).permutation(40)
    assert abs(model.score(X[:40]) - model.score(X[shuffled])) > 0.05


@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
def test_weights_are_repetitions_of_sequences(likelihood):
    X, groups = sequences_of([30, 20, 25], 1, seed=1)
    if likelihood == "poisson":
        X = np.floor(np.abs(X) * 2)
    weights = np.array([2.0, 0.0, 3.0])[groups]
    parts = [X[groups == g] for g in (0, 0, 2, 2, 2)]
    copies, copied_groups = skelbo.sequences(parts)
    model = EMHiddenMarkovModel(2, likelihood=likelihood, random_state=0)
    one = clone(model).fit(X, sample_weight=weights, groups=groups)
    other = clone(model).fit(copies, groups=copied_groups)
    assert one.lower_bound_ == pytest.approx(other.lower_bound_, abs=1e-10)
    assert_allclose(one.means_, other.means_, rtol=1e-8)
    assert_allclose(one.transmat_, other.transmat_, rtol=1e-7)
    for name in ("score", "aic", "bic", "icl"):
        value = getattr(one, name)(X, sample_weight=weights, groups=groups)
        assert value == pytest.approx(getattr(one, name)(copies, groups=copied_groups), rel=1e-10)


@pytest.mark.parametrize(
    "kind", ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"]
)
def test_weights_are_repetitions_for_every_covariance(kind):
    """Covariances that states share are sums over rows, each of the weight of its sequence."""
    X, groups = sequences_of([12, 9, 10], 2, seed=1)
    X = np.nan_to_num(X)
    weights = np.array([2.0, 1.0, 3.0])[groups]
    copies, copied_groups = skelbo.sequences([X[groups == g] for g in (0, 0, 1, 2, 2, 2)])
    model = EMHiddenMarkovModel(2, covariance_type=kind, random_state=0)
    one = clone(model).fit(X, sample_weight=weights, groups=groups)
    other = clone(model).fit(copies, groups=copied_groups)
    assert one.lower_bound_ == pytest.approx(other.lower_bound_, abs=1e-10)
    assert_allclose(one.covariances_, other.covariances_, rtol=1e-7)
    assert np.diff(one.lower_bounds_).min() > -1e-12


def test_equal_rows_of_transitions_are_a_mixture():
    X = sequences_of([60], seed=2)[0]
    given = {"startprob_init": [0.4, 0.6], "transmat_init": [[0.4, 0.6]] * 2, "max_iter": 0}
    model = EMHiddenMarkovModel(2, random_state=0, **given).fit(X)
    mixture = skelbo.EMGaussianMixture(2)
    mixture.weights_, mixture.means_ = np.array([0.4, 0.6]), model.means_
    mixture.covariances_, mixture.precisions_ = model.covariances_, model.precisions_
    mixture.precisions_cholesky_, mixture.n_features_in_ = model.precisions_cholesky_, 2
    assert_allclose(model.score_samples(X), mixture.score_samples(X), rtol=1e-12)
    assert_allclose(model.predict_proba(X), mixture.predict_proba(X), atol=1e-12)
    assert_array_equal(model.predict(X), mixture.predict(X))


def test_sequences_of_one_row_are_a_mixture():
    X = sequences_of([150], seed=3)[0]
    model = EMHiddenMarkovModel(2, random_state=0).fit(X, groups=np.arange(150))
    mixture = skelbo.EMGaussianMixture(2, random_state=0).fit(X)
    assert model.lower_bound_ == pytest.approx(mixture.lower_bound_, abs=1e-7)
    order = mixture.means_[:, 0].argsort()
    assert_allclose(model.startprob_, mixture.weights_[order], atol=1e-3)
    assert np.isfinite(model.transmat_).all()
    assert_allclose(model.transmat_.sum(axis=1), 1.0)


def test_terms_of_the_bound_sum_to_the_density_of_each_sequence(fitted):
    """Eq. 3 and 4 of Ding (2020), by sequence; a row's bound may be above its score."""
    X, groups, model = fitted
    terms, scores = model.elbo_terms(X, groups), model.score_samples(X, groups=groups)
    for g in range(4):
        rows = groups == g
        total = scores[rows].sum()
        assert terms.elbo[rows].sum() == pytest.approx(total, abs=1e-9)
        assert (terms.reconstruction - terms.kl)[rows].sum() == pytest.approx(total, abs=1e-9)
        assert model.gap(X, groups)[rows].sum() == pytest.approx(0.0, abs=1e-9)
        assert terms.kl[rows].sum() > -1e-12 and terms.entropy[rows].sum() > -1e-12
    assert_allclose(model.elbo(X, groups), terms.elbo)


def test_states_are_in_the_order_of_the_first_column():
    X, groups = sequences_of([60, 60], seed=4)
    for seed in range(3):
        model = EMHiddenMarkovModel(2, init_params="random_from_data", random_state=seed)
        means = model.fit(X, groups=groups).means_
        assert means[0, 0] < means[1, 0]
    codes = (np.nan_to_num(X[:, :1]) > 1.5) + 0.0
    model = EMHiddenMarkovModel(2, likelihood="categorical", random_state=0).fit(codes)
    assert model.category_probabilities_[0][0, 1] < model.category_probabilities_[0][1, 1]


def test_states_keep_the_order_of_given_transitions():
    X = sequences_of([60], seed=5)[0]
    zeros = np.array([[0.9, 0.1, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.0]])
    model = EMHiddenMarkovModel(
        3, transmat_init=zeros, startprob_init=[1.0, 0.0, 0.0], means_init=[[3, 3], [0, 0], [3, 3]],
        covariance_type="tied", random_state=0,
    ).fit(X)  # fmt: skip
    assert_array_equal(model.transmat_[zeros == 0], 0.0)
    assert_array_equal(model.startprob_[1:], 0.0)
    assert np.all(np.diff(model.predict(X)) >= 0)
    # Of 2 first states and 6 transitions, 2 + 4 are zeros; 6 means and 3 covariances are shared.
    assert model.n_parameters_ == 8 - 2 - 4 + 6 + 3


def test_offsets_and_units_change_nothing_but_the_density():
    X, groups = sequences_of([50, 50], seed=6)
    model = EMHiddenMarkovModel(2, random_state=0)
    one = clone(model).fit(X, groups=groups)
    far = clone(model).fit(X + 1e8, groups=groups)
    assert_allclose(far.predict_proba(X + 1e8, groups), one.predict_proba(X, groups), atol=1e-5)
    scaled = clone(model).fit(X * [1000.0, 1.0], groups=groups)
    observed = ~np.isnan(X[:, 0])
    change = scaled.score_samples(X * [1000.0, 1.0], groups=groups)
    expected = one.score_samples(X, groups=groups) - np.log(1000.0) * observed
    assert_allclose(change, expected, atol=1e-5)


# ----------------------------------------------------------------------- far and narrow states


def test_bound_is_the_score_where_states_are_far_from_each_other():
    """Three quarters of the rows are in one state: the centre of the states is not theirs."""
    rows, states = np.random.default_rng(0).normal(size=(200, 1)), np.repeat([0, 0, 0, 1], 50)
    X, groups = 1e-3 * rows + 1e10 * states[:, None], np.repeat(np.arange(4), 50)
    model = EMHiddenMarkovModel(reg_covar=1e-6).fit(X, groups=groups)
    assert model.lower_bound_ == pytest.approx(model.score(X, groups=groups), rel=1e-12)


def test_state_within_the_rounding_of_its_column_is_refused():
    X = np.array([[1e14], [4.2e5]])
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        EMHiddenMarkovModel(reg_covar=1e-6).fit(X, groups=[1, 2])
    model = EMHiddenMarkovModel(reg_covar=1e6).fit(X, groups=[1, 2])
    assert model.lower_bound_ == pytest.approx(model.score(X, groups=[1, 2]), rel=1e-12)


# ------------------------------------------------------------------------------ missing cells


def test_missing_time_points_are_integrated_out():
    """Against the sum over all completions of yes/no rows."""
    X = np.array([[1.0], [np.nan], [0.0], [np.nan]])
    model = umbrella().fit([[1.0], [0.0]])
    filled = []
    for values in product([0.0, 1.0], repeat=2):
        complete = X.copy()
        complete[np.isnan(X)] = values
        filled.append(model.score_samples(complete).sum())
    assert model.score_samples(X).sum() == pytest.approx(np.logaddexp.reduce(filled), rel=1e-13)
    assert model.score_samples(X)[1] == pytest.approx(0.0, abs=1e-15)
    # Between the rows the posterior is that of the chain.
    assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


def test_imputation_uses_the_rows_before_and_after():
    X = sequences_of([80], seed=7)[0]
    model = EMHiddenMarkovModel(2, random_state=0).fit(X)
    gap = X.copy()
    gap[40] = np.nan
    full = model.impute(gap)
    assert not np.isnan(full).any()
    assert_array_equal(full[~np.isnan(gap)], gap[~np.isnan(gap)])
    assert_allclose(full[40], model.predict_proba(gap)[40] @ model.means_)
    draws = model.impute(gap, n_draws=4000, random_state=0)
    assert draws.shape == (4000, *X.shape)
    error = draws[:, 40].std(axis=0) / np.sqrt(4000)
    assert np.all(np.abs(draws[:, 40].mean(axis=0) - full[40]) < 5 * error)


def test_codes_are_imputed_by_the_most_probable_one():
    rng = np.random.default_rng(8)
    states = np.repeat([0, 1, 0], 20)
    X = np.stack([rng.binomial(1, 0.1 + 0.8 * states), 2.0 * states], axis=1)
    X[[5, 30]] = np.nan
    model = EMHiddenMarkovModel(2, likelihood=["bernoulli", "categorical"], random_state=0).fit(X)
    full = model.impute(X)
    assert_array_equal(full[[5, 30], 1], [0.0, 2.0])


# ----------------------------------------------------------------------------- new sequences


def test_forecast_is_the_mixture_of_states_ahead(fitted):
    X, groups, model = fitted
    forecast = model.forecast(X, 3, groups)
    assert forecast.mean.shape == forecast.std.shape == (4, 3, 2)
    resp = model.predict_proba(X, groups)
    ends = [np.flatnonzero(groups == g)[-1] for g in range(4)]
    for step in range(3):
        proba = resp[ends] @ np.linalg.matrix_power(model.transmat_, step + 1)
        assert_allclose(forecast.state_proba[:, step], proba, atol=1e-12)
        mean = proba @ model.means_
        assert_allclose(forecast.mean[:, step], mean, rtol=1e-12)
        square = proba @ (model.means_**2 + np.einsum("kpp->kp", model.covariances_))
        assert_allclose(forecast.std[:, step], np.sqrt(square - mean**2), rtol=1e-9)


def test_forecast_far_ahead_is_the_stationary_law(earthquakes):
    model = EMHiddenMarkovModel(2, likelihood="poisson", random_state=0).fit(earthquakes)
    far = model.forecast(earthquakes, 500)
    a, b = model.transmat_[0, 1], model.transmat_[1, 0]
    assert_allclose(far.state_proba[0, -1], [b / (a + b), a / (a + b)], rtol=1e-10)
    rates = model.rates_.ravel()
    mean = far.state_proba[0, -1] @ rates
    assert far.mean[0, -1, 0] == pytest.approx(mean)
    variance = mean + far.state_proba[0, -1] @ rates**2 - mean**2
    assert far.std[0, -1, 0] == pytest.approx(np.sqrt(variance))


def test_draws_have_the_law_of_the_model():
    X, groups = sequences_of([60, 60], seed=9)
    model = EMHiddenMarkovModel(2, random_state=0).fit(X, groups=groups)
    rows, states = model.sample(20000, random_state=0, groups=np.repeat(np.arange(2000), 10))
    assert rows.shape == (20000, 2)
    starts = states.reshape(2000, 10)
    tests = [stats.chisquare(np.bincount(starts[:, 0], minlength=2), 2000 * model.startprob_)]
    for k in range(2):
        after = starts[:, 1:][starts[:, :-1] == k]
        expected = len(after) * model.transmat_[k]
        tests.append(stats.chisquare(np.bincount(after, minlength=2), expected))
    assert min(test.pvalue for test in tests if np.isfinite(test.pvalue)) > 1e-3
    assert_allclose(rows[states == 1].mean(axis=0), model.means_[1], atol=0.1)
    one, other = model.sample(5), model.sample(5)
    assert not np.array_equal(one[0], other[0])


# ------------------------------------------------------------------------ groups everywhere


def frame_of(X, groups):
    frame = pd.DataFrame(X, columns=["x", "y"])
    frame.insert(1, "id", [f"sequence {g}" for g in groups])
    return frame


def test_a_column_of_ids_is_groups():
    X, groups = sequences_of([20, 30, 25], seed=10)
    one = EMHiddenMarkovModel(2, random_state=0).fit(X, groups=groups)
    frame = frame_of(X, groups)
    by_name = EMHiddenMarkovModel(2, group_column="id", random_state=0).fit(frame)
    by_place = EMHiddenMarkovModel(2, group_column=1, random_state=0)
    by_place.fit(np.column_stack([X[:, 0], groups, X[:, 1]]))
    for model, table in (
        (by_name, frame),
        (by_name, frame.copy()),
        (by_place, np.column_stack([X[:, 0], groups, X[:, 1]])),
    ):
        assert model.n_features_in_ == 2
        assert_array_equal(model.means_, one.means_)
        assert_array_equal(model.predict(table), one.predict(X, groups))
        assert model.score(table) == one.score(X, groups=groups)
        assert_array_equal(model.impute(table), one.impute(X, groups=groups))
        assert model.forecast(table, 2).mean.shape == (3, 2, 2)
    assert list(by_name.feature_names_in_) == ["x", "y"]
    polars = EMHiddenMarkovModel(2, group_column="id", random_state=0).fit(pl.from_pandas(frame))
    assert polars.score(pl.from_pandas(frame)) == one.score(X, groups=groups)
    names = clone(by_name).set_output(transform="pandas").fit(frame)
    assert list(names.transform(frame).columns) == [f"emhiddenmarkovmodel{k}" for k in range(2)]
    assert list(names.impute(frame).columns) == ["x", "y"]


def test_cross_validation_with_a_column_of_ids_is_the_loop_by_hand():
    X, groups = sequences_of([20] * 6, seed=11)
    X = np.nan_to_num(X)
    frame, cv = frame_of(X, groups), GroupKFold(3)
    model = EMHiddenMarkovModel(2, group_column="id", random_state=0)
    scores = cross_val_score(model, frame, groups=groups, cv=cv)
    plain = EMHiddenMarkovModel(2, random_state=0)
    expected = [
        clone(plain).fit(X[a], groups=groups[a]).score(X[b], groups=groups[b])
        for a, b in cv.split(X, groups=groups)
    ]
    assert_allclose(scores, expected, rtol=1e-12)
    search = GridSearchCV(model, {"covariance_type": ["full", "diag"]}, cv=cv)
    search.fit(frame, groups=groups)
    by_hand = [
        np.mean(cross_val_score(clone(model).set_params(covariance_type=kind), frame,
                                groups=groups, cv=cv))
        for kind in ("full", "diag")
    ]  # fmt: skip
    assert_allclose(search.cv_results_["mean_test_score"], by_hand, rtol=1e-12)
    assert search.best_estimator_.score(frame) == pytest.approx(
        clone(model).set_params(**search.best_params_).fit(frame).lower_bound_, rel=1e-10
    )


def test_a_comparison_holds_out_whole_sequences():
    X, groups = sequences_of([20] * 6, 1, seed=19)
    options = {"cv": 3, "groups": groups, "progress": False}
    by_groups = skelbo.compare([EMHiddenMarkovModel(2, random_state=0)], X, **options)
    table = np.column_stack([X, groups])
    by_column = EMHiddenMarkovModel(2, group_column=1, random_state=0)
    by_column = skelbo.compare([by_column], table, **options)
    for name in ("log_prob", "se", "elbo"):
        value = by_column.to_frame()[name]
        assert_allclose(value, by_groups.to_frame()[name], rtol=1e-10)


def test_groups_are_routed_where_routing_is_enabled():
    X, groups = sequences_of([20] * 6, seed=12)
    X = np.nan_to_num(X)
    plain, cv = EMHiddenMarkovModel(2, random_state=0), GroupKFold(3)
    expected = [
        clone(plain).fit(X[a], groups=groups[a]).score(X[b], groups=groups[b])
        for a, b in cv.split(X, groups=groups)
    ]
    with sklearn.config_context(enable_metadata_routing=True):
        model = clone(plain).set_fit_request(groups=True).set_score_request(groups=True)
        result = cross_validate(model, X, params={"groups": groups}, cv=cv)
        assert_allclose(result["test_score"], expected, rtol=1e-12)
        pipeline = make_pipeline(StandardScaler(), model.set_predict_request(groups=True))
        states = pipeline.fit(X, groups=groups).predict(X, groups=groups)
    assert states.shape == (120,)


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "X", "arguments", "message"),
    [
        ({}, [np.ones((3, 1)), np.ones((2, 1))], {}, r"X is a list of 2 sequences.*sequences\("),
        ({}, np.ones((2, 3, 1)), {}, "X is a list of 2 sequences"),
        ({}, np.ones((4, 1)), {"groups": [0, 0, 1]}, r"groups has shape \(3,\), expected \(4,\)"),
        ({}, np.ones((4, 1)), {"groups": list("abba")}, "id 'a' of rows 0 to 0 returns in row 3"),
        ({}, np.ones((4, 1)), {"groups": ["a", None, "b", "c"]}, "groups has no id in row 1"),
        ({"group_column": 0}, np.ones((4, 2)), {"groups": [0] * 4}, "groups is given beside"),
        ({"group_column": "id"}, np.ones((4, 2)), {}, "X has no column names"),
        ({"group_column": 5}, np.ones((4, 2)), {}, "group_column=5 is not the position"),
        ({"group_column": 0}, np.ones((4, 1)), {}, "no column besides group_column=0"),
        ({"group_column": True}, np.ones((4, 2)), {}, "'group_column' parameter .* is True"),
        ({}, np.ones((4, 1)), {"sample_weight": [1, 1, 2, 1]}, "sample_weight is 2 in row 2"),
        ({}, np.ones((4, 1)), {"sample_weight": [0] * 4}, "sample_weight is zero for all rows"),
        ({"n_components": 5}, np.ones((4, 1)), {}, "Expected n_samples >= n_components"),
        ({"likelihood": "poisson"}, [[1], [2], [-1]], {}, "column 0 of X has the value -1"),
        ({"likelihood": "poisson"}, [[1], [2], [0.5]], {}, "column 0 of X has the value 0.5"),
        ({"likelihood": ["poisson"]}, np.ones((4, 2)), {}, "for each of the 2 columns"),
        ({"startprob_init": [0.5]}, np.ones((4, 1)), {}, r"startprob_init has shape \(1,\)"),
        ({"startprob_init": [0.5, 0.6]}, np.ones((4, 1)), {}, "startprob_init has .* sum of 1.1"),
        ({"startprob_init": [1.5, -0.5]}, np.ones((4, 1)), {}, "smallest entry of -0.5"),
        ({"transmat_init": [[1, 0]]}, np.ones((4, 1)), {}, r"transmat_init has shape \(1, 2\)"),
        ({"transmat_init": [[1, 0], [0, 2]]}, np.ones((4, 1)), {}, "transmat_init .* sum of 2"),
        ({"transmat_init": [[1, 0], [0, np.nan]]}, np.ones((4, 1)), {}, "NaN or infinity"),
        ({"means_init": [1.0, 2.0]}, np.ones((4, 1)), {}, r"means_init has shape \(2,\)"),
        ({"precisions_init": [1.0]}, np.ones((4, 1)), {}, r"precisions_init has shape \(1,\)"),
        ({"precisions_init": [[1.0], [1.0, 2.0]]}, np.ones((4, 1)), {}, "precisions_init is no"),
        ({"precisions_init": -np.ones((2, 1, 1))}, np.ones((4, 1)), {}, "precisions_init"),
        ({"rates_init": [1, 2]}, np.ones((4, 1)), {}, "rates_init is given, but no column"),
        ({"rates_init": [1, -2], "likelihood": "poisson"}, np.ones((4, 1)), {}, "the rate -2"),
        ({"probabilities_init": [1, 0]}, np.ones((4, 1)), {}, "probabilities_init is given, but"),
        ({"probabilities_init": [1.5, 0], "likelihood": "bernoulli"}, np.ones((4, 1)), {},
         "expected numbers from 0 to 1"),
        ({"probabilities_init": [[[1, 0], [1, 0]]], "likelihood": "categorical"},
         [[0], [1], [2]], {}, "one entry for each of the 2 states and 3 codes"),
        ({"n_components": 0}, np.ones((4, 1)), {}, "'n_components' parameter"),
        ({}, np.array([[1.0], [np.inf]]), {}, "infinity"),
    ],
)  # fmt: skip
def test_bad_input_is_named(options, X, arguments, message):
    with pytest.raises(ValueError, match=message):
        EMHiddenMarkovModel(**options).fit(X, **arguments)


def test_a_start_that_makes_the_rows_impossible_is_an_error():
    model = umbrella().set_params(probabilities_init=[1.0, 1.0])
    with pytest.raises(ValueError, match="X has probability zero under the parameters given"):
        model.fit([[1.0], [0.0]])


def test_bad_input_after_the_fit_is_named(fitted):
    X, groups, model = fitted
    with pytest.raises(ValueError, match="X is a list of 2 sequences"):
        model.predict([X, X])
    with pytest.raises(ValueError, match="id 0 of rows 0 to 39 returns"):
        model.score(X, groups=np.where(groups == 2, 0, groups))
    with pytest.raises(ValueError, match="'steps': 0, expected an integer of at least 1"):
        model.forecast(X, 0)
    with pytest.raises(ValueError, match="'n_draws': 0"):
        model.impute(X, n_draws=0)
    with pytest.raises(ValueError, match="'n_samples': 0"):
        model.sample(0)
    with pytest.raises(ValueError, match=r"groups has shape \(2,\), expected \(3,\)"):
        model.sample(3, groups=[0, 1])
    changed = clone(model).fit(X, groups=groups).set_params(n_components=3)
    with pytest.raises(ValueError, match="n_components=3 is not that of the fit"):
        changed.predict(X)
    edited = clone(model).fit(X, groups=groups)
    edited.transmat_ = np.ones((2, 2))
    with pytest.raises(ValueError, match="transmat_ has"):
        edited.predict(X)
    with pytest.raises(NotFittedError):
        EMHiddenMarkovModel().forecast(X, 1)


def test_dask_is_refused():
    da = pytest.importorskip("dask.array")
    with pytest.raises(ValueError, match=r"X is a Dask collection.*X\.compute\(\)"):
        EMHiddenMarkovModel().fit(da.zeros((10, 2)))


def test_impossible_and_far_rows_have_scores_and_posteriors():
    """A row 1e6 standard deviations away, with a zero among the transitions; a row of -inf."""
    X = sequences_of([60], 1, seed=13)[0]
    zeros = {"transmat_init": [[0.9, 0.1], [0.0, 1.0]], "startprob_init": [1.0, 0.0]}
    model = EMHiddenMarkovModel(2, random_state=1, **zeros).fit(X)
    far = np.array([[3.0], [1e6], [-1e6], [0.0]])
    assert np.isfinite(model.score_samples(far)).all()
    assert np.isfinite(model.predict_proba(far)).all()


def test_a_row_of_probability_zero_scores_minus_infinity_and_counts_as_missing():
    """Of two sequences, one with a code that no state has: every answer about the others."""
    options = {"probabilities_init": [1.0, 0.5], "transmat_init": [[0.9, 0.1], [0.0, 1.0]]}
    model = umbrella().set_params(**options, max_iter=0).fit([[1.0], [1.0], [0.0], [1.0]])
    model.probabilities_ = np.array([[1.0], [1.0]])
    X, gone = np.array([[1.0], [0.0], [1.0], [1.0]]), np.array([[1.0], [np.nan], [1.0], [1.0]])
    steps = model.score_samples(X, groups=[0, 0, 0, 1])
    assert_array_equal(np.isneginf(steps), [False, True, False, False])
    assert_array_equal(steps[[0, 2, 3]], model.score_samples(gone, groups=[0, 0, 0, 1])[[0, 2, 3]])
    for method in ("predict_proba", "transform", "predict"):
        assert_array_equal(getattr(model, method)(X), getattr(model, method)(gone))
    for ahead, other in zip(model.forecast(X, 2), model.forecast(gone, 2), strict=True):
        assert_array_equal(ahead, other)
    cell = np.vstack([X, [[np.nan]]])
    assert_array_equal(model.impute(cell), [*X, [1.0]])
    assert_array_equal(model.impute(cell, n_draws=2, random_state=0)[:, -1, 0], [1.0, 1.0])
    assert_allclose(model.gap(X), 0.0, atol=1e-15)
    assert model.elbo(X)[1] == model.score(X) == -np.inf
    assert np.isfinite(np.delete(model.elbo(X), 1)).all()
    assert model.bic(X) == model.aic(X) == model.icl(X) == np.inf
    assert np.isfinite(model.score(X, sample_weight=[0, 0, 0, 1], groups=[0, 0, 0, 1]))


# ------------------------------------------------------------------- scikit-learn's conventions


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_check_estimator_with_declared_failures():
    results = check_estimator(
        EMHiddenMarkovModel(2, random_state=0),
        on_fail=None, on_skip=None, expected_failed_checks=EXPECTED_FAILURES,
    )  # fmt: skip
    statuses = {result["check_name"]: result["status"] for result in results}
    assert [name for name, status in statuses.items() if status == "failed"] == []
    assert {n for n, s in statuses.items() if s == "xfail"} <= set(EXPECTED_FAILURES)
    assert {n for n, s in statuses.items() if s == "skipped"} <= {"check_array_api_input"}
    assert len(results) == N_CHECKS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize("check", EXTRA_CHECKS)
def test_extra_checks(check):
    model = EMHiddenMarkovModel(2, random_state=0)
    getattr(estimator_checks, check)("EMHiddenMarkovModel", model)


def test_float32_in_float32_out():
    X, groups = sequences_of([40, 40], seed=14)
    X = X.astype(np.float32)
    model = EMHiddenMarkovModel(2, random_state=0).fit(X, groups=groups)
    outputs = [
        model.transform(X, groups),
        model.score_samples(X, groups=groups),
        model.elbo(X, groups),
        model.impute(X, groups=groups),
        model.sample(3)[0],
        *model.forecast(X, 2, groups),
        model.inverse_transform(model.transform(X, groups)),
    ]
    assert {output.dtype for output in outputs} == {np.dtype(np.float32)}
    assert model.score(X, groups=groups) == pytest.approx(model.lower_bound_, abs=1e-7)
    double = clone(model).fit(X.astype(np.float64), groups=groups)
    assert model.lower_bound_ == pytest.approx(double.lower_bound_, abs=1e-5)


def test_warm_start_goes_on():
    X, groups = sequences_of([60, 60], seed=15)
    model = EMHiddenMarkovModel(2, random_state=0, warm_start=True, max_iter=3)
    with pytest.warns(ConvergenceWarning):
        first = model.fit(X, groups=groups).lower_bound_
    model.set_params(max_iter=500).fit(X, groups=groups)
    assert model.converged_ and model.lower_bound_ > first
    whole = EMHiddenMarkovModel(2, random_state=0).fit(X, groups=groups)
    assert model.lower_bound_ == pytest.approx(whole.lower_bound_, abs=1e-6)
    assert model.fit(X, groups=groups).n_iter_ <= 3
    with pytest.raises(ValueError, match="X with 1 features does not fit"):
        model.fit(X[:, :1], groups=groups)


def test_starts_and_callbacks():
    X, groups = sequences_of([50, 50], seed=16)
    monitor = ELBOMonitor()
    model = EMHiddenMarkovModel(2, n_init=3, random_state=0).set_callbacks(monitor)
    model.fit(X, groups=groups)
    ends = [curve[-1] for curve in monitor.curves().values()]
    assert len(ends) == 3 and model.lower_bound_ == pytest.approx(max(ends), abs=1e-12)
    for curve in monitor.curves().values():
        assert np.diff(curve).min() >= -1e-10 * abs(curve[0])


def test_an_interrupted_fit_keeps_the_best_so_far():
    class Interrupts(ELBOMonitor):
        def on_fit_task_end(self, estimator, context, *, metadata=None):
            if metadata and metadata.get("n_iter") == 2:
                os.kill(os.getpid(), signal.SIGINT)

    X, groups = sequences_of([60, 60], seed=17)
    model = EMHiddenMarkovModel(2, tol=0.0, random_state=0).set_callbacks(Interrupts())
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.fit(X, groups=groups)
    assert model.n_iter_ <= 3 and model.score(X, groups=groups) == pytest.approx(model.lower_bound_)


def test_a_refused_fit_leaves_everything_as_it_was(fitted):
    X, groups, model = fitted
    copy = pickle.loads(pickle.dumps(model))
    with pytest.raises(ValueError, match="returns"):
        copy.fit(X, groups=np.where(groups == 2, 0, groups))
    assert_array_equal(copy.predict(X, groups), model.predict(X, groups))
    assert vars(copy).keys() == vars(model).keys()


def test_a_fit_is_the_same_each_time_and_writes_to_nothing():
    X, groups = sequences_of([40, 30], seed=18)
    before = X.copy()
    models = [EMHiddenMarkovModel(3, n_init=2, random_state=3) for _ in range(2)]
    state = np.random.get_state()[1].copy()
    one, other = (model.fit(X, groups=groups) for model in models)
    assert_array_equal(one.means_, other.means_)
    assert_array_equal(np.random.get_state()[1], state)
    assert_array_equal(X, before)


def test_a_likelihood_of_ones_own():
    X = np.random.default_rng(20).geometric(np.repeat([0.8, 0.1, 0.8], 40))[:, None] - 1.0
    model = EMHiddenMarkovModel(2, likelihood=Geometric(), random_state=0).fit(X)
    assert model.converged_ and np.all(np.diff(model.lower_bounds_) > -1e-12)
    assert np.mean(model.predict(X) == np.repeat([0, 1, 0], 40)) > 0.8
    forecast = model.forecast(X, 2)
    assert np.isfinite(forecast.mean).all() and np.isnan(forecast.std).all()
    assert model.sample(5, random_state=0)[0].shape == (5, 1)
