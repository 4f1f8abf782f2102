"""Annealed chains over codes: unbiased, and draws of p(z | x) at their ends, by enumeration."""

import itertools

import numpy as np
import pytest
import torch
from scipy import special
from sklearn.datasets import load_iris

from skelbo import VQVAEEstimator
from skelbo.neural import CodeInference
from skelbo.neural.annealed_codes import N_CHAINS, AnnealedCodes, annealed_code_log_prob

X = load_iris().data[[3, 60, 70, 120]]
X[0, 1:] = X[2, 2] = np.nan


@pytest.fixture(scope="module")
def path():
    """A path to the posterior, log p(x) and log p(x, z) of all codes by enumeration."""
    model = VQVAEEstimator(
        3,
        n_codes=4,
        code_size=2,
        hidden_layer_sizes=(8,),
        max_iter=30,
        lr=1e-2,
        early_stopping=False,
        random_state=0,
    ).fit(load_iris().data)
    sums = CodeInference(model._draws()).sums
    batch = sums.batch(X)
    network = model.net_.module_
    codes = np.array(list(itertools.product(range(4), repeat=3)))
    with torch.no_grad():
        found = AnnealedCodes.to_posterior(network, batch)
        every = torch.as_tensor(codes)[:, None].expand(-1, len(X), -1)
        _, joint = found._log_densities(every)
    return found, sums.total(X).log_prob, joint.T.numpy(), codes


@torch.no_grad()
def test_the_mean_weight_is_unbiased_on_the_shortest_path(path):
    chains, log_prob, *_ = path
    log_w = []
    for seed in range(60):
        log_w.append(chains.run(2, torch.Generator().manual_seed(seed))[1])
    ratio = torch.stack(log_w).logsumexp(1).numpy() - np.log(N_CHAINS) - log_prob
    ratio = np.exp(ratio)
    assert np.all(np.abs(ratio.mean(0) - 1) < 4 * ratio.std(0) / np.sqrt(len(ratio)) + 1e-3)


@torch.no_grad()
def test_the_ends_of_the_chains_are_draws_of_the_posterior(path):
    chains, log_prob, joint, codes = path
    np.testing.assert_allclose(special.logsumexp(joint, axis=1), log_prob, rtol=1e-6)
    expected = special.softmax(joint, axis=1)
    places = codes @ [16, 4, 1]
    found = np.zeros_like(expected)
    for seed in range(20):
        draws = chains.posterior_draws(200, 10, torch.Generator().manual_seed(seed)).numpy()
        for i in range(len(X)):
            found[i] += np.bincount(draws[:, i] @ [16, 4, 1], minlength=64)[places] / 4000
    assert np.abs(found - expected).max() < 0.08


def test_a_row_is_estimated_alike_alone_and_together(path):
    chains, log_prob, *_ = path
    together = annealed_code_log_prob(chains.model, chains.batch, 50, 0)
    for i in range(len(X)):
        alone = annealed_code_log_prob(chains.model, chains.batch.take(torch.tensor([i])), 50, 0)
        for one, all_rows in zip(alone, together, strict=True):
            assert float(one) == pytest.approx(float(all_rows[i]), rel=1e-6, abs=1e-9)
    assert np.all(np.abs(together[0].numpy() - log_prob) < 6 * together[1].numpy() + 1e-3)
