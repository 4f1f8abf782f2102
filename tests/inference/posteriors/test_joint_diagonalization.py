"""The rotation that a mean-field q likes best."""

import numpy as np

from skelbo import VariationalEM
from skelbo.inference.posteriors.joint_diagonalization import least_loss_rotation
from tests.tables import trichoptera


def loss(axes, precision, weights):
    turned = axes @ precision @ axes.T
    return np.log(np.einsum("nkk->nk", turned)).sum(1) @ weights


def matrices(n=60, d=4, noise=0.0):
    rng = np.random.default_rng(0)
    common = np.linalg.qr(rng.standard_normal((d, d)))[0]
    sizes = np.exp(rng.standard_normal((n, d)))
    extra = noise * rng.standard_normal((n, d, d))
    return common, (common * sizes[:, None]) @ common.T + extra @ extra.transpose(0, 2, 1)


def test_common_axes_are_found():
    common, precision = matrices()
    axes = least_loss_rotation(precision, np.ones(60))
    np.testing.assert_allclose(axes @ axes.T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(np.sort(np.abs(axes @ common).max(1)), 1, atol=1e-6)


def test_no_small_turn_is_better_and_the_optimum_is_left_alone():
    _, precision = matrices(noise=0.5)
    weights = np.arange(1.0, 61.0)
    axes = np.eye(4)
    for _ in range(20):
        turn = least_loss_rotation(axes @ precision @ axes.T, weights)
        if turn is None:
            break
        assert loss(turn @ axes, precision, weights) <= loss(axes, precision, weights)
        axes = turn @ axes
    assert turn is None
    skew = np.random.default_rng(1).standard_normal((4, 4))
    skew = 1e-4 * (skew - skew.T)
    for small in (skew, -skew):
        other = np.linalg.qr(np.eye(4) + small)[0] @ axes
        assert loss(other, precision, weights) >= loss(axes, precision, weights)


def test_no_turn_raises_the_bound_of_a_fit():
    X = trichoptera()
    fit = VariationalEM(2, model="poisson", tol=1e-13, random_state=0).fit(X)
    for angle in (-0.01, 0.01):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned = VariationalEM(2, model="poisson", random_state=0).fit(X)
        turned.params_ = {**fit.params_, "loadings": fit.params_["loadings"] @ turn}
        assert turned.elbo(X).mean() < fit.lower_bound_
