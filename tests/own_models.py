"""Models that a user would write, shared by tests."""

import torch

from skelbo.models import LatentVariableModel


class TwoParameterLogistic(LatentVariableModel):
    n_latents = 1

    def initialize(self, X, rng):
        return {"a": torch.ones(X.shape[1]), "d": X.mean(0).logit()}

    def log_likelihood(self, X, Z, theta):
        eta = Z * theta["a"] + theta["d"]
        return (X * eta - torch.nn.functional.softplus(eta)).sum(-1)


class Features(LatentVariableModel):
    latent, n_latents = "binary", 2
    constraints = {"scale": "positive", "share": "unit_interval"}

    def initialize(self, X, rng):
        loadings = torch.tensor(rng.standard_normal((2, X.shape[1])))
        return {"W": loadings, "b": X.mean(0), "scale": X.std(), "share": torch.full((2,), 0.4)}

    def log_likelihood(self, X, Z, theta):
        normal = torch.distributions.Normal(Z @ theta["W"] + theta["b"], theta["scale"])
        return normal.log_prob(X).sum(-1)

    def log_prior(self, Z, theta):
        return (Z * theta["share"].log() + (1 - Z) * (1 - theta["share"]).log()).sum(-1)


class Counts(LatentVariableModel):
    """Poisson-lognormal PCA, as a user would write it."""

    def __init__(self, n_latents=3):
        self.n_latents = n_latents

    def initialize(self, X, rng):
        loadings = torch.tensor(0.3 * rng.standard_normal((self.n_latents, X.shape[1])))
        return {"b": (X + 0.1).mean(0).log(), "W": loadings}

    def log_likelihood(self, X, Z, theta):
        rate = (theta["b"] + Z @ theta["W"]).exp()
        return torch.distributions.Poisson(rate).log_prob(X).sum(-1)


class Factors(LatentVariableModel):
    """Gaussian factor analysis, as a user would write it."""

    constraints = {"noise": "positive"}

    def __init__(self, n_latents=2, start=0.3):
        self.n_latents = n_latents
        self.start = start

    def initialize(self, X, rng):
        loadings = self.start * torch.tensor(rng.standard_normal((self.n_latents, X.shape[1])))
        return {"W": loadings * X.std(0), "b": X.mean(0), "noise": X.var(0)}

    def log_likelihood(self, X, Z, theta):
        normal = torch.distributions.Normal(Z @ theta["W"] + theta["b"], theta["noise"].sqrt())
        return normal.log_prob(X).sum(-1)
