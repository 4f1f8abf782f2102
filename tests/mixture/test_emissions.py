"""Emissions: densities by scipy, missing cells by omission, additive statistics, their maxima."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.rows import Rows
from skelbo.gaussian.components import Components
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.emissions import Emissions
from skelbo.mixture.mixture import Mixture

KINDS = ["gaussian", "bernoulli", "gaussian", "poisson", "categorical", "categorical"]


def table(n=60, missing=0.0, seed=0):
    """Return rows of all kinds, the codes of the last two columns being 3 and 2 in number."""
    rng = np.random.default_rng(seed)
    columns = [rng.standard_normal(n), rng.random(n) < 0.3, 5 + 2 * rng.standard_normal(n)]
    columns += [rng.poisson(3, n), rng.permutation(np.arange(n) % 3), rng.integers(0, 2, n)]
    X = np.column_stack(columns).astype(float)
    X[rng.random(X.shape) < missing] = np.nan
    return X


def emissions(kind="full", n_components=3, X=None, layout=None):
    """Return a layout, emissions about zero and the regularization."""
    X = table() if X is None else X
    layout = layout or EmissionLayout.of_rows(Rows(X), KINDS, kind)
    rng = np.random.default_rng(1)
    covariances = np.array([[[1.0, 0.3], [0.3, 2.0]]] * n_components)
    structure = STRUCTURES[kind]
    weights = rng.dirichlet(np.ones(n_components), len(X)).T
    complete = np.where(np.isnan(X), 0.0, X)[:, layout.gaussian_columns]
    rule = layout.regularization("auto", ColumnMoments.of_rows(Rows(X)), X.dtype)
    moments = structure.label_moments(complete.T, weights, covariances[:, 0], own=True)
    gaussian = Components.from_moments(structure, moments, rule)
    codes = rng.dirichlet(np.ones(3), (n_components, 1)).transpose(2, 0, 1)
    pairs = rng.dirichlet(np.ones(2), (n_components, 1)).transpose(2, 0, 1)
    bernoulli, poisson = rng.random((1, n_components, 1)), 1 + rng.random((1, n_components, 1))
    return layout, Emissions(layout, gaussian, (bernoulli, poisson, codes, pairs)), rule


def by_scipy(row, found, k):
    """Return log p of the observed cells of a row under one component."""
    bernoulli, poisson, codes, pairs = (values[:, k, 0] for values in found.parameters)
    total, seen = 0.0, ~np.isnan(row)
    block = np.flatnonzero(seen[[0, 2]])
    if block.size:
        matrix = found.gaussian.covariance.dense(found.n_components, 2)[k]
        mean = found.gaussian.means[k]
        total += stats.multivariate_normal.logpdf(
            row[[0, 2]][block], mean[block], matrix[np.ix_(block, block)]
        )
    if seen[1]:
        total += stats.bernoulli.logpmf(row[1], bernoulli[0])
    if seen[3]:
        total += stats.poisson.logpmf(row[3], poisson[0])
    if seen[4]:
        total += np.log(codes[int(row[4])])
    return total + (np.log(pairs[int(row[5])]) if seen[5] else 0.0)


@pytest.mark.parametrize("kind", [name for name in STRUCTURES if name != "factor"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_densities_are_those_of_scipy(kind, missing):
    X = table(missing=missing)
    X[0] = np.nan
    _, found, _ = emissions(kind)
    expected = [[by_scipy(row, found, k) for k in range(3)] for row in X]
    assert_allclose(found.log_prob(X), expected, rtol=1e-11, atol=1e-11)


def test_probabilities_of_all_patterns_add_up_to_one():
    layout = EmissionLayout.of_rows(Rows(table()[:, [1, 4, 5]]), ["bernoulli", *KINDS[4:]])
    rng = np.random.default_rng(0)
    parts = [rng.dirichlet(np.ones(n), (2, 1)).transpose(2, 0, 1) for n in (2, 3, 2)]
    found = Emissions(layout, None, (parts[0][1:], *parts[1:]))
    patterns = np.array(list(itertools.product([0, 1], [0, 1, 2], [0, 1])), dtype=float)
    assert_allclose(np.exp(found.log_prob(patterns)).sum(0), 1, rtol=1e-13)


def test_statistics_add_up_and_their_maximum_is_one():
    X = table(missing=0.2)
    _, found, rule = emissions()
    resp = np.random.default_rng(2).dirichlet(np.ones(3), len(X))
    whole = found.statistics(X, resp)
    parts = found.statistics(X[:20], resp[:20]) + found.statistics(X[20:], resp[20:])
    assert_allclose(parts.sums, whole.sums, rtol=1e-12)
    assert_allclose(parts.moments.scatter, whole.moments.scatter, rtol=1e-10)
    best, same = found.updated(whole, rule), found.updated(whole.scaled(0.1), rule)
    assert_allclose(best.log_prob(X), same.log_prob(X), rtol=1e-12)
    full = ~np.isnan(X).any(axis=1)

    def value(theta):
        return (resp * theta.log_prob(X))[full].sum()

    complete = found.updated(found.statistics(X[full], resp[full]), rule)
    units = np.ones(6)
    at = complete.to_vector(units)
    rng = np.random.default_rng(3)
    for _ in range(20):
        moved = complete.from_vector(at + 1e-2 * rng.standard_normal(len(at)), units)
        assert value(moved) < value(complete)


def test_coordinates_are_inverted_and_finite_on_the_boundary():
    layout, found, _ = emissions()
    parameters = [values.copy() for values in found.parameters]
    parameters[0][0, :2, 0] = 0, 1
    parameters[1][0, 0, 0] = 0
    parameters[2][:, 1, 0] = 0, 1, 0
    found = Emissions(layout, found.gaussian, tuple(parameters))
    units = np.full(6, 2.0)
    vector = found.to_vector(units)
    assert np.isfinite(vector).all()
    again = found.from_vector(vector, units)
    assert_allclose(again.to_vector(units), vector, rtol=1e-12, atol=1e-12)
    assert found.from_vector(vector - 3.0, units) is None
    beyond = found.from_vector(vector + 3.0, units)
    assert_array_equal(beyond.parameters[0], 1)
    for codes in beyond.parameters[2:]:
        assert_allclose(codes.sum(0), 1, rtol=1e-12)
    below = found.from_vector(vector - 0.3, units)
    assert all(values.min() == 0 for values in below.parameters)


def test_rows_that_contradict_the_boundary_are_impossible():
    X = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [np.nan, np.nan, 2.0]])
    layout = EmissionLayout.of_rows(Rows(X), ["bernoulli", "poisson", "categorical"])
    half = np.full((3, 1, 1), 1 / 3)
    start = Emissions(layout, None, (np.full((1, 1, 1), 0.5), np.ones((1, 1, 1)), half))
    found = start.updated(start.statistics(X[:2], np.ones((2, 1))), None)
    assert_array_equal(found.parameters[0], 0)
    assert_array_equal(found.parameters[1], 0)
    got = found.log_prob(np.array([[0, 0, 1.0], [1, 0, 0], [0, 3, 0], [0, 0, 2], [np.nan] * 3]))
    assert_allclose(got[:, 0], [np.log(0.5), -np.inf, -np.inf, -np.inf, 0.0])


def test_a_component_without_weight_stays_as_it_is():
    X = table()
    _, found, rule = emissions()
    resp = np.column_stack([np.ones((len(X), 2)) / 2, np.zeros(len(X))])
    best = found.updated(found.statistics(X, resp), rule)
    for old, new in zip(found.parameters, best.parameters, strict=True):
        assert_array_equal(new[:, 2], old[:, 2])
        assert np.all(new[:, :2].max(0) != old[:, :2].max(0))


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "factor"])
def test_gaussian_columns_alone_are_those_of_a_mixture_to_the_last_bit(kind):
    X = table()[:, [0, 2, 3]]
    layout = EmissionLayout.of_rows(Rows(X), "gaussian", kind, 1)
    weights = np.random.default_rng(0).dirichlet(np.ones(2), len(X)).T
    moments = layout.structure.label_moments(X.T, weights, np.zeros((2, 3)), own=True)
    rule = layout.regularization("auto", ColumnMoments.of_rows(Rows(X)), X.dtype)
    gaussian = Components.from_moments(layout.structure, moments, rule)
    share = np.array([0.4, 0.6])
    one, other = Mixture(share, gaussian), Mixture(share, Emissions(layout, gaussian))
    for rows in (Rows(X), Rows(table(missing=0.3)[:, [0, 2, 3]])):
        mine, theirs = one.e_step(rows), other.e_step(rows)
        assert mine[0] == theirs[0]
        assert_array_equal(mine[1].scatter, theirs[1].scatter)
        stepped = other.m_step(theirs[1], rule).components.gaussian
        assert_array_equal(stepped.means, one.m_step(mine[1], rule).components.means)
    assert_array_equal(other.to_vector(np.ones(3)), one.to_vector(np.ones(3)))


def test_means_draws_and_order():
    _, found, _ = emissions()
    labels = np.repeat([0, 1, 2], 20_000)
    X = found.sample(labels, np.random.RandomState(0))
    drawn = np.array([X[labels == k].mean(0) for k in range(3)])
    spread = np.array([X[labels == k].std(0) for k in range(3)])
    means = found.mean()
    assert np.isnan(means[:, 4:]).all()
    assert np.all(np.abs(drawn - means)[:, :4] < 5 * spread[:, :4] / 20_000**0.5)
    shares = [[(X[labels == k, 4] == code).mean() for k in range(3)] for code in range(3)]
    assert_allclose(shares, found.parameters[2][:, :, 0], atol=0.02)
    turned = found.take(np.array([2, 0, 1]))
    # Kernels of a matrix product add in an order that depends on the place of a component.
    assert_allclose(turned.log_prob(X[:9]), found.log_prob(X[:9])[:, [2, 0, 1]], rtol=1e-14)
    assert found.n_parameters == 3 * (2 + 3 + 1 + 1 + 2 + 1)


def test_expected_cells_are_conditional_means_and_likely_codes():
    _, found, _ = emissions()
    block = next(iter(found.rows(np.full((1, 6), np.nan)).blocks()))
    got = found.expected_cells(block, np.array([[0.2], [0.5], [0.3]]))[0]
    expected = np.array([0.2, 0.5, 0.3]) @ found.mean()
    assert_allclose(got[:4], expected[:4], rtol=1e-12)
    codes = found.parameters[2][:, :, 0] @ [0.2, 0.5, 0.3]
    assert got[4] == codes.argmax()


@pytest.mark.parametrize(
    ("cell", "kind", "message"),
    [
        (2.0, "bernoulli", r"column 1 of X has the value 2, but likelihood 'bernoulli'"),
        (0.5, "poisson", r"column 1 of X has the value 0.5, but .* round the column"),
        (-1.0, "poisson", r"Negative values in data: column 1 of X"),
        (1.5, "categorical", r"column 1 of X has the value 1.5, but .* OrdinalEncoder"),
        (1e9, "categorical", r"column 1 of X has the code 1e\+09, .* OrdinalEncoder"),
    ],
)
def test_bad_cells_are_refused_by_column(cell, kind, message):
    X = np.array([[0.3, 0.0], [0.1, 1.0], [np.nan, cell]])
    with pytest.raises(ValueError, match=message):
        EmissionLayout.of_rows(Rows(X), ["gaussian", kind])


def test_codes_that_the_fit_did_not_have_are_refused():
    X = np.array([[0.0], [2.0], [2.0]])
    layout = EmissionLayout.of_rows(Rows(X), "categorical")
    layout.check(X)
    with pytest.raises(ValueError, match=r"column 0 of X has the value 3, .* codes 0 to 2 of the"):
        layout.check(X + 1)


def test_auto_is_the_rule_of_the_vocabulary_and_weights_are_repetition():
    X = table(40)
    names = ["gaussian", "bernoulli", "gaussian", "categorical", "categorical", "bernoulli"]
    X[:, 3] = X[:, 3] % 4
    assert list(EmissionLayout.of_rows(Rows(X), "auto").names) == names
    few = np.array([[0.0], [1.0], [2.0]])
    assert EmissionLayout.of_rows(Rows(few), "auto").names == ["gaussian"]
    weighted = Rows(few, np.full(3, 10.0))
    assert EmissionLayout.of_rows(weighted, "auto").names == ["categorical"]
    absent = Rows(np.vstack([X, np.full((1, 6), -0.5)]), np.append(np.ones(40), 0.0))
    assert list(EmissionLayout.of_rows(absent, "auto").names) == names


def test_draws_of_missing_cells_are_those_of_the_component_that_a_label_names():
    _, found, _ = emissions()
    X = np.full((6000, 6), np.nan)
    X[:, 0] = 1.0
    draws = found.draw_cells(X, np.ones(6000, dtype=int), np.random.RandomState(0))
    assert_array_equal(draws[:, 0], 1.0)
    mean, S = found.gaussian.means[1], found.gaussian.covariance.dense(3, 2)[1]
    spread = S[1, 1] - S[0, 1] ** 2 / S[0, 0]
    expected = mean[1] + S[0, 1] / S[0, 0] * (1.0 - mean[0])
    assert abs(draws[:, 2].mean() - expected) < 5 * np.sqrt(spread / 6000)
    assert draws[:, 2].var() == pytest.approx(spread, rel=0.1)
    bernoulli, poisson, codes, pairs = (values[:, 1, 0] for values in found.parameters)
    assert draws[:, 1].mean() == pytest.approx(bernoulli[0], abs=0.03)
    assert draws[:, 3].mean() == pytest.approx(poisson[0], rel=0.05)
    for column, probabilities in ((4, codes), (5, pairs)):
        shares = np.bincount(draws[:, column].astype(int), minlength=len(probabilities)) / 6000
        assert_allclose(shares, probabilities, atol=0.03)
