"""Mixtures of factor analysers: the algebra against dense matrices, EM against its laws."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.datasets import load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from skelbo import EMGaussianMixture, SingularCovarianceWarning
from skelbo.data.rows import Block, Rows
from skelbo.gaussian.components import Components
from skelbo.gaussian.factor_analysis.bolder_noise import bolder_noise
from skelbo.gaussian.factor_analysis.covariance import FactorCovariance
from skelbo.gaussian.moments import Moments, Scatter
from skelbo.gaussian.regularization import FLOOR, Floor, Ridge
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.mixture import Mixture

K, P, Q, N = 3, 6, 2, 80


@pytest.fixture(scope="module")
def wine():
    return scale(load_wine().data)


def make(seed=0, noise=1.0):
    """Return rows about zero and a mixture with loadings of order one."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, P)) @ rng.standard_normal((P, P))
    factor = FactorCovariance(
        rng.standard_normal((K, P, Q)),
        noise * (0.5 + rng.random((K, P))),
        np.zeros(K, dtype=bool),
    )
    return X, Mixture(rng.dirichlet(np.ones(K)), Components(rng.standard_normal((K, P)), factor))


def with_holes(X, share=0.3):
    X = X.copy()
    X[np.random.default_rng(1).random(X.shape) < share] = np.nan
    return X


def fit(X, n_components=1, **options):
    options = {"random_state": 0, "max_iter": 1000, **options}
    return EMGaussianMixture(n_components, covariance_type="factor", **options).fit(X)


@pytest.mark.parametrize("noise", [1.0, 1e-3, 1e-6])
def test_density_is_scipys(noise):
    """Both branches, with noise down to where expanded squares would lose all digits."""
    X, theta = make(noise=noise)
    means, factor = theta.components.means, theta.components.covariance
    assert factor.is_safe(means) == (noise > 1e-6)
    X = X[:, :Q] @ factor.loadings[0].T + np.sqrt(noise) * X  # near one component's plane
    expected = [
        stats.multivariate_normal(m, S).logpdf(X)
        for m, S in zip(means, factor.dense(K, P), strict=True)
    ]
    assert_allclose(factor.log_prob(X.T, means), expected, rtol=1e-12 / noise)


def test_density_keeps_its_digits_in_the_plane():
    """On the plane itself, with noise at the floor, the distance is that of the scores."""
    rng = np.random.default_rng(0)
    loadings, noise = rng.standard_normal((1, P, Q)), np.full((1, P), FLOOR)
    Z = rng.standard_normal((5, Q))
    factor = FactorCovariance(loadings, noise, np.zeros(1, dtype=bool))
    _, log_det = np.linalg.slogdet(loadings[0].T @ loadings[0])
    log_det += (P - Q) * np.log(FLOOR)
    expected = -0.5 * (P * np.log(2 * np.pi) + log_det + (Z**2).sum(axis=1))
    found = factor.log_prob(loadings[0] @ Z.T, np.zeros((1, P)))[0]
    assert_allclose(found, expected, rtol=1e-7)


def test_careful_and_plain_views_agree():
    X, theta = make()
    weights = np.random.default_rng(2).random((K, N))
    means, factor = theta.components.means, theta.components.covariance
    log_weights, index = np.zeros(K), np.arange(N)
    plain = factor.density(means, Block(X.T, np.ones(N), index), log_weights)
    seen = np.ones((P, N), dtype=bool)
    careful = factor.density(means, Block(X.T, np.ones(N), index, seen), log_weights)
    assert type(plain) is not type(careful)
    assert_allclose(plain.log_prob, careful.log_prob, rtol=1e-12)
    one, other = plain.moments(weights), careful.moments(weights)
    for name in ("weight", "mean", "scatter", "factor_mean", "cross", "factor_scatter"):
        assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-11, atol=1e-11)


def test_missing_cells_by_brute_force():
    """Densities and all expected moments of [x, z], row by row from the joint Gaussian of both."""
    X, theta = make()
    X = with_holes(X)[:30]
    X[0] = np.nan
    means, factor = theta.components.means, theta.components.covariance
    weights = np.random.default_rng(2).random((K, 30))
    block = Block(X.T, np.ones(30), np.arange(30), ~np.isnan(X).T)
    density = factor.density(means, block, np.zeros(K))
    found = density.moments(weights)
    for k in range(K):
        L = factor.loadings[k]
        joint = np.block([[factor.dense(K, P)[k], L], [L.T, np.eye(Q)]])
        centre = np.concatenate([means[k], np.zeros(Q)])
        first, second = np.zeros(P + Q), np.zeros((P + Q, P + Q))
        for i, row in enumerate(X):
            o = np.concatenate([~np.isnan(row), np.zeros(Q, dtype=bool)])
            inverse = np.linalg.inv(joint[np.ix_(o, o)])
            gain = joint[:, o] @ inverse
            step = gain @ (row[o[:P]] - centre[o])
            first += weights[k, i] * step
            second += weights[k, i] * (np.outer(step, step) + joint - gain @ joint[o])
            normal = stats.multivariate_normal(centre[o], joint[np.ix_(o, o)]) if o.any() else None
            log_prob = normal.logpdf(row[o[:P]]) if normal else 0.0
            assert density.log_prob[k, i] == pytest.approx(log_prob, abs=1e-10)
            assert_allclose(density.values[k, :, i], (centre + step)[:P], atol=1e-10)
        weight = weights[k].sum()
        scatter = second - np.outer(first, first) / weight
        assert_allclose(found.mean[k], means[k] + first[:P] / weight)
        assert_allclose(found.factor_mean[k], first[P:] / weight)
        assert_allclose(found.scatter[k], np.diagonal(scatter)[:P])
        assert_allclose(found.cross[k], scatter[:P, P:], atol=1e-10)
        assert_allclose(found.factor_scatter[k], scatter[P:, P:])


def test_moments_add_up_and_align():
    """Two halves are the whole; the M-step does not depend on how z is measured."""
    X, theta = make()
    whole, half = (theta.expected(b).moments for b in (_block(X), _block(X[:30])))
    added = half + theta.expected(_block(X[30:])).moments
    aligned = theta.components.covariance.aligned(whole)
    for name in ("weight", "mean", "scatter", "factor_mean", "cross", "factor_scatter"):
        assert_allclose(getattr(added, name), getattr(whole, name), rtol=1e-10, atol=1e-10)
    assert_allclose(aligned.factor_mean, 0, atol=1e-12)
    unit = aligned.factor_scatter / aligned.weight[:, None, None]
    assert_allclose(unit, [np.eye(Q)] * K, atol=1e-12)
    one, other = (
        FactorCovariance.from_moments(m, Ridge(0.0)) for m in (whole, aligned.scaled(0.5))
    )
    assert_allclose(one.loadings, other.loadings, atol=1e-12)
    assert_allclose(one.noise, other.noise)


def _block(X):
    return next(Rows(X).blocks())


def test_color_and_whiten_are_roots():
    _, theta = make()
    factor, noise = theta.components.covariance, np.eye(P)
    for k in range(K):
        root = factor.color(noise, k)
        assert_allclose(root.T @ root, factor.dense(K, P)[k])
        assert_allclose(factor.whiten(root, k), noise, atol=1e-12)


def test_vector_round_trip():
    factor, units = make()[1].components.covariance, np.arange(1.0, P + 1)
    again = FactorCovariance.from_vector(factor.to_vector(units), K, units)
    assert_allclose(again.loadings, factor.loadings)
    assert_allclose(again.noise, factor.noise)
    assert FactorCovariance.from_vector(np.full(K * P * (Q + 1), np.nan), K, units) is None


def test_public_matrices_are_made_when_asked_for(wine):
    model = fit(wine, 2)
    assert "covariances_" not in vars(model) and model.loadings_.shape == (2, 13, 2)
    noise = model.noise_variances_[:, :, None] * np.eye(13)
    matrices = model.loadings_ @ model.loadings_.swapaxes(1, 2) + noise
    assert_allclose(model.covariances_, matrices)
    assert_allclose(model.covariances_ @ model.precisions_, [np.eye(13)] * 2, atol=1e-9)
    upper = model.precisions_cholesky_
    assert_allclose(upper, np.triu(upper))
    assert_allclose(upper @ upper.swapaxes(1, 2), model.precisions_, atol=1e-9)
    model.set_params(covariance_type="diag").fit(wine)
    assert model.covariances_.shape == (2, 13) and not hasattr(model, "loadings_")
    assert not hasattr(EMGaussianMixture(), "covariances_")


# --------------------------------------------------------------------------------------- the ascent


def test_one_component_is_factor_analysis(wine):
    model = fit(wine, n_factors=1)
    assert model.score(wine) * len(wine) == pytest.approx(-2894.27028, abs=1e-4)
    assert model.n_parameters_ == 13 + 13 + 13


def test_a_heywood_case_is_no_singular_covariance(iris):
    """A noise variance runs to zero; the covariance stays regular, so there is no warning."""
    model = fit(iris, n_factors=1)
    shares = model.noise_variances_[0] / iris.var(axis=0)
    assert FLOOR <= shares.min() < 1e-5
    assert model.lower_bound_ == pytest.approx(-2.81585, abs=1e-5)
    assert np.linalg.cond(model.covariances_[0]) < 1e4


@pytest.mark.parametrize("holes", [False, True])
def test_between_diag_and_full(wine, holes):
    """No factor is diag, p - 1 factors are full, and one is between them."""
    X = wine[:, :5]
    X = with_holes(X, 0.1) if holes else X
    bounds = [fit(X, 2, n_factors=q, max_iter=3000).lower_bound_ for q in (0, 1, 4)]
    ends = [
        EMGaussianMixture(2, covariance_type=kind, random_state=0, max_iter=3000).fit(X)
        for kind in ("diag", "full")
    ]
    assert bounds[0] == pytest.approx(ends[0].lower_bound_, abs=1e-7)
    assert bounds[2] == pytest.approx(ends[1].lower_bound_, abs=1e-5)
    assert bounds[0] + 0.1 < bounds[1] < bounds[2]
    more = fit(X, 2, n_factors=50, max_iter=3000)
    assert more.loadings_.shape == (2, 5, 4) and more.lower_bound_ == bounds[2]
    assert more.n_parameters_ == ends[1].n_parameters_


@pytest.mark.parametrize("options", [{}, {"acceleration": None}], ids=str)
def test_monotone_and_to_the_same_mode(wine, options):
    X = with_holes(wine, 0.05)
    model = fit(X, 2, n_factors=1, max_iter=2000, **options)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-13)
    assert model.lower_bound_ == pytest.approx(fit(X, 2, n_factors=1).lower_bound_, abs=1e-5)
    assert model.score(X) == pytest.approx(model.lower_bound_, rel=1e-12)


def test_a_step_is_a_step_up_from_anywhere():
    """One M-step from parameters far from any mode, in both branches of the arithmetic."""
    for noise in (1.0, 1e-6):
        X, theta = make(noise=noise)
        rows, rule = Rows(with_holes(X, 0.1)), Floor(X.var(axis=0))
        for _ in range(5):
            bound, moments = theta.e_step(rows)
            theta = theta.m_step(moments, rule)
            assert theta.e_step(rows)[0] > bound


def test_a_row_without_cells_changes_nothing(wine):
    model = fit(wine, 2)
    empty = np.full((2, 13), np.nan)
    assert_allclose(model.score_samples(empty), 0, atol=1e-12)
    assert_allclose(model.impute(empty)[0], wine.mean(axis=0), atol=1e-6)
    more = fit(np.concatenate([wine, empty]), 2)
    assert more.lower_bound_ * 180 == pytest.approx(model.lower_bound_ * 178, abs=1e-3)


def test_the_truth_comes_back():
    rng = np.random.default_rng(0)
    loadings, noise = rng.standard_normal((2, 8, 2)), 0.3 + rng.random((2, 8))
    labels = rng.integers(2, size=20_000)
    X = np.array([-3.0, 3.0])[labels][:, None] + np.sqrt(noise[labels]) * rng.standard_normal(
        (20_000, 8)
    )
    X += np.einsum("nij,nj->ni", loadings[labels], rng.standard_normal((20_000, 2)))
    model = fit(X, 2)
    order = np.argsort(model.means_[:, 0])
    truth = loadings @ loadings.swapaxes(1, 2) + noise[:, :, None] * np.eye(8)
    assert_allclose(model.covariances_[order], truth, atol=0.25)
    drawn, _ = model.sample(20_000, random_state=0)
    assert_allclose(np.cov(drawn.T), np.cov(X.T), atol=0.35)


def test_duplicated_columns_are_singular():
    column = np.random.default_rng(0).standard_normal((50, 1))
    with pytest.warns(SingularCovarianceWarning):
        fit(np.repeat(column, 4, axis=1), n_factors=2)


def test_more_columns_than_rows_and_digits():
    """64 columns, some constant: held-out rows like factors better than none, or than all."""
    X = load_digits().data + np.random.default_rng(0).random((1797, 64))
    train, test = X[:1200], X[1200:]
    options = {"n_components": 10, "n_factors": 5, "random_state": 0, "tol": 1e-2, "reg_covar": 0.1}
    scores = {
        kind: EMGaussianMixture(covariance_type=kind, **options).fit(train).score(test)
        for kind in ("diag", "factor", "full")
    }
    assert scores["factor"] > max(scores["diag"], scores["full"]) + 5
    few = fit(X[:40], 1, n_factors=3, tol=1e-3)
    assert np.isfinite(few.score(test))


def test_the_start_shares_axes_where_clusters_are_small(iris):
    """Projected on the factors: the scatters of the pooled and of the total covariance."""
    resp = np.zeros((3, 150))
    resp[np.repeat([0, 1, 2], 50), np.arange(150)] = 1
    means = np.array([iris[i : i + 50].mean(axis=0) for i in (0, 50, 100)])
    full = Moments.of_block(Scatter.FULL, iris.T, resp, means)
    mine = STRUCTURES["factor"].configured(4, 3).label_moments(iris.T, resp, means, own=False)
    for name in ("with_shared_scatter", "with_total_scatter"):
        fitted = FactorCovariance.from_moments(getattr(mine, name)(), Ridge(0.0))
        target = getattr(full, name)().scatter / 50
        assert_allclose(
            fitted.loadings @ fitted.loadings.swapaxes(1, 2) + fitted.noise[:, :, None] * np.eye(4),
            target,
            rtol=0.1,
            atol=0.03,
        )


def test_bold_noise_by_dense_matrices():
    """psi b / a, read off the moments of x and z, against inverses of p x p matrices."""
    X, theta = make()
    factor, rows = theta.components.covariance, Rows(X)
    (block,) = rows.blocks()
    resp = theta.posterior(block).resp
    expected = []
    for k, dense in enumerate(factor.dense(K, P)):
        scatter = np.cov(X.T, aweights=resp[k], bias=True)
        inverse = np.linalg.inv(dense)
        squares = np.diagonal(inverse @ scatter @ inverse)
        expected.append(factor.noise[k] * squares / np.diagonal(inverse))
    assert_allclose(bolder_noise(factor, theta.e_step(rows)[1]), expected, rtol=1e-10)


def heywood_maximum(X, latents):
    """Return the largest log-density per row if `latents` are the factors, the rest regressed."""
    covariance = np.cov(X.T, bias=True)
    others = np.setdiff1d(np.arange(len(covariance)), latents)
    inner, cross = covariance[np.ix_(latents, latents)], covariance[np.ix_(latents, others)]
    rest = covariance.diagonal()[others] - (cross * np.linalg.solve(inner, cross)).sum(axis=0)
    log_det = np.linalg.slogdet(inner)[1] + np.log(rest).sum()
    return -0.5 * (len(covariance) * (np.log(2 * np.pi) + 1) + log_det)


def test_heywood_cases_end_in_few_iterations(iris, wine):
    """Where noise runs to zero plain EM is not there in thousands; the bound never falls.

    It ends within ten times the climb that the stopping rule leaves: along the ridge to the edge
    that is extrapolated from steps of uneven size.
    """
    for X, q, best in ((iris, 2, heywood_maximum(iris, [1, 2])), (wine, 5, None)):
        model = fit(X, n_factors=q)
        assert model.converged_
        assert model.n_iter_ < 300
        assert np.diff(model.lower_bounds_).min() >= -1e-12
        noise = model.noise_variances_[0] / X.var(axis=0)
        assert noise.min() < 1e-4
        assert best is None or best - 1e-6 < model.lower_bound_ < best + 1e-12
        slow = fit_quietly(X, n_factors=q, acceleration=None)
        assert slow.lower_bound_ < model.lower_bound_ - 1e-5
        # At rest: EM's own next step is short where a variance is not at zero.
        free = noise > 1e-3
        theta = model._theta(X.mean(axis=0))
        moments = theta.e_step(Rows(X, None, X.mean(axis=0)))[1]
        bold = bolder_noise(theta.components.covariance, moments)[0] / X.var(axis=0)
        assert_allclose(bold[free], noise[free], rtol=2e-2)


def fit_quietly(X, **options):
    with pytest.warns(ConvergenceWarning):
        return fit(X, **options)


@pytest.mark.parametrize(("scale", "amount", "refused"), [(1, 0, 1), (1e6, 1e-6, 1), (1, 1e-6, 0)])
def test_noise_within_rounding_is_refused(scale, amount, refused):
    """Rows in the plane of the factors leave rounding for noise, which no missing cell survives."""
    rng = np.random.default_rng(0)
    X = scale * rng.standard_normal((40, 2)) @ rng.standard_normal((2, 5))
    model = EMGaussianMixture(
        covariance_type="factor", n_factors=2, reg_covar=amount, random_state=0
    )
    if refused:
        with pytest.raises(ValueError, match="ill-defined empirical covariance"):
            model.fit(X)
        return
    X[0, 0] = np.nan
    assert np.all(np.isfinite(model.set_params(tol=1e-3).fit(X).impute(X)))


def test_a_noise_variance_that_float32_cannot_hold_is_published_in_float64():
    """A component of equal rows keeps a variance that only float64 tells from zero.

    Where it is lost all the same, scores are finite.
    """
    X = np.random.default_rng(0).standard_normal((40, 1)).astype(np.float32)
    X[20:] = 3.0
    model = EMGaussianMixture(2, covariance_type="factor", n_factors=1, random_state=0)
    model.set_params(reg_covar=1e-60, max_iter=20, tol=1e-3).fit(X)
    assert model.loadings_.dtype == np.float32
    assert model.score(X) == pytest.approx(model.lower_bound_, rel=1e-3)
    model.noise_variances_ = model.noise_variances_.astype(np.float32)
    assert np.all(np.isfinite(model.score_samples(X)))
