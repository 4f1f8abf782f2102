"""Fits on Dask input: those of the table in memory, whatever the blocks and the scheduler."""

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from skelbo import ELBOMonitor, EMGaussianMixture, GaussianMLE
from skelbo.data.dask_detection import is_dask
from tests.data.dask_collections import CONTAINERS, as_dask, count_notes, cut, noted

N_CHECKS = 53

# ------------------------------------------------------------- scikit-learn's checks, through Dask


class ThroughDask:
    """Hands every table on as a Dask collection, and computes the answers, which must be lazy."""

    in_a_task = False  # where the blocks of a collection come back as arrays

    def _hand_on(self, method, X, **arguments):
        if ThroughDask.in_a_task or sparse.issparse(X):
            return method(X, **arguments)
        X, arguments = as_dask(X), {key: as_dask(value) for key, value in arguments.items()}
        ThroughDask.in_a_task = True
        try:
            answer = method(X, **arguments)
            return answer.compute() if is_dask(answer) else answer
        finally:
            ThroughDask.in_a_task = False

    def fit(self, X, y=None, sample_weight=None):
        return self._hand_on(super().fit, X, sample_weight=sample_weight)

    def partial_fit(self, X, y=None, sample_weight=None):
        return self._hand_on(super().partial_fit, X, sample_weight=sample_weight)

    def score(self, X, y=None, sample_weight=None):
        return self._hand_on(super().score, X, sample_weight=sample_weight)

    def score_samples(self, X):
        return self._hand_on(super().score_samples, X)

    def transform(self, X):
        return self._hand_on(super().transform, X)


class DaskMLE(ThroughDask, GaussianMLE):
    """`GaussianMLE` that refuses arrays."""


class DaskMixture(ThroughDask, EMGaussianMixture):
    """`EMGaussianMixture` that refuses arrays."""

    def predict(self, X):
        return self._hand_on(super().predict, X)

    def predict_proba(self, X):
        return self._hand_on(super().predict_proba, X)


@pytest.mark.slow
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


# ------------------------------------------------------------------ the same answers as in memory


@st.composite
def tables(draw):
    """Return rows with holes, weights, and a way to cut them: blocks may be empty or of one row."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    lengths = draw(st.lists(st.sampled_from([0, 1, 2, 17, 40]), min_size=1, max_size=12))
    lengths.append(60)
    n = sum(lengths)
    X = rng.standard_normal((n, 3)) @ rng.standard_normal((3, 3)) + 4.0 * rng.integers(
        2, size=(n, 1)
    )
    if draw(st.booleans()):
        X[rng.random(X.shape) < 0.1] = np.nan
    weights = rng.integers(0, 3, n) + 0.5 * rng.random(n) if draw(st.booleans()) else None
    X = X.astype(draw(st.sampled_from([np.float64, np.float32])))
    return (
        X,
        weights,
        tuple(lengths),
        draw(st.sampled_from(CONTAINERS)),
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@given(table=tables(), kind=st.sampled_from(["full", "tied", "diag", "spherical", "factor"]))
@settings(max_examples=12, deadline=None)
@pytest.mark.long
def test_same_fit_as_in_memory_however_cut(table, kind):
    """With the same start, chosen by the rows' content, and the same number of iterations."""
    X, weights, *_ = table
    lazy, lazy_weights = cut(*table)
    mixture = EMGaussianMixture(2, covariance_type=kind, max_iter=8, tol=0.0, random_state=0)
    single = GaussianMLE("diag" if kind in ("tied", "factor") else kind)
    with dask.config.set(scheduler="synchronous"):
        for model in (mixture, single):
            here = clone(model).fit(X, sample_weight=weights)
            there = clone(model).fit(lazy, sample_weight=lazy_weights)
            digits = 1e-8 if X.dtype == np.float64 else 1e-5
            assert_allclose(there.lower_bounds_, here.lower_bounds_, rtol=digits)
            fitted = [name for name in vars(here) if name.endswith("_") and name[0] != "_"]
            for name in fitted:
                if isinstance(getattr(here, name), np.ndarray | np.floating):
                    assert type(getattr(there, name)) is type(getattr(here, name))
                    assert getattr(there, name).dtype == getattr(here, name).dtype
                    assert_allclose(getattr(there, name), getattr(here, name), digits, digits)
            assert there.score(lazy, sample_weight=lazy_weights) == pytest.approx(
                here.score(X, sample_weight=weights), rel=digits
            )
            assert there.bic(lazy) == pytest.approx(here.bic(X), rel=digits)
            assert_allclose(there.transform(lazy).compute(), here.transform(X), atol=1e3 * digits)


@pytest.mark.slow
def test_several_starts_end_as_in_memory(faithful, tmp_path):
    """One by one, each reported under its number."""
    X = da.from_array(faithful, chunks=(100, 2))
    model = EMGaussianMixture(3, n_init=5, init_params="random_from_data", random_state=0)
    model.set_params(max_iter=300, acceleration=None)
    monitor = ELBOMonitor()
    with dask.config.set(scheduler="synchronous"):
        there = clone(model).set_callbacks(monitor).fit(X)
    assert [start for _, start in monitor.curves()] == [0, 1, 2, 3, 4]
    here = clone(model).fit(faithful)
    assert_allclose(there.means_, here.means_, rtol=1e-8)
    assert there.n_iter_ == here.n_iter_
    twins = np.repeat([[0.0, 0.0], [1.0, 1.0]], 5, axis=0)
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        EMGaussianMixture(2, reg_covar=0, n_init=3, random_state=0).fit(as_dask(twins))


@pytest.mark.parametrize("container", ["array", "unknown", "frame"])
@pytest.mark.parametrize("estimator", [GaussianMLE(), EMGaussianMixture(3, random_state=0)])
def test_each_iteration_is_one_pass(estimator, container, tmp_path):
    """Before them come counts, columns, sample and bound of a start; what is persisted stays."""
    X = noted(tmp_path, 3, container)
    with dask.config.set(scheduler="synchronous"):
        lazy = clone(estimator).fit(X)
        assert count_notes(tmp_path) <= 3 * (4 + lazy.n_iter_)
        persisted = X.persist()
        assert count_notes(tmp_path) == 3
        kept = clone(estimator).fit(persisted)
        assert kept.score(persisted) == lazy.score(persisted)
        assert count_notes(tmp_path) == 0
    assert kept.lower_bounds_ == lazy.lower_bounds_
