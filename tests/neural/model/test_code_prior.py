"""Priors of code vectors: normalised, as good as what they contain, and never zero."""

import itertools

import numpy as np
import pytest
import torch

from skelbo.neural.model.code_distribution import CodeDistribution
from skelbo.neural.model.code_prior import CodePrior

KINDS = ["uniform", "independent", "autoregressive"]


def chain(n, rng):
    """Draw three codes of four, each mostly the one before it plus one."""
    z = np.empty((n, 3), dtype=int)
    z[:, 0] = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])
    for c in (1, 2):
        z[:, c] = np.where(rng.random(n) < 0.8, (z[:, c - 1] + 1) % 4, rng.integers(0, 4, n))
    return z


def fitted(kind, z, weights=None):
    prior = CodePrior(kind, z.shape[1], 4).double()
    weights = None if weights is None else torch.as_tensor(weights)
    prior.maximize(torch.as_tensor(z), weights)
    return CodeDistribution(prior)


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_sum_to_one_and_none_is_zero(kind):
    z = chain(50, np.random.default_rng(0))
    z[:, 2] = np.minimum(z[:, 2], 2)  # code 3 is never seen at the last position
    codes = np.array(list(itertools.product(range(4), repeat=3)))
    log_prob = fitted(kind, z).log_prob(codes)
    assert np.exp(log_prob).sum() == pytest.approx(1, rel=1e-12)
    assert np.isfinite(log_prob).all()


def test_each_prior_is_better_than_the_one_that_it_contains():
    rng = np.random.default_rng(0)
    train, test = chain(1000, rng), chain(1000, rng)
    uniform, independent, chained = (fitted(kind, train).log_prob(test).mean() for kind in KINDS)
    assert uniform == pytest.approx(-3 * np.log(4))
    assert independent > uniform + 0.05
    # The entropy of the chain, in nats, is within reach of 1000 rows.
    step = -(0.85 * np.log(0.85) + 3 * 0.05 * np.log(0.05))
    start = -np.sum([p * np.log(p) for p in (0.4, 0.3, 0.2, 0.1)])
    assert chained > -(start + 2 * step) - 0.15


def test_independent_probabilities_are_relative_frequencies():
    z = chain(1000, np.random.default_rng(0))
    weights = np.random.default_rng(1).random(1000) + 0.5
    found = fitted("independent", z, weights)
    log_prob = found.log_prob(np.repeat(np.arange(4)[:, None], 3, axis=1))
    shares = np.array([np.bincount(z[:, c], weights, 4) / weights.sum() for c in range(3)])
    np.testing.assert_allclose(np.exp(log_prob), shares.prod(0), rtol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_probabilities(kind):
    prior = fitted(kind, chain(500, np.random.default_rng(0)))
    z = prior.sample(50_000, random_state=0)
    codes = np.array(list(itertools.product(range(4), repeat=3)))
    found = np.bincount(z @ [16, 4, 1], minlength=64) / 50_000
    np.testing.assert_allclose(found, np.exp(prior.log_prob(codes)), atol=0.006)
    np.testing.assert_array_equal(prior.sample(5, random_state=1), prior.sample(5, random_state=1))


def test_wrong_codes_are_refused():
    prior = fitted("uniform", chain(10, np.random.default_rng(0)))
    with pytest.raises(ValueError, match=r"codes has shape \(1, 2\), expected \(n_samples, 3\)"):
        prior.log_prob([[0, 1]])
    assert repr(prior) == "CodeDistribution('uniform', 3, 4)"
