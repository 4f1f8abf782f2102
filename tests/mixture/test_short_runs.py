"""Short runs side by side equal EM of each mixture by itself; their best ends are starts."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skelbo.data.rows import Rows
from skelbo.gaussian.components import Components
from skelbo.gaussian.regularization import Ridge, regularization
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.initialization import start_mixture
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.mixture_batch import RUN_STRUCTURES, MixtureBatch, apart
from skelbo.mixture.row_sample import sample_rows
from skelbo.mixture.short_runs import can_run_together, promising_starts
from tests.mixture.fits import clouds

KINDS = [kind for kind, structure in STRUCTURES.items() if structure in RUN_STRUCTURES]


def table(kind, missing=False):
    """Return a structure, a sample of weighted rows and a regularization."""
    X = clouds(120, 3, 3)
    X[100:] = X[80:100]  # repeated rows
    X -= X.mean(axis=0)
    if missing:
        X[::9, 1] = np.nan
    rule = regularization("auto", np.nanvar(X, axis=0))
    return STRUCTURES[kind], sample_rows(Rows(X), 3), rule


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [False, True])
def test_a_batch_is_its_mixtures(kind, missing):
    """The same bounds and parameters after some iterations as each mixture by itself."""
    structure, sample, rule = table(kind, missing)
    labels = np.random.default_rng(0).integers(3, size=(4, len(sample.weights)))
    batch = MixtureBatch.from_labels(labels, sample, structure, 3, rule)
    rows = sample.rows(100)
    before = [batch.mixture(k) for k in range(4)]
    after, bounds, _ = batch.run(rows, rule, 5)
    expected = []
    for theta in before:
        for _ in range(5):
            bound, moments = theta.e_step(rows)
            theta = theta.m_step(moments, rule)
        expected.append((bound, theta))
    expected.sort(key=lambda pair: pair[0], reverse=True)
    assert_allclose(bounds, [bound for bound, _ in expected], rtol=1e-10)
    for k, (_, theta) in enumerate(expected):
        found = after.mixture(k)
        assert type(found.components.covariance) is type(theta.components.covariance)
        assert_allclose(found.weights, theta.weights, rtol=1e-8)
        assert_allclose(found.components.means, theta.components.means, atol=1e-8)
        assert found.e_step(rows)[0] == pytest.approx(theta.e_step(rows)[0], rel=1e-10)


@pytest.mark.parametrize("p", [4, 64])
def test_components_of_better_mixtures_leave_the_others_theirs(p):
    """In a wide table too, where densities far below the largest of a row are not computed."""
    rng = np.random.default_rng(0)
    centres = 10.0 * rng.standard_normal((3, p))
    X = centres[np.repeat([0, 1, 2], 100)] + 1e-2 * rng.standard_normal((300, p))
    precisions = np.repeat([1e4, 1e-2], 3)[:, None, None] * np.eye(p)  # sharp, and broad
    covariance = STRUCTURES["full"].from_precisions(precisions, 6, p)
    union = Mixture(np.full(6, 1 / 3), Components(np.tile(centres, (2, 1)), covariance))
    batch = MixtureBatch(STRUCTURES["full"], union, 3)
    rows = Rows(X)
    found = rows.total(batch.expected).log_prob / 300
    expected = [batch.mixture(k).e_step(rows)[0] for k in range(2)]
    assert_allclose(found, expected, rtol=1e-9)


def test_one_covariance_within_labels():
    structure, sample, rule = table("full")
    labels = np.arange(len(sample.weights))[None] % 3
    theta = MixtureBatch.from_labels(labels, sample, structure, 3, rule).mixture(0)
    parts = [sample.values[labels[0] == k] for k in range(3)]
    weights = [sample.weights[labels[0] == k] for k in range(3)]
    total = sample.weights.sum()
    within = sum(
        (w * (part - np.average(part, 0, w)).T) @ (part - np.average(part, 0, w))
        for part, w in zip(parts, weights, strict=True)
    )
    assert_allclose(theta.weights, [w.sum() / total for w in weights])
    assert_allclose(theta.components.covariance.dense(3, 3), [within / total] * 3, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_promising_starts_are_high_and_differ(kind):
    structure, sample, rule = table(kind)
    rows = sample.rows(100)
    options = sample, 3, structure, rule
    starts = promising_starts(*options, np.random.RandomState(0), 10)
    bounds = [theta.e_step(rows)[0] for theta in starts]
    assert 1 <= len(starts) <= 4
    assert np.diff(np.sort(bounds)).min(initial=1.0) > 1e-5
    alone = start_mixture("random_from_data", sample, 3, structure, rule, np.random.RandomState(0))
    assert max(bounds) > alone.e_step(rows)[0]
    again = promising_starts(*options, np.random.RandomState(0), 10)
    assert [theta.e_step(rows)[0] for theta in again] == bounds


def test_regularizations_that_may_fail_and_hidden_factors_run_alone():
    rule = regularization("auto", np.ones(3))
    assert can_run_together(STRUCTURES["tied"], rule)
    assert not can_run_together(STRUCTURES["tied"], Ridge(0.0))
    assert not can_run_together(STRUCTURES["factor"], rule)


def test_runs_to_one_mode_are_one_though_their_bounds_differ():
    """The second is the first with its components in another order, still on its way."""
    places = np.array([[[1.0, 0, 0], [0, 1, 0]], [[0, 1, 0], [0.95, 0, 0.31]], np.eye(3)[1:]])
    bounds = np.array([-1.0, -1.01, -1.02])
    assert apart(bounds, places, 3).tolist() == [0, 2]
    assert apart(bounds, places, 1).tolist() == [0]
    equal = np.array([-1.0, -1.0, -1.0])
    assert apart(equal, places, 3).tolist() == [0]


def test_places_are_cosines_in_which_rows_count_by_their_weights():
    structure, sample, rule = table("full")
    labels = np.random.default_rng(0).integers(3, size=(2, len(sample.weights)))
    batch = MixtureBatch.from_labels(labels, sample, structure, 3, rule)
    batch, _, _ = batch.run(sample.rows(100), rule, 5)
    places = batch.places(sample.rows(100))
    repeated = Rows(np.repeat(sample.values, sample.weights.astype(int), axis=0))
    assert_allclose(np.square(places).sum(axis=2), 1.0)
    each = batch.places(repeated)
    assert_allclose(places[0] @ places[1].T, each[0] @ each[1].T, rtol=1e-9, atol=1e-12)
