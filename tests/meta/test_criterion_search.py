"""Search by a criterion: what is chosen, what is recorded, what is shared, what is refused."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skelbo import (
    EMGaussianMixture,
    EMHiddenMarkovModel,
    GaussianMLE,
    SingularCovarianceWarning,
)
from skelbo.meta import CriterionSearch

SIX = ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"]
MIXTURE = EMGaussianMixture(random_state=0)
GRID = {"n_components": [1, 2, 3], "covariance_type": ["full", "tied"]}
COLUMNS = ["criterion", "rank", "n_parameters", "lower_bound", "converged", "degenerate"]


@pytest.mark.slow
def test_old_faithful_is_three_clusters_of_one_shape(faithful):
    """The choice of mclust: EEE, 3, BIC -2314.296 (Scrucca et al. 2016, on model selection)."""
    grid = {"n_components": range(1, 10), "covariance_type": SIX}
    search = CriterionSearch(MIXTURE, grid).fit(faithful)
    assert search.best_params_ == {"covariance_type": "tied", "n_components": 3}
    assert search.bic(faithful) == pytest.approx(2314.296, abs=1e-3)
    assert len(search.results_["params"]) == 54


def test_the_table(faithful):
    search = CriterionSearch(MIXTURE, GRID).fit(faithful)
    table = pd.DataFrame(search.results_)
    names = ["params", "param_covariance_type", "param_n_components", *COLUMNS, "fit_time", "error"]
    assert list(table.columns) == names
    assert sorted(table["rank"]) == [1, 2, 3, 4, 5, 6]
    assert table["criterion"].idxmin() == search.best_index_ == table["rank"].argmin()
    best = search.best_estimator_
    assert table["lower_bound"][search.best_index_] == best.lower_bound_
    assert table["n_parameters"][search.best_index_] == best.n_parameters_
    assert table["converged"].all() and not table["degenerate"].any()
    assert set(table["error"]) == {""} and np.all(table["fit_time"] > 0)


def test_candidates_that_share_starts_are_those_of_single_fits(faithful):
    search = CriterionSearch(MIXTURE, GRID).fit(faithful)
    for place, values in enumerate(search.results_["params"]):
        single = EMGaussianMixture(random_state=0, **values).fit(faithful)
        assert single.bic(faithful) == search.results_["criterion"][place]
    chosen = EMGaussianMixture(random_state=0, **search.best_params_).fit(faithful)
    assert_array_equal(search.sample(5)[0], chosen.sample(5)[0])


@pytest.mark.slow
def test_processes_give_the_same(faithful):
    one = CriterionSearch(MIXTURE, GRID).fit(faithful)
    two = CriterionSearch(MIXTURE, GRID, n_jobs=2).fit(faithful)
    for name in ("criterion", "rank"):
        assert_array_equal(one.results_[name], two.results_[name])


@pytest.mark.parametrize("criterion", ["bic", "aic", "icl"])
def test_criteria_are_the_estimators(criterion, faithful):
    X = faithful.copy()
    X[::7, 1] = np.nan
    weights = np.arange(272.0) % 3
    search = CriterionSearch(MIXTURE, GRID, criterion=criterion).fit(X, sample_weight=weights)
    value = getattr(search.best_estimator_, criterion)(X, sample_weight=weights)
    assert search.results_["criterion"].min() == value


def test_held_out_likelihood_and_its_weights(faithful):
    search = CriterionSearch(MIXTURE, GRID, criterion="held_out").fit(faithful)
    assert search.best_index_ == np.argmax(search.results_["criterion"])
    assert search.best_params_["n_components"] > 1
    whole = EMGaussianMixture(random_state=0, **search.best_params_).fit(faithful)
    assert search.score(faithful) == whole.score(faithful)  # refitted to all rows
    weights = np.arange(272) % 3
    grid = {"covariance_type": ["full", "diag"]}
    search = CriterionSearch(GaussianMLE(), grid, criterion="held_out")
    one = clone(search).fit(faithful, sample_weight=weights)
    two = clone(search).fit(np.repeat(faithful, weights, axis=0))
    assert_allclose(one.results_["criterion"], two.results_["criterion"], rtol=1e-9)


@pytest.mark.parametrize("criterion", ["bic", "held_out"])
def test_masked_cells_are_missing_cells(iris, criterion):
    """What lies beneath a mask decides nothing, such as the fold of its row."""
    X = np.where(np.random.default_rng(0).random(iris.shape) < 0.2, np.nan, iris)
    search = CriterionSearch(GaussianMLE(), {"covariance_type": ["diag"]}, criterion=criterion)
    expected = search.fit(X).results_["criterion"]
    for beneath in 7.0, np.arange(X.size).reshape(X.shape):
        masked = np.ma.array(np.where(np.isnan(X), beneath, X), mask=np.isnan(X))
        for rows in masked, list(masked):
            assert_array_equal(search.fit(rows).results_["criterion"], expected)
            assert_array_equal(search.score_samples(rows), search.score_samples(X))


def test_groups_are_held_out_whole(iris):
    class Recorder(GaussianMLE):
        def fit(self, X, y=None, sample_weight=None, groups=None):
            seen.append(set(groups))
            return super().fit(X, y, sample_weight)

    seen = []
    groups = np.arange(150) // 10
    search = CriterionSearch(Recorder(), {"covariance_type": ["full"]}, criterion="held_out")
    search.fit(iris, groups=groups)
    assert len(seen) == 6 and all(len(part) == 12 for part in seen[:5]) and len(seen[5]) == 15


def test_sequences_are_held_out_whole(iris):
    chain = EMHiddenMarkovModel(random_state=0, max_iter=200, tol=1e-2)
    search = CriterionSearch(chain, {"n_components": [1, 2]}, criterion="held_out")
    with pytest.raises(ValueError, match="rows of EMHiddenMarkovModel form sequences, of which"):
        clone(search).fit(iris)
    ids = np.arange(150) // 15
    expected = clone(search).fit(iris, groups=ids).results_["criterion"]
    search.set_params(estimator__group_column=4).fit(np.column_stack([iris, ids]))
    assert_allclose(search.results_["criterion"], expected, rtol=1e-9)


def test_degenerate_fits_are_marked_and_not_chosen():
    rng = np.random.default_rng(0)
    X = np.r_[rng.standard_normal((40, 2)), np.tile([[8.0, 8.0]], (6, 1))]  # six equal rows
    search = CriterionSearch(MIXTURE, {"n_components": [1, 2]}).fit(X)
    results = search.results_
    assert list(results["degenerate"]) == [False, True]
    assert results["criterion"][1] < results["criterion"][0] and search.best_index_ == 0
    with pytest.warns(SingularCovarianceWarning):
        CriterionSearch(MIXTURE, {"n_components": [2]}).fit(X)


def test_warnings_are_those_of_the_choice_alone(faithful):
    grid = [{"n_components": [3], "max_iter": [1]}, {"n_components": [2]}]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = CriterionSearch(MIXTURE, grid).fit(faithful)
    assert list(search.results_["converged"]) == [False, True]
    assert search.results_["param_max_iter"].mask.tolist() == [False, True]
    with pytest.warns(ConvergenceWarning):
        CriterionSearch(MIXTURE, grid[:1]).fit(faithful)


def test_failed_candidates_are_rows_with_their_error(faithful):
    grid = {"n_components": [2, 500]}
    search = CriterionSearch(MIXTURE, grid).fit(faithful)
    assert search.results_["rank"].tolist() == [1, 2]
    assert "n_samples = 272" in search.results_["error"][1]
    assert np.isnan(search.results_["criterion"][1])


def test_everything_else_is_the_chosen_estimators(faithful):
    search = CriterionSearch(MIXTURE, GRID, n_init=2)
    assert hasattr(search, "predict_proba") and not hasattr(search, "transform_std")
    with pytest.raises(NotFittedError):
        search.predict(faithful)
    latents = search.fit_transform(faithful)
    best = search.best_estimator_
    assert best.n_init == 2
    assert_array_equal(latents, best.transform(faithful))
    assert search.icl(faithful) == best.icl(faithful)
    assert list(search.get_feature_names_out()) == list(best.get_feature_names_out())
    table = search.set_output(transform="pandas").transform(faithful)
    assert isinstance(table, pd.DataFrame)
    pipeline = make_pipeline(StandardScaler(), CriterionSearch(MIXTURE, GRID), LogisticRegression())
    assert pipeline.fit(faithful, faithful[:, 0] > 3).score(faithful, faithful[:, 0] > 3) > 0.9
    loose = CriterionSearch(MIXTURE, GRID).fit(faithful).set_params(refit=False).fit(faithful)
    with pytest.raises(AttributeError, match="refit=False keeps no estimator"):
        loose.predict(faithful)


def test_mixtures_of_scikit_learn_and_callbacks(faithful, capsys):
    search = CriterionSearch(GaussianMixture(random_state=0), {"n_components": [1, 2]})
    assert search.fit(faithful).best_params_ == {"n_components": 2}
    CriterionSearch(MIXTURE, {"n_components": [1, 2]}).set_callbacks(ProgressBar()).fit(faithful)
    assert "fit-candidate" in capsys.readouterr().out


def test_metadata_is_routed(faithful):
    weights = np.arange(272.0)
    with config_context(enable_metadata_routing=True):
        inner = EMGaussianMixture(random_state=0).set_fit_request(sample_weight=True)
        routed = CriterionSearch(inner, GRID).fit(faithful, sample_weight=weights)
    plain = CriterionSearch(MIXTURE, GRID).fit(faithful, sample_weight=weights)
    assert_array_equal(routed.results_["criterion"], plain.results_["criterion"])


class NoScore(GaussianMLE):
    """A density whose criterion is never finite."""

    def bic(self, X, sample_weight=None):
        return np.nan


BAD = {
    "empty list": (MIXTURE, [], {}, r"param_grid=\[\] has no candidates"),
    "empty dict": (MIXTURE, {}, {}, r"param_grid={} has no candidates"),
    "empty values": (MIXTURE, {"n_components": []}, {}, "need to be a non-empty sequence"),
    "all fail": (MIXTURE, {"n_components": [400, 500]}, {}, "all 2 candidates failed; the first"),
    "unknown parameter": (MIXTURE, {"n_clusters": [1]}, {}, "Invalid parameter 'n_clusters'"),
    "not finite": (NoScore(), {"covariance_type": ["full"]}, {}, "no candidate has a finite"),
    "no criterion": (
        GaussianMLE(),
        {"covariance_type": ["full"]},
        {"criterion": "icl"},
        "criterion='icl' needs GaussianMLE.icl, which it does not have",
    ),
    "pipeline": (
        make_pipeline(StandardScaler(), MIXTURE),
        {"emgaussianmixture__n_components": [1]},
        {},
        "criterion='bic' needs Pipeline.bic, .*put the search into its last step",
    ),
    "n_init": (
        GaussianMLE(),
        {"covariance_type": ["full"]},
        {"n_init": 3},
        "n_init=3 needs a parameter n_init of GaussianMLE",
    ),
    "criterion": (MIXTURE, GRID, {"criterion": "dic"}, "The 'criterion' parameter of Criterion"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_by_message(case, faithful):
    estimator, grid, options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        CriterionSearch(estimator, grid, **options).fit(faithful)
