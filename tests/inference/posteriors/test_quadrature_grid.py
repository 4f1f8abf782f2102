"""posterior="exact": EM on log p(X) itself, by quadrature that all rows share."""

import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone

from skelbo import VariationalEM
from skelbo.inference.posteriors.best import best_q
from skelbo.inference.posteriors.gaussian_posterior import find_mode
from skelbo.inference.posteriors.quadrature_grid import GridEM, QuadratureGrid
from skelbo.inference.posteriors.row_quadrature import row_quadrature
from skelbo.models import FactorModel
from tests.tables import answers, counts, lsat6, real, trichoptera


def two_traits(n=400, p=9):
    rng = np.random.default_rng(0)
    eta = rng.standard_normal((n, 2)) @ rng.standard_normal((2, p)) + 0.5 * rng.standard_normal(p)
    return (rng.random((n, p)) < 1 / (1 + np.exp(-eta))).astype(float)


TRAIT = VariationalEM(1, model="bernoulli", posterior="exact")
RATES = VariationalEM(1, model="poisson", posterior="exact")
SETTINGS = [
    (TRAIT, answers()),
    (VariationalEM(2, model="bernoulli", posterior="exact", tol=1e-4), two_traits(300)),
    (RATES, counts()),
    (VariationalEM(2, model="gaussian", posterior="exact"), real()),
    (VariationalEM(2, posterior="exact", random_state=0), real()),
]
IDS = [f"{e.model}-{e.n_components}" for e, _ in SETTINGS]


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "X"), SETTINGS, ids=IDS)
@pytest.mark.parametrize("holes", [False, True], ids=["complete", "holes"])
def test_the_bound_is_log_prob(estimator, X, holes):
    X = X.copy()
    if holes:
        X[::7, 0], X[::5, 1] = np.nan, np.nan
    fit = clone(estimator).fit(X)
    assert fit.converged_ and np.diff(fit.lower_bounds_).min(initial=0) > -1e-9
    assert fit.lower_bound_ == pytest.approx(fit.score(X), abs=1e-8)
    np.testing.assert_allclose(fit.elbo(X), fit.score_samples(X), atol=1e-7)
    terms = fit.elbo_terms(X)
    np.testing.assert_allclose(terms.elbo, terms.reconstruction - terms.kl, atol=1e-9)


def test_lsat6_maximum_likelihood():
    X, weights = lsat6()
    fit = clone(TRAIT).set_params(tol=1e-12).fit(X, sample_weight=weights)
    assert 1000 * fit.lower_bound_ == pytest.approx(-2466.653377, abs=1e-5)
    slopes = [0.82566, 0.72274, 0.89087, 0.68837, 0.65686]
    np.testing.assert_allclose(fit.params_["loadings"][:, 0], slopes, atol=1e-4)
    levels = [2.77323, 0.99020, 0.24915, 1.28476, 2.05327]
    np.testing.assert_allclose(fit.params_["intercepts"], levels, atol=1e-4)
    errors = np.append(fit.standard_errors_["loadings"], fit.standard_errors_["intercepts"])
    expected = [0.258, 0.187, 0.233, 0.185, 0.210, 0.206, 0.090, 0.076, 0.099, 0.135]
    np.testing.assert_allclose(errors, expected, atol=6e-4)
    np.testing.assert_allclose(
        fit.transform([[0] * 5, [1] * 5]).ravel(), [-1.8968, 0.6456], atol=1e-3
    )
    repeated = clone(TRAIT).set_params(tol=1e-12).fit(np.repeat(X, weights.astype(int), axis=0))
    np.testing.assert_allclose(repeated.params_["loadings"], fit.params_["loadings"], atol=1e-8)


def test_trichoptera_maximum_likelihood():
    fit = clone(RATES).fit(trichoptera())
    assert 49 * fit.lower_bound_ == pytest.approx(-1755.7745, abs=1e-4)


def test_it_is_at_least_as_likely_as_the_fit_of_a_narrower_family():
    X = counts()
    bound = VariationalEM(1, model="poisson", posterior="full", random_state=0).fit(X)
    exact = clone(RATES).fit(X)
    assert exact.score(X) >= bound.score(X) - 1e-9 > bound.lower_bound_


def test_blocks_do_not_matter():
    X = answers()
    model, weights = FactorModel(1, likelihood="bernoulli"), np.ones(len(X))
    theta = model.start(X, weights, None, 0)
    bound, whole = GridEM(model, X, weights).e_step(theta)
    other, parts = GridEM(model, X, weights, block_cells=300).e_step(theta)
    assert other == pytest.approx(bound, abs=1e-12)
    np.testing.assert_allclose(parts.totals, whole.totals, atol=1e-12)
    np.testing.assert_allclose(parts.mass, whole.mass, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
def test_a_row_far_out_widens_and_refines_the_grid(scale):
    X = np.append(counts(), [np.round(scale * counts()[:1].max(1) * np.ones(counts().shape[1]))], 0)
    theta = {"loadings": np.full((X.shape[1], 1), 0.7), "intercepts": np.zeros(X.shape[1])}
    joint = FactorModel(1, likelihood="poisson").joint(X, theta)
    fit = VariationalEM(
        1, model="poisson", params_init=theta, max_iter=1, tol=1e9, random_state=0
    ).fit(X)
    fit.params_ = theta
    np.testing.assert_allclose(best_q(joint, "exact").terms.elbo, fit.score_samples(X), atol=1e-8)


def test_points_resolve_the_prior():
    z = QuadratureGrid.over_prior(2).points()
    weights = np.exp(
        -0.5 * (z**2).sum(1) - np.log(2 * np.pi) + QuadratureGrid.over_prior(2).log_volume()
    )
    assert weights.sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(weights @ z**4, 3, atol=1e-6)


def test_a_grid_resolves_steep_answers_whatever_the_phase_of_its_error():
    """Where a step lies between two points decides what leaving out every other one changes."""
    X = np.array([[1.0, 1.0]])
    model = FactorModel(1, likelihood="bernoulli")
    slopes = np.array([200.0, 10.0])
    for threshold in (0.2, 0.25, 0.2695):
        theta = {"loadings": slopes[:, None], "intercepts": -threshold * slopes}
        joint = model.joint(X, theta)
        shared = GridEM(model, X, np.ones(1)).e_step(theta)[0]
        exact = row_quadrature(joint, [find_mode(joint)]).log_prob[0]
        assert shared == pytest.approx(exact, abs=2e-9)


def test_expected_statistics_add_up_to_the_data():
    X, weights = answers(), np.arange(1.0, 1 + len(answers()))
    X[::3, 0] = np.nan
    model = FactorModel(1, likelihood="bernoulli")
    theta = model.start(X, weights, None, 0)
    _, expected = GridEM(model, X, weights).e_step(theta)
    assert expected.mass.sum() == pytest.approx(weights.sum())
    np.testing.assert_allclose(expected.totals.sum(0), weights @ np.nan_to_num(X))
    np.testing.assert_allclose(expected.counts.sum(0), weights @ ~np.isnan(X))


def test_what_is_out_of_reach_says_so():
    with pytest.raises(ValueError, match="at most 2 latents; got 3 latents"):
        VariationalEM(3, model="poisson", posterior="exact", random_state=0).fit(counts())
    with pytest.raises(ValueError, match="not linear in x"):
        VariationalEM(1, model="decoder", posterior="exact", random_state=0).fit(real())


@pytest.mark.slow
@pytest.mark.parametrize("posterior", ["mean_field", "exact"])
def test_memory_beyond_the_result_does_not_grow_with_the_rows(posterior):
    fit = VariationalEM(
        1, model="poisson", posterior=posterior, max_iter=1, tol=1e9, random_state=0
    ).fit(counts())
    peaks = []
    for n in (6000, 24000):
        X = np.tile(counts(), (n // 80, 1))
        tracemalloc.start()
        fit.transform(X)
        fit.elbo(X)
        peaks.append(tracemalloc.get_traced_memory()[1] - 5 * 8 * n)  # terms and their bound
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2**20
