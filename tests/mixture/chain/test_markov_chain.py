"""Chains: maxima, zeros that stay, coordinates."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from skelbo.mixture.chain.markov_chain import MarkovChain
from tests.mixture.chain.chains import random_chain


def test_counts_give_shares_and_a_state_never_left_keeps_its_row():
    chain = MarkovChain(np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.3, 0.7]]))
    updated = chain.updated(np.array([3.0, 1.0]), np.array([[2.0, 6.0], [0.0, 0.0]]))
    assert_array_equal(updated.startprob, [0.75, 0.25])
    assert_array_equal(updated.transmat, [[0.25, 0.75], [0.3, 0.7]])


def test_coordinates_keep_zeros_and_nothing_else_becomes_zero():
    chain = random_chain(3, np.random.default_rng(0), [(0, 2)])
    vector = chain.to_vector()
    same = MarkovChain.from_vector(vector, 3)
    assert_allclose(same.transmat, chain.transmat, rtol=1e-14)
    moved = np.where(vector > -700, vector - np.linspace(0, 5000, len(vector)), vector)
    zeros = MarkovChain.from_vector(moved, 3).transmat == 0
    assert_array_equal(zeros, chain.transmat == 0)


def test_structural_zeros_are_no_parameters():
    chain = MarkovChain(np.array([1.0, 0.0]), np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert chain.n_parameters == 1
    assert random_chain(3, np.random.default_rng(1)).n_parameters == 2 + 6


def test_marginals_of_a_run_without_rows_to_look_at():
    chain = random_chain(3, np.random.default_rng(2))
    expected = [chain.startprob @ np.linalg.matrix_power(chain.transmat, t) for t in range(5)]
    assert_allclose(chain.marginals(5), expected, rtol=1e-13)
