"""Viterbi's path against the best of all paths."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.chain.viterbi import best_paths
from tests.mixture.chain.chains import (
    all_paths,
    random_chain,
    runs_of_lengths,
    set_block_cells,
    smoothed,
)


@pytest.mark.parametrize("cells", [2**20, 12])
def test_best_of_all_paths(backend, monkeypatch, cells):
    set_block_cells(monkeypatch, cells)
    rng = np.random.default_rng(0)
    for zeros in ((), [(0, 1), (1, 2)]):
        chain, runs = random_chain(3, rng, zeros), runs_of_lengths([6, 1, 5, 6])
        log_prob = 2 * rng.standard_normal((runs.n_rows, 3))
        states = best_paths(chain, runs, lambda rows, table=log_prob: table[rows])
        for part, found in zip(
            np.split(log_prob, runs.bounds[1:-1]), np.split(states, runs.bounds[1:-1]), strict=True
        ):
            paths = all_paths(chain, part)
            assert_array_equal(found, paths.states[paths.log_joint.argmax()])


def test_a_forbidden_transition_never_appears(backend):
    """The most probable states of the rows, one by one, would use a transition of probability 0."""
    transmat = np.array([[0.4, 0.3, 0.3], [0.0, 0.5, 0.5], [0.0, 0.5, 0.5]])
    chain = MarkovChain(np.array([0.36, 0.32, 0.32]), transmat)
    log_prob = np.log([[0.9, 0.8, 0.8], [1.0, 0.1, 0.1], [0.4, 1.0, 1.0]])
    rng = np.random.default_rng(1)
    found = False
    for _ in range(200):
        chain = random_chain(3, rng, [(0, 1)])
        log_prob = np.log(rng.uniform(0.1, 1, (4, 3)))
        _, resp, _ = smoothed(chain, runs_of_lengths([4]), log_prob)
        greedy = resp.argmax(axis=1)
        path = best_paths(chain, runs_of_lengths([4]), lambda rows, t=log_prob: t[rows])
        assert (chain.transmat[path[:-1], path[1:]] > 0).all()
        found = found or (chain.transmat[greedy[:-1], greedy[1:]] == 0).any()
    assert found


def test_rows_that_no_state_explains_count_as_missing(backend):
    chain = random_chain(2, np.random.default_rng(2))
    log_prob = np.random.default_rng(3).standard_normal((5, 2))
    without = log_prob.copy()
    without[2] = 0.0
    log_prob[2] = -np.inf
    runs = runs_of_lengths([5])
    path = best_paths(chain, runs, lambda rows: log_prob[rows])
    assert_array_equal(path, best_paths(chain, runs, lambda rows: without[rows]))


def test_a_row_that_no_path_explains_counts_as_missing(backend):
    """A state that rows exclude cannot be left: later rows decide as if these were missing."""
    chain = MarkovChain(np.array([0.5, 0.5]), np.array([[1.0, 0.0], [0.3, 0.7]]))
    log_prob = np.array([[0.0, -np.inf], [-np.inf, 0.0], [0.0, 0.0], [-1.0, 0.0], [0.0, -np.inf]])
    path = best_paths(chain, runs_of_lengths([4, 1]), lambda rows: log_prob[rows])
    assert_array_equal(path, [0, 0, 0, 0, 0])
    log_prob[0] = [-np.inf, 0.0]
    log_prob[3] = [-np.inf, 0.0]
    path = best_paths(chain, runs_of_lengths([4, 1]), lambda rows: log_prob[rows])
    assert_array_equal(path, [1, 1, 1, 1, 0])
    rng = np.random.default_rng(4)
    chain, log_prob = random_chain(3, rng, [(0, 1), (1, 2)]), rng.standard_normal((6, 3))
    log_prob[2, [0, 2]], log_prob[3, :2] = -np.inf, -np.inf
    missing = log_prob.copy()
    missing[3] = 0.0  # state 1 in row 2, from which state 2 cannot follow
    paths = all_paths(chain, missing)
    path = best_paths(chain, runs_of_lengths([6]), lambda rows: log_prob[rows])
    assert_array_equal(path, paths.states[paths.log_joint.argmax()])
