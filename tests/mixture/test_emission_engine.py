"""EM over distinct rows: the same sums whatever the order and the repetition of rows."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skelbo.data.rows import Rows
from skelbo.mixture.emission_engine import distinct_rows
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.emissions import Emissions
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.row_sample import SAMPLE_ROWS


def codes(n=5000, p=4):
    X = np.random.default_rng(0).integers(0, 3, (n, p)).astype(float)
    X[::11, 0] = np.nan
    return X


def test_sums_over_distinct_rows_are_those_over_all():
    X = codes()
    layout = EmissionLayout.of_rows(Rows(X), "categorical")
    few = distinct_rows(Rows(X), layout, 2)
    assert few.n_samples <= 3**4 + 3**3 and few.total_weight == len(X)
    tables = np.random.default_rng(1).dirichlet(np.ones(3), (2, 4)).transpose(2, 0, 1)
    theta = Mixture(np.array([0.4, 0.6]), Emissions(layout, None, (tables,)))
    (one, mine), (other, theirs) = theta.e_step(few), theta.e_step(Rows(X))
    assert one == pytest.approx(other, rel=1e-13)
    np.testing.assert_allclose(mine.sums, theirs.sums, rtol=1e-11)


def test_neither_order_nor_repetition_matters_to_the_last_bit():
    X = codes(300)
    layout = EmissionLayout.of_rows(Rows(X), "categorical")
    weights = np.random.default_rng(2).integers(0, 3, len(X)).astype(float)
    order = np.random.default_rng(3).permutation(int(weights.sum()))
    rows = [Rows(X, weights), Rows(np.repeat(X, weights.astype(int), axis=0)[order])]
    one, other = (distinct_rows(table, layout, 2) for table in rows)
    assert_array_equal(one.X, other.X)
    assert_array_equal(one.weights, other.weights)


def test_tables_of_many_rows_or_of_numbers_are_left_as_they_are():
    many = np.arange(SAMPLE_ROWS + 10.0)[:, None]
    layout = EmissionLayout.of_rows(Rows(many), "poisson")
    assert distinct_rows(Rows(many), layout, 2) is None
    assert distinct_rows(Rows(many[:50] / 3), layout, 2) is None
    assert distinct_rows(Rows(many[:50]), layout, 2).n_samples == 50
