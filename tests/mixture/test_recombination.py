"""New mixtures of the components of others: where their rows come from."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skelbo.data.rows import Rows
from skelbo.gaussian.regularization import regularization
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.mixture_batch import RUN_STRUCTURES, MixtureBatch
from skelbo.mixture.recombination import BIRTHS, EXCHANGES, KEPT_BIRTHS, Recombination, exchanged
from skelbo.mixture.row_sample import sample_rows
from tests.mixture.fits import clouds

KINDS = [kind for kind, structure in STRUCTURES.items() if structure in RUN_STRUCTURES]


def test_an_exchange_takes_one_component_from_another_mixture():
    log_joint = np.random.default_rng(0).standard_normal((2, 3, 8))
    before = log_joint.copy()
    children, parent = exchanged(log_joint, 40, np.random.RandomState(0))
    assert_allclose(log_joint, before)
    seen = set()
    for child, mine in zip(children, parent, strict=True):
        own = [np.array_equal(child[k], log_joint[mine, k]) for k in range(3)]
        assert sum(own) == 2
        lost = own.index(False)
        gained = [np.array_equal(child[lost], log_joint[1 - mine, k]) for k in range(3)]
        assert sum(gained) == 1
        seen.add((mine, lost, gained.index(True)))
    assert len(seen) > 12


def mixtures(kind, K, n_mixtures):
    X = clouds(120, 3, 3)
    X -= X.mean(axis=0)
    rule = regularization("auto", X.var(axis=0))
    sample = sample_rows(Rows(X), K)
    labels = np.random.default_rng(0).integers(K, size=(n_mixtures, len(sample.weights)))
    batch = MixtureBatch.from_labels(labels, sample, STRUCTURES[kind], K, rule)
    rows = sample.rows(100)
    return sample, rows, rule, batch.run(rows, rule, 5)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("K", "n_mixtures"), [(2, 1), (3, 4)])
def test_new_mixtures_stand_behind_the_given_ones(kind, K, n_mixtures):
    """The given ones after a step of EM; the others differ from them."""
    sample, rows, rule, given = mixtures(kind, K, n_mixtures)
    space = sample if given.structure.isotropic else sample.standardized()
    recombine = Recombination(sample, space, rows, rule, 5, np.random.RandomState(0))
    after = recombine(given)
    assert n_mixtures < len(after) <= n_mixtures + 5 * (KEPT_BIRTHS + EXCHANGES)
    stepped = given.m_step(rows.total(given.expected).moments, rule)
    for k in range(n_mixtures):
        assert_allclose(after.mixture(k).components.means, stepped.mixture(k).components.means)
    bounds = rows.total(after.expected).log_prob / rows.total_weight
    assert np.isfinite(bounds).all()
    weights = after.union.weights.reshape(len(after), K)
    assert_allclose(weights.sum(axis=1), 1.0)
    assert BIRTHS > 1


def test_a_component_is_moved_to_the_cluster_without_one():
    """Two components share one of three clusters, and one has the other two."""
    rng = np.random.default_rng(0)
    centres = np.array([[-20.0, 0.0], [0.0, 0.0], [6.0, 0.0]])
    X = centres[np.repeat([0, 1, 2], 60)] + rng.standard_normal((180, 2))
    X -= X.mean(axis=0)
    rule = regularization("auto", X.var(axis=0))
    sample = sample_rows(Rows(X), 3)
    left = sample.values[:, 0] < -5
    labels = np.where(left, sample.values[:, 1] > 0, 2)[None]
    stuck = MixtureBatch.from_labels(labels, sample, STRUCTURES["full"], 3, rule)
    rows = sample.rows(100)
    stuck, (before,), _ = stuck.run(rows, rule, 30)
    recombine = Recombination(
        sample, sample.standardized(), rows, rule, 10, np.random.RandomState(0)
    )
    after, bounds, _ = recombine(stuck).run(rows, rule, 30)
    assert bounds[0] > before + 0.1
    assert_allclose(np.sort(after.mixture(0).weights), [1 / 3] * 3, atol=0.01)
