"""Blocks hand out every row exactly once, and memory does not grow with the table."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import skelbo.data.rows
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
    rows = Rows(X, weights, origin=np.array([1.0, 2.0, 3.0]))
    rows.block_rows = 7
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
    rows = Rows(X)
    rows.block_rows = 64
    total = rows.total(lambda block: block.values.sum(axis=1))
    np.testing.assert_allclose(total, X.sum(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(rows.each(lambda block: block.values.T, 2), X)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_block_size_does_not_matter(kind, monkeypatch, faithful):
    fits = []
    for smallest, largest in [(1, 16), (256, 8192)]:
        monkeypatch.setattr(skelbo.data.rows, "MIN_BLOCK_ROWS", smallest)
        monkeypatch.setattr(skelbo.data.rows, "MAX_BLOCK_ROWS", largest)
        model = EMGaussianMixture(2, covariance_type=kind, random_state=0, tol=0.0, max_iter=20)
        with pytest.warns(match="did not converge"):
            fits.append(model.fit(faithful))
    small, large = fits
    np.testing.assert_allclose(small.means_, large.means_, rtol=1e-12)
    np.testing.assert_allclose(small.covariances_, large.covariances_, rtol=1e-11)
    assert small.lower_bound_ == pytest.approx(large.lower_bound_, rel=1e-12)


def test_threads_do_not_matter(monkeypatch):
    """The same bits from one thread and from three, missing cells and warnings included."""
    X = np.random.default_rng(0).standard_normal((3000, 3)) + np.array([0.0, 5.0, -5.0])
    X[::7, 1] = np.nan
    monkeypatch.setattr(skelbo.data.rows, "MIN_THREADED_CELLS", 0)
    monkeypatch.setattr(skelbo.data.rows, "MAX_BLOCK_ROWS", 256)
    fits = []
    for count in (1, 3):
        monkeypatch.setattr(skelbo.data.rows, "n_threads", lambda count=count: count)
        fits.append(EMGaussianMixture(3, tol=1e-3, random_state=0).fit(X))
    one, three = fits
    np.testing.assert_array_equal(one.lower_bounds_, three.lower_bounds_)
    np.testing.assert_array_equal(one.covariances_, three.covariances_)
    np.testing.assert_array_equal(one.transform(X), three.transform(X))


def test_an_error_in_a_thread_is_raised(monkeypatch):
    monkeypatch.setattr(skelbo.data.rows, "MIN_THREADED_CELLS", 0)
    monkeypatch.setattr(skelbo.data.rows, "n_threads", lambda: 2)
    rows = Rows(np.zeros((1000, 1)))
    rows.block_rows = 100
    with pytest.raises(ZeroDivisionError):
        rows.total(lambda block: 1 // int(block.index[0] != 500))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_memory_beyond_X_does_not_grow(kind, monkeypatch):
    """Peak extra memory at 400000 rows is that at 300000 rows, and under 64 MiB."""
    # With several threads the peak depends on which blocks happen to be at work together.
    monkeypatch.setattr(skelbo.data.rows, "n_threads", lambda: 1)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400_000, 16)) + 4.0 * rng.integers(3, size=(400_000, 1))
    peaks = []
    for n in (300_000, 400_000):
        model = EMGaussianMixture(3, covariance_type=kind, random_state=0, max_iter=2, tol=0.0)
        tracemalloc.start()
        with pytest.warns(match="did not converge"):
            model.fit(X[:n])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert max(peaks) < 64 * 2**20


@pytest.mark.parametrize("n", [190_000, 400_000])
def test_memory_of_two_threads(n, monkeypatch):
    """Rows kept or read anew in each pass: under 64 MiB beyond X, 16 columns, 16 components."""
    monkeypatch.setattr(skelbo.data.rows, "n_threads", lambda: 2)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 16)) + 4.0 * rng.integers(3, size=(n, 1))
    model = EMGaussianMixture(16, random_state=0, max_iter=1, tol=0.0, init_params="k-means++")
    tracemalloc.start()
    with pytest.warns(match="did not converge"):
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
    [{}, {"solver": "gem"}, {"batch_size": 50}, {"n_init": 2}],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_fit_leaves_no_blocks_behind(options, faithful):
    """They go with the fit, not when the collector of cycles next looks at old objects."""
    alive = weakref.WeakSet()

    class Watched(Rows):
        def __init__(self, *args):
            super().__init__(*args)
            alive.add(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skelbo.estimator.Rows", Watched)
        patch.setattr("skelbo.data.rows.Rows", Watched)
        patch.setattr("skelbo.gaussian_mixture.Rows", Watched)
        gc.collect()
        gc.disable()
        try:
            model = EMGaussianMixture(2, max_iter=15, random_state=0, **options).fit(faithful)
            model.partial_fit(faithful[:50])
            assert not alive
        finally:
            gc.enable()
