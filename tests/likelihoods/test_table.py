"""Weighted maxima of components, mixed tables, and the one vocabulary."""

import numpy as np
import pytest
import torch
from scipy import optimize

from skelbo.likelihoods import LIKELIHOODS, MixedColumns, as_likelihood, column_likelihoods
from skelbo.likelihoods.categorical import Categorical

RNG = np.random.default_rng(0)
CODES = Categorical(3)
KINDS = [LIKELIHOODS["gaussian"], LIKELIHOODS["bernoulli"], LIKELIHOODS["poisson"], CODES]


def table(n=60):
    """Return rows of all kinds with missing cells, and responsibilities."""
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [rng.standard_normal(n), rng.random(n) < 0.3, rng.poisson(3, n), rng.integers(0, 3, n)]
    ).astype(float)
    X[rng.random(X.shape) < 0.1] = np.nan
    return X, rng.dirichlet(np.ones(2), n)


def test_statistics_add_up_and_weights_are_repetition():
    X, weights = table()
    mixed = MixedColumns(KINDS)
    whole = mixed.statistics(X, weights)
    parts = [mixed.statistics(X[rows], weights[rows]) for rows in (slice(20), slice(20, None))]
    for total, one, other in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(one + other, total, rtol=1e-13)
    twice = mixed.statistics(np.repeat(X, 2, axis=0), np.repeat(weights, 2, axis=0))
    for total, double in zip(whole, twice, strict=True):
        np.testing.assert_allclose(double, 2 * total, rtol=1e-13)


@pytest.mark.parametrize("column", range(4))
def test_the_maximum_is_one(column):
    X, weights = table()
    kind, x = KINDS[column], X[:, [column]]
    found = kind.maximize(kind.statistics(x, weights))

    def loss(free):
        moved = found.copy()
        if kind is CODES:
            scores = np.append(free, 0.0)
            moved[:, 0, 0] = np.exp(scores) / np.exp(scores).sum()
        else:
            moved[:, 0, 0] = free
        return -(weights * kind.component_log_prob(x, moved))[:, 0].sum()

    best = found[:, 0, 0]
    at = np.log(best[:-1] / best[-1]) if kind is CODES else best
    slope = optimize.approx_fprime(at, loss, 1e-6)
    assert np.abs(slope).max() < 1e-3
    for shift in 0.02 * RNG.standard_normal((5, len(at))):
        assert loss(at + shift) > loss(at)


def test_component_log_prob_is_log_prob_at_the_link():
    X, weights = table()
    mixed = MixedColumns(KINDS)
    parameters = mixed.maximize(mixed.statistics(X, weights))
    gaussian, probability, rate, codes = parameters
    for k in range(2):
        etas = [
            gaussian[0, k],
            LIKELIHOODS["bernoulli"].offset(probability[0, k], 0.0),
            np.log(rate[0, k]),
            np.log(codes[:, k].T),
        ]
        got = mixed.log_prob(X, etas, [gaussian[1, k], 1.0, 1.0, 1.0])
        np.testing.assert_allclose(mixed.component_log_prob(X, parameters)[:, k], got, rtol=1e-12)
    tensors = [torch.tensor(p) for p in parameters]
    theirs = mixed.component_log_prob(torch.tensor(X), tensors)
    np.testing.assert_allclose(theirs.numpy(), mixed.component_log_prob(X, parameters), rtol=1e-12)


@pytest.mark.parametrize("column", [1, 2, 3])
def test_maxima_on_the_boundary_are_answers(column):
    """0 log 0 is 0: rows that a boundary allows keep a finite density, all others have -inf."""
    kind, x = KINDS[column], np.zeros((5, 2))
    found = kind.maximize(kind.statistics(x, np.ones((5, 1))))
    np.testing.assert_array_equal(kind.component_log_prob(x, found), np.zeros((5, 1)))
    x[2, 1] = 1.0
    log_prob = kind.component_log_prob(x, found)[:, 0]
    np.testing.assert_array_equal(log_prob, [0.0, 0.0, -np.inf, 0.0, 0.0])
    x[2, 1] = np.nan
    np.testing.assert_array_equal(kind.component_log_prob(x, found), np.zeros((5, 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_component_without_weight_has_finite_parameters(kind):
    found = kind.maximize(kind.statistics(np.zeros((3, 1)), np.zeros((3, 1))))
    assert np.isfinite(found).all()
    assert np.isfinite(kind.component_log_prob(np.zeros((3, 1)), found)).all()


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ([0, 1, 1], "bernoulli"),
        ([0.0, 1.0, np.nan], "bernoulli"),
        ([0.5, 1, 1], "gaussian"),
        ([1, 1, 1], "gaussian"),
        ([-1, 0, 1], "gaussian"),
        (np.tile([0, 1, 2], 10), "categorical"),
        ([0, 1, 2], "gaussian"),
        (np.arange(200) % 10, "categorical"),
        (np.arange(200) % 11, "gaussian"),
        ([np.nan, np.nan], "gaussian"),
    ],
)
def test_auto_is_one_rule(column, name):
    (found,) = column_likelihoods(np.array(column, dtype=float)[:, None], "auto")
    assert found is LIKELIHOODS[name]


def test_names_and_instances():
    X = np.zeros((2, 2))
    assert as_likelihood(CODES, codes=True) is CODES
    assert column_likelihoods(X, ["poisson", CODES]) == [LIKELIHOODS["poisson"], CODES]
    for bad in ("poison", ["poisson"], ["poisson", 3]):
        with pytest.raises(ValueError, match="for each of the 2 columns of X"):
            column_likelihoods(X, bad)
    with pytest.raises(
        ValueError, match=r"likelihood='categorical', expected one of \['bernoulli'"
    ):
        as_likelihood("categorical")
