"""log p(x) = ELBO + KL, the bound's two forms, its climb, and how it changes with the units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import logsumexp

from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.gaussian.structures import STRUCTURES

ESTIMATORS = [GaussianMLE(kind) for kind in ("full", "diag", "spherical")] + [
    EMGaussianMixture(2, covariance_type=kind, n_factors=1, random_state=0, max_iter=100)
    for kind in STRUCTURES
]
# With one factor a noise variance of iris runs to zero, which takes EM long.
slow = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
every_estimator = pytest.mark.parametrize(
    "estimator",
    [pytest.param(e, marks=slow) if e.covariance_type == "factor" else e for e in ESTIMATORS],
    ids=repr,
)


def with_holes(X, share=0.2, seed=0):
    X = X.copy()
    X[np.random.default_rng(seed).random(X.shape) < share] = np.nan
    return X


@every_estimator
@pytest.mark.parametrize("holes", [False, True])
def test_decompositions_agree(estimator, holes, iris):
    X = with_holes(iris) if holes else iris
    estimator.fit(X)
    terms = estimator.elbo_terms(X)
    assert_allclose(terms.elbo, terms.reconstruction - terms.kl, rtol=1e-12, atol=1e-12)
    assert np.all(terms.kl >= 0) and np.all(terms.entropy >= -1e-12)
    # The posterior is exact, so the gap is rounding.
    assert_allclose(estimator.gap(X), 0, atol=1e-12)
    log_prob, std = estimator.score_samples(X, return_std=True)
    assert_allclose(estimator.elbo(X), log_prob, atol=1e-12)
    assert not std.any()


def test_mle_hides_nothing(iris):
    model = GaussianMLE().fit(iris)
    terms = model.elbo_terms(iris)
    for array in (terms.reconstruction, terms.energy):
        assert_allclose(array, model.score_samples(iris))
    assert not terms.kl.any() and not terms.entropy.any()


@every_estimator
@pytest.mark.parametrize("holes", [False, True])
def test_bound_never_falls_and_is_the_score(estimator, holes, iris):
    X = with_holes(iris) if holes else iris
    estimator.fit(X)
    assert len(estimator.lower_bounds_) == estimator.n_iter_
    assert estimator.lower_bounds_[-1] == estimator.lower_bound_
    assert np.all(np.diff(estimator.lower_bounds_) >= -1e-13)
    assert estimator.score(X) == pytest.approx(estimator.lower_bound_, rel=1e-12)


@pytest.mark.parametrize("kind", STRUCTURES)
def test_density_by_definition(kind, iris):
    model = EMGaussianMixture(3, covariance_type=kind, n_factors=1, random_state=0).fit(iris)
    matrices = {
        "full": lambda c: c,
        "tied": lambda c: [c] * 3,
        "diag": lambda c: [np.diag(v) for v in c],
        "spherical": lambda c: [v * np.eye(4) for v in c],
        "tied_diag": lambda c: [np.diag(c)] * 3,
        "tied_spherical": lambda c: [c * np.eye(4)] * 3,
        "factor": lambda c: c,
    }[kind](model.covariances_)
    log_joint = [
        np.log(weight) + stats.multivariate_normal(mean, matrix).logpdf(iris)
        for weight, mean, matrix in zip(model.weights_, model.means_, matrices, strict=True)
    ]
    assert_allclose(model.score_samples(iris), logsumexp(log_joint, axis=0), rtol=1e-10)
    resp = np.exp(log_joint - logsumexp(log_joint, axis=0)).T
    assert_allclose(model.transform(iris), resp, atol=1e-10)


@pytest.mark.parametrize("kind", STRUCTURES)
def test_density_integrates_to_one(kind):
    X = np.random.default_rng(0).standard_normal((60, 2)) * [1, 2]
    model = EMGaussianMixture(2, covariance_type=kind, random_state=0, max_iter=1000).fit(X)
    x, y = np.meshgrid(np.linspace(-12, 12, 601), np.linspace(-20, 20, 601), indexing="ij")
    density = np.exp(model.score_samples(np.stack([x.ravel(), y.ravel()], 1)))
    assert density.sum() * (24 / 600) * (40 / 600) == pytest.approx(1.0, abs=1e-6)


@every_estimator
@given(power=st.integers(-27, 27), holes=st.booleans())
@settings(max_examples=6, deadline=None)
def test_scaling_law(estimator, power, holes, faithful):
    """log p(cX) = log p(X) - p log c, for powers of two even to rounding."""
    X = with_holes(faithful) if holes else faithful
    X = X / [1.0, 12.0]
    c = 2.0**power
    original = estimator.fit(X).score_samples(X)
    latents = estimator.transform(X)
    scaled = estimator.fit(c * X)
    n_cells = (~np.isnan(X)).sum(axis=1)
    assert_allclose(scaled.score_samples(c * X), original - n_cells * np.log(c), atol=1e-8)
    assert_allclose(scaled.transform(c * X), latents, atol=1e-7)


@every_estimator
def test_offset_law(estimator, faithful):
    """X + 1e8 has the same densities, as far as X + 1e8 itself still holds the digits."""
    near = estimator.fit(faithful)
    log_prob, latents = near.score_samples(faithful), near.transform(faithful)
    far = estimator.fit(faithful + 1e8)
    assert_allclose(far.score_samples(faithful + 1e8), log_prob, atol=2e-6)
    assert_allclose(far.transform(faithful + 1e8), latents, atol=2e-6)


@every_estimator
@pytest.mark.parametrize("holes", [False, True])
def test_weights_are_repetitions(estimator, holes, faithful):
    X = with_holes(faithful) if holes else faithful
    counts = np.random.default_rng(0).integers(0, 4, len(X))
    order = np.random.default_rng(1).permutation(counts.sum())
    weighted = estimator.fit(X, sample_weight=counts)
    latents, bound = weighted.transform(X), weighted.lower_bound_
    score, bic = weighted.score(X, sample_weight=counts), weighted.bic(X, sample_weight=counts)
    repeated = estimator.fit(np.repeat(X, counts, axis=0)[order])
    assert bound == pytest.approx(repeated.lower_bound_, rel=1e-9)
    assert score == pytest.approx(bound, rel=1e-12)
    assert bic == pytest.approx(repeated.bic(np.repeat(X, counts, axis=0)), rel=1e-9)
    assert_allclose(latents, repeated.transform(X), atol=1e-6)


@every_estimator
def test_all_weights_two(estimator, faithful):
    """Twice every row, by weights or by copies, is the same fit."""
    weighted = estimator.fit(faithful, sample_weight=np.full(272, 2.0)).lower_bound_
    assert weighted == pytest.approx(
        estimator.fit(np.concatenate([faithful, faithful])).lower_bound_, rel=1e-9
    )


@every_estimator
def test_missing_cells_are_integrated_out(estimator, iris):
    """The density of some cells is the integral of the joint density over the others."""
    model = estimator.fit(iris[:, :2])
    row = np.array([[6.0, np.nan]])
    grid = np.linspace(-5, 12, 4001)
    joint = np.stack([np.full_like(grid, 6.0), grid], axis=1)
    integral = np.exp(model.score_samples(joint)).sum() * (grid[1] - grid[0])
    assert np.exp(model.score_samples(row))[0] == pytest.approx(integral, rel=1e-6)
    weights = np.exp(model.score_samples(joint))
    expected = (weights @ grid) / weights.sum()
    assert_allclose(model.impute(row), [[6.0, expected]], rtol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS[:-1], ids=repr)
def test_a_row_without_cells(estimator, iris):
    """No cell, no information: density one, prior latents, imputed by the mean."""
    model = estimator.fit(iris)
    empty = np.full((1, 4), np.nan)
    assert model.score_samples(empty)[0] == 0
    assert model.elbo_terms(empty).kl[0] >= 0
    assert_allclose(model.impute(empty)[0], iris.mean(axis=0), rtol=1e-6)
    before = model.lower_bound_ * len(iris)
    more = estimator.fit(np.concatenate([iris, empty, empty]))
    assert more.lower_bound_ * (len(iris) + 2) == pytest.approx(before, abs=1e-5)
