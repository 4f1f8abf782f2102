"""The gradients of the objectives: different estimators, one expectation."""

import numpy as np
import pytest
import torch

from skelbo.neural.data.batches import Batch, as_batch
from skelbo.neural.data.columns import Columns
from skelbo.neural.model.diagonal_gaussian import GaussianFamily
from skelbo.neural.model.networks import AutoEncoder
from skelbo.neural.model.objectives import Objective, log_weights

X = np.random.default_rng(0).normal(size=(6, 3)) @ [[1.0, 0.5, 0], [0, 1.0, 0.5], [0.3, 0, 1.0]]


@pytest.fixture(scope="module")
def model():
    columns = Columns.read(X, None, "gaussian")
    generator = torch.Generator().manual_seed(0)
    family = GaussianFamily(2)
    return AutoEncoder(columns, family, "diag", generator, hidden_layer_sizes=(4,)).double()


@pytest.fixture(scope="module")
def batch(model):
    return as_batch(X, Columns.read(X, None, "gaussian"), model.likelihood.offset)


def gradient(model, batch, objective, n_repeats=4000, kl_weight=1.0):
    """Mean gradient, and its standard error, over independent copies of the batch."""
    torch.manual_seed(1)
    parameters = list(model.parameters())
    gradients = []
    for _ in range(40):
        many = Batch(batch.targets.repeat(n_repeats // 40, 1))
        noise = torch.randn(objective.n_draws, many.n_samples, 2, dtype=torch.float64)
        loss = objective(model, many, noise, kl_weight).surrogate.mean()
        grads = torch.autograd.grad(loss, parameters)
        gradients.append(torch.cat([g.ravel() for g in grads]))
    gradients = torch.stack(gradients)
    return gradients.mean(0), gradients.std(0) / 40**0.5


@pytest.mark.parametrize(
    ("objective", "reference"),
    [
        (Objective("elbo", "dreg", 2), Objective("elbo", "reparameterized", 1)),
        (Objective("elbo", "score_function", 1), Objective("elbo", "reparameterized", 1)),
        (Objective("elbo", "score_function", 3), Objective("elbo", "reparameterized", 1)),
        (Objective("iwae", "dreg", 3), Objective("iwae", "reparameterized", 3)),
        (Objective("iwae", "reparameterized", 1), Objective("elbo", "reparameterized", 1)),
    ],
)
def test_estimators_agree_in_expectation(model, batch, objective, reference):
    one, one_error = gradient(model, batch, objective)
    other, other_error = gradient(model, batch, reference)
    z = (one - other) / torch.hypot(one_error, other_error).clamp(min=1e-9)
    assert z.abs().max() < 5
    assert z.square().mean() < 2


def test_baseline_takes_variance_away(model, batch):
    torch.manual_seed(0)
    noise = torch.randn(1, 6, 2, dtype=torch.float64)
    q = model.encode(batch.targets)
    z = q.draw(noise).detach()
    signal = model.likelihood.evaluate(model.decode(z), batch.targets).log_prob.detach()
    objective = Objective("elbo", "score_function", 1)
    with_baseline = objective(model, batch, noise, 1.0).surrogate.detach()
    score = q.log_prob(z).detach()
    plain = (signal + signal * score)[0] - q.kl().detach()
    baseline = (signal.sum() - signal)[0] / 5
    torch.testing.assert_close(plain - with_baseline, baseline * score[0])


def test_bounds_are_ordered_and_reach_log_p(model, batch):
    """ELBO <= IWAE(5) <= IWAE(5000), in expectation."""
    torch.manual_seed(0)
    bounds = []
    for name, n_draws, repeats in [("elbo", 1, 2000), ("iwae", 5, 2000), ("iwae", 5000, 1)]:
        many = Batch(batch.targets.repeat(repeats, 1))
        noise = torch.randn(n_draws, many.n_samples, 2, dtype=torch.float64)
        with torch.no_grad():
            bounds.append(Objective(name, n_draws=n_draws)(model, many, noise, 1.0).bound.mean())
    assert bounds[0] < bounds[1] < bounds[2]


def test_all_objectives_are_made_of_one_log_weight(model, batch):
    torch.manual_seed(0)
    noise = torch.randn(4, 6, 2, dtype=torch.float64)
    with torch.no_grad():
        log_w = log_weights(model, model.encode(batch.targets), batch, noise)
        iwae = Objective("iwae", n_draws=4)(model, batch, noise, 1.0).bound
        elbo = Objective("elbo", "dreg", 4)(model, batch, noise, 1.0).bound
    torch.testing.assert_close(iwae, torch.logsumexp(log_w, 0) - np.log(4))
    torch.testing.assert_close(elbo, log_w.mean(0))


@pytest.mark.parametrize("name", ["elbo", "iwae"])
def test_beta_weighs_only_the_divergence(model, batch, name):
    noise = torch.zeros(1, 6, 2, dtype=torch.float64)
    objective = Objective(name)
    with torch.no_grad():
        estimates = [objective(model, batch, noise, beta) for beta in (0.0, 1.0, 2.0)]
    low, middle, high = (e.surrogate for e in estimates)
    torch.testing.assert_close(low - middle, middle - high)
    torch.testing.assert_close(estimates[0].bound, estimates[2].bound)


def test_weights_in_a_batch_have_the_gradient_of_repetition(model, batch):
    """With the same noise for a row and its copies, the loss is the same number."""
    weights = torch.tensor([3.0, 1, 1, 2, 1, 1], dtype=torch.float64)
    noise = torch.randn(1, 6, 2, dtype=torch.float64)
    repeats = weights.long()
    repeated = Batch(batch.targets.repeat_interleave(repeats, 0))
    weighted = Batch(batch.targets, None, weights / weights.mean())
    objective = Objective()
    one = weighted.mean(objective(model, weighted, noise, 1.0).surrogate)
    copies = noise.repeat_interleave(repeats, 1)
    other = repeated.mean(objective(model, repeated, copies, 1.0).surrogate)
    torch.testing.assert_close(one, other)
