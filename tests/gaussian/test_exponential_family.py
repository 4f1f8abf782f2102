"""The exponential-family form gives the results of the components one by one, or stands back."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skelbo import EMGaussianMixture
from skelbo.data.rows import Rows
from skelbo.gaussian.components import Components
from skelbo.gaussian.hybrid_form import HybridDensity
from skelbo.gaussian.moments import MAX_STATISTICS, Moments
from skelbo.gaussian.regularization import Ridge
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.prediction import Predictor

NAMES = [name for name, structure in STRUCTURES.items() if name != "factor"]
K, P, N = 3, 4, 200


def mixture(name, p=P, offset=0.0):
    """Return rows and a mixture fitted to random responsibilities."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, p)) @ rng.standard_normal((p, p)) + offset
    resp = rng.dirichlet(np.ones(K), N).T
    moments = Moments.of_block(STRUCTURES[name].scatter, X.T, resp, np.full((K, p), offset))
    return X, Mixture.from_moments(STRUCTURES[name], moments, Ridge(0.0))


@pytest.mark.parametrize("name", NAMES)
def test_same_posterior_and_moments(name):
    X, theta = mixture(name)
    weights = np.random.default_rng(1).integers(1, 4, N).astype(float)
    (block,) = Rows(X, weights).blocks()
    natural = theta.natural.density(block)
    direct = theta.components.density(block, theta.log_weights)
    log_joint = natural.log_joint() + natural.log_base()
    assert_allclose(log_joint, direct.log_joint(), rtol=1e-11, atol=1e-11)
    resp = np.random.default_rng(2).dirichlet(np.ones(K), N).T * weights
    ours, theirs = natural.moments(resp), direct.moments(resp)
    assert_allclose(ours.mean, theirs.mean, atol=1e-12)
    assert_allclose(ours.scatter, theirs.scatter, rtol=1e-10, atol=1e-10)
    assert natural.total_log_base() == pytest.approx(weights @ (natural.log_base() + np.zeros(N)))


@pytest.mark.parametrize("name", NAMES)
def test_stands_back_where_digits_would_cancel(name):
    X, theta = mixture(name, offset=1e6)
    assert theta.natural is None
    near = mixture(name)[1]
    bound = near.e_step(Rows(X - 1e6))[0]
    assert theta.e_step(Rows(X))[0] == pytest.approx(bound, abs=1e-7)


def test_stands_back_where_t_is_long():
    p = int(np.sqrt(2 * MAX_STATISTICS)) + 1
    assert mixture("full", p)[1].natural is None
    assert mixture("tied", p)[1].natural is not None


def collapsed(name, n_collapsed=1):
    """Return rows and a mixture whose first components are tiny and far from the origin."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % K
    steps = rng.standard_normal((N, P)) * np.where(labels < n_collapsed, 1e-6, 1.0)[:, None]
    X = steps + 3.0 * (labels[:, None] + 1)
    resp = np.eye(K)[:, labels]
    moments = Moments.of_block(STRUCTURES[name].scatter, X.T, resp, 3.0 + np.zeros((K, P)))
    return X, Mixture.from_moments(STRUCTURES[name], moments, Ridge(0.0))


@pytest.mark.parametrize("name", ["full", "diag", "spherical"])
def test_a_collapsed_component_is_the_only_one_seen_by_itself(name):
    X, theta = collapsed(name)
    (block,) = Rows(X, np.random.default_rng(1).integers(1, 4, N).astype(float)).blocks()
    assert theta.natural is None
    assert_allclose(theta.hybrid.unsafe, [0])
    divided, direct = theta.density(block), theta.components.density(block, theta.log_weights)
    assert isinstance(divided, HybridDensity)
    assert_allclose(divided.log_joint(), direct.log_joint(), rtol=1e-10, atol=1e-10)
    resp = np.random.default_rng(2).dirichlet(np.ones(K), N).T
    ours, theirs = divided.moments(resp), direct.moments(resp)
    assert_allclose(ours.weight, theirs.weight, rtol=1e-13)
    assert_allclose(ours.mean, theirs.mean, rtol=1e-12)
    assert_allclose(ours.scatter, theirs.scatter, rtol=1e-10, atol=1e-10)
    (far,) = Rows(np.full((1, P), 1e160)).blocks()
    assert not isinstance(theta.density(far), HybridDensity)


@pytest.mark.parametrize("name", NAMES)
def test_components_are_divided_only_where_forms_differ(name):
    assert mixture(name)[1].hybrid is None
    assert collapsed(name, K)[1].hybrid is None
    divided = collapsed(name)[1].hybrid
    assert (divided is not None) == (name in ("full", "diag", "spherical"))


@pytest.mark.parametrize("name", NAMES)
def test_a_row_beyond_overflow(name, faithful):
    """A row whose squares overflow is improbable, not NaN."""
    model = EMGaussianMixture(2, covariance_type=name, random_state=0, max_iter=500).fit(faithful)
    X = np.array([[1e160, 0.0], [2.0, 50.0]])
    with np.errstate(over="ignore"):
        log_prob, resp, labels = model.score_samples(X), model.transform(X), model.predict(X)
    assert log_prob[0] == -np.inf and np.isfinite(log_prob[1])
    assert_allclose(resp.sum(axis=1), 1)
    assert labels[0] == resp[0].argmax()


def test_components_without_weight_stay(faithful):
    """A component of weight zero has no part in the statistics, whatever its density."""
    _, theta = mixture("full")
    empty = Mixture(np.array([0.5, 0.5, 0.0]), theta.components)
    two = Mixture(np.array([0.5, 0.5]), Components(*_first_two(theta.components)))
    rows = Rows(mixture("full")[0])
    bound, moments = empty.e_step(rows)
    assert bound == pytest.approx(two.e_step(rows)[0], rel=1e-14)
    assert moments.weight[2] == 0 and np.all(np.isfinite(moments.scatter))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 2, 3, 9, 200])
def test_an_infinite_constant_is_no_factor_of_a_product(name, n):
    """Shapes that a kernel pads multiply -inf by zero; the others are as they would be alone."""
    X, theta = mixture(name)
    dead = Mixture(np.array([0.0, 0.4, 0.6]), theta.components)
    (block,) = Rows(X[:n]).blocks()
    with np.errstate(invalid="raise"):
        log_joint = dead.natural.density(block).log_joint()
    assert np.all(np.isneginf(log_joint[0]))
    expected = theta.natural.density(block).log_joint()[1:]
    expected += np.log([0.4, 0.6])[:, None] - theta.log_weights[1:, None]
    assert_allclose(log_joint[1:], expected, rtol=1e-12, atol=1e-12)
    labels = dead.resp(block).argmax(axis=0)
    assert_allclose(Predictor(dead).labels(X[:n]), labels)


def _first_two(components):
    covariance = components.covariance
    arrays = (covariance.covariances[:2], covariance.precision_cholesky[:2], covariance.floored[:2])
    return components.means[:2], type(covariance)(*arrays)
