"""Dask input: the same estimators, the same answers, whatever the blocks and the scheduler."""

import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster, wait
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

import skelbo  # workers import this file: what needs torch is looked up where it is used
from skelbo import (
    MCEM,
    ELBOMonitor,
    EMGaussianMixture,
    GaussianMLE,
    VariationalEM,
)
from skelbo.data.dask_graph import Blocks, is_dask
from skelbo.models import FactorModel

N_CHECKS = 53

# ------------------------------------------------------------- scikit-learn's checks, through Dask


def as_dask(array, n_blocks=2):
    """Return a table as a Dask collection, and what is no table as it is."""
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
    """`GaussianMLE` that never sees an array."""


class DaskMixture(ThroughDask, EMGaussianMixture):
    """`EMGaussianMixture` that never sees an array."""

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


CONTAINERS = ["array", "columns", "unknown", "frame"]


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
        draw(st.sampled_from(["array", "columns", "unknown", "frame"])),
    )


def cut(X, weights, lengths, kind):
    """Return a table and its weights as Dask collections of the given block lengths."""
    lazy_weights = None if weights is None else da.from_array(weights, chunks=(lengths,))
    if kind in ("array", "columns"):
        return da.from_array(X, chunks=(lengths, 3 if kind == "array" else 2)), lazy_weights
    if kind == "unknown":
        lazy = da.from_array(X, chunks=(lengths, 3))
        lazy._chunks = ((np.nan,) * len(lengths), (3,))
        return lazy, lazy_weights
    ends = np.cumsum(lengths)
    frame = pd.DataFrame(X, columns=list("abc")).assign(w=weights if weights is not None else 1.0)
    parts = [dask.delayed(frame.iloc[end - n : end]) for n, end in zip(lengths, ends, strict=True)]
    lazy = dd.from_delayed(parts, meta=frame.iloc[:0])
    return lazy[["a", "b", "c"]], None if weights is None else lazy["w"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@given(table=tables(), kind=st.sampled_from(["full", "tied", "diag", "spherical", "factor"]))
@settings(max_examples=12, deadline=None)
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


ANSWERS = ["score_samples", "transform", "predict", "predict_proba", "elbo", "gap", "impute"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_answers_are_lazy_and_those_of_arrays(container, iris):
    """Also of a model that was fitted in memory, and with no computation before it is asked for."""
    X = iris[:, :3].astype(np.float32)
    X[::9, 1] = np.nan
    table = pd.DataFrame(X, columns=list("abc")) if container == "frame" else X
    model = EMGaussianMixture(3, random_state=0).fit(table)
    lazy, _ = cut(X, None, (0, 70, 1, 79), container)

    def refuse(*args, **kwargs):
        raise AssertionError("computed before it was asked for")

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


def row_keeper(name):
    """Return an estimator whose fit has to hold the rows, and a table for it."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 3))
    if name == "VariationalEM":
        X[::9, 1] = np.nan
        return VariationalEM(model=FactorModel(1, noise="isotropic")), X
    if name == "MCEM":
        return MCEM(1, model="bernoulli", max_iter=2, random_state=0), (X > 0).astype(float)
    likelihood = "gaussian" if name == "VAE" else "auto"
    if likelihood == "auto":
        X[:, 0], X[:, 1] = rng.poisson(2.0, 90), rng.integers(5, 8, 90)
    quick = {"max_iter": 2, "n_importance_samples": 20, "random_state": 0}
    return skelbo.VAEEstimator(1, likelihood=likelihood, **quick), X


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["VariationalEM", "MCEM", "VAE", "VAE of all kinds"])
def test_estimators_that_keep_rows_take_them_from_dask(name):
    """The fit is that of the table in memory, bit for bit, and answers are lazy."""
    model, table = row_keeper(name)
    weights = np.arange(90.0) % 3
    frame = pd.DataFrame(table, columns=list("abc"))
    with dask.config.set(scheduler="synchronous"):
        for X, lazy in ((table, da.from_array(table, (40, 2))), (frame, as_dask(frame))):
            here = clone(model).fit(X, sample_weight=weights)
            lazy_weights = as_dask(weights if X is table else pd.Series(weights), 3 - (X is frame))
            there = clone(model).fit(lazy, sample_weight=lazy_weights)
            assert there.lower_bounds_ == here.lower_bounds_
            names = getattr(there, "feature_names_in_", None)
            assert_array_equal(names, getattr(here, "feature_names_in_", None))
            assert there.score(lazy) == pytest.approx(here.score(X), rel=1e-6)
            for method in ("transform", "score_samples", "elbo", "gap", "impute"):
                answer = getattr(there, method)(lazy)
                assert is_dask(answer)
                assert_allclose(answer.compute(), getattr(here, method)(X), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_vae_learns_from_a_copy_on_disk(tmp_path, monkeypatch):
    """Of more than a few rows, as from a memory map; each block is read once."""
    monkeypatch.setattr("skelbo.vae.STREAMED_BYTES", 1000)
    X = noted(tmp_path, 3, "unknown")
    model, _ = row_keeper("VAE")
    with dask.config.set(scheduler="synchronous"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        there = clone(model).fit(X)
        assert count_notes(tmp_path) == 3
        file = np.memmap(tmp_path / "rows", np.float64, "w+", shape=(3000, 4))
        file[:] = X.compute()
        assert there.lower_bounds_ == clone(model).fit(file).lower_bounds_
        stream = clone(model).partial_fit(X)
        by_hand = clone(model)
        for i in range(3):
            by_hand.partial_fit(file[1000 * i : 1000 * (i + 1)])
    assert stream.lower_bounds_ == by_hand.lower_bounds_
    full = SimpleNamespace(free=2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: full)
    huge = da.zeros((10**9, 4), np.int8, chunks=(10**7, 4))  # its table is of float64
    with pytest.raises(OSError, match=r"0.000977 GiB free, and X takes 29.8 GiB; let TMPDIR"):
        model.fit(huge)


def test_a_block_that_cannot_be_read_is_not_taken_for_a_full_disk():
    def lost():
        raise FileNotFoundError("part-7 is gone")

    model, table = row_keeper("VAE")
    parts = [da.from_delayed(dask.delayed(lost)(), (9, 3), float), da.from_array(table)]
    with pytest.raises(FileNotFoundError, match="part-7"), dask.config.set(scheduler="synchronous"):
        model.fit(da.concatenate(parts))


@pytest.mark.parametrize("name", ["EMGaussianMixture", "VAEEstimator"])
def test_a_stream_is_not_silent_about_a_batch_without_rows(name, iris):
    X = da.from_array(iris, chunks=(50, 4))
    model = getattr(skelbo, name)()
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(ValueError, match=r"0 sample\(s\)"):
            model.partial_fit(X[X[:, 0] > 100])
        with pytest.raises(ValueError, match="weights"):
            model.partial_fit(X, sample_weight=0.0)


@pytest.mark.parametrize("model", [VariationalEM(), MCEM()], ids=repr)
def test_no_collection_comes_into_memory_unasked(model, iris, monkeypatch):
    huge = da.zeros((10**9, 4), chunks=(10**7, 4))
    message = r"X, a Dask collection, takes 29.8 GiB, more than the 1 GiB.*pass X.compute\(\)"
    with pytest.raises(ValueError, match=f"{type(model).__name__} keeps all rows.*{message}"):
        model.fit(huge)
    monkeypatch.setattr("skelbo.data.dask_download.FETCHED_BYTES", 2**10)
    frame = dd.from_pandas(pd.DataFrame(iris, columns=list("abcd")), npartitions=3)
    with pytest.raises(ValueError, match=r"takes at least .* \(X.sample\(frac=0.01\), say\)"):
        model.fit(frame)


@pytest.mark.slow
def test_same_blocks_same_bits_on_every_scheduler(faithful):
    X = da.from_array(faithful, chunks=(20, 2))
    model = EMGaussianMixture(2, max_iter=4, tol=0.0, random_state=0)
    fits = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for options in (
            {"scheduler": "synchronous"},
            {"scheduler": "threads", "num_workers": 3},
            {"scheduler": "processes", "pool": pool},
        ):
            with dask.config.set(options), pytest.warns(ConvergenceWarning):
                fits.append(clone(model).fit(X))
    for fit in fits[1:]:
        assert fit.lower_bounds_ == fits[0].lower_bounds_
        assert_array_equal(fit.means_, fits[0].means_)
        assert_array_equal(fit.covariances_, fits[0].covariances_)


@pytest.mark.slow
def test_all_starts_are_run_in_the_same_passes(faithful, monkeypatch):
    """They end as one by one in memory, and take the passes of the longest of them."""
    passes = []
    total = Blocks.total
    counted = lambda self, *args: passes.append(1) or total(self, *args)  # noqa: E731
    monkeypatch.setattr(Blocks, "total", counted)
    X = da.from_array(faithful, chunks=(100, 2))
    model = EMGaussianMixture(3, n_init=5, init_params="random_from_data", random_state=0)
    model.set_params(max_iter=300, acceleration=None)
    monitor = ELBOMonitor()
    with dask.config.set(scheduler="synchronous"):
        there = clone(model).set_callbacks(monitor).fit(X)
    curves = monitor.curves()
    assert [start for _, start in curves] == [0, 1, 2, 3, 4]
    longest = max(len(curve) for curve in curves.values())
    assert len(passes) == 2 + longest  # the first look, and at the starts
    here = clone(model).fit(faithful)
    assert_allclose(there.means_, here.means_, rtol=1e-8)
    assert there.n_iter_ == here.n_iter_
    twins = np.repeat([[0.0, 0.0], [1.0, 1.0]], 5, axis=0)
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        EMGaussianMixture(2, reg_covar=0, n_init=3, random_state=0).fit(as_dask(twins))


def test_names_of_columns_and_other_columns(iris):
    frame = pd.DataFrame(iris, columns=list("abcd")).assign(note="text")
    lazy = dd.from_pandas(frame, npartitions=3)
    model = EMGaussianMixture(2, random_state=0).fit(lazy[list("abcd")])
    assert_array_equal(model.feature_names_in_, list("abcd"))
    assert model.score(frame[list("abcd")]) == pytest.approx(model.score(lazy[list("abcd")]))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(lazy[list("abdc")])
    with pytest.raises(ValueError, match="could not convert string to float"):
        model.fit(lazy)
    with pytest.raises(ValueError, match=r"set_output\(transform='pandas'\) is for tables in"):
        model.set_output(transform="pandas").transform(lazy[list("abcd")])


def test_streams(iris, faithful):
    """GaussianMLE adds blocks up exactly; the mixture takes block after block, in order."""
    X = da.from_array(iris, chunks=((50, 0, 1, 99), 4))
    whole = GaussianMLE().fit(iris)
    model = GaussianMLE().partial_fit(X[:70]).partial_fit(X[70:])
    assert_allclose(model.covariance_, whole.covariance_, rtol=1e-12)
    weights = np.ones(272)
    weights[100:150] = 0.0
    lazy = da.from_array(faithful, chunks=((100, 50, 1, 121), 2))
    lazy_weights = da.from_array(weights, chunks=(40,))
    stream = EMGaussianMixture(2, random_state=0).partial_fit(lazy, sample_weight=lazy_weights)
    by_hand = EMGaussianMixture(2, random_state=0).partial_fit(faithful[:100])
    by_hand.partial_fit(faithful[150:])
    assert_array_equal(stream.means_, by_hand.means_)
    assert stream.n_features_in_ == 2


def test_a_search_over_dask_input(iris):
    X = da.from_array(iris, chunks=(50, 4))
    search = GridSearchCV(EMGaussianMixture(random_state=0), {"n_components": [1, 2]}, cv=3)
    here = clone(search).fit(iris).cv_results_["mean_test_score"]
    there = search.fit(X)
    assert_allclose(there.cv_results_["mean_test_score"], here, rtol=1e-8)
    assert is_dask(there.best_estimator_.predict(X))


# ---------------------------------------------------------------------------------- what is wrong


def spoilt(value):
    X = np.ones((6, 2))
    X[4, 1] = value
    return as_dask(X)


SIX = as_dask(np.arange(12.0).reshape(6, 2))
UNKNOWN = cut(np.ones((6, 3)), None, (3, 3), "unknown")[0]
BAD_INPUT = {
    "no rows": (as_dask(np.empty((0, 3))), None, "0 sample"),
    "one row": (as_dask(np.ones((1, 3))), None, "1 sample.*minimum of 2 is required by"),
    "no columns": (as_dask(np.empty((5, 0))), None, "0 feature"),
    "infinite": (spoilt(np.inf), None, "Input X contains infinity"),
    "strings": (as_dask(np.array([["a", "b"], ["c", "d"]])), None, "could not convert string"),
    "one dimension": (as_dask(np.arange(5.0)), None, "Expected 2D array"),
    "complex": (spoilt(1.0) * 1j, None, "Complex data not supported"),
    "series": (dd.from_pandas(pd.Series([1.0, 2.0]), npartitions=1), None, "2-dimensional"),
    "negative weight": (SIX, as_dask(np.array([1, 1, 1, 1, -1, 1])), "Negative values"),
    "zero weights": (SIX, as_dask(np.zeros(6)), "at least one non-zero"),
    "weight not finite": (SIX, as_dask(np.array([1, 1, 1, 1, np.nan, 1])), "weight contains NaN"),
    "wrong weights": (SIX, as_dask(np.ones(5)), r"sample_weight.shape == \(5,\), expected \(6,\)"),
    "weights of another shape": (SIX, as_dask(np.ones((6, 1))), "must be 1D array or scalar"),
    "weights in memory": (UNKNOWN, np.ones(6), "pass it as a Dask array or series with"),
    "other blocks": (UNKNOWN, as_dask(np.ones(6), 3), "3 blocks, expected the 2 of X"),
    "uneven blocks": (
        UNKNOWN,
        da.from_array(np.ones(6), chunks=((2, 4),)),
        r"sample_weight.shape == \(2,\), expected \(3,\)",
    ),
    "empty column": (
        as_dask(np.array([[1.0, np.nan], [2.0, np.nan]])),
        None,
        "column 1 of X has no observed cell",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
@pytest.mark.parametrize("estimator", [GaussianMLE(), EMGaussianMixture()], ids=repr)
def test_bad_input_by_message(estimator, case):
    """The messages of arrays, raised on the client."""
    X, weights, message = BAD_INPUT[case]
    with dask.config.set(scheduler="synchronous"), pytest.raises(ValueError, match=message):
        clone(estimator).fit(X, sample_weight=weights)


def test_what_is_not_for_dask_says_so(iris):
    X = as_dask(iris)
    for options in ({"batch_size": 10}, {"solver": "gradient"}, {"device": "cpu"}):
        with pytest.raises(ValueError, match="does not fit a Dask collection, not held here; "):
            EMGaussianMixture(2, **options).fit(X)
    with pytest.raises(ValueError, match="n_components = 200, n_samples = 150"):
        EMGaussianMixture(200).fit(X)
    with pytest.raises(ValueError, match=r"got missing cells \(NaN\), expected complete rows"):
        GaussianMLE().partial_fit(spoilt(np.nan))
    with pytest.raises(
        TypeError, match=r"got a Dask Delayed\w*, expected a Dask array or dataframe"
    ):
        GaussianMLE().fit(dask.delayed(iris))
    with pytest.raises(ValueError, match="X has 3 features, but GaussianMLE is expecting 4"):
        GaussianMLE().fit(iris).score(X[:, :3])


@pytest.mark.slow
def test_arrays_of_expressions_say_so():
    """Dask's arrays to come have no blocks to work on yet."""
    code = (
        "import dask; dask.config.set({'array.query-planning': True})\n"
        "import dask.array as da; from skelbo import GaussianMLE\n"
        "try: GaussianMLE().fit(da.ones((9, 2), chunks=(3, 2)))\n"
        "except ValueError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "array.query-planning=True" in run.stdout


# ----------------------------------------------------------------------- how often data are read


def load(index, folder):
    """Make a block of rows, and leave a note that it was made."""
    (Path(folder) / uuid4().hex).touch()
    rng = np.random.default_rng(index)
    return rng.standard_normal((1000, 4)) + 3.0 * rng.integers(3, size=(1000, 1))


def noted(folder, n_blocks, kind="array"):
    """Return a collection of blocks that leave notes."""
    parts = [dask.delayed(load)(i, folder) for i in range(n_blocks)]
    if kind == "frame":
        frames = [dask.delayed(pd.DataFrame)(part, columns=list("abcd")) for part in parts]
        return dd.from_delayed(frames, meta=pd.DataFrame(np.empty((0, 4)), columns=list("abcd")))
    rows = np.nan if kind == "unknown" else 1000
    return da.concatenate([da.from_delayed(part, (rows, 4), float) for part in parts])


def count_notes(folder):
    """Return how many blocks were made, and forget them."""
    notes = list(folder.iterdir())
    for note in notes:
        note.unlink()
    return len(notes)


@pytest.mark.parametrize("kind", ["array", "unknown", "frame"])
@pytest.mark.parametrize("estimator", [GaussianMLE(), EMGaussianMixture(3, random_state=0)])
def test_a_block_is_read_once(estimator, kind, tmp_path, monkeypatch):
    """Counts, columns and sample come from one pass; blocks that there is room for are kept.

    Twice if the length of a block, so the size of X, is only known afterwards.
    """
    passes = []
    total = Blocks.total
    counted = lambda self, *args: passes.append(1) or total(self, *args)  # noqa: E731
    monkeypatch.setattr(Blocks, "total", counted)
    X = noted(tmp_path, 3, kind)
    with dask.config.set(scheduler="synchronous"):
        here = clone(estimator).fit(X)
        assert count_notes(tmp_path) == 3 * (1 if kind == "array" else 2)
        clone(estimator).fit(persisted := X.persist())
        assert count_notes(tmp_path) == 3
        assert here.score(persisted) == here.score(X)
        assert count_notes(tmp_path) == 3
        monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 2**16)
        passes.clear()
        with pytest.warns(UserWarning, match=r"X takes 8.94e-05 GiB.*half of the memory of this"):
            there = clone(estimator).fit(X)
    assert count_notes(tmp_path) == 3 * len(passes)
    assert len(passes) <= 2 + there.n_iter_
    assert there.lower_bounds_ == here.lower_bounds_
    with (
        dask.config.set(scheduler=lambda *args, **kwargs: dask.get(*args)),
        pytest.warns(UserWarning, match="scheduler in use keeps no blocks"),
    ):
        clone(estimator).fit(X)


def test_integers_are_kept_as_what_they_become(monkeypatch):
    """Blocks are kept as float64, which takes eight times the room of int8."""
    X = da.from_array(np.arange(6000, dtype=np.int8).reshape(-1, 2), chunks=(1000, 2))
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 4 * X.nbytes)
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.warns(UserWarning, match="more than half of the memory of this machine"),
    ):
        GaussianMLE().fit(X.map_blocks(np.negative))


# ----------------------------------------------------------------------------- a cluster, killed


@pytest.fixture
def cluster():
    """Two worker processes on this machine."""
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=2, **options) as cluster, Client(cluster):
        yield cluster


class Killer:
    """A callback that kills a worker a moment after an iteration."""

    max_propagation_depth = None

    def __init__(self, cluster, victim, iteration):
        self.cluster, self.victim, self.iteration = cluster, victim, iteration

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, metadata=None):
        if metadata and metadata.get("n_iter") == self.iteration:
            pid = self.cluster.workers[self.victim].pid
            threading.Timer(0.01 * self.iteration, os.kill, (pid, signal.SIGKILL)).start()


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(cluster, tmp_path):
    """Blocks are read once; fits during which a worker dies end with the same bits."""
    X = noted(tmp_path, 8)
    model = EMGaussianMixture(3, max_iter=12, tol=0.0, random_state=0)

    def loads_of(fit, X=X):
        count_notes(tmp_path)
        with warnings.catch_warnings(), ThreadPoolExecutor(1) as thread:
            warnings.simplefilter("ignore", ConvergenceWarning)
            return thread.submit(fit, X).result(timeout=240), count_notes(tmp_path)

    with dask.config.set(scheduler="synchronous"):
        expected, _ = loads_of(clone(model).fit)
    fits = [loads_of(clone(model).fit)]
    assert fits[0][1] == 8
    persisted = X.persist()
    wait(persisted)
    for again in (persisted, persisted * 1.0):  # kept by the user, and what is made of that
        fits.append(loads_of(clone(model).fit, again))
        assert fits[-1][1] == 0
    del persisted, again
    for victim, iteration in ((0, 2), (1, 6)):
        fits.append(loads_of(clone(model).set_callbacks(Killer(cluster, victim, iteration)).fit))
        assert fits[-1][1] > 8  # something was lost and read again
    for got, _ in fits:
        assert got.lower_bounds_ == expected.lower_bounds_
        assert_array_equal(got.means_, expected.means_)
        assert_array_equal(got.covariances_, expected.covariances_)
