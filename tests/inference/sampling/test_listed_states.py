"""Sums over all states in blocks: the same as at once, and draws with the right frequencies."""

import numpy as np
import pytest
from scipy import special

from skelbo.inference.log_marginal import log_marginal
from skelbo.inference.posteriors.bernoulli_posterior import all_states
from skelbo.inference.sampling import listed_states
from skelbo.inference.sampling.importance import BaseNoise
from skelbo.inference.sampling.listed_states import MAX_LISTED, listed_draws
from skelbo.inference.sampling.sobol import ShiftedSobol
from skelbo.models import BinaryFeatureModel
from tests.tables import real


def joint_of(d, n=9):
    X = real(n)
    model = BinaryFeatureModel(d)
    theta = model.start(X, np.ones(n), np.random.RandomState(0), 0)
    X[0, 1] = X[3, :4] = np.nan
    return model.joint(X, theta)


def noise(d, n_draws=1024):
    return ShiftedSobol((1, d), np.random.RandomState(0), 16).run(n_draws)


@pytest.mark.parametrize("d", [13, MAX_LISTED])
def test_the_sum_over_blocks_is_the_sum_over_all_states(d, monkeypatch):
    joint, base = joint_of(d), noise(d)
    monkeypatch.setattr(listed_states, "BLOCK_CELLS", 2 * 2**d)
    log_prob, std, draws = log_marginal(joint, base)
    log_joint = joint.log_joint(all_states(d)[:, None])
    assert np.allclose(log_prob, special.logsumexp(log_joint, axis=0), rtol=1e-12)
    assert np.all(std == 0)
    for i in (0, 3, 8):
        alone = log_marginal(joint.take(np.array([i])), base)
        assert np.allclose(alone[0], log_prob[i], rtol=1e-12)
        assert np.array_equal(alone[2].Z[:, 0], draws.Z[:, i])


def test_frequencies_of_states_are_their_probabilities_to_within_a_draw_of_each_copy():
    joint, base = joint_of(4), noise(4)
    states = all_states(4)
    draws, _ = listed_draws(joint, base)
    expected = special.softmax(joint.log_joint(states[:, None]), axis=0)
    found = (draws.Z[:, :, None] == states).all(-1).mean(0).T
    assert np.all(np.abs(found - expected) <= 16 / len(draws.Z))
    assert np.abs(draws.mean - expected.T @ states).max() < 0.02


def test_errors_of_means_of_the_draws_are_not_below_what_they_are():
    joint = joint_of(5)
    exact = special.softmax(joint.log_joint(all_states(5)[:, None]), axis=0).T @ all_states(5)
    away, errors = [], []
    for seed in range(40):
        base = BaseNoise.draw(100, 5, np.random.RandomState(seed))
        draws = listed_draws(joint, base)[0]
        away.append((draws.mean - exact)[:, 0])
        errors.append(np.sqrt(draws.variance(draws.Z[..., 0])))
    assert np.sqrt(np.mean(np.square(away))) < 1.1 * np.sqrt(np.mean(np.square(errors)))
