"""Sequences in a search and a comparison: groups reach fits and criteria, and are held out."""

import numpy as np
import pytest

import skelbo
from skelbo import EMGaussianMixture, EMHiddenMarkovModel
from skelbo.meta import CriterionSearch


@pytest.fixture(scope="module")
def sequences():
    """Eight sequences of a chain whose states last."""
    rng = np.random.default_rng(0)
    rows, groups = [], []
    for number in range(8):
        state = 0
        for _ in range(25):
            state = state if rng.random() < 0.9 else 1 - state
            rows.append(4 * state + rng.standard_normal())
            groups.append(number)
    return np.array(rows)[:, None], np.array(groups)


@pytest.mark.parametrize("criterion", ["bic", "held_out"])
def test_groups_reach_the_fits_and_the_criterion(criterion, sequences):
    X, groups = sequences
    grid = {"n_components": [1, 2]}
    search = CriterionSearch(EMHiddenMarkovModel(random_state=0), grid, criterion=criterion)
    search.fit(X, groups=groups)
    assert search.best_params_ == {"n_components": 2}
    if criterion == "bic":
        expected = search.best_estimator_.bic(X, groups=groups)
        assert search.results_["criterion"][1] == expected
        assert search.results_["criterion"][1] != search.best_estimator_.bic(X)


def test_a_chain_predicts_its_sequences_better_than_a_mixture(sequences):
    X, groups = sequences
    pair = {"chain": EMHiddenMarkovModel(2, random_state=0), "mixture": EMGaussianMixture(2)}
    found = skelbo.compare(pair, X, cv=4, groups=groups, progress=False)
    assert found.best == "chain" and found.results["difference"][1] < -0.2
    assert found.results["difference_se"][1] < 0.1
