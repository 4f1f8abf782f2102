"""The mixture against SciPy: densities, posteriors, terms of the bound, coordinates."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax
from scipy.stats import multivariate_normal

from skelbo.data.rows import Rows
from skelbo.em.theta import Theta
from skelbo.gaussian.structures import STRUCTURES
from tests.mixture.fits import clouds, fitted, theta_of

KINDS = list(STRUCTURES)


@pytest.fixture(params=KINDS)
def case(request):
    """Return a fitted estimator, its mixture, a block of rows about its centre and log-joints."""
    X = clouds(150, 3, 2)
    model = fitted(X, 2, request.param, n_factors=1)
    theta, origin = theta_of(model)
    block = next(iter(Rows(X, None, origin).blocks()))
    components = theta.components
    dense = components.covariance.dense(2, 3)
    log_joint = [
        np.log(weight) + multivariate_normal(mean, matrix).logpdf(block.values.T)
        for weight, mean, matrix in zip(theta.weights, components.means, dense, strict=True)
    ]
    return theta, block, np.array(log_joint)


def test_densities_and_posteriors_are_scipys(case):
    theta, block, log_joint = case
    q = theta.posterior(block)
    assert_allclose(q.log_joint, log_joint, rtol=1e-9)
    assert_allclose(q.log_prob, np.logaddexp.reduce(log_joint), rtol=1e-9)
    assert_allclose(q.resp, softmax(log_joint, axis=0), atol=1e-9)
    assert_allclose(theta.log_prob(block), q.log_prob, rtol=1e-12)
    assert_allclose(theta.resp(block), q.resp, atol=1e-12)
    assert (theta.labels(block) == log_joint.argmax(axis=0)).all()


def test_both_decompositions_of_the_bound_are_tight(case):
    theta, block, log_joint = case
    terms = theta.elbo_terms(block)
    expected = np.logaddexp.reduce(log_joint)
    assert_allclose(terms.energy + terms.entropy, expected, rtol=1e-9)
    assert_allclose(terms.reconstruction - terms.kl, expected, rtol=1e-9)


def test_coordinates_and_origins_go_both_ways(case):
    theta, block, _ = case
    units = np.array([0.5, 1.0, 2.0])
    again = theta.from_vector(theta.to_vector(units), units)
    assert_allclose(again.log_prob(block), theta.log_prob(block), rtol=1e-9)
    step = np.array([1.0, -2.0, 3.0])
    assert_allclose(theta.about(step).components.means + step, theta.components.means, rtol=1e-12)


def test_a_mixture_is_a_theta(case):
    theta, _, _ = case
    names = {name for name in vars(Theta) if not name.startswith("_")}
    assert names == {"is_regular", "e_step", "m_step", "to_vector", "from_vector"}
    assert all(hasattr(theta, name) for name in names)
