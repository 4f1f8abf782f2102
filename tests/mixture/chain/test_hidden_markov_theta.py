"""Baum-Welch on the EM engine: published numbers, the mixture as a special case, coordinates."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.rows import Rows
from skelbo.data.sequences import runs_of
from skelbo.mixture.chain.hidden_markov_theta import HiddenMarkov
from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.chain.sequence_rows import SequenceRows
from skelbo.mixture.chain.starts import hidden_markov_starts
from skelbo.mixture.chain.user_parameters import UserModel
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.mixture import Mixture
from tests.mixture.chain.chains import random_chain

NAMES = ["startprob", "means", "precisions", "rates", "probabilities", "transmat"]


def model(X, K, likelihood="gaussian", groups=None, weights=None, seed=0, **given):
    """Return rows about their centre, the rule of the M-step and a start."""
    layout = EmissionLayout.of_rows(Rows(X), likelihood)
    columns = ColumnMoments.of_rows(Rows(X))
    runs, origin = runs_of(groups, len(X)), layout.origin(columns)
    rows = SequenceRows(X, runs, weights, origin, K, layout.cells(K))
    rule = layout.regularization("auto", columns, X.dtype)
    user = UserModel.checked(K, layout, {f"{n}_init": given.get(f"{n}_init") for n in NAMES})
    units = np.sqrt(columns.positive_variance)
    starts = hidden_markov_starts(
        rows, layout, user, rule, n_starts=1, init_params="kmeans",
        rng=np.random.RandomState(seed), units=units,
    )  # fmt: skip
    start = next(starts)
    return rows, rule, units, start() if callable(start) else start


def table(n, seed):
    """Return rows of one Gaussian, one yes/no column and one of counts, some cells missing."""
    rng = np.random.default_rng(seed)
    X = np.stack([rng.standard_normal(n), rng.integers(0, 2, n), rng.poisson(3.0, n)], axis=1)
    X[rng.random((n, 3)) < 0.1] = np.nan
    X[5] = np.nan  # a time point without any observation
    return X


def climb(theta, rows, rule, n):
    """Return the bounds of n plain steps, and the end."""
    bounds = []
    for _ in range(n):
        bound, statistics = theta.e_step(rows)
        bounds.append(bound)
        theta = theta.m_step(statistics, rule)
    return bounds, theta


def test_the_bound_never_falls():
    X = table(200, 0)
    kinds = ["gaussian", "bernoulli", "poisson"]
    rows, rule, _, theta = model(X, 3, kinds, np.repeat(np.arange(8), 25))
    bounds, theta = climb(theta, rows, rule, 60)
    assert np.diff(bounds).min() >= -1e-10 * np.abs(bounds).max()
    assert_allclose(theta.chain.transmat.sum(axis=1), 1.0, rtol=1e-12)


def test_a_chain_without_memory_is_a_mixture():
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.standard_normal((50, 2)), 3 + rng.standard_normal((50, 2))])
    rows, _, _, theta = model(X, 2)
    weights = np.array([0.3, 0.7])
    theta = HiddenMarkov(MarkovChain(weights, np.tile(weights, (2, 1))), theta.emissions)
    mixture = Mixture(weights, theta.emissions)
    there = Rows(X, None, rows.origin)
    bound, statistics = theta.e_step(rows)
    expected, mixture_statistics = mixture.e_step(there)
    assert bound == pytest.approx(expected, rel=1e-13)
    assert_allclose(statistics.emissions.mean, mixture_statistics.mean, rtol=1e-10)


def test_runs_of_one_row_are_a_mixture_with_the_first_probabilities_as_weights():
    rng = np.random.default_rng(2)
    X = np.concatenate([rng.standard_normal((50, 1)), 3 + rng.standard_normal((50, 1))])
    rows, rule, _, theta = model(X, 2, groups=np.arange(100))
    mixture, there = Mixture(theta.chain.startprob, theta.emissions), Rows(X, None, rows.origin)
    before = theta.chain.transmat
    for _ in range(20):
        bound, statistics = theta.e_step(rows)
        expected, moments = mixture.e_step(there)
        assert bound == pytest.approx(expected, rel=1e-13)
        theta, mixture = theta.m_step(statistics, rule), mixture.m_step(moments, rule)
    assert_allclose(theta.chain.startprob, mixture.weights, rtol=1e-10)
    assert_array_equal(theta.chain.transmat, before)  # never left: unchanged and finite


@pytest.mark.parametrize("backend", ["numpy"], indirect=True)
def test_weights_are_repetitions_of_runs(backend):
    X = table(60, 3)
    kinds, groups = ["gaussian", "bernoulli", "poisson"], np.repeat([0, 1, 2], 20)
    rows, rule, _, theta = model(X, 2, kinds, groups, np.array([2.0, 1.0, 3.0]))
    twice = np.concatenate([X[:20], X[:20], X[20:40], X[40:], X[40:], X[40:]])
    runs = runs_of(np.repeat(range(6), 20), 120)
    copies = SequenceRows(twice, runs, None, rows.origin, 2, rows.cells)
    bounds, end = climb(theta, rows, rule, 30)
    other_bounds, other = climb(theta, copies, rule, 30)
    assert_allclose(bounds, other_bounds, rtol=1e-11)
    assert_allclose(end.chain.transmat, other.chain.transmat, rtol=1e-9)


def test_shifts_change_no_posterior():
    rng = np.random.default_rng(4)
    X = np.concatenate([rng.standard_normal((50, 2)), 3 + rng.standard_normal((50, 2))])
    ends = []
    for shift in (0.0, 1e8):
        rows, rule, _, theta = model(X + shift, 2)
        _, theta = climb(theta, rows, rule, 20)
        ends.append(theta.forward_backward(rows).posteriors()[1])
    assert_allclose(ends[0], ends[1], atol=1e-6)


def test_coordinates_are_those_of_the_model():
    rows, _, units, theta = model(table(80, 5), 3, ["gaussian", "bernoulli", "poisson"])
    theta = HiddenMarkov(random_chain(3, np.random.default_rng(0), [(0, 2)]), theta.emissions)
    again = theta.from_vector(theta.to_vector(units), units)
    assert again.e_step(rows)[0] == pytest.approx(theta.e_step(rows)[0], rel=1e-12)
    assert again.chain.transmat[0, 2] == 0


def test_structural_zeros_stay():
    X = np.concatenate([np.zeros((20, 1)), 5 + np.zeros((20, 1))])
    X += np.random.default_rng(6).standard_normal((40, 1))
    zeros = np.array([[0.9, 0.1], [0.0, 1.0]])
    rows, rule, _, theta = model(X, 2, transmat_init=zeros, startprob_init=[1.0, 0.0])
    bounds, theta = climb(theta, rows, rule, 30)
    assert theta.chain.transmat[1, 0] == 0 and theta.chain.startprob[1] == 0
    assert np.isfinite(bounds).all()
