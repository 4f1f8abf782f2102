"""Components born into mixtures: a step in one of them alone is a step of EM with the rest held."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from skelbo.data.rows import Rows
from skelbo.gaussian.regularization import regularization
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.births import Births, _balls, _different, random_regions
from skelbo.mixture.log_sum_exp import normalize
from skelbo.mixture.mixture_batch import MixtureBatch
from skelbo.mixture.row_sample import RowSample, sample_rows
from tests.mixture.fits import clouds


def table(kind, n_mixtures=2):
    """Return a sample, its rows, a rule and mixtures of two components."""
    X = clouds(90, 3, 3)
    X -= X.mean(axis=0)
    rule = regularization("auto", X.var(axis=0))
    sample = sample_rows(Rows(np.repeat(X, np.arange(90) % 2 + 1, axis=0)), 3)
    labels = np.random.default_rng(0).integers(2, size=(n_mixtures, len(sample.weights)))
    batch = MixtureBatch.from_labels(labels, sample, STRUCTURES[kind], 2, rule)
    rows = sample.rows(50)
    return sample, rows, rule, batch.run(rows, rule, 5)[0]


def densities(mixtures, rows):
    log_joint = mixtures.log_joint(rows)
    return log_joint, normalize(log_joint.copy(), mixtures.union.log_weights.reshape(-1, 2))


def test_a_step_is_that_of_em_with_the_rest_held():
    sample, rows, rule, mixtures = table("full")
    _, log_prob = densities(mixtures, rows)
    members = np.where(sample.values[:, 0] > 0, sample.weights, 0.0)[None]
    births = Births.at(members, np.array([1]), mixtures, sample, rule)
    w = births.weight[0]
    mean = np.average(sample.values, axis=0, weights=members[0])
    assert_allclose(births.components.means[0], mean)
    new = np.log(w) + multivariate_normal.logpdf(
        sample.values, mean, births.components.covariance.covariances[0]
    )
    assert_allclose(births.log_joint(rows)[0], new)
    joint = np.array([new, np.log(1 - w) + log_prob[1]])
    share = sample.weights * np.exp(new - np.logaddexp.reduce(joint))
    after = births.stepped(log_prob, rows, rule, shared=False)
    assert_allclose(after.weight, share.sum() / sample.weights.sum())
    assert_allclose(after.components.means[0], share @ sample.values / share.sum())


@pytest.mark.parametrize("kind", ["full", "diag", "spherical", "tied", "tied_diag"])
def test_steps_raise_the_bound(kind):
    sample, rows, rule, mixtures = table(kind)
    log_joint, log_prob = densities(mixtures, rows)
    resp = np.exp(log_joint - log_prob[:, None])
    base = np.arange(8) % 2
    members = random_regions(resp, base, sample.standardized(), np.random.RandomState(0))
    births = Births.at(members, base, mixtures, sample, rule)
    bounds = []
    for _ in range(6):
        each = np.logaddexp(births.log_joint(rows), births.rest(log_prob))
        bounds.append(each @ sample.weights)
        births = births.stepped(log_prob, rows, rule, mixtures.is_shared)
    assert np.diff(bounds, axis=0).min() > -1e-9


def test_regions_are_rows_of_a_component_or_a_ball():
    rng = np.random.RandomState(0)
    space = RowSample(rng.standard_normal((60, 2)), rng.randint(1, 4, size=60).astype(float))
    resp = np.zeros((1, 2, 60))
    resp[0, 0, :30] = resp[0, 1, 30:] = 1.0
    members = random_regions(resp, np.zeros(200, int), space, rng)
    assert ((members == 0) | (members == space.weights)).all()
    assert (members > 0).sum(axis=1).min() >= 1
    whole = (members[:, :30] > 0).any(axis=1) & (members[:, 30:] > 0).any(axis=1)
    assert 20 < whole.sum() < 120  # balls, which know no components


def test_a_ball_holds_the_nearest_rows_up_to_its_size():
    values = np.arange(10.0)[:, None]
    weights = np.array([1.0, 1, 1, 2, 1, 1, 1, 1, 1, 1])
    found = _balls(np.array([[2.0], [9.0]]), np.array([4.5, 1.5]), values, weights)
    assert_allclose(found[0], [0, 1, 1, 2, 0, 0, 0, 0, 0, 0])
    assert_allclose(found[1], [0] * 8 + [1, 1])  # two at least


def test_births_at_one_place_are_one():
    shares = np.array([[1.0, 1, 0, 0], [1, 0.9, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0.1, 1]])
    lost = np.array([[0.0, 0, 1, 0.9], [1.0, 0, 0, 0]])
    base = np.array([0, 0, 0, 1, 1])
    bounds = np.array([1.0, 2.0, 3.0, 0.5, 0.4])
    assert _different(base, bounds, shares, lost, 9) == [1, 3]
    assert _different(base, bounds, shares, lost, 1) == [1]


def test_a_birth_without_rows_with_one_or_all_stays_finite():
    sample, rows, rule, mixtures = table("full")
    _, log_prob = densities(mixtures, rows)
    members = np.zeros((3, len(sample.weights)))
    members[1, 0] = sample.weights[0]
    members[2] = sample.weights
    births = Births.at(members, np.array([0, 1, 1]), mixtures, sample, rule)
    assert np.isfinite(births.rest(log_prob)).all()
    after = births.stepped(log_prob - np.inf, rows, rule, shared=False)
    assert np.isfinite(after.weight).all()
    assert np.isfinite(after.components.means).all()
