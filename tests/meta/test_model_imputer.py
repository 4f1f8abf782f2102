"""Imputer: the model's expectations or draws, indicators, names, pipelines."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from skelbo import EMGaussianMixture, EMHiddenMarkovModel, GaussianMLE
from skelbo.meta import ModelImputer


@pytest.fixture(scope="module")
def holes(iris):
    return np.where(np.random.default_rng(0).random(iris.shape) < 0.25, np.nan, iris)


def test_means_are_those_of_the_estimator(holes):
    imputer = ModelImputer(GaussianMLE()).fit(holes)
    assert_array_equal(imputer.transform(holes), GaussianMLE().fit(holes).impute(holes))
    # Of independent columns they are the columns' means.
    by_column = ModelImputer(GaussianMLE("diag")).fit_transform(holes)
    assert_allclose(by_column, SimpleImputer().fit_transform(holes))


def test_draws_keep_the_spread_and_are_the_same_at_a_second_call(holes, iris):
    imputer = ModelImputer(GaussianMLE(), sample_posterior=True, random_state=0).fit(holes)
    drawn = imputer.transform(holes)
    assert_array_equal(drawn, imputer.transform(holes))
    means = ModelImputer(GaussianMLE()).fit_transform(holes)
    truth = iris.std(axis=0)
    assert np.all(np.abs(drawn.std(axis=0) - truth) < 0.1 * truth)
    others = [
        clone(imputer).set_params(random_state=seed).fit_transform(holes) for seed in range(1, 9)
    ]
    assert np.all(means.std(axis=0) < np.std(others, axis=1).mean(axis=0))
    assert np.any(others[0] != drawn)


def test_indicators_and_names(holes):
    holes = holes.copy()
    holes[:, 2] = 1.0 + np.arange(150)
    table = pd.DataFrame(holes, columns=list("abcd"))
    imputer = ModelImputer(GaussianMLE(), add_indicator=True).set_output(transform="pandas")
    filled = imputer.fit_transform(table)
    names = [*"abcd", *(f"missingindicator_{name}" for name in "abd")]
    assert list(filled.columns) == names
    assert_array_equal(filled.to_numpy()[:, 4:], MissingIndicator().fit_transform(holes))
    new = imputer.transform(table.assign(c=np.nan))  # not missing in the fit
    assert list(new.columns) == names and np.isfinite(new.to_numpy()).all()


def test_weights_are_repetitions(holes):
    weights = np.arange(150) % 3
    one = ModelImputer(GaussianMLE()).fit(holes, sample_weight=weights).transform(holes)
    repeated = np.repeat(holes, weights, axis=0)
    assert_allclose(one, ModelImputer(GaussianMLE()).fit(repeated).transform(holes), rtol=1e-4)


def test_before_a_classifier(holes):
    y = np.repeat([0, 1, 2], 50)
    mixture = EMGaussianMixture(3, covariance_type="tied", random_state=0)
    model = make_pipeline(ModelImputer(mixture), LogisticRegression(max_iter=1000))
    plain = make_pipeline(SimpleImputer(), LogisticRegression(max_iter=1000))
    assert cross_val_score(model, holes, y).mean() > cross_val_score(plain, holes, y).mean() + 0.02


@pytest.mark.parametrize("ids", [list("dbca"), [3, 1, 9, 2]], ids=["strings", "numbers"])
def test_ids_of_sequences_are_no_feature(holes, ids):
    table = pd.DataFrame(holes[:148], columns=list("abcd")).assign(id=np.repeat(ids, 37))
    chain = EMHiddenMarkovModel(2, group_column="id", random_state=0)
    imputer = ModelImputer(chain, add_indicator=True).set_output(transform="pandas").fit(table)
    completed = imputer.transform(table)
    assert list(completed.columns[:4]) == list("abcd") == list(imputer.feature_names_in_)
    assert list(completed.columns) == list(imputer.get_feature_names_out())
    assert_allclose(completed[list("abcd")], clone(chain).fit(table).impute(table))
    assert not completed.isna().any().any()


def test_float32_stays_float32(holes):
    X = holes.astype(np.float32)
    assert ModelImputer(GaussianMLE(), add_indicator=True).fit_transform(X).dtype == np.float32


def test_bad_input_by_message(holes):
    with pytest.raises(ValueError, match="must be an object implementing 'fit' and 'impute'"):
        ModelImputer(LogisticRegression()).fit(holes)
    empty = np.c_[holes, np.full(150, np.nan)]
    with pytest.raises(ValueError, match="column 4 of X has no observed cell"):
        ModelImputer(GaussianMLE()).fit(empty)
