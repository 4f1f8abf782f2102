"""Dask input: the same estimators, the same answers, whatever the blocks and the scheduler."""

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

import dask
from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.dask_rows import is_dask

N_CHECKS = 53

# ------------------------------------------------------------- scikit-learn's checks, through Dask


def as_dask(array, n_blocks=2):
    """Return an array-like or a frame as a Dask collection; what Dask has no collection for, as is."""
    if array is None or np.isscalar(array) or sparse.issparse(array):
        return array
    if isinstance(array, (pd.DataFrame, pd.Series)):
        return dd.from_pandas(array, npartitions=n_blocks, sort=False)
    array = np.asarray(array)
    if not array.ndim:
        return array
    rows = max(1, -(-len(array) // n_blocks))
    return da.from_array(array, chunks=(rows, *array.shape[1:]))


class ThroughDask:
    """Hands every table on as a Dask collection, and computes the answers, which must be lazy."""

    def _answer(self, method, X):
        answer = method(as_dask(X))
        assert sparse.issparse(X) or is_dask(answer)
        return answer.compute()

    def fit(self, X, y=None, sample_weight=None):
        return super().fit(as_dask(X), sample_weight=as_dask(sample_weight))

    def partial_fit(self, X, y=None, sample_weight=None):
        return super().partial_fit(as_dask(X), sample_weight=as_dask(sample_weight))

    def score(self, X, y=None, sample_weight=None):
        return super().score(as_dask(X), sample_weight=as_dask(sample_weight))

    def score_samples(self, X):
        return self._answer(super().score_samples, X)

    def transform(self, X):
        return self._answer(super().transform, X)


class DaskMLE(ThroughDask, GaussianMLE):
    """`GaussianMLE` that never sees an array."""


class DaskMixture(ThroughDask, EMGaussianMixture):
    """`EMGaussianMixture` that never sees an array."""

    def predict(self, X):
        return self._answer(super().predict, X)

    def predict_proba(self, X):
        return self._answer(super().predict_proba, X)


@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", [DaskMLE(), DaskMixture(2, random_state=0)], ids=repr)
def test_check_estimator_on_dask_input(estimator):
    """The whole list, no failure, nothing excused."""
    with dask.config.set(scheduler="synchronous"):
        results = check_estimator(clone(estimator), on_fail=None, on_skip=None)
    assert [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"] == []
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}
    assert len(results) == N_CHECKS
