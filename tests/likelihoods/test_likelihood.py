"""Laws of every likelihood: densities, derivatives, expectations, NumPy and torch alike."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import integrate, stats

from skelbo import MCEM, VariationalEM
from skelbo.likelihoods import LIKELIHOODS
from skelbo.likelihoods.likelihood import Likelihood
from skelbo.likelihoods.poisson import Poisson
from skelbo.models import DecoderModel, FactorModel

SCALAR = ["gaussian", "bernoulli", "poisson"]
NOISE = np.array([0.7])


def cells(name, shape, seed=0):
    """Return predictors, cells that have a density, and the noise."""
    rng = np.random.RandomState(seed)
    kind = LIKELIHOODS[name]
    eta = rng.standard_normal((*shape, 3) if kind.has_codes else shape)
    return eta, kind.sample(eta, NOISE, rng)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_numpy_and_torch_agree(name):
    kind = LIKELIHOODS[name]
    eta, x = cells(name, (4, 5))
    mask = (np.arange(20).reshape(4, 5) % 3 > 0).astype(float)
    share = np.full((4,), 0.25)
    noise = np.full(5, 0.7)
    tensors = [torch.tensor(a) for a in (x, eta, noise, mask, share)]
    for ours, theirs in [
        (kind.log_prob(x, eta, noise), kind.log_prob(*tensors[:3])),
        (kind.row_log_prob(x, eta, noise, mask), kind.row_log_prob(*tensors[:4])),
        (kind.mean(eta), kind.mean(tensors[1])),
        (
            kind.average(eta[:, None], share[:, None]),
            kind.average(tensors[1][:, None], tensors[4][:, None]),
        ),
    ]:
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-13, atol=1e-13)
    cells_sum = (mask * kind.log_prob(x, eta, noise)).sum(-1)
    np.testing.assert_allclose(kind.row_log_prob(x, eta, noise, mask), cells_sum, rtol=1e-13)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_draws_have_the_mean_and_come_from_the_generator(name):
    kind = LIKELIHOODS[name]
    eta = np.zeros((20_000, 1, 3)) if kind.has_codes else np.full((20_000, 1), 0.4)
    expected = 1.0 if kind.has_codes else kind.mean(eta)[0, 0]
    tensor = torch.tensor(eta)
    draws = [
        kind.sample(eta, NOISE, np.random.RandomState(0)),
        kind.sample(tensor, torch.tensor(NOISE), torch.Generator().manual_seed(0)).numpy(),
    ]
    for draw in draws:
        assert abs(draw.mean() - expected) < 5 * draw.std() / 20_000**0.5
    again = kind.sample(tensor, torch.tensor(NOISE), torch.Generator().manual_seed(0))
    assert np.array_equal(again.numpy(), draws[1])


@pytest.mark.parametrize("name", SCALAR)
def test_offset_is_the_link(name):
    kind, level = LIKELIHOODS[name], np.array([0.2, 0.7])
    np.testing.assert_allclose(kind.mean(kind.offset(level)), level, rtol=1e-14)
    assert np.isfinite(kind.offset(np.zeros(1))).all()


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "categorical"])
def test_probabilities_sum_to_one(name):
    kind = LIKELIHOODS[name]
    x = np.arange({"bernoulli": 2.0, "poisson": 200.0, "categorical": 3.0}[name])[:, None]
    eta = np.broadcast_to([0.1, 1.3, -2.0], (len(x), 1, 3)) if kind.has_codes else 1.3
    np.testing.assert_allclose(np.exp(kind.log_prob(x, np.asarray(eta))).sum(), 1, rtol=1e-13)


def test_poisson_is_that_of_scipy_from_table_and_function():
    x = np.array([0.0, 3.0, 3.0, 1.0, 2.0])
    for counts in (x, x + 1000):
        got = LIKELIHOODS["poisson"].log_prob(counts, np.full(5, 1.7))
        np.testing.assert_allclose(got, stats.poisson.logpmf(counts, np.exp(1.7)), rtol=1e-12)


@pytest.mark.parametrize("kind", [LIKELIHOODS["bernoulli"], LIKELIHOODS["poisson"], Poisson(20.0)])
def test_linear_form_is_the_kernel_also_beyond_the_largest_rate(kind):
    eta, x = np.array([-1e4, -3.0, 0.5, 30.0, 1e4]), np.array([[0.0], [1.0]])
    slope, normalizer = kind.linear_form(eta)
    assert_allclose(x * slope - normalizer, kind.log_kernel(x, eta), rtol=1e-13)


# ---------------------------------------------------------------- derivatives


@pytest.mark.parametrize("name", SCALAR)
def test_closed_derivatives_are_those_of_torch(name):
    kind, eta, x = LIKELIHOODS[name], np.linspace(-3, 3, 13), np.ones(13)
    noise = np.full(13, 0.7)
    for ours, theirs in zip(
        kind.derivatives(x, eta, noise), Likelihood.derivatives(kind, x, eta, noise), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(kind.log_kernel(x, eta, noise), kind.derivatives(x, eta, noise)[0])


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "categorical"])
def test_closed_derivatives_of_components_are_those_of_differences(name):
    kind, weights = LIKELIHOODS[name], np.array([1.0, 0.5, 2.0, 1.0])
    x = np.array([[0.0, 1.0], [1.0, 0.0], [np.nan, 1.0], [0.0, 0.0]])
    parameters = np.array([[0.3, 0.9], [0.7, 0.1]])[: 1 + kind.has_codes]
    ours = kind.component_derivatives(x, parameters, weights)
    theirs = Likelihood.component_derivatives(kind, x, parameters, weights)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-7)
    assert not ours[0][2, :, 0].any()


@pytest.mark.parametrize("name", SCALAR)
def test_default_expectations_are_those_of_the_closed_forms(name):
    kind, rng = LIKELIHOODS[name], np.random.default_rng(0)
    mean, variance, x = rng.standard_normal((3, 4)), rng.random((3, 4)), np.ones((3, 4))
    ours = kind.expected(x, mean, variance, np.ones(4), 1.0)
    theirs = Likelihood.expected(kind, x, mean, variance, np.ones(4), 1.0)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(SCALAR),
    x=st.sampled_from([0.0, 1.0]),
    mean=st.floats(-4, 3),
    deviation=st.floats(0.01, 2.5),
)
def test_expectations_are_exact(name, x, mean, deviation):
    kind, cell = LIKELIHOODS[name], np.full((1, 1), x)
    arrays = (np.full((1, 1), mean), np.full((1, 1), deviation**2))
    got = kind.expected(cell, *arrays, np.ones(1), deviation)

    def integrand(eta, which):
        value = kind.derivatives(cell, np.full((1, 1), eta), np.ones(1))[which].item()
        return value * stats.norm.pdf(eta, mean, deviation)

    for which in range(3):
        reach = (mean - 12 * deviation, mean + 12 * deviation)
        exact = integrate.quad(integrand, *reach, args=(which,), limit=400, epsabs=1e-12)[0]
        assert np.isclose(got[which].item(), exact, rtol=1e-6, atol=1e-7)


# ---------------------------------------------------------------------- check


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "bernoulli",
            2.0,
            r"column 4 of X has the value 2 in row 11, .* expected 0 or 1; binarise",
        ),
        ("poisson", -1.0, r"Negative values in data: column 4 .* value -1 in row 11, .* counts"),
        ("poisson", 0.5, r"column 4 of X has the value 0.5 in row 11, .* expected counts 0, 1"),
        ("categorical", 0.5, r"column 4 .* expected integer codes"),
    ],
)
def test_a_value_without_density_is_named(name, value, message):
    X = np.zeros((3, 5))
    X[0, 0], X[1, 4] = np.nan, value
    with pytest.raises(ValueError, match=message):
        LIKELIHOODS[name].check(X, [0, 4], 10)
    X[1, 4] = 1.0
    LIKELIHOODS[name].check(X)


@pytest.mark.parametrize("name", ["bernoulli", "poisson"])
def test_variance_in_a_component_is_that_of_the_density(name):
    kind = LIKELIHOODS[name]
    parameters = np.array([[[0.0], [0.3], [1.0]]])
    x = np.arange(2.0 if name == "bernoulli" else 60.0)[:, None]
    density = np.exp(kind.component_log_prob(x, parameters))
    expected = (density * (x - kind.component_mean(parameters).T) ** 2).sum(axis=0)
    assert_allclose(kind.component_variance(parameters)[:, 0], expected, rtol=1e-12, atol=1e-15)


def test_codes_have_no_variance():
    parameters = np.full((3, 2, 1), 1 / 3)
    assert np.isnan(LIKELIHOODS["categorical"].component_variance(parameters)).all()


def test_counts_of_a_fit_are_those_whose_density_float64_resolves():
    poisson = LIKELIHOODS["poisson"]
    count = poisson.max_value
    rate = count + 2 * np.sqrt(count)
    exact = stats.norm(rate, np.sqrt(rate)).logpdf(count)  # whose error is of order 1 / sqrt(rate)
    found = poisson.log_prob(np.array([count]), np.log(np.array([rate])))
    assert found == pytest.approx(exact, abs=2e-4)
    X = np.array([[1.0, np.nan], [2.0, 2 * count]])
    with pytest.raises(
        ValueError, match=r"column 1 of X has the value 8\.58993e\+09, .*'gaussian'"
    ):
        poisson.check_fit(X)
    poisson.check_fit(X, [0])
    poisson.check(X)
    models = (FactorModel(1, likelihood=poisson), DecoderModel(1, likelihood=poisson))
    for model, estimator in product(models, (VariationalEM, MCEM)):
        with pytest.raises(ValueError, match="column 1 of X has the value"):
            estimator(1, model=model).fit(X)
