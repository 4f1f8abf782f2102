"""Blocks hand out every row exactly once, and memory does not grow with the table."""

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from skelbo import EMGaussianMixture
from skelbo.data.rows import Rows


@given(n=st.integers(1, 60), missing=st.booleans(), weighted=st.booleans(), seed=st.integers(0, 99))
def test_every_row_once(n, missing, weighted, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    if missing:
        X[rng.random(X.shape) < 0.3] = np.nan
    weights = rng.integers(0, 3, n).astype(float) if weighted else None
    if weighted and not weights.any():
        weights[0] = 1.0
    rows = Rows(X, weights, origin=np.array([1.0, 2.0, 3.0]), block_rows=7)
    seen = np.concatenate([block.index for block in rows.blocks()])
    expected = np.arange(n) if weights is None else np.flatnonzero(weights)
    assert sorted(seen) == list(expected)
    for block in rows.blocks():
        np.testing.assert_allclose(block.values.T + rows.origin, X[block.index], atol=1e-15)
        assert (block.observed is None) == (not np.isnan(block.values).any())
        if block.observed is not None:
            np.testing.assert_array_equal(block.observed, ~np.isnan(block.values))


def test_total_and_each_agree_with_numpy():
    X = np.random.default_rng(0).standard_normal((1000, 2))
    rows = Rows(X, block_rows=64)
    total = rows.total(lambda block: block.values.sum(axis=1))
    np.testing.assert_allclose(total, X.sum(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(rows.each(lambda block: block.values.T, 2), X)


@pytest.mark.parametrize("moved", [False, True], ids=["read", "moved"])
def test_block_size_does_not_matter(moved, faithful):
    """Sums agree to rounding, also about an origin to which kept blocks have moved."""
    sums = []
    for size in (7, 256, 10_000):
        rows = Rows(faithful, np.arange(272.0) % 4, block_rows=size)
        if moved:
            rows.total(sum_of_squares)
            rows = rows.about(np.array([3.0, 70.0]))
        sums.append(rows.total(sum_of_squares))
    np.testing.assert_allclose(sums, [sums[0]] * 3, rtol=1e-12)


def sum_of_squares(block):
    return (block.weights * block.values**2).sum(axis=1)


@pytest.mark.slow
def test_threads_do_not_matter():
    """The same bits from one thread and from three, missing cells and warnings included."""
    X = np.random.default_rng(0).standard_normal((200_000, 3)) + np.array([0.0, 5.0, -5.0])
    X[::7, 1] = np.nan
    fits = []
    for count in (1, 3):
        with threadpool_limits(count, user_api="blas"):
            fits.append(EMGaussianMixture(3, tol=1e-2, random_state=0).fit(X))
            answers = [fit.transform(X) for fit in fits]
    one, three = fits
    np.testing.assert_array_equal(one.lower_bounds_, three.lower_bounds_)
    np.testing.assert_array_equal(one.covariances_, three.covariances_)
    np.testing.assert_array_equal(*answers)


def test_an_error_in_a_thread_is_raised():
    rows = Rows(np.zeros((2**21, 1)))
    with threadpool_limits(2, user_api="blas"), pytest.raises(ZeroDivisionError):
        rows.total(lambda block: 1 // int(block.index[0] == 0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_memory_beyond_X_does_not_grow(kind):
    """Peak extra memory at 400000 rows is that at 300000 rows, and under 64 MiB."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400_000, 16)) + 4.0 * rng.integers(3, size=(400_000, 1))
    peaks = []
    for n in (300_000, 400_000):
        model = EMGaussianMixture(3, covariance_type=kind, random_state=0, max_iter=2, tol=0.0)
        tracemalloc.start()
        # With several threads the peak depends on which blocks happen to be at work together.
        with threadpool_limits(1), pytest.warns(match="did not converge"):
            model.fit(X[:n])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert max(peaks) < 64 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("n", [190_000, 400_000])
def test_memory_of_two_threads(n):
    """Rows kept or read anew in each pass: under 64 MiB beyond X, 16 columns, 16 components."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 16)) + 4.0 * rng.integers(3, size=(n, 1))
    model = EMGaussianMixture(16, random_state=0, max_iter=1, tol=0.0, init_params="k-means++")
    tracemalloc.start()
    with threadpool_limits(2), pytest.warns(match="did not converge"):
        model.fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_read_only_memmap(tmp_path, faithful):
    path = tmp_path / "rows.npy"
    np.save(path, faithful)
    mapped = np.load(path, mmap_mode="r")
    model = EMGaussianMixture(2, random_state=0).fit(mapped)
    assert model.score(mapped) == EMGaussianMixture(2, random_state=0).fit(faithful).score(faithful)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"solver": "gem"}, {"n_init": 2}],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_fit_leaves_no_blocks_behind(options, faithful):
    """They go with the fit, not when the collector of cycles next looks at old objects."""
    gc.collect()
    gc.disable()
    try:
        model = EMGaussianMixture(2, max_iter=15, random_state=0, **options).fit(faithful)
        model.partial_fit(faithful[:50])
        assert not [found for found in gc.get_objects() if issubclass(type(found), Rows)]
    finally:
        gc.enable()
