"""Dask input of estimators that keep rows: brought to this machine, or to its disk."""

from types import SimpleNamespace

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import skelbo  # workers import the tests of this folder: what needs torch is looked up late
from skelbo import MCEM, VariationalEM
from skelbo.data.dask_detection import is_dask
from skelbo.data.dask_download import download, spooled
from skelbo.models import FactorModel
from tests.data.dask_collections import as_dask, count_notes, noted


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


@pytest.mark.parametrize("container", ["array", "unknown", "frame"])
@pytest.mark.parametrize("limit", [1000, 10**6])
def test_rows_that_memory_does_not_hold_are_spooled(container, limit, tmp_path):
    """A memory map of a file that is gone with it, or an array; each block is read once."""
    X = noted(tmp_path, 3, container)
    with dask.config.set(scheduler="synchronous"):
        rows, weights, large = spooled(skelbo.VAEEstimator(), X, 2.0, limit, reset=True)
        assert count_notes(tmp_path) == 3
        assert_array_equal(rows, X.compute())
    assert large == (limit == 1000)
    assert_array_equal(weights, np.full(3000, 2.0))
    assert isinstance(rows, pd.DataFrame if container == "frame" else np.ndarray)


@pytest.mark.slow
def test_a_vae_takes_batches_in_turn(tmp_path):
    X = noted(tmp_path, 3, "unknown")
    stream, by_hand = (row_keeper("VAE")[0] for _ in range(2))
    with dask.config.set(scheduler="synchronous"):
        stream.partial_fit(X)
        for i in range(3):
            by_hand.partial_fit(X.blocks[i].compute())
    assert stream.lower_bounds_ == by_hand.lower_bounds_


def test_a_full_disk_is_known_before_anything_is_read(monkeypatch):
    full = SimpleNamespace(free=2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: full)
    huge = da.zeros((10**9, 4), np.int8, chunks=(10**7, 4))  # its table is of float64
    with pytest.raises(OSError, match=r"0.000977 GiB free, and X takes 29.8 GiB; let TMPDIR"):
        skelbo.VAEEstimator().fit(huge)


def test_a_block_that_cannot_be_read_is_not_taken_for_a_full_disk():
    def lost():
        raise FileNotFoundError("part-7 is gone")

    model, table = row_keeper("VAE")
    parts = [da.from_delayed(dask.delayed(lost)(), (9, 3), float), da.from_array(table)]
    with pytest.raises(FileNotFoundError, match="part-7"), dask.config.set(scheduler="synchronous"):
        model.fit(da.concatenate(parts))


@pytest.mark.parametrize("model", [VariationalEM(), MCEM()], ids=repr)
def test_no_collection_comes_into_memory_unasked(model, iris):
    huge = da.zeros((10**9, 4), chunks=(10**7, 4))
    message = r"X, a Dask collection, takes 29.8 GiB, more than the 1 GiB.*pass X.compute\(\)"
    with pytest.raises(ValueError, match=f"{type(model).__name__} keeps all rows.*{message}"):
        model.fit(huge)
    frame = dd.from_pandas(pd.DataFrame(iris, columns=list("abcd")), npartitions=3)
    with pytest.raises(ValueError, match=r"takes at least .* \(X.sample\(frac=0.01\), say\)"):
        download(model, frame, None, reset=True, limit=2**10)
