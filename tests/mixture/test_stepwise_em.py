"""Streams seen once, and batches seen again: as good as all rows at once, and monotone."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skelbo import ELBOMonitor, EMGaussianMixture
from skelbo.data.rows import Rows
from skelbo.em.loop import AscentError
from skelbo.gaussian.regularization import regularization
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.incremental import IncrementalEM
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.short_runs import race
from skelbo.mixture.stepwise_em import FirstRows


def blobs(n, p, K, rng):
    """Return rows of K overlapping Gaussians with correlated columns."""
    centres, shapes = 2.0 * rng.standard_normal((K, p)), rng.standard_normal((K, p, p))
    labels = rng.integers(K, size=n)
    return centres[labels] + np.einsum("nij,nj->ni", shapes[labels], rng.standard_normal((n, p)))


# ------------------------------------------------------------------------------ seen once, in turn


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_one_pass_comes_within_one_percent(kind, monkeypatch):
    """Of the batch fit's log-likelihood of held-out rows beyond that of one such Gaussian."""
    monkeypatch.setattr("skelbo.mixture.stepwise_em.FIRST_ROWS", 8192)  # for a shorter stream
    shares = []
    for seed in range(2):
        X = blobs(20_000, 3, 4, np.random.default_rng(seed))
        train, test = X[:15_000], X[15_000:]
        options = {"covariance_type": kind, "random_state": 0, "max_iter": 300, "n_init": 3}
        stream = EMGaussianMixture(4, **options)
        for start in range(0, len(train), 500):
            stream.partial_fit(train[start : start + 500])
        single = EMGaussianMixture(1, covariance_type=kind, random_state=0).fit(train).score(test)
        batch = EMGaussianMixture(4, **options).fit(train)
        shares.append((stream.score(test) - single) / (batch.score(test) - single))
    assert min(shares) > 0.99


def test_the_first_rows_are_fitted_whole(monkeypatch):
    """While they grow fourfold, as `fit` fits them; not kept beyond their size, nor after `fit`."""
    X = blobs(6000, 2, 2, np.random.default_rng(0))
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
    assert sum(rows.n_samples for rows in stream._stream.first.batches) == 5000
    assert EMGaussianMixture(2, **options).fit(X[:100])._stream.first is None
    monkeypatch.setattr("skelbo.mixture.stepwise_em.FIRST_ROWS", 5500)
    stream = EMGaussianMixture(2, **options).partial_fit(X[:5000]).partial_fit(X[5000:])
    whole = EMGaussianMixture(2, **options).fit(X)
    assert stream._stream.first is None
    assert stream.lower_bound_ == pytest.approx(whole.lower_bound_, abs=1e-6)  # by way of the race


def test_the_first_rows_take_bounded_memory(monkeypatch):
    """However long the batch that completes them is, of which only what is wanted is copied."""
    monkeypatch.setattr("skelbo.mixture.stepwise_em.FIRST_ROWS", 1000)
    X, copied = blobs(20_000, 2, 2, np.random.default_rng(0)), []
    table = FirstRows.table.fget

    def noted(first):
        copied.append(sum(rows.n_samples for rows in first.batches))
        return table(first)

    monkeypatch.setattr(FirstRows, "table", property(noted))
    stream = EMGaussianMixture(2, random_state=0).partial_fit(X[:900])
    weights = np.repeat([0.0, 1.0, 0.0], [50, 18_950, 100])
    stream.partial_fit(X[900:], sample_weight=weights)
    stream.partial_fit(X[900:], sample_weight=weights)
    assert stream._stream.first is None and stream._stream.weight == 900 + 2 * 18_950
    assert copied == [900, 1050]
    whole = EMGaussianMixture(2, random_state=0).fit(X)
    assert stream.score(X) == pytest.approx(whole.score(X), abs=1e-3)


def test_how_many_of_the_first_rows_are_wanted():
    wanted = {(2, 2): 16384, (16, 64): 16384, (16, 128): 8192, (16, 1000): 4096, (400, 8): 25600}
    for (K, p), size in wanted.items():
        assert FirstRows.wanted(K, p).size == size


def test_a_weighted_stream_is_a_repeated_one(monkeypatch):
    """Also where the first rows end: that depends on how many rows they stand for."""
    monkeypatch.setattr("skelbo.mixture.stepwise_em.FIRST_ROWS", 5000)
    rng = np.random.default_rng(0)
    X, weights = blobs(2000, 2, 3, rng), rng.integers(1, 7, 2000)
    weighted, repeated = (EMGaussianMixture(3, random_state=0) for _ in range(2))
    for part in np.array_split(np.arange(2000), 10):
        weighted.partial_fit(X[part], sample_weight=weights[part])
        repeated.partial_fit(np.repeat(X[part], weights[part], axis=0))
        assert (weighted._stream.first is None) == (repeated._stream.first is None)
    assert weighted._stream.first is None
    assert_allclose(weighted.score_samples(X), repeated.score_samples(X), atol=1e-6)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 1e6), (1e-6, 0.0)])
def test_a_stream_does_not_depend_on_units(scale, shift, monkeypatch):
    monkeypatch.setattr("skelbo.mixture.stepwise_em.FIRST_ROWS", 3000)
    X = blobs(4000, 2, 3, np.random.default_rng(0))
    plain, moved = (EMGaussianMixture(3, random_state=0) for _ in range(2))
    for part in np.array_split(np.arange(4000), 8):
        plain.partial_fit(X[part])
        moved.partial_fit(scale * X[part] + shift)
    assert plain._stream.first is moved._stream.first is None
    expected = plain.score_samples(X) - 2 * np.log(scale)
    assert_allclose(moved.score_samples(scale * X + shift), expected, atol=1e-5)


# -------------------------------------------------------------------------------------- the race


def engine(X, K, **options):
    """Return the engine of a fit, and its starts."""
    model = EMGaussianMixture(K, random_state=0, **options)
    rows, columns = model._centred(model._read_rows(X, None))
    em = model._em(rows, columns, False)
    return em, list(model._starts(em, 4))


def test_a_race_is_won_by_the_highest_bound():
    """The winner is thirty iterations on from its start, and no other would be higher there."""
    em, starts = engine(blobs(2000, 3, 6, np.random.default_rng(1)), 6, tol=0.0)
    thetas = [start() for start in starts]
    winner = race(em, thetas)

    def after(theta, n_iter):
        for _ in range(n_iter):
            theta = theta.m_step(em.e_step(theta)[1], em.rule)
        return em.e_step(theta)[0]

    early = np.array([after(theta, 10) for theta in thetas])
    late = [after(thetas[k], 30) for k in np.argsort(early)[2:]]
    assert em.e_step(winner)[0] == pytest.approx(max(late), abs=1e-12)
    assert np.ptp(early) > 1e-3  # they do differ


def test_a_race_goes_on_without_those_who_fail():
    em, starts = engine(blobs(300, 2, 2, np.random.default_rng(0)), 2)

    def fails():
        raise AscentError("a singular start")

    assert race(em, [fails, starts[0]]).is_regular
    assert race(em, [fails, fails]) is fails
    assert race(em, [fails]) is fails
    given = starts[0]()
    assert race(em, [given, given]) is given  # nobody to race against


def test_callbacks_see_the_fits_of_the_first_rows(faithful):
    monitor = ELBOMonitor()
    stream = EMGaussianMixture(2, random_state=0).set_callbacks(monitor)
    stream.partial_fit(faithful[:100]).partial_fit(faithful[100:])
    assert {start for _, start in monitor.curves()} == {0, 1, 2}


# --------------------------------------------------------------------------------------- seen again


@pytest.mark.slow
@given(
    kind=st.sampled_from(sorted(set(STRUCTURES) - {"factor"})),  # which refuses batch_size
    size=st.integers(5, 80),
    missing=st.booleans(),
    weighted=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15, deadline=None)
def test_the_free_energy_never_falls_and_is_a_bound(kind, size, missing, weighted, seed):
    """F(q, theta) rises batch by batch and stays below log p(X; theta), and ends there."""
    rng = np.random.default_rng(seed)
    X = blobs(150, 2, 3, rng)
    if missing:
        X[rng.random(X.shape) < 0.1] = np.nan
    weights = rng.integers(0, 3, 150).astype(float) if weighted else None
    options = {"covariance_type": kind, "random_state": seed, "acceleration": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = EMGaussianMixture(3, max_iter=0, **options).fit(X, sample_weight=weights)
        model = EMGaussianMixture(3, max_iter=12, batch_size=size, tol=0.0, **options)
        model.fit(X, sample_weight=weights)
    bounds = np.array([start.lower_bound_, *model.lower_bounds_])
    assert np.all(np.diff(bounds) > -1e-10)
    assert model.lower_bound_ == pytest.approx(model.score(X, sample_weight=weights), abs=1e-10)


def test_statistics_are_remembered_and_the_bound_is_exact(monkeypatch):
    """One sweep reads every row once; its bound is below log p, and F of what it remembers."""
    X = blobs(1000, 2, 3, np.random.default_rng(0))
    theta = EMGaussianMixture(3, random_state=0, max_iter=0).fit(X)._theta(np.zeros(2))
    rows = Rows(X)
    engine = IncrementalEM(rows, regularization("auto", X.var(axis=0)), 128)
    read = []
    expected = Mixture.expected

    def counted(self, block):
        read.append(block.values.shape[1])
        return expected(self, block)

    monkeypatch.setattr(Mixture, "expected", counted)
    bound, q = engine.e_step(theta)
    assert sum(read) == 1000 and bound == pytest.approx(theta.e_step(rows)[0], abs=1e-12)
    read.clear()
    swept = engine.m_step(q, theta)
    new_bound, new_q = engine.e_step(swept)
    assert sum(read) == 1000 and len(new_q.moments) == 8
    assert bound < new_bound <= swept.e_step(rows)[0]


def test_batches_end_at_the_mode_of_em(faithful):
    modes = [
        EMGaussianMixture(2, random_state=0, batch_size=size).fit(faithful).lower_bound_
        for size in (None, 1, 40, 272, 1000)
    ]
    assert_allclose(modes, modes[0], atol=1e-7)


def test_batches_of_a_memory_map_are_not_kept(tmp_path):
    """Peak memory does not grow with the rows; the result is that of the array."""
    X = blobs(3000, 4, 2, np.random.default_rng(0)).astype(np.float32)
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    options = {"random_state": 0, "batch_size": 500, "max_iter": 5, "tol": 0.0}
    fits = []
    for table in (X, mapped):
        with pytest.warns(ConvergenceWarning):
            fits.append(EMGaussianMixture(2, **options).fit(table))
    assert_array_equal(fits[0].means_, fits[1].means_)
    engine = IncrementalEM(Rows(mapped), regularization("auto", X.var(axis=0)), 500)
    for batch in engine._batches():
        assert isinstance(batch.X, np.memmap) and batch._kept is None
