"""Answers on Dask input: lazy, and those of the table in memory."""

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.data.dask_detection import is_dask
from tests.data.dask_collections import CONTAINERS, as_dask, cut

ANSWERS = ["score_samples", "transform", "predict", "predict_proba", "elbo", "gap", "impute"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_answers_are_lazy_and_those_of_arrays(container, iris):
    """Also of a model that was fitted in memory, and with no computation before `compute`."""
    X = iris[:, :3].astype(np.float32)
    X[::9, 1] = np.nan
    table = pd.DataFrame(X, columns=list("abc")) if container == "frame" else X
    model = EMGaussianMixture(3, random_state=0).fit(table)
    lazy, _ = cut(X, None, (0, 70, 1, 79), container)

    def refuse(*args, **kwargs):
        raise AssertionError("computed before `compute`")

    with dask.config.set(scheduler=refuse):
        answers = {name: getattr(model, name)(lazy) for name in ANSWERS}
        terms, (log_prob, std) = model.elbo_terms(lazy), model.score_samples(lazy, return_std=True)
    before = {name: getattr(model, name)(table) for name in ANSWERS}
    kl_before = model.elbo_terms(table).kl
    model.fit(table[::2])  # answers are those of the model that was asked
    for name, answer in answers.items():
        now = answer.compute(scheduler="synchronous")
        assert_allclose(now, before[name], rtol=2e-5, atol=1e-6)
        assert answer.dtype == now.dtype == before[name].dtype and answer.ndim == now.ndim
    assert_allclose(terms.kl.compute(scheduler="synchronous"), kl_before, atol=1e-5)
    assert_array_equal(std.compute(scheduler="synchronous"), np.zeros(150))
    assert_allclose(log_prob.compute(scheduler="synchronous"), before["score_samples"], rtol=2e-5)


def test_names_of_columns_and_other_columns(iris):
    frame = pd.DataFrame(iris, columns=list("abcd")).assign(note="text")
    lazy = dd.from_pandas(frame, npartitions=3)
    model = EMGaussianMixture(2, random_state=0).fit(lazy[list("abcd")])
    assert_array_equal(model.feature_names_in_, list("abcd"))
    assert model.score(frame[list("abcd")]) == pytest.approx(model.score(lazy[list("abcd")]))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(lazy[list("abdc")])
    with pytest.raises(ValueError, match=r"set_output\(transform='pandas'\) is for tables in"):
        model.set_output(transform="pandas").transform(lazy[list("abcd")])
    with pytest.raises(ValueError, match="could not convert string to float"):
        model.fit(lazy)


def test_a_search_over_dask_input(iris):
    X = da.from_array(iris, chunks=(50, 4))
    search = GridSearchCV(EMGaussianMixture(random_state=0), {"n_components": [1, 2]}, cv=3)
    here = clone(search).fit(iris).cv_results_["mean_test_score"]
    there = search.fit(X)
    assert_allclose(there.cv_results_["mean_test_score"], here, rtol=1e-8)
    assert is_dask(there.best_estimator_.predict(X))


def test_a_score_is_computed_in_one_pass_and_weighted(iris):
    """Rows of weight zero count for nothing, even where their density underflows."""
    X, weights = iris.copy(), np.arange(150) % 3
    X[weights == 0] = 1e200
    model = GaussianMLE().fit(iris)
    lazy, lazy_weights = as_dask(X, 4), as_dask(weights, 3)
    assert model.score(lazy, sample_weight=lazy_weights) == pytest.approx(
        model.score(iris[weights > 0], sample_weight=weights[weights > 0]), rel=1e-12
    )
    assert model.bic(lazy, sample_weight=lazy_weights) == pytest.approx(
        model.bic(X, sample_weight=weights), rel=1e-12
    )
    for refused in (as_dask(weights - 1), 0.0, as_dask(0.0 * weights)):
        with pytest.raises(ValueError, match="sample_weight"):
            model.score(lazy, sample_weight=refused)
