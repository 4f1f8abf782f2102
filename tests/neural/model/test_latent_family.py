"""A latent family is one class: others than the Gaussian train and score by the same code."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from torch import Tensor

from skelbo import VAEEstimator
from skelbo.neural.model.diagonal_gaussian import GaussianFamily
from skelbo.neural.model.latent_family import LatentFamily

IRIS = load_iris().data


class LaplaceRows(NamedTuple):
    """q(z | x) = Laplace(mean, exp(log_scale)), latent by latent."""

    mean: Tensor
    log_scale: Tensor

    @property
    def std(self):
        return math.sqrt(2) * self.log_scale.exp()

    def draw(self, noise):
        return self.mean + self.log_scale.exp() * noise

    def log_prob(self, z):
        distances = (z - self.mean).abs() * (-self.log_scale).exp()
        return -(distances + self.log_scale + math.log(2)).sum(-1)

    def kl(self):
        # Against Laplace(0, 1), in closed form.
        scale, distance = self.log_scale.exp(), self.mean.abs()
        terms = distance + scale * torch.exp(-distance / scale) - 1 - self.log_scale
        return terms.sum(-1)

    def entropy(self):
        return (1 + math.log(2) + self.log_scale).sum(-1)

    def detached(self):
        return LaplaceRows(self.mean.detach(), self.log_scale.detach())

    def displaced(self, step):
        shift, stretch = step.chunk(2, dim=-1)
        return LaplaceRows(self.mean + self.std * shift, self.log_scale + stretch)


@dataclass(frozen=True)
class LaplaceFamily(LatentFamily):
    """Laplace q and a standard Laplace prior."""

    n_latents: int

    @property
    def n_outputs(self):
        return 2 * self.n_latents

    def q(self, code):
        mean, log_scale = code.chunk(2, dim=-1)
        return LaplaceRows(mean, log_scale.clamp(-8, 4))

    def noise(self, n_draws, n_samples, like, generator):
        shape = n_draws, n_samples, self.n_latents
        uniform = torch.rand(shape, dtype=torch.float64, generator=generator) - 0.5
        return (-uniform.sign() * torch.log1p(-2 * uniform.abs())).to(like)

    def log_prior(self, z):
        return -(z.abs() + math.log(2)).sum(-1)

    def sample_prior(self, n_samples, like, generator):
        return self.noise(1, n_samples, like, generator)[0]


class LaplaceVAE(VAEEstimator):
    """A VAE with Laplace latents."""

    def _latent_family(self):
        return LaplaceFamily(self.n_components)


def laplace(**params):
    options = {"hidden_layer_sizes": (8,), "early_stopping": False, "random_state": 0}
    return LaplaceVAE(1, **{"max_iter": 60, "lr": 1e-2, **options, **params}).fit(IRIS)


@pytest.fixture(scope="module")
def model():
    return laplace(n_importance_samples=2000)


def log_p_by_quadrature(model, X):
    """Integrate p(x | z) p(z) over a grid of the one latent."""
    z = np.linspace(-30, 30, 20_001)
    mean, variance = model.inverse_transform(z[:, None]), model.noise_variance_
    squares = (X[:, None] - mean) ** 2 / variance
    log_joint = -0.5 * (squares + np.log(2 * np.pi * variance)).sum(-1) - np.abs(z) - np.log(2)
    return np.logaddexp.reduce(log_joint, axis=1) + np.log(z[1] - z[0])


def test_the_likelihood_of_a_laplace_vae_is_its_integral(model):
    X = IRIS[::10]
    log_prob, std = model.score_samples(X, return_std=True)
    assert np.all(np.abs(log_prob - log_p_by_quadrature(model, X)) < 5 * std + 1e-3)
    assert np.all(model.elbo(X) <= log_prob)


def test_the_terms_of_a_laplace_vae_are_those_of_its_family(model):
    terms = model.elbo_terms(IRIS)
    np.testing.assert_allclose(terms.energy + terms.entropy, terms.reconstruction - terms.kl)
    assert np.all(terms.kl >= 0)
    assert np.mean(model.lower_bounds_[-5:]) > np.mean(model.lower_bounds_[:5]) + 0.3


def test_a_laplace_q_is_refined(model):
    refined = model.refine(IRIS[:20], n_steps=50)
    assert np.all(refined.amortization_gap >= 0)
    assert refined.std.shape == (20, 1)


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
def test_every_gradient_trains_a_laplace_vae(objective):
    for gradient in ["reparameterized", "dreg"] + ["score_function"] * (objective == "elbo"):
        model = laplace(objective=objective, gradient=gradient, n_samples=3, max_iter=10)
        assert np.isfinite(model.score(IRIS))


def test_samples_of_a_laplace_vae_have_its_moments():
    model = laplace(hidden_layer_sizes=())
    X, Z = model.sample(20_000, random_state=0)
    assert np.mean(np.abs(Z)) == pytest.approx(1, abs=0.05)
    loadings = model.inverse_transform(np.ones((1, 1))) - model.inverse_transform(np.zeros((1, 1)))
    covariance = 2 * loadings.T @ loadings + np.diag(model.noise_variance_)
    np.testing.assert_allclose(np.cov(X.T), covariance, atol=0.1 * covariance.max())


@pytest.mark.parametrize("family", [GaussianFamily(3), LaplaceFamily(3)])
def test_kl_and_entropy_are_the_means_of_their_integrands(family):
    generator = torch.Generator().manual_seed(0)
    code = torch.randn(4, family.n_outputs, dtype=torch.float64, generator=generator)
    q = family.q(code)
    z = q.draw(family.noise(200_000, 4, code, generator))
    log_q = q.log_prob(z)
    torch.testing.assert_close(q.entropy(), -log_q.mean(0), rtol=0, atol=0.03)
    torch.testing.assert_close(q.kl(), (log_q - family.log_prior(z)).mean(0), rtol=0, atol=0.03)
    torch.testing.assert_close(q.mean, z.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(q.std, z.std(0), rtol=0.03, atol=0)
    unmoved = q.displaced(torch.zeros_like(code))
    assert torch.equal(unmoved.log_prob(z), log_q)
