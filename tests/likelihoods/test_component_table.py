"""Components over mixed columns: one product of matrices gives what the groups give one by one."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skelbo.likelihoods import LIKELIHOODS, MixedColumns
from skelbo.likelihoods.categorical import Categorical
from skelbo.likelihoods.component_table import ComponentTable, with_infinity

CODES = Categorical(3, closed=True)
KINDS = [LIKELIHOODS["poisson"], CODES, LIKELIHOODS["bernoulli"], CODES, LIKELIHOODS["gaussian"]]


def rows(n=50):
    rng = np.random.default_rng(0)
    columns = [rng.poisson(3, n), rng.integers(0, 3, n), rng.random(n) < 0.4, rng.integers(0, 3, n)]
    X = np.column_stack([*columns, rng.standard_normal(n)]).astype(float)
    X[rng.random(X.shape) < 0.2] = np.nan
    return X, rng.dirichlet(np.ones(2), n)


def test_products_are_sums_over_the_groups():
    X, weights = rows()
    table, plain = ComponentTable(KINDS), MixedColumns(KINDS)
    parameters = table.maxima(weights.T @ table.stacked(X).T)
    for got, expected in zip(parameters, plain.maximize(plain.statistics(X, weights)), strict=True):
        assert_allclose(got, expected, rtol=1e-12)
    natural = table.natural(parameters)
    log_prob = with_infinity(natural @ table.stacked(X), natural)
    expected = plain.component_log_prob(X, parameters)
    assert_allclose(log_prob.T + table.log_base(X)[:, None], expected, rtol=1e-11, atol=1e-11)
    assert table.n_statistics == len(table.stacked(X)) == 2 + 2 * 3 + 2 + 3
    assert table.n_parameters(parameters) == 2 * (1 + 2 * 2 + 1 + 2)


def test_coordinates_are_those_of_the_groups_and_lead_back():
    X, weights = rows()
    table = ComponentTable(KINDS)
    parameters = table.maxima(weights.T @ table.stacked(X).T)
    again = table.from_vector(table.to_vector(parameters), parameters)
    for got, expected in zip(again, parameters, strict=True):
        assert_allclose(got, expected, rtol=1e-12)
    assert table.from_vector(np.full(len(table.to_vector(parameters)), -1.0), parameters) is None


def test_an_excluded_code_is_impossible():
    table = ComponentTable([CODES])
    natural = table.natural((np.array([[[0.0]], [[0.25]], [[0.75]]]),))
    log_prob = with_infinity(natural @ table.stacked(np.array([[0.0], [1.0], [np.nan]])), natural)
    assert_allclose(log_prob, [[-np.inf, np.log(0.25), 0.0]])


@pytest.mark.parametrize("kind", [LIKELIHOODS["bernoulli"], LIKELIHOODS["poisson"], CODES])
def test_laws_of_a_component(kind):
    """Coordinates are inverted, finite on the boundary and projected; draws have the mean."""
    rng = np.random.default_rng(0)
    X = np.stack([rng.integers(0, 2, 40), np.zeros(40)], axis=1).astype(float)
    parameters = kind.maximize(kind.statistics(X, rng.dirichlet(np.ones(3), 40)))
    there = kind.coordinates(parameters)
    assert np.isfinite(there).all()
    assert_allclose(kind.from_coordinates(there), parameters, rtol=1e-12, atol=1e-15)
    assert kind.from_coordinates(there - 0.1).min() == 0
    labels = np.repeat([0, 1, 2], 20_000)
    draws = kind.component_sample(parameters, labels, np.random.RandomState(0))
    assert kind.supports(draws).all()
    drawn = np.array([draws[labels == k].mean(axis=0) for k in range(3)])
    expected = parameters[1] if kind is CODES else kind.component_mean(parameters)
    assert_allclose(drawn, expected, atol=0.02)
    resp = np.array([[1.0, 0.0, 0.0]])
    cells = kind.component_cells(parameters, resp)[0]
    likeliest = parameters[:, 0].argmax(axis=0)
    assert_array_equal(cells, likeliest if kind is CODES else expected[0])
    assert np.isnan(kind.component_mean(parameters)).all() == (kind is CODES)
