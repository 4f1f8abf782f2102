"""Mixtures of factor analysers: the algebra against dense matrices, EM against its laws."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits

from skelbo import EMGaussianMixture, SingularCovarianceWarning
from skelbo.data.rows import Rows
from skelbo.gaussian.factor_analysis.covariance import FactorCovariance
from skelbo.gaussian.regularization import FLOOR, Floor
from tests.gaussian.factor_analysis.models import K, P, Q, fit, make, with_holes


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
    assert scores["factor"] > max(scores["diag"], scores["full"]) + 3
    few = fit(X[:40], 1, n_factors=3, tol=1e-3)
    assert np.isfinite(few.score(test))


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
    """A component of equal rows keeps a variance that is zero in float32.

    Where it is lost all the same, scores are finite.
    """
    X = np.random.default_rng(0).standard_normal((40, 1)).astype(np.float32)
    X[20:] = 3.0
    X *= np.float32(1e-17)
    model = EMGaussianMixture(2, covariance_type="factor", n_factors=1, random_state=0)
    model.set_params(reg_covar=1e-46, max_iter=20, tol=1e-3).fit(X)
    assert model.loadings_.dtype == np.float32
    assert model.score(X) == pytest.approx(model.lower_bound_, rel=1e-3)
    model.noise_variances_ = model.noise_variances_.astype(np.float32)
    assert np.all(np.isfinite(model.score_samples(X)))
