"""Binary latents beyond enumeration: unbiased weights and honest errors, by enumeration."""

import numpy as np
import pytest
import torch
from scipy import special

from skelbo import VariationalEM
from skelbo.inference.posteriors.bernoulli_posterior import all_states
from skelbo.inference.sampling import annealed_states
from skelbo.inference.sampling.annealed_states import (
    StateMixture,
    anneal_chains,
    found_mass,
    state_draws,
    weigh_states,
)
from skelbo.inference.sampling.sobol import ShiftedSobol
from skelbo.inference.user_model.joint import BinaryTorchJoint
from skelbo.models import BinaryFeatureModel, LatentVariableModel
from tests.tables import real

D = 13


def noise(seed, n_draws=256, d=D):
    return ShiftedSobol((1, d), np.random.RandomState(seed), 16).run(n_draws)


def posterior(joint):
    """Return log p(x) and the posterior mean by the sum over all states."""
    states = all_states(joint.shape[1])
    log_joint = joint.log_joint(states[:, None])
    return special.logsumexp(log_joint, axis=0), special.softmax(log_joint, axis=0).T @ states


def rough_fit(seed, n=20):
    """Return the joint of a fit that has hardly begun: posteriors with many modes."""
    X = real(40, seed=seed)
    model = VariationalEM(
        D, model=BinaryFeatureModel(D), annealing=False, max_iter=2, tol=1e9, random_state=seed
    ).fit(X)
    return BinaryFeatureModel(D).joint(X[:n], model.params_)


@pytest.fixture(scope="module")
def joints():
    return [rough_fit(seed) for seed in range(5)]


def test_intervals_hold_the_value_by_enumeration(joints):
    away, errors = [], []
    for joint in joints:
        exact, mean = posterior(joint)
        for seed in range(4):
            draws, log_prob, std = state_draws(joint, noise(seed))
            away.append(log_prob - exact)
            errors.append(std)
            assert np.abs(draws.mean - mean).max() < 0.5
    away, errors = np.array(away), np.array(errors)
    assert 0.9 <= np.mean(np.abs(away) < 1.96 * errors) <= 0.99
    assert np.all(np.abs(away) < 6 * errors) and np.median(errors) < 0.1
    ratio = np.exp(away).mean(axis=1)
    assert np.abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio)) + 1e-3


def test_chains_are_unbiased_on_the_shortest_path(joints):
    joint = joints[0].take(np.arange(8))
    exact, _ = posterior(joint)
    estimates = []
    for seed in range(60):
        _, log_w = anneal_chains(joint, 200, 3, np.random.RandomState(seed))
        estimates.append(np.exp(special.logsumexp(log_w, axis=0) - np.log(200) - exact))
    estimates = np.array(estimates)
    error = estimates.std(axis=0) / np.sqrt(len(estimates))
    assert np.all(np.abs(estimates.mean(axis=0) - 1) < 4 * error)


def test_draws_are_unbiased_whatever_the_mixture_and_in_each_copy(joints):
    joint = joints[1].take(np.arange(6))
    exact, _ = posterior(joint)
    ends, log_w = anneal_chains(joint, 5, 4, np.random.RandomState(0))
    mixture = StateMixture.around(joint, ends, log_w)
    ratios = []
    for seed in range(80):
        base = noise(seed)
        _, log_weights = weigh_states(joint, mixture, base, np.random.RandomState(seed))
        ratios.append([np.exp(log_weights[base.chains == c] - exact).mean(0) for c in range(16)])
    ratios = np.array(ratios).reshape(-1, 6)
    error = ratios.std(axis=0) / np.sqrt(len(ratios))
    assert np.all(np.abs(ratios.mean(axis=0) - 1) < 4 * error)


def test_densities_of_the_mixture_sum_to_one(joints):
    ends, log_w = anneal_chains(joints[0], 4, 3, np.random.RandomState(0))
    mixture = StateMixture.around(joints[0], ends, log_w)
    states = np.broadcast_to(all_states(D)[:, None], (2**D, *joints[0].shape))
    for each in (mixture, mixture.flattened()):
        assert np.allclose(np.exp(each.log_density(states)).sum(axis=0), 1)


@pytest.mark.parametrize("missing", [False, True])
def test_a_row_depends_on_no_other_row_and_repeats(missing):
    X = real(12)
    if missing:
        X[0, 1] = X[3, :4] = np.nan
    model = BinaryFeatureModel(D)
    theta = model.start(np.nan_to_num(X), np.ones(12), np.random.RandomState(0), 0)
    joint, exact = model.joint(X, theta), posterior(model.joint(X, theta))[0]
    draws, log_prob, std = state_draws(joint, noise(3))
    assert np.all(np.abs(log_prob - exact) < 5 * std)
    for rows in (np.arange(12), np.array([3]), np.array([7, 0])):
        again, part, error = state_draws(joint.take(rows), noise(3))
        assert np.allclose(part, log_prob[rows], rtol=1e-10)
        assert np.allclose(error, std[rows], rtol=1e-6)
        assert np.array_equal(again.Z, draws.Z[:, rows])


class Features(LatentVariableModel):
    """Sums of features by torch, with a prior of its own."""

    latent = "binary"
    n_latents = D

    def initialize(self, X, rng):
        return {"W": torch.zeros(X.shape[1], D)}

    def log_prior(self, Z, theta):
        return torch.distributions.Bernoulli(theta["pi"]).log_prob(Z).sum(-1)

    def log_likelihood(self, X, Z, theta):
        mean = Z @ theta["W"].T + theta["b"]
        return torch.distributions.Normal(mean, theta["noise"].sqrt()).log_prob(X).sum(-1)


def test_models_without_closed_forms_are_sampled_too():
    X, own = real(6), BinaryFeatureModel(D)
    theta = own.start(X, np.ones(6), np.random.RandomState(1), 0)
    theta["probabilities"] = np.linspace(0.1, 0.6, D)
    exact, _ = posterior(own.joint(X, theta))
    names = {"W": "loadings", "b": "intercepts", "noise": "noise_variance", "pi": "probabilities"}
    tensors = {name: torch.as_tensor(theta[key]) for name, key in names.items()}
    joint = BinaryTorchJoint(Features(), tensors, torch.as_tensor(X))
    _, log_prob, std = state_draws(joint, noise(0))
    assert np.all(np.abs(log_prob - exact) < 5 * std) and std.max() < 0.5


def test_the_sum_over_found_states_counts_each_once(joints):
    joint = joints[0]
    states = np.broadcast_to(all_states(D)[:50, None], (50, *joint.shape))
    total = special.logsumexp(joint.log_joint(states), axis=0)
    assert np.allclose(found_mass(joint, np.concatenate([states, states[10:30]])), total)
    assert np.all(total < posterior(joint)[0])


def test_mass_that_only_the_chains_have_found_is_part_of_the_error(monkeypatch):
    # All of the first seven features or all of the last seven: two states share the posterior.
    d, n = 14, 4
    equal = [np.eye(d)[k] - np.eye(d)[k + 1] for k in range(d - 1) if k != 6]
    theta = {
        "loadings": np.array([*equal, np.eye(d)[0] + np.eye(d)[7]]),
        "intercepts": np.zeros(d - 1),
        "noise_variance": np.full(d - 1, 0.12),
        "probabilities": np.full(d, 0.5),
    }
    X = np.tile(np.r_[np.zeros(d - 2), 1.0], (n, 1))
    joint = BinaryFeatureModel(d).joint(X, theta)
    exact, _ = posterior(joint)
    _, log_prob, std = state_draws(joint, noise(0, 1024, d))
    assert np.all(np.abs(log_prob - exact) < 4 * std) and std.max() < 0.2
    around = StateMixture.around

    def narrow(joint, Z, log_weights):
        one = np.tile(np.repeat([1.0, 0.0], 7), (*log_weights.shape, 1))
        return around(joint, one, np.zeros_like(log_weights))

    monkeypatch.setattr(annealed_states.StateMixture, "around", narrow)
    _, log_prob, std = state_draws(joint, noise(0, 1024, d))
    assert np.all(log_prob < exact - 0.4)
    assert np.all(np.abs(log_prob - exact) < 1.96 * std)
