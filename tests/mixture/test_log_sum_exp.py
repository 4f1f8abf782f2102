"""log p(x) and posteriors from log-joints, rows without any density included."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax

from skelbo.mixture.log_sum_exp import normalize


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5)])
def test_normalize_is_log_sum_exp(shape):
    log_joint = np.random.default_rng(0).normal(scale=300.0, size=shape)
    weights = np.arange(5.0)
    resp = log_joint.copy()
    log_prob = normalize(resp, np.log(np.full(shape[:-1], 1 / 3)), weights)
    assert_allclose(log_prob, logsumexp(log_joint, axis=-2), rtol=1e-14)
    assert_allclose(resp, weights * softmax(log_joint, axis=-2), rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_a_row_without_density_keeps_the_prior(shape):
    log_joint = np.random.default_rng(1).normal(size=shape)
    log_joint[..., 2] = -np.inf
    prior = np.broadcast_to([0.2, 0.5, 0.3], shape[:-1])
    log_prob = normalize(log_joint, np.log(prior))
    assert_array_equal(np.isneginf(log_prob), np.broadcast_to(np.arange(4) == 2, log_prob.shape))
    assert_allclose(log_joint[..., 2], prior, rtol=1e-14)
    assert_allclose(log_joint.sum(axis=-2), 1.0)


def test_no_mixtures_have_no_densities():
    """As when no component is born into any, and there are no two to exchange one."""
    log_prob = normalize(np.empty((0, 3, 4)), np.empty((0, 3)))
    assert log_prob.shape == (0, 4)
