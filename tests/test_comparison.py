"""Comparison: held-out means, paired differences, both errors, failures, splitters, groups."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
    cross_val_score,
)

import skelbo
from skelbo import (
    EMGaussianMixture,
    EMHiddenMarkovModel,
    EMMixture,
    GaussianMLE,
    VAEEstimator,
    VariationalEM,
)

TIED = EMGaussianMixture(3, covariance_type="tied", random_state=0)
FULL = EMGaussianMixture(2, random_state=0)


def compare(estimators, X, **options):
    return skelbo.compare(estimators, X, progress=False, **options)


def test_means_and_errors_are_those_of_the_rows_held_out(faithful):
    folds = KFold(5, shuffle=True, random_state=0)
    found = compare([GaussianMLE(), TIED], faithful, cv=folds)
    assert found.results["estimator"] == ["GaussianMLE", "EMGaussianMixture"]
    assert found.best == "EMGaussianMixture"
    for place, estimator in enumerate((GaussianMLE(), TIED)):
        row = found.row_log_prob[place]
        for train, test in folds.split(faithful):
            fitted = estimator.fit(faithful[train])
            assert_allclose(row[test], fitted.score_samples(faithful[test]))
        assert found.results["log_prob"][place] == pytest.approx(row.mean())
        assert found.results["se"][place] == pytest.approx(row.std(ddof=1) / np.sqrt(272))
    step = found.row_log_prob[0] - found.row_log_prob[1]
    assert found.results["difference"] == [pytest.approx(step.mean()), 0.0]
    expected = [pytest.approx(step.std(ddof=1) / np.sqrt(272)), 0.0]
    assert found.results["difference_se"] == expected
    assert_allclose(found.results["elbo"], found.results["log_prob"])
    assert_allclose(found.results["gap"], 0.0, atol=1e-12)
    assert found.results["n_parameters"] == [5, 11]


def test_a_number_of_folds_is_shuffled_and_reproducible(faithful):
    one, two = (compare([TIED], faithful, cv=3) for _ in range(2))
    assert one.results["log_prob"] == two.results["log_prob"]
    other = compare([TIED], faithful, cv=3, random_state=1)
    assert one.results["log_prob"] != other.results["log_prob"]
    mean = cross_val_score(TIED, faithful, cv=KFold(3, shuffle=True, random_state=0))
    sizes = [91, 91, 90]
    assert one.results["log_prob"][0] == pytest.approx(np.average(mean, weights=sizes))


def test_any_splitter(faithful):
    repeated = compare([TIED], faithful, cv=RepeatedKFold(n_splits=3, n_repeats=2, random_state=0))
    assert np.isfinite(repeated.row_log_prob).all()
    part = compare([TIED, FULL], faithful, cv=ShuffleSplit(1, test_size=0.25, random_state=0))
    assert (~np.isnan(part.row_log_prob)).sum(axis=1).tolist() == [68, 68]
    assert np.isfinite(part.results["se"]).all()
    listed = compare([TIED], faithful, cv=[(np.arange(200), np.arange(200, 272))])
    assert "72 rows held out" in str(listed)


def test_groups_are_held_out_whole_and_errors_are_over_groups(faithful):
    groups = np.repeat(np.arange(34), 8)
    repeated = np.repeat(faithful[::8], 8, axis=0)  # eight equal rows in each group
    by_rows = compare([GaussianMLE()], repeated, cv=GroupKFold(4), groups=groups)
    alone = compare([GaussianMLE()], repeated, cv=list(GroupKFold(4).split(repeated, None, groups)))
    ratio = by_rows.results["se"][0] / alone.results["se"][0]
    assert ratio == pytest.approx(np.sqrt(8), rel=0.02)  # rows of a group are no evidence
    number = compare([GaussianMLE()], repeated, cv=4, groups=groups)
    assert np.isfinite(number.row_log_prob).all()


def test_groups_reach_estimators_that_take_them(iris):
    class Recorder(GaussianMLE):
        def fit(self, X, y=None, sample_weight=None, groups=None):
            assert len(groups) == len(X)
            seen.append(set(groups))
            return super().fit(X, y, sample_weight)

    seen = []
    found = compare({"a": Recorder(), "b": GaussianMLE()}, iris, groups=np.arange(150) // 15)
    assert len(seen) == 5 and all(len(part) == 8 for part in seen)
    assert found.results["log_prob"][0] == found.results["log_prob"][1]


@pytest.mark.parametrize(
    "splitter", [StratifiedKFold(2), StratifiedShuffleSplit(2)], ids=lambda s: type(s).__name__
)
def test_a_splitter_by_labels_is_refused_and_its_splits_are_not(splitter, iris):
    y = np.arange(150) // 50
    with pytest.raises(ValueError, match=r"cv=Strat.* splits by labels, .*list\(splitter.split"):
        compare([GaussianMLE()], iris, cv=splitter)
    found = compare([GaussianMLE()], iris, cv=list(splitter.split(iris, y)))
    assert np.isfinite(found.results["log_prob"]).all()


def test_sequences_are_not_shuffled(iris):
    chain = EMHiddenMarkovModel(2, random_state=0, max_iter=200, tol=1e-2)
    with pytest.raises(ValueError, match=r"fit 1 of 5: rows of EMHiddenMarkovModel form sequences"):
        compare([chain], iris)
    beside = compare([chain, GaussianMLE()], iris)
    assert "pass groups" in beside.results["error"][0] and beside.best == "GaussianMLE"
    ids = np.arange(150) // 15
    by_groups = compare([chain], iris, groups=ids)
    column = clone(chain).set_params(group_column=4)
    by_column = compare([column], np.column_stack([iris, ids]))
    assert by_column.results["log_prob"] == by_groups.results["log_prob"]
    assert by_column.results["se"] == by_groups.results["se"]
    one = compare([chain], iris, cv=TimeSeriesSplit(3))  # pieces of one sequence
    assert np.isfinite(one.results["log_prob"]).all()


@pytest.mark.slow
def test_both_errors():
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((150, 1)) + rng.standard_normal((150, 5)) > 0).astype(float)
    options = {"likelihood": "bernoulli", "early_stopping": False, "random_state": 0}
    vae = VAEEstimator(2, max_iter=5, hidden_layer_sizes=8, **options)
    found = compare({"factor": VariationalEM(1, model="bernoulli"), "vae": vae}, X, cv=2)
    assert all(error > 0 for error in found.results["mc_se"])
    assert all(gap > 0 for gap in found.results["gap"])
    assert found.results["mc_se"][0] < 1e-4 < found.results["mc_se"][1]


def test_a_failed_estimator_is_a_row_with_its_error(faithful):
    found = compare([FULL, EMGaussianMixture(250)], faithful)
    assert found.results["estimator"] == ["EMGaussianMixture 1", "EMGaussianMixture 2"]
    assert "fit 1 of 5: Expected n_samples >= n_components" in found.results["error"][1]
    assert np.isnan(found.results["log_prob"][1]) and found.best == "EMGaussianMixture 1"
    assert "n_components = 250" in str(found)
    assert "error" not in str(compare([FULL], faithful)).splitlines()[1]


def test_a_bound_that_fails_is_an_error_not_a_missing_bound(faithful):
    class Broken(GaussianMLE):
        def elbo(self, X):
            raise ValueError("no bound today")

    found = compare({"broken": Broken(), "whole": FULL}, faithful, cv=2)
    assert found.results["error"][0] == "fit 1 of 2: no bound today"


def test_rows_of_density_zero(faithful):
    X = np.vstack([faithful, [[1e180, 0.0]]])
    found = compare([FULL], X, cv=[(np.arange(200), np.arange(200, 273))])
    assert found.results["log_prob"] == [-np.inf] and found.results["se"] == [np.inf]


def test_an_impossible_row_has_no_gap_under_an_exact_bound():
    codes = np.random.default_rng(0).integers(0, 2, (60, 3)).astype(float)
    codes[:, 1] = 2.0
    codes[0, 1] = 0.0  # without this row, code 0 has probability zero
    model = EMMixture(2, likelihood="categorical", n_init=1, random_state=0)
    splits = [(np.r_[0:40], np.r_[40:60]), (np.r_[20:60], np.r_[0:20])]
    frame = skelbo.compare([model], codes, cv=splits, progress=False).to_frame()
    assert list(frame["log_prob"]) == list(frame["elbo"]) == [-np.inf]
    assert_allclose(frame["gap"], 0.0, atol=1e-12)


def test_densities_of_scikit_learn_and_dataframes(faithful):
    table = pd.DataFrame(faithful, columns=["a", "b"])
    found = compare([GaussianMixture(2, random_state=0), FULL], table)
    assert np.isnan(found.results["elbo"][0]) and np.isnan(found.results["n_parameters"][0])
    frame = found.to_frame()
    assert list(frame.columns) == list(found.results)
    assert frame["log_prob"].notna().all()


def test_it_prints_as_text_and_html(faithful, capsys):
    found = skelbo.compare({"a <b>": GaussianMLE(), "mixture": FULL}, faithful)
    text, html = str(found), found._repr_html_()
    assert text.splitlines()[0] == "272 rows held out, nats per row"
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["estimator", "a", "mixture"]
    assert len({len(line) for line in text.splitlines()[1:]}) == 1
    assert "a &lt;b&gt;" in html and html.count("<tr>") == 3
    captured = capsys.readouterr()
    assert "mixture: 5 fits" in captured.err and captured.out == ""
    skelbo.compare([FULL], faithful, progress=False)
    assert capsys.readouterr().err == ""


def test_warnings_come_once_for_each_estimator(faithful):
    short = EMGaussianMixture(3, max_iter=1, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compare([short, FULL], faithful)
    assert [warning.category for warning in caught] == [ConvergenceWarning]


def test_importing_its_module_leaves_the_function_in_place():
    import skelbo.comparison

    assert callable(skelbo.compare)


BAD = {
    "empty": ([], "estimators is empty, expected at least one"),
    "one estimator": (GaussianMLE(), "estimators is GaussianMLE, expected a list"),
    "no density": ([LogisticRegression()], "'LogisticRegression' has no fit and score_samples"),
    "all fail": ([EMGaussianMixture(300)], "all 1 estimators failed; the first with: fit 1 of 5"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_by_message(case, faithful):
    estimators, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        compare(estimators, faithful)


def test_errors_of_rows_far_from_everything_are_finite():
    """Densities of -1e250 nats, whose squares overflow."""
    X = np.array([[5.3e128], [5.4e128], [5.2e128], [5.5e128]])
    found = skelbo.compare([EMGaussianMixture(reg_covar=1e-6)], X, cv=2, progress=False)
    assert np.isfinite(found.results["se"]).all() and found.results["se"][0] > 0


def test_groups_that_cannot_be_held_out_are_named(faithful):
    with pytest.raises(ValueError, match="groups has 4 different ids, expected at least cv=5"):
        compare([FULL], faithful, groups=np.arange(272) % 4)
    with pytest.raises(ValueError, match=r"groups has shape \(271,\), expected \(272,\)"):
        compare([FULL], faithful, groups=np.arange(271))


def test_rows_of_a_list_keep_their_masks(iris):
    X = np.where(np.random.default_rng(0).random(iris.shape) < 0.2, np.nan, iris)
    rows = list(np.ma.array(np.where(np.isnan(X), -999.0, X), mask=np.isnan(X)))
    found = [skelbo.compare([GaussianMLE()], table, progress=False) for table in (X, rows)]
    assert found[0].results["log_prob"] == found[1].results["log_prob"]
