"""Quadrature of p(x, z) row by row: right however steep or far out the posterior of a row is."""

import numpy as np
import pytest
from scipy import integrate, special

from skelbo import VariationalEM
from skelbo.inference.posteriors.exact_em import ExactEM
from skelbo.inference.posteriors.gaussian_posterior import find_mode
from skelbo.inference.posteriors.row_quadrature import LACKING, NODES, WEIGHTS, row_quadrature
from skelbo.models import FactorModel
from tests.tables import answers, trichoptera


def integrated(joint):
    found = row_quadrature(joint, [find_mode(joint)])
    np.testing.assert_allclose(found.draws.weights.sum(0), 1, atol=1e-9)
    return found


def test_the_embedded_rule_is_exact_to_degree_twelve():
    for degree in range(13):
        values = WEIGHTS * NODES**degree
        assert values @ LACKING == pytest.approx(0, abs=1e-12)
        assert values.sum() == pytest.approx((1 + (-1) ** degree) / (degree + 1), abs=1e-14)


@pytest.mark.parametrize("slope", [0.0, 1.0, 30.0, 1e3, 1e6, 1e9])
def test_a_step_of_any_steepness(slope):
    """One item of slope a and threshold .5: p(x = 1) is the mean of a logistic over N(0, 1)."""
    X = np.array([[1.0], [0.0]])
    theta = {"loadings": np.array([[slope]]), "intercepts": np.array([-0.5 * slope])}
    found = integrated(FactorModel(1, likelihood="bernoulli").joint(X, theta))
    rounding = 1e-9 + 1e-16 * slope  # of slope * (z - 0.5)
    assert np.logaddexp(*found.log_prob) == pytest.approx(0, abs=rounding)
    width = 40 / max(slope, 1.0)
    exact = integrate.quad(
        lambda z: special.expit(slope * (z - 0.5)) * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi),
        0.5 - width if slope > 10 else -12,
        0.5 + width if slope > 10 else 12,
        epsabs=0,
        epsrel=1e-12,
        limit=500,
    )[0]
    exact += special.ndtr(-0.5 - width) if slope > 10 else 0.0
    assert found.log_prob[0] == pytest.approx(np.log(exact), abs=rounding)


def test_a_step_anywhere_is_between_two_nodes():
    X, slope = np.array([[1.0]]), 1e6
    for threshold in np.linspace(-1.0, 1.0, 81):
        theta = {"loadings": np.array([[slope]]), "intercepts": np.array([-threshold * slope])}
        found = integrated(FactorModel(1, likelihood="bernoulli").joint(X, theta))
        assert found.log_prob[0] == pytest.approx(special.log_ndtr(-threshold), abs=2e-9)


def test_rows_do_not_influence_each_other():
    X = answers(20)
    theta = {"loadings": np.full((6, 1), 2.0), "intercepts": np.zeros(6)}
    theta["loadings"][0] = 500.0
    joint = FactorModel(1, likelihood="bernoulli").joint(X, theta)
    whole = integrated(joint).log_prob
    alone = [integrated(joint.take([i])).log_prob[0] for i in range(20)]
    np.testing.assert_allclose(whole, alone, atol=1e-12)


@pytest.mark.parametrize("total", [0, 10, 10**4, 10**8])
def test_counts_of_two_latents_in_polar_coordinates(total):
    """Equal loadings make the model one of a single latent of the same length."""
    X = np.full((1, 3), float(total))
    level = np.log(max(total, 1.0))
    two = {"loadings": np.full((3, 2), 0.5), "intercepts": np.full(3, level)}
    one = {"loadings": np.full((3, 1), np.sqrt(0.5)), "intercepts": np.full(3, level)}
    expected = integrated(FactorModel(1, likelihood="poisson").joint(X, one)).log_prob
    found = integrated(FactorModel(2, likelihood="poisson").joint(X, two))
    np.testing.assert_allclose(found.log_prob, expected, atol=1e-8 + 1e-15 * total)
    assert found.error.max() < 1e-8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_trichoptera_with_two_latents_climbs_to_its_maximum():
    """From the variational fit, -1390.5815, towards the maximum, -1390.5568."""
    X = trichoptera()
    start = VariationalEM(2, model="poisson", posterior="full", random_state=0).fit(X).params_
    fit = VariationalEM(
        2, model="poisson", posterior="exact", params_init=start, max_iter=12, random_state=0
    ).fit(X)
    assert np.diff(fit.lower_bounds_).min() > -1e-9
    assert -1390.5815 < 49 * fit.lower_bound_ < -1390.5567
    np.testing.assert_allclose(fit.elbo(X), fit.score_samples(X), atol=1e-9)


@pytest.mark.filterwarnings("ignore:the loadings of column")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", [4, 5, 6, 7, 9, 11])
def test_separable_items_end_in_an_honest_score(seed):
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(8, 30)), int(rng.integers(2, 5))
    eta = 3 * rng.standard_normal((n, 1)) + rng.normal(size=p)
    X = (rng.random((n, p)) < special.expit(-eta)).astype(float)
    fit = VariationalEM(1, model="bernoulli", posterior="exact", max_iter=60, random_state=0).fit(X)
    patterns = np.array(list(np.ndindex(*[2] * p)), dtype=float)
    assert special.logsumexp(fit.score_samples(patterns)) == pytest.approx(0, abs=1e-8)


@pytest.mark.filterwarnings("ignore:the loadings of column")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_separable_items_of_two_traits_end_where_grids_resolve_them(fit_intercept):
    X = np.repeat([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]], [3, 5, 4], axis=0)
    model = FactorModel(2, likelihood="bernoulli", fit_intercept=fit_intercept)
    fit = VariationalEM(2, model=model, posterior="exact", warm_start=True, random_state=0)
    ends = [fit.fit(X).lower_bound_ for _ in range(3)]
    assert not fit.converged_ and np.all(np.diff(ends) > -1e-8)
    assert np.abs(fit.params_["loadings"]).max() < 13
    log_prob, std = fit.score_samples(X, return_std=True)
    assert std.max() < 1e-4
    np.testing.assert_allclose(fit.elbo(X), log_prob, atol=1e-7)
    alone = [fit.score_samples(X[[i]])[0] for i in (0, 4, 9)]
    np.testing.assert_allclose(alone, log_prob[[0, 4, 9]], atol=1e-7)


@pytest.mark.parametrize("size", [634.0, 1e4])
def test_posteriors_are_found_after_a_loading_changed_its_sign(size):
    """The last modes lie on the wrong side of an exponential slope, hundreds of units up."""
    X = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    model = FactorModel(1, likelihood="poisson", fit_intercept=False)

    def theta(last):
        return {"loadings": np.array([[-0.13], [-0.13], [last]]), "intercepts": np.zeros(3)}

    moved = ExactEM(model, X, np.ones(3))
    moved.shared = None  # every row has points of its own
    moved.e_step(theta(-size))
    reached = moved.e_step(theta(size))[0]
    exact = integrated(model.joint(X, theta(size))).log_prob.mean()
    assert reached == pytest.approx(exact, abs=1e-12)


def test_rounding_of_huge_counts_does_not_multiply_panels():
    """log p(x, z) of counts of 1e12 is rounded by 1e-3: the error covers that, at little cost."""
    X = np.array([[2.98e12, 3.3e11], [1.7e9, 2.3e6]])
    theta = {"loadings": np.array([[3.0], [2.5]]), "intercepts": np.array([25.0, 18.0])}
    joint = FactorModel(1, likelihood="poisson").joint(X, theta)
    found = row_quadrature(joint, [find_mode(joint)])
    assert len(found.draws.Z) < 15 * 2500
    assert np.isfinite(found.log_prob).all() and np.all(found.error < 0.1)
