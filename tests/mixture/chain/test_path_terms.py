"""The terms of a path's bound against the sums over all paths."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.chain.path_terms import path_terms
from tests.mixture.chain.chains import all_paths, random_chain, runs_of_lengths, smoothed


@pytest.mark.parametrize("zeros", [(), [(0, 1), (2, 2)]])
def test_sums_over_a_run_are_those_over_all_paths(backend, zeros):
    """Eq. 3 and 4: energy + entropy = reconstruction - kl = log p(run)."""
    rng = np.random.default_rng(0)
    chain, runs = random_chain(3, rng, zeros), runs_of_lengths([5, 1, 6])
    log_prob = 2 * rng.standard_normal((runs.n_rows, 3))
    _, _, recursions = smoothed(chain, runs, log_prob)
    terms = path_terms(chain, runs, *recursions.posteriors(), log_prob)
    sums = terms.map(lambda term: np.add.reduceat(term, runs.bounds[:-1]))
    for run, part in enumerate(np.split(log_prob, runs.bounds[1:-1])):
        paths = all_paths(chain, part)
        share, T = paths.share, len(part)
        possible = share > 0
        entropy = -np.sum(share[possible] * np.log(share[possible]))
        energy = np.sum(share[possible] * paths.log_joint[possible])
        rows = part[np.arange(T), paths.states].sum(axis=1)
        assert sums.entropy[run] == pytest.approx(entropy, rel=1e-11)
        assert sums.energy[run] == pytest.approx(energy, rel=1e-11)
        assert sums.reconstruction[run] == pytest.approx(share @ rows, rel=1e-11)
        assert sums.elbo[run] == pytest.approx(paths.log_prob, rel=1e-12)
    assert_allclose(terms.reconstruction - terms.kl, terms.elbo, atol=1e-12)
    assert np.all(sums.kl > -1e-12)


def test_a_single_state_has_no_entropy(backend):
    chain, runs = random_chain(1, np.random.default_rng(1)), runs_of_lengths([4, 2])
    log_prob = np.arange(6.0)[:, None]
    _, _, recursions = smoothed(chain, runs, log_prob)
    terms = path_terms(chain, runs, *recursions.posteriors(), log_prob)
    assert_allclose(terms.entropy, 0.0, atol=1e-15)
    assert_allclose(terms.elbo, log_prob[:, 0])


def test_an_impossible_row_after_a_transition_that_nearly_underflows():
    """Its posterior is not that of the filter's paths: no term is 0 times infinity."""
    chain = MarkovChain(np.array([1.0, 0.0]), np.array([[1e-309, 1.0], [0.0, 1.0]]))
    filtered = np.array([[1.0, 0.0], [0.5, 0.5]])
    terms = path_terms(chain, runs_of_lengths([2]), filtered, filtered, np.zeros((2, 2)))
    assert_allclose(terms.energy, [0.0, 0.5 * np.log(1e-309)])
    assert_allclose(terms.entropy, [0.0, np.log(2)])
