"""The sample of rows for starts depends on their content, and carries their weights."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.data.rows import Rows
from skelbo.mixture.row_sample import HashSample, content_hash, lexicographic, sample_rows


def test_sample_of_many_rows_is_stable_and_carries_weights():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12_000, 2))
    X = np.concatenate([X, X[:3000]])
    order = rng.permutation(len(X))
    first, second = sample_rows(Rows(X), 2), sample_rows(Rows(X[order]), 2)
    assert_array_equal(first.values, second.values)
    assert_array_equal(first.weights, second.weights)
    assert len(first.weights) == 4096 and set(first.weights) == {1.0, 2.0}
    assert np.mean(first.weights == 2) == pytest.approx(0.25, abs=0.03)


def test_sample_of_distinct_rows_is_the_table():
    X = np.random.default_rng(0).standard_normal((50, 3))
    plain, weighted = (
        HashSample.of_table(X, weights, 64, np.ones(3)) for weights in (None, np.ones(50))
    )
    for drawn in (plain, weighted):
        assert_array_equal(drawn.values, X)
        assert_array_equal(drawn.keys, content_hash(X))
        assert_array_equal(drawn.weights, np.ones(50))


def test_content_hash_separates_rows():
    X = np.random.default_rng(0).integers(0, 30, (20_000, 3)).astype(float)
    keys = content_hash(X)
    assert len(np.unique(keys)) == len(np.unique(X, axis=0))
    assert_array_equal(content_hash(np.array([[0.0]])), content_hash(np.array([[-0.0]])))


def test_a_missing_cell_is_not_zero():
    X = np.array([[0.0, 0.0], [np.nan, 0.0], [0.0, np.nan], [np.nan, np.nan], [0.0, 0.0]])
    assert len(np.unique(content_hash(X))) == 4
    sample = sample_rows(Rows(X), 1)
    assert sorted(sample.weights) == [1, 1, 1, 2]


def test_the_order_of_rows_does_not_depend_on_where_the_columns_lie():
    """A missing cell is at the mean, which is that of its column but for rounding."""
    X = np.array([[0.1, 1.0], [0.7, np.nan], [0.2, 0.0], [0.3, -1.0], [0.9, np.nan]])
    X = np.round(2.0**20 * X) / 2.0**20  # so that shifts are exact
    rows = []
    for shift in (0.0, 32.0):
        origin = np.nanmean(X + shift, axis=0) + np.array([0.0, 1e-16])
        rows.append(sample_rows(Rows(X + shift, None, origin), 2))
    assert_allclose(rows[0].values, rows[1].values, atol=1e-13)
    assert_array_equal(rows[0].observed, rows[1].observed)
    assert_array_equal(lexicographic(X), [3, 2, 0, 1, 4])


def test_standardized_columns_have_variance_one_with_weights():
    X = np.random.default_rng(0).standard_normal((200, 3)) * [1e-3, 1.0, 1e4]
    X[:, 1] = 7.0  # constant
    weights = np.random.default_rng(1).integers(1, 5, 200).astype(float)
    sample = sample_rows(Rows(X, weights, X.mean(axis=0)), 2).standardized()
    variances = np.cov(sample.values.T, ddof=0, fweights=sample.weights.astype(int)).diagonal()
    assert_allclose(variances, [1, 0, 1], atol=1e-12)


def test_missing_cells_stay_missing_in_rows():
    X = np.random.default_rng(0).standard_normal((50, 2))
    X[3, 1] = np.nan
    sample = sample_rows(Rows(X), 2)
    blocks = list(sample.rows(10).blocks())
    assert sum(block.values.shape[1] for block in blocks) == 50
    assert sum((~block.observed).sum() for block in blocks if block.observed is not None) == 1


def test_the_sample_of_a_long_table_does_not_depend_on_units():
    X = np.random.default_rng(0).standard_normal((20_000, 3)) + 100.0
    c = np.array([1e3, 0.3, 1e-7])
    plain = sample_rows(Rows(X), 2, X.std(axis=0)).values
    scaled = sample_rows(Rows(X * c), 2, (X * c).std(axis=0)).values
    kept = np.isin(plain[:, 0].round(6), (scaled[:, 0] / c[0]).round(6)).mean()
    assert kept > 0.99  # but for cells whose last bits round to the other side


def test_rows_that_differ_little_at_an_offset_are_distinct():
    """Starts of columns whose spread is 1e-12 of their size are made of all their rows."""
    steps = np.array([[54.0], [103.0], [9.0], [37.0], [24.0], [-24.0]]) * 1e-3
    X = np.concatenate([1e12 + steps, 1e12 + steps[:2]])
    sample = sample_rows(Rows(X, origin=np.array([1e12])), 1, np.array([0.04]))
    assert sorted(sample.weights) == [1, 1, 1, 1, 2, 2]
    model = EMGaussianMixture(1, solver="gem", max_iter=0).fit(X)
    assert model.lower_bound_ == pytest.approx(GaussianMLE().fit(X).lower_bound_, abs=1e-6)
