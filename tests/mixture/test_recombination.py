"""New mixtures of the components of others: where their rows come from."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skelbo.mixture import recombination
from skelbo.mixture.log_sum_exp import normalize
from skelbo.mixture.recombination import recombined

WEIGHTS = np.array([1.0, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0])


def given(n_given, K=3, seed=0):
    rng = np.random.default_rng(seed)
    log_joint = 2 * rng.standard_normal((n_given, K, len(WEIGHTS)))
    log_joint[:, :, 3] = -np.inf  # a row that no component explains
    space = rng.standard_normal((len(WEIGHTS), 2))
    return log_joint, np.log(np.full((n_given, K), 1 / K)), space


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize(("n_given", "K"), [(1, 2), (1, 3), (4, 3)])
def test_shares_are_those_of_the_rows(monkeypatch, share, n_given, K):
    monkeypatch.setattr(recombination, "EXCHANGED", share)
    log_joint, log_weights, space = given(n_given, K)
    before = log_joint.copy()
    shares = recombined(log_joint, log_weights, WEIGHTS, space, 7, np.random.RandomState(0))
    assert_array_equal(log_joint, before)
    assert shares.shape == (n_given + 7, K, len(WEIGHTS))
    assert (shares >= 0).all()
    assert_allclose(shares.sum(axis=1), np.tile(WEIGHTS, (n_given + 7, 1)))
    normalize(before, log_weights, WEIGHTS)
    assert_array_equal(shares[:n_given], before)


def test_an_exchange_takes_one_component_from_another_mixture(monkeypatch):
    monkeypatch.setattr(recombination, "EXCHANGED", 1.0)
    log_joint, log_weights, space = given(2)
    shares = recombined(log_joint, log_weights, WEIGHTS, space, 20, np.random.RandomState(0))
    seen = set()
    for child in shares[2:]:
        for parent in (0, 1):
            for lost in range(3):
                for k in range(3):
                    expected = log_joint[parent].copy()
                    expected[lost] = log_joint[1 - parent, k]
                    normalize(expected, log_weights[0], WEIGHTS)
                    if np.allclose(child, expected):
                        seen.add((parent, lost, k))
                        break
    assert len(seen) > 8


def test_a_split_shares_the_rows_of_one_component_between_two(monkeypatch):
    """The others compete for the rows of the one that is given up, as they would without it."""
    monkeypatch.setattr(recombination, "EXCHANGED", 0.0)
    log_joint, log_weights, space = given(1)
    shares = recombined(log_joint, log_weights, WEIGHTS, space, 30, np.random.RandomState(1))
    rows = np.delete(np.arange(len(WEIGHTS)), 3)
    for child in shares[1:]:
        found = []
        for lost in range(3):
            rest = np.delete(log_joint[0], lost, axis=0)
            normalize(rest, log_weights[0, :2], WEIGHTS)
            for split, kept in ((0, 1), (1, 0)):
                other = np.delete(np.arange(3), lost)[kept]
                parts = np.delete(child, other, axis=0)[:, rows]
                exclusive = np.minimum(parts[0], parts[1]) == 0
                found.append(
                    np.allclose(child[other][rows], rest[kept][rows])
                    and np.allclose(parts.sum(axis=0), rest[split][rows])
                    and exclusive.all()
                    and (parts.max(axis=1) > 0).all()
                )
        assert any(found)
