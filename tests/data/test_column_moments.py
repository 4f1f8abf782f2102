"""Moments of columns: exact where a column is constant, whatever its value, length and weights."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.rows import Rows

FIELDS = ("weight", "mean", "rms", "smallest", "largest", "n_missing")


def table(n=1000, missing=0.2):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 3)) * [1.0, 1e3, 1e-3] + [0.0, 5.0, 2.0]
    X[rng.random(X.shape) < missing] = np.nan
    return X, rng.integers(0, 4, n).astype(float)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_against_numpy(missing):
    X, weights = table(missing=missing)
    moments = ColumnMoments.of_table(X, weights)
    repeated = np.repeat(X, weights.astype(int), axis=0)
    assert_allclose(moments.mean, np.nanmean(repeated, axis=0), rtol=1e-13)
    assert_allclose(moments.deviation, np.nanstd(repeated, axis=0), rtol=1e-13)
    assert_allclose(moments.variance, np.nanvar(repeated, axis=0), rtol=1e-13)
    assert_array_equal(moments.smallest, np.nanmin(repeated, axis=0))
    assert_array_equal(moments.largest, np.nanmax(repeated, axis=0))
    assert_array_equal(moments.n_missing, np.isnan(X[weights > 0]).sum(axis=0))
    assert_array_equal(moments.weight, (~np.isnan(repeated)).sum(axis=0))


@pytest.mark.parametrize("cut", [1, 500, 999])
def test_parts_add_up(cut):
    X, weights = table()
    X[-1] = X[0]  # a part of one row has every cell
    whole = ColumnMoments.of_table(X, weights + 1)
    parts = (ColumnMoments.of_table(X[s], weights[s] + 1) for s in (np.s_[:cut], np.s_[cut:]))
    both = next(parts) + next(parts)
    for name in FIELDS:
        assert_allclose(getattr(both, name), getattr(whole, name), rtol=1e-12)


@pytest.mark.parametrize("value", [98.6, 0.1, -1 / 3, 6.02e23, 1e-200, 1e160, 0.0])
@pytest.mark.parametrize("n", [2, 1000, 100_001])
def test_a_constant_column_is_constant(value, n):
    weights = np.random.default_rng(0).random(n)
    X = np.c_[np.full(n, value), np.arange(n)]
    X[1::5, 0] = np.nan
    for moments in (ColumnMoments.of_table(X, weights), ColumnMoments.of_rows(Rows(X, weights))):
        assert_array_equal(moments.is_constant, [True, False])
        assert moments.mean[0] == value
        assert moments.rms[0] == 0
        assert moments.positive_variance[0] == moments.variance[1]


@pytest.mark.parametrize("value", [98.6, 0.1, 6.02e23])
def test_a_constant_column_of_float32_is_constant(value):
    X = np.full((1000, 1), value, dtype=np.float32)
    moments = ColumnMoments.of_table(X)
    assert moments.is_constant and moments.mean[0] == X[0, 0] and moments.deviation[0] == 0


def test_rounding_is_no_spread_but_a_float32_unit_is():
    rounded = 98.6 * (1 + np.finfo(float).eps * np.arange(3))
    single = np.float32(1.7e9) + 1000 * np.arange(3, dtype=np.float32)
    moments = ColumnMoments.of_table(np.c_[rounded, single])
    assert_array_equal(moments.is_constant, [True, False])
    assert moments.deviation[0] == 0 < moments.rms[0]


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-139, 1e150, 1e300])
def test_squares_neither_overflow_nor_underflow(scale):
    X = np.random.default_rng(0).standard_normal((500, 1))
    moments = ColumnMoments.of_columns(scale * X.T, np.ones(500))
    assert_allclose(moments.deviation, scale * X.std(axis=0), rtol=1e-12)
    assert not moments.is_constant


def test_the_mean_is_corrected():
    """One pass over 1e5 cells at an offset of 1e12 is off by several units in the last place."""
    X = 1e12 + np.arange(100_000.0)[:, None]
    assert ColumnMoments.of_table(X).mean[0] == 1e12 + 49_999.5
    assert ColumnMoments.of_table(X).deviation[0] == pytest.approx(X.std(), rel=1e-12)


def test_what_cannot_be_used():
    X = np.array([[1.0, np.nan], [2.0, np.nan]])
    with pytest.raises(ValueError, match="column 1 of X has no observed cell"):
        ColumnMoments.of_table(X)
    X[:, 1] = 1e200, -1e200
    with pytest.raises(ValueError, match="column 1 of X has values whose squares overflow"):
        ColumnMoments.of_table(X)
    X[:, 1] = 1e-150, 2e-150
    with pytest.raises(ValueError, match="column 1 of X has a standard deviation of 5e-151, whose"):
        ColumnMoments.of_table(X)


def test_an_unweighted_gap_is_a_gap_and_an_absent_one_is_not():
    X = np.array([[1.0], [2.0], [np.nan]])
    assert not ColumnMoments.of_table(X, np.array([1.0, 1.0, 1e-13])).complete
    assert ColumnMoments.of_table(X, np.array([1.0, 1.0, 0.0])).complete


def test_rounding_is_that_of_the_largest_cell_and_of_a_hundred_steps_between_the_ends():
    X = np.array([[1e6, 0.0, 3.0], [1e6 + 1, 1e6, 3.0]])
    eps = np.finfo(float).eps / 2
    expected = np.array([(eps * (1e6 + 1)) ** 2, (eps * 1e8) ** 2, 0.0])
    columns = ColumnMoments.of_table(X)
    assert_allclose(columns.rounding_variance(np.float64), expected, rtol=1e-12)
    cells = np.finfo(np.float32).eps / 2 * np.array([1e6 + 1, 1e6, 0.0])  # those of the cells
    assert_allclose(columns.rounding_variance(np.float32), cells**2, rtol=1e-12)
