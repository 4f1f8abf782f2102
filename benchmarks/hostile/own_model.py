"""A latent-variable model as a user writes one, in torch."""

import torch

from skelbo.models import LatentVariableModel


class OwnFactorModel(LatentVariableModel):
    """One Gaussian factor with a noise scale for each column; missing cells drop out."""

    n_latents = 1
    constraints = {"scale": "positive"}

    def initialize(self, X, rng):
        """Return starting values in the units of the columns."""
        centre = X.nanmean(0)
        sd = (X - centre).square().nanmean(0).sqrt()
        sd = torch.where(sd > 0, sd, 1.0)
        return {"mean": centre, "loadings": 0.5 * sd, "scale": sd}

    def log_likelihood(self, X, Z, theta):
        """Return log p(x | z) of the observed cells."""
        known = ~X.isnan()
        # Rows less the mean first: far from zero a sum with the mean has lost the digits of Z.
        x = torch.where(known, X - theta["mean"], 0.0)
        noise = torch.distributions.Normal(Z * theta["loadings"], theta["scale"])
        return (noise.log_prob(x) * known).sum(-1)

    def mean(self, Z, theta):
        """Return E[x | z]."""
        return theta["mean"] + Z * theta["loadings"]

    def sample(self, n_samples, theta, rng):
        """Return draws of x and z."""
        Z = torch.as_tensor(rng.standard_normal((n_samples, 1)))
        mean = self.mean(Z, theta)
        return mean + theta["scale"] * torch.as_tensor(rng.standard_normal(mean.shape)), Z

    def sample_given(self, Z, theta, rng):
        """Return draws of x for given z."""
        mean = self.mean(Z, theta)
        return mean + theta["scale"] * torch.as_tensor(rng.standard_normal(mean.shape))
