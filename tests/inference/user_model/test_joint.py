"""Points that stand for a Gaussian q, and its bound."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skelbo.inference.model_names import adapt
from skelbo.inference.posteriors.best import best_q
from skelbo.inference.user_model.joint import fresh_nodes, gaussian_nodes, q_points
from skelbo.models import DecoderModel


def test_points_of_a_covariance_that_is_singular_to_rounding():
    """Counts of 1e10 leave one direction with a variance below the rounding of the other."""
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    covariance = turn @ np.diag([1.0, -1e-17]) @ turn.T
    Z, weights = q_points(np.ones((1, 2)), covariance[None])
    steps = Z[:, 0] - 1
    assert_allclose((weights[:, None] * steps).T @ steps, covariance, atol=1e-6)


def test_the_bound_of_a_steep_decoder_is_no_mean_over_few_points():
    theta = {
        "0.weight": np.array([[10.0]]),
        "0.bias": np.array([3.0]),
        "1.weight": np.array([[1.0]]),
        "1.bias": np.zeros(1),
        "noise_variance": np.array(0.5),
    }
    model = adapt(DecoderModel(1, hidden_layer_sizes=(1,)))
    joint = model.joint(np.linspace(-1.5, 1.5, 7)[:, None], theta)
    q = best_q(joint, "full")
    normal = np.linspace(-9.0, 9.0, 5001)
    weights = np.exp(-0.5 * normal**2) / np.exp(-0.5 * normal**2).sum()
    std = 1 / np.sqrt(q.precision[:, 0, 0])
    energy = weights @ joint.log_joint((q.mean[:, 0] + normal[:, None] * std)[..., None])
    exact = energy + 0.5 * np.log(2 * np.pi * np.e) + np.log(std)
    assert_allclose(model.bound_terms(joint, q).elbo, exact, atol=1e-6)
    assert np.abs(q.terms.elbo - exact).max() > 1e-3


@pytest.mark.parametrize("n_latents", [1, 2, 3])
@pytest.mark.parametrize("rule", [gaussian_nodes, fresh_nodes])
def test_nodes_have_the_moments_of_the_prior(rule, n_latents):
    nodes, weights = rule(n_latents)
    assert_allclose(weights @ nodes, 0, atol=1e-14)
    assert_allclose(weights @ nodes**2, 1, rtol=1e-14)
