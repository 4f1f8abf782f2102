"""Draws of every sampler meet quadrature or enumeration."""

import numpy as np
import pytest

from skelbo import MCEM
from skelbo.inference.log_marginal import log_marginal
from skelbo.inference.posteriors.bernoulli_posterior import enumerate_posterior
from skelbo.inference.posteriors.gaussian_posterior import fit_gaussian
from skelbo.inference.sampling.importance import BaseNoise
from skelbo.inference.sampling.samplers import make_sampler
from skelbo.models import BinaryFeatureModel, FactorModel
from tests.tables import answers, counts, real


@pytest.mark.parametrize(
    ("name", "likelihood"),
    [
        ("importance", "poisson"),
        ("hmc", "poisson"),
        ("importance", "bernoulli"),
        ("hmc", "bernoulli"),
        ("hmc", "gaussian"),
    ],
)
def test_samplers_of_continuous_latents_meet_quadrature(name, likelihood):
    X = {"poisson": counts(12), "bernoulli": answers(12), "gaussian": real(12)}[likelihood]
    model = FactorModel(2, likelihood=likelihood)
    theta = model.start(X, np.ones(len(X)), np.random.RandomState(0), 0)
    joint = model.joint(X, theta)
    q = fit_gaussian(joint)
    exact = log_marginal(joint, BaseNoise.draw(10, 2, np.random.RandomState(0)))[2]
    mean = q.mean if exact is None else exact.mean
    sampler = make_sampler(name, model, np.random.RandomState(1))
    sampler.restart(joint, q)
    draws = sampler.more(4000)
    error = np.sqrt((draws.deviations(draws.Z) ** 2).sum(0))
    away = np.abs(draws.mean - mean) / (error + 1e-4)
    assert np.all(away < 15) and np.mean(away**2) < 3  # the errors have seven degrees of freedom
    assert error.max() < 0.1


def test_gibbs_meets_enumeration():
    X = real(15)
    model = BinaryFeatureModel(3)
    theta = model.start(X, np.ones(15), np.random.RandomState(0), 0)
    joint = model.joint(X, theta)
    exact = log_marginal(joint, BaseNoise.draw(10, 3, np.random.RandomState(0)))[2]
    sampler = make_sampler("gibbs", model, np.random.RandomState(1))
    sampler.restart(joint, None)
    draws = sampler.more(20000)
    error = np.sqrt((draws.deviations(draws.Z) ** 2).sum(0))
    assert np.all(np.abs(draws.mean - exact.mean) < 6 * error + 0.01)


def test_states_are_drawn_as_often_as_they_are_probable():
    X = real(15)
    model = BinaryFeatureModel(3)
    joint = model.joint(X, model.start(X, np.ones(15), np.random.RandomState(0), 0))
    exact = enumerate_posterior(joint)
    sampler = make_sampler("importance", model, np.random.RandomState(1))
    sampler.restart(joint, None)
    draws = sampler.more(800)
    for copy in range(8):
        Z = draws.Z[draws.chains == copy]
        found = (Z[:, None] == exact.states[:, None]).all(-1).sum(0)
        assert np.all(np.abs(found - len(Z) * exact.weights) < 2)  # to within one at either end
    again = make_sampler("importance", model, np.random.RandomState(1))
    again.common = True
    for _ in range(2):
        again.restart(joint, None)
        assert np.array_equal(again.more(800).Z, draws.Z)


def test_more_draws_are_appended():
    X = counts(10)
    model = FactorModel(1, likelihood="poisson")
    joint = model.joint(X, model.start(X, np.ones(10), None, 0))
    for name in ("importance", "hmc"):
        sampler = make_sampler(name, model, np.random.RandomState(0))
        sampler.restart(joint, fit_gaussian(joint))
        first = sampler.more(128)
        both = sampler.more(len(first.Z))
        assert np.array_equal(both.Z[: len(first.Z)], first.Z) and len(both.Z) == 2 * len(first.Z)
        assert np.allclose(both.weights.sum(0), 1)


def test_wrong_sampler_is_named():
    with pytest.raises(ValueError, match="sampler='gibbs' draws binary latents"):
        MCEM(1, model="gaussian", sampler="gibbs", random_state=0).fit(real())
