"""Stepwise EM on streams of rows: as good as a fit to all rows, whatever the units and weights."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skelbo import ELBOMonitor, EMGaussianMixture
from skelbo.data.rows import Rows
from skelbo.mixture.stepwise_em import FirstRows


def blobs(n, p, K, rng):
    """Return rows of K overlapping Gaussians with correlated columns."""
    centres, shapes = 2.0 * rng.standard_normal((K, p)), rng.standard_normal((K, p, p))
    labels = rng.integers(K, size=n)
    return centres[labels] + np.einsum("nij,nj->ni", shapes[labels], rng.standard_normal((n, p)))


def after_batches(model, X, n_batches, weights=None):
    """Return the model after the batches of a table."""
    for part in np.array_split(np.arange(len(X)), n_batches):
        model.partial_fit(X[part], sample_weight=None if weights is None else weights[part])
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_one_pass_comes_within_one_percent(kind):
    """The unit: log-likelihood of held-out rows by the batch fit beyond that of one Gaussian."""
    shares = []
    for seed in range(2):
        X = blobs(35_000, 3, 4, np.random.default_rng(seed))
        train, test = X[:30_000], X[30_000:]
        options = {"covariance_type": kind, "random_state": 0, "max_iter": 300, "n_init": 3}
        stream = after_batches(EMGaussianMixture(4, **options), train, 30)
        single = EMGaussianMixture(1, covariance_type=kind).fit(train).score(test)
        batch = EMGaussianMixture(4, **options).fit(train)
        shares.append((stream.score(test) - single) / (batch.score(test) - single))
    assert min(shares) > 0.99


def test_the_first_rows_are_fitted_whole_while_they_grow_fourfold():
    X = blobs(5000, 2, 2, np.random.default_rng(0))
    options = {"random_state": 0, "n_init": 3, "max_iter": 300}
    stream = EMGaussianMixture(2, **options)
    batch = X[:1000].copy()
    stream.partial_fit(batch)
    batch[:] = np.nan  # the caller's array may be used again
    stream.partial_fit(X[1000:2000])
    assert_array_equal(stream.means_, EMGaussianMixture(2, **options).fit(X[:2000]).means_)
    before = stream.means_
    stream.partial_fit(X[2000:2100])
    assert 0 < np.abs(stream.means_ - before).max() < 0.1
    stream.partial_fit(X[2100:5000], sample_weight=np.ones(2900))
    assert_array_equal(stream.means_, EMGaussianMixture(2, **options).fit(X[:5000]).means_)


def test_the_last_fit_of_the_first_rows_goes_by_short_runs():
    X = blobs(17_000, 2, 2, np.random.default_rng(0))
    options = {"random_state": 0, "n_init": 3, "max_iter": 300}
    stream = EMGaussianMixture(2, **options).partial_fit(X[:5000]).partial_fit(X[5000:])
    whole = EMGaussianMixture(2, **options).fit(X)
    assert stream.lower_bound_ == pytest.approx(whole.lower_bound_, abs=1e-6)


@pytest.mark.slow
def test_a_weighted_stream_is_a_repeated_one():
    """Also where the first rows end, which depends on how many rows they stand for."""
    rng = np.random.default_rng(0)
    X, weights = blobs(5000, 2, 3, rng), rng.integers(1, 7, 5000)
    weighted, repeated = (EMGaussianMixture(3, random_state=0) for _ in range(2))
    for part in np.array_split(np.arange(5000), 10):
        weighted.partial_fit(X[part], sample_weight=weights[part])
        repeated.partial_fit(np.repeat(X[part], weights[part], axis=0))
        assert_allclose(weighted.score_samples(X), repeated.score_samples(X), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 1e6), (1e-6, 0.0)])
def test_a_stream_does_not_depend_on_units(scale, shift):
    X = blobs(20_000, 2, 3, np.random.default_rng(0))
    plain = after_batches(EMGaussianMixture(3, random_state=0), X, 8)
    moved = after_batches(EMGaussianMixture(3, random_state=0), scale * X + shift, 8)
    expected = plain.score_samples(X) - 2 * np.log(scale)
    assert_allclose(moved.score_samples(scale * X + shift), expected, atol=1e-5)


def test_callbacks_report_the_fits_of_the_first_rows(faithful):
    monitor = ELBOMonitor()
    stream = EMGaussianMixture(2, random_state=0).set_callbacks(monitor)
    stream.partial_fit(faithful[:100]).partial_fit(faithful[100:])
    assert {0, 1} <= {start for _, start in monitor.curves()} <= {0, 1, 2}


# -------------------------------------------------------------------------------------- first rows


def test_the_number_of_first_rows():
    wanted = {(2, 2): 16384, (16, 64): 16384, (16, 128): 8192, (16, 1000): 4096, (400, 8): 25600}
    for (K, p), size in wanted.items():
        assert FirstRows.wanted(K, p).size == size


def test_first_rows_are_kept_until_there_are_enough():
    X = np.random.default_rng(0).standard_normal((100, 2))
    first = FirstRows(50).joined(Rows(X[:30]))
    assert first.due and not first.enough
    kept = first.kept()
    X[0] = np.nan  # of which a copy is kept
    assert np.isfinite(kept.table[0]).all()
    second = kept.joined(Rows(X[30:60], np.full(30, 2.0)))
    assert second.enough and second.due and second.kept() is None
    table, weights = second.table
    assert table.shape == (60, 2) and weights.sum() == 90
    heavy = FirstRows(50).joined(Rows(X[1:3], np.array([30.0, 30.0])))
    assert heavy.enough  # by weight


def test_a_long_batch_is_cut_where_the_first_rows_end():
    """However long it is, only the rows that are wanted are copied; weight zero does not count."""
    X = np.random.default_rng(0).standard_normal((20_000, 2))
    weights = np.repeat([0.0, 1.0, 0.0], [50, 19_850, 100])
    first = FirstRows(1000).joined(Rows(X[:900]))
    wanted, rest = first.parts(Rows(X, weights))
    assert (wanted.n_samples, rest.n_samples) == (150, 19_850)
    assert wanted.n_present == 100
    assert first.joined(wanted).enough
    assert first.parts(Rows(X[:80])) != [] and len(first.parts(Rows(X[:80]))) == 1
