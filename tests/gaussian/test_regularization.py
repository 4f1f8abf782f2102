"""Singular covariances are floored or refused; regular ones are left alone."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skelbo import EMGaussianMixture, EMMixture, GaussianMLE
from skelbo.data.column_moments import ColumnMoments
from skelbo.em.loop import AscentError
from skelbo.gaussian.components import Components
from skelbo.gaussian.moments import Moments
from skelbo.gaussian.regularization import FLOOR, Floor, Ridge, to_precision_cholesky
from skelbo.gaussian.structures import STRUCTURES
from tests.gaussian.test_structures import NAMES, N, P, make


@pytest.mark.parametrize("name", NAMES)
def test_floor_does_nothing_to_regular_covariances(name):
    _, _, moments, components = make(name)
    floored = Components.from_moments(STRUCTURES[name], moments, Floor(np.ones(P)))
    assert_allclose(
        floored.covariance.precision_cholesky, components.covariance.precision_cholesky, rtol=1e-12
    )
    assert not floored.covariance.floored.any()


def test_floor_of_one_leaves_the_others_as_they_are():
    rng = np.random.default_rng(0)
    regular = np.array([root @ root.T for root in rng.standard_normal((2, P, P))])
    both = np.concatenate([regular[:1], np.ones((1, P, P)), regular[1:]])
    covariances, factors, floored = Floor(np.ones(P)).dense(both)
    alone = Floor(np.ones(P)).dense(regular)
    assert_array_equal(covariances[[0, 2]], alone[0])
    assert_array_equal(factors[[0, 2]], alone[1])
    assert floored.tolist() == [False, True, False] and not alone[2].any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_floor_on_singular_covariances(name, scale):
    """Collinear, constant columns: variances stop at the floor, in the columns' units."""
    rng = np.random.default_rng(0)
    column = rng.standard_normal(N)
    X = np.stack([column, 2 * column, np.zeros(N), np.zeros(N)]) * scale
    units = np.full(P, scale**2)
    moments = Moments.of_block(STRUCTURES[name].scatter, X, np.ones((1, N)))
    components = Components.from_moments(STRUCTURES[name], moments, Floor(units))
    smallest = np.linalg.eigvalsh(components.covariance.dense(1, P)[0])[0]
    if name in ("spherical", "tied_spherical"):
        assert not components.covariance.floored.any()
    else:
        assert components.covariance.floored.all()
        assert smallest == pytest.approx(FLOOR * scale**2, rel=1e-3)
    assert np.all(np.isfinite(components.covariance.log_prob(X, components.means)))


@pytest.mark.parametrize("rank", [0, 1, 20, 47, 50, 99])
def test_floor_clips_eigenvalues(rank):
    """Low ranks, which have an arithmetic of their own, and high ones."""
    rng, p = np.random.default_rng(0), 100
    axes = np.linalg.qr(rng.standard_normal((p, p)))[0]
    sizes = np.zeros(p)
    sizes[:rank] = np.geomspace(5.0, 1e-3, rank) if rank else []
    sizes[rank] = 0.1 * FLOOR
    matrix = (axes * sizes) @ axes.T
    units = np.geomspace(1e-5, 1e5, p)
    scaled = matrix * (units[:, None] * units)
    covariances, U, floored = Floor(units**2).dense(scaled[None])
    clipped = (axes * np.maximum(sizes, FLOOR)) @ axes.T
    assert_allclose(covariances[0] / (units[:, None] * units), clipped, atol=1e-14)
    assert floored.all() and np.all(np.diagonal(U[0]) > 0)
    assert_allclose(U[0], np.triu(U[0]))
    white = (U[0] * units[:, None]).T @ clipped @ (U[0] * units[:, None])
    assert_allclose(white, np.eye(p), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_ridge_on_singular_covariances(name):
    moments = Moments.of_block(STRUCTURES[name].scatter, np.zeros((P, N)), np.ones((1, N)))
    with pytest.raises(AscentError, match="ill-defined empirical covariance"):
        Components.from_moments(STRUCTURES[name], moments, Ridge(0.0))
    ridged = Components.from_moments(STRUCTURES[name], moments, Ridge(0.25))
    assert_allclose(np.diagonal(ridged.covariance.dense(1, P)[0]), 0.25)


@pytest.mark.parametrize("name", NAMES)
def test_variances_within_the_rounding_of_a_column_are_refused(name):
    moments = Moments.of_block(STRUCTURES[name].scatter, np.zeros((P, N)), np.ones((1, N)))
    Components.from_moments(STRUCTURES[name], moments, Ridge(0.25, np.full(P, 0.24 / P**2)))
    with pytest.raises(AscentError, match="ill-defined empirical covariance"):
        Components.from_moments(STRUCTURES[name], moments, Ridge(0.25, np.full(P, 0.26)))


def test_what_a_ridge_accepts_can_be_conditioned_on():
    """Matrices of rank one, plus a ridge near their rounding: refused, or sound in every part."""
    accepted = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((1, 3)) * 10 ** rng.uniform(3, 7)
        try:
            factors = Ridge(1e-6).dense((x.T @ x)[None])[1]
        except AscentError:
            continue
        accepted += 1
        rebuilt = STRUCTURES["full"].from_public_arrays([factors], 1, 3).covariances[0]
        for part in ([0, 1], [0, 2], [1, 2]):
            np.linalg.cholesky(rebuilt[np.ix_(part, part)])
    assert 0 < accepted < 300


def test_a_ridge_refuses_columns_that_are_collinear_but_for_their_rounding():
    """Rounded cells leave a variance of their own, in which rounded means are far from the data."""
    x = np.random.default_rng(0).standard_normal(50)
    far = 1e10 + np.stack([x, 3 * x], axis=1)  # two columns of rounded cells
    for X in far, far[:, ::-1], far.repeat(2, axis=0):
        columns = ColumnMoments.of_table(X)
        covariance = np.cov(X.T - 1e10, bias=True)[None]
        Ridge(0.0).dense(covariance)
        for amount in 0.0, 1e-13:
            with pytest.raises(AscentError, match="ill-defined empirical covariance"):
                Ridge(amount, columns.rounding_variance(X.dtype)).dense(covariance)
        Ridge(1e-10, columns.rounding_variance(X.dtype)).dense(covariance)
        with pytest.raises(ValueError, match="ill-defined empirical covariance"):
            GaussianMLE(reg_covar=0.0).fit(X)


def test_what_a_ridge_accepts_does_not_depend_on_the_order_of_columns():
    """The last pivot alone is a column's variance given all others."""
    matrix = np.array([[1.0, 1 - 4e-16, 0.0], [1 - 4e-16, 1.0, 0.0], [0.0, 0.0, 1.0]])
    for order in [0, 1, 2], [2, 1, 0], [0, 2, 1]:
        with pytest.raises(AscentError):
            Ridge(0.0).dense(matrix[np.ix_(order, order)][None])


@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
@pytest.mark.parametrize("estimator", [GaussianMLE(), EMGaussianMixture(2, random_state=0)])
@pytest.mark.parametrize("value", [1e-300, -1e-152, 1e-90, 1e90])
def test_constant_columns_of_any_size_have_a_floor(estimator, value):
    model = estimator.fit(np.full((4, 2), value))
    assert np.isfinite([model.lower_bound_, model.score(np.full((4, 2), value))]).all()


def test_of_many_matrices_none_need_be_regular():
    singular = np.ones((200, P, P))
    covariances, factors, floored = Floor(np.ones(P)).dense(singular)
    assert floored.all() and np.isfinite(factors).all()
    assert_allclose(covariances[0], covariances[-1])


def test_many_regular_matrices_are_factorized_like_each_alone():
    regular = np.arange(1.0, 41.0)[:, None, None] * np.array([[2.0, 0.9], [0.9, 1.0]])
    together = Floor(np.ones(2)).dense(regular)[1]
    alone = [Floor(np.ones(2)).dense(matrix[None])[1][0] for matrix in regular]
    assert_allclose(together, alone, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
def test_first_chunk_with_a_constant_column():
    """Short runs from many starts, all of whose covariances are singular."""
    X = np.c_[np.random.default_rng(1).normal(size=(77, 2)), np.full(77, 98.6)]
    scores = [
        EMGaussianMixture(2, random_state=0).partial_fit(Y).score(Y) for Y in (X, X - [0, 0, 98.6])
    ]
    assert_allclose(*scores, rtol=1e-6)


@pytest.mark.parametrize("n_matrices", [0, 3, 200])
def test_precision_factors_of_any_number_of_matrices(n_matrices):
    rng = np.random.default_rng(0)
    root = np.tril(rng.standard_normal((n_matrices, 4, 4))) + 3 * np.eye(4)
    upper = to_precision_cholesky(root)
    assert upper.shape == root.shape
    identity = np.broadcast_to(np.eye(4), root.shape)
    assert_allclose(upper.swapaxes(-1, -2) @ root, identity, atol=1e-12)


@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("acceleration", ["auto", "anderson", None])
def test_no_accelerated_variance_is_below_the_rounding_of_a_column(acceleration):
    """The floor of a column that varies by thousands of roundings is its rounding."""
    X = np.array([[343899.0], [346080.0], [352869.0], [343899.0]]) * 1e-16 + 1.01937725043
    options = {"covariance_type": "diag", "tol": 0.0, "max_iter": 30, "random_state": 705}
    model = EMGaussianMixture(2, acceleration=acceleration, **options).fit(X)
    bounds = np.array(model.lower_bounds_)
    assert np.diff(bounds).min() > -1e-6
    assert model.covariances_.min() >= 0.99 * (np.finfo(float).eps / 2 * 1.019) ** 2


@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_floors_of_float32_rows_are_above_their_rounding():
    """With variances below it the bound was -8e7 nats, and lower after a warm start."""
    X = np.float32([[1000.0, 878.1078], [1000.0, 878.1078], [999.99994, 2445.53]])
    model = EMMixture(2, max_iter=1, warm_start=True, random_state=0)
    first, second = (model.fit(X).lower_bound_ for _ in range(2))
    assert 0 < first < second
