"""Every covariance structure against SciPy's density and against its own promises."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skelbo.gaussian.components import Components
from skelbo.gaussian.moments import Moments
from skelbo.gaussian.regularization import Floor, Ridge
from skelbo.gaussian.structures import STRUCTURES

NAMES = [name for name in STRUCTURES if name != "factor"]  # see factor_analysis/
K, P, N = 3, 4, 60


def make(name, seed=0, spread=1.0):
    """Return rows, responsibilities, moments and the components fitted to them."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, P)) @ rng.standard_normal((P, P)) * spread
    resp = rng.dirichlet(np.ones(K), N).T
    moments = Moments.of_block(STRUCTURES[name].scatter, X.T, resp)
    return X, resp, moments, Components.from_moments(STRUCTURES[name], moments, Ridge(0.0))


@pytest.mark.parametrize("name", NAMES)
def test_density_is_scipys(name):
    X, _, _, components = make(name)
    expected = [
        stats.multivariate_normal(mean, matrix).logpdf(X)
        for mean, matrix in zip(components.means, components.covariance.dense(K, P), strict=True)
    ]
    assert_allclose(components.covariance.log_prob(X.T, components.means), expected, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_far_means_are_exact_too(name):
    """The careful branch, for means far from the origin, agrees with the fast one."""
    X, _, _, components = make(name)
    near = components.covariance.log_prob(X.T, components.means)
    far = components.covariance.log_prob(X.T + 2.0**20, components.means + 2.0**20)
    assert_allclose(far, near, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_closed_form_is_the_maximum(name):
    """No small change of the free parameters raises the expected log-density."""
    _, _, moments, components = make(name)
    best = components.expected_log_prob(moments)
    units = np.ones(P)
    vector = components.covariance.to_vector(units)
    assert len(vector) == STRUCTURES[name].n_parameters(K, P)
    rng = np.random.default_rng(1)
    for _ in range(20):
        moved = vector + 1e-3 * rng.standard_normal(vector.shape)
        covariance = STRUCTURES[name].from_vector(moved, K, units)
        assert Components(components.means, covariance).expected_log_prob(moments) < best


@pytest.mark.parametrize("name", NAMES)
def test_vector_round_trip(name):
    covariance = make(name)[3].covariance
    units = np.array([0.5, 1.0, 2.0, 3.0])
    again = STRUCTURES[name].from_vector(covariance.to_vector(units), K, units)
    assert_allclose(again.covariances, covariance.covariances, rtol=1e-12)
    assert_allclose(again.precision_cholesky, covariance.precision_cholesky, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["full", "tied"])
def test_vectors_below_the_floor_of_an_eigenvalue_are_no_covariance(name):
    """Pivots of 1e-4 do not show an eigenvalue of 5e-13."""
    for pivot, regular in ((0.1, True), (1e-4, False)):
        lower = np.tril(np.ones((P, P)), -1) + np.diag([0.0, *np.full(P - 1, np.log(pivot) / 2)])
        vector = np.tile(lower[np.tril_indices(P)], 1 if name == "tied" else K)
        covariance = STRUCTURES[name].from_vector(vector, K, np.ones(P))
        assert (covariance is not None) == regular


@pytest.mark.parametrize("name", NAMES)
def test_public_round_trip(name):
    covariance = make(name)[3].covariance
    public = covariance.public_arrays()
    assert public["covariances_"].shape == STRUCTURES[name].shape(K, P)
    rebuilt = STRUCTURES[name].from_public_arrays([public["precisions_cholesky_"]], K, P)
    assert_allclose(rebuilt.precision_cholesky, covariance.precision_cholesky)
    given = STRUCTURES[name].from_precisions(public["precisions_"], K, P)
    assert_allclose(given.covariances, covariance.covariances, rtol=1e-9, atol=1e-12)
    if STRUCTURES[name].scatter.dense:
        matrices, inverses = public["covariances_"], public["precisions_"]
        assert_allclose(matrices @ inverses, np.broadcast_to(np.eye(P), matrices.shape), atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_color_inverts_whiten(name):
    covariance = make(name)[3].covariance
    noise = np.random.default_rng(0).standard_normal((5, P))
    for k in range(K):
        assert_allclose(covariance.whiten(covariance.color(noise, k), k), noise, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0.1, 0.5])
def test_gradient_step_goes_uphill(name, size):
    X, resp, moments, components = make(name)
    other = Moments.of_block(moments.kind, 1.5 * X.T + 0.3, resp)
    before = components.expected_log_prob(other)
    after = components.stepped(other, Ridge(0.0), size).expected_log_prob(other)
    assert (
        before
        < after
        < Components.from_moments(STRUCTURES[name], other, Ridge(0.0)).expected_log_prob(other)
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_step_towards_a_floored_covariance_is_floored(name):
    _, _, moments, components = make(name)
    collapsed = replace(moments, scatter=1e-12 * moments.scatter)
    for rows, floored in (moments, False), (collapsed, True):
        stepped = components.covariance.stepped(rows, Floor(np.ones(P)), 0.5)
        assert stepped.floored.all() == floored


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_step_does_not_lead_beyond_all_scales(name):
    """Far from the maximum a gradient is no length: variances of 1e9 times are not reached."""
    _, _, moments, components = make(name)
    far = replace(moments, scatter=1e9 * moments.scatter)
    stepped = components.covariance.stepped(far, Ridge(0.0), 1.0)
    before, after = (np.diagonal(c.dense(K, P), 0, 1, 2) for c in (components.covariance, stepped))
    assert np.all((after > before) & (after < 1000 * before))
    assert components.covariance.stepped(moments, Ridge(0.0), 1.0).dense(K, P) == pytest.approx(
        components.covariance.dense(K, P), rel=1e-6
    )
