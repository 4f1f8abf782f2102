"""Blocks of Dask collections: sums in a tree, batches in turn, what is refused."""

import subprocess
import sys

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import skelbo
from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.data.dask_blocks import Blocks
from tests.data.dask_collections import as_dask, cut


def spoilt(value):
    """Return ones but for one cell."""
    X = np.ones((6, 2))
    X[4, 1] = value
    return as_dask(X)


def sum_of_rows(table, factor):
    return factor * table.X.sum(0) if len(table.X) > 1 else None


@pytest.mark.parametrize("n_blocks", [1, 7, 8, 9, 65])
def test_a_sum_runs_over_all_blocks(n_blocks):
    X = np.random.default_rng(0).standard_normal((2 * n_blocks + 1, 3))
    blocks = Blocks.of(da.from_array(X, chunks=(2, 3)), None, np.dtype(np.float64))
    with dask.config.set(scheduler="synchronous"):
        assert_allclose(blocks.total(sum_of_rows, 2.0), 2 * X[:-1].sum(0), rtol=1e-12)
        assert_array_equal(np.concatenate([table.X for table in blocks.in_turn()]), X)


def test_a_block_that_fails_for_a_moment_is_read_again(tmp_path):
    """On a cluster: the other schedulers do not repeat a task."""
    from distributed import Client

    def load():
        attempts = len(list(tmp_path.iterdir()))
        (tmp_path / str(attempts)).touch()
        if attempts < 2:
            raise OSError("storage is away")
        return np.ones((4, 3))

    X = da.from_delayed(dask.delayed(load)(), (4, 3), float)
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0"):
        blocks = Blocks.of(X, None, np.dtype(np.float64))
        assert_array_equal(blocks.total(sum_of_rows, 1.0), [4.0, 4.0, 4.0])


@pytest.mark.parametrize("name", ["EMGaussianMixture", "VAEEstimator"])
def test_a_stream_is_not_silent_about_a_batch_without_rows(name, iris):
    X = da.from_array(iris, chunks=(50, 4))
    model = getattr(skelbo, name)()
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(ValueError, match=r"0 sample\(s\)"):
            model.partial_fit(X[X[:, 0] > 100])
        with pytest.raises(ValueError, match="sample_weight is zero"):
            model.partial_fit(X, sample_weight=0.0)


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
    "negative weight": (
        SIX,
        as_dask(np.array([1, 1, 1, 1, -1, 1])),
        "negative weights, the smallest is -1.0",
    ),
    "zero weights": (SIX, as_dask(np.zeros(6)), "zero for all rows"),
    "weight not finite": (SIX, as_dask(np.array([1, 1, 1, 1, np.nan, 1])), "weight contains NaN"),
    "wrong weights": (SIX, as_dask(np.ones(5)), r"has shape \(5,\), expected \(6,\)"),
    "weights of another shape": (
        SIX,
        as_dask(np.ones((6, 1))),
        r"expected \(n_samples,\)",
    ),
    "weights in memory": (UNKNOWN, np.ones(6), "pass it as a Dask array or series with"),
    "other blocks": (UNKNOWN, as_dask(np.ones(6), 3), "3 blocks, expected the 2 of X"),
    "uneven blocks": (
        UNKNOWN,
        da.from_array(np.ones(6), chunks=((2, 4),)),
        r"sample_weight has shape \([24],\), expected \(3,\)",
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
    for options in ({"solver": "gradient"}, {"device": "cpu"}):
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
