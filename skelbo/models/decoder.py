"""A neural decoder: the model of a variational auto-encoder, without its encoder."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import nn

from skelbo.models.likelihoods import LIKELIHOODS, LOG_2PI
from skelbo.models.model import LatentVariableModel
from skelbo.models.noise_floor import column_variances

# Smallest noise variance, in units of the columns' own.
NOISE_FLOOR = 1e-3


class DecoderModel(LatentVariableModel):
    r"""A neural network f from latents to data.

    .. math:: z \sim N(0, I), \quad x_j \sim p(x_j \mid f_j(z))

    Parameters
    ----------
    n_latents : int, default=2
        Number of latents.
    decoder : torch.nn.Module, optional
        From (..., n_latents) to (..., n_features); never trained in place. By default a
        perceptron with tanh units.
    hidden_layer_sizes : tuple of int, default=(100,)
        Of the default decoder.
    likelihood : {"gaussian", "bernoulli", "poisson"}, default="gaussian"
        The network gives means, log-odds or log-rates.

    Notes
    -----
    Parameters: the network's own, by their names (``0.weight``, ``0.bias``, ...), and
    ``noise_variance`` (a scalar, Gaussian likelihood only), kept above 1e-3 of the mean variance
    of the columns. The weights of a network are not identified: do not read anything into their
    standard errors; beyond 200 parameters there are none.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import VariationalEM
    >>> from skelbo.models import DecoderModel
    >>> t = np.linspace(-2, 2, 40)
    >>> X = np.column_stack([t, t**2])
    >>> curve = VariationalEM(
    ...     model=DecoderModel(1, hidden_layer_sizes=(5,)), tol=1e-2, random_state=0
    ... ).fit(X)
    >>> curve.transform(X).shape
    (40, 1)
    """

    def __init__(
        self, n_latents=2, *, decoder=None, hidden_layer_sizes=(100,), likelihood="gaussian"
    ):
        self.n_latents = n_latents
        self.decoder = decoder
        self.hidden_layer_sizes = hidden_layer_sizes
        self.likelihood = likelihood

    @property
    def constraints(self) -> dict[str, str]:  # type: ignore[override]
        """Domains of the parameters."""
        return {"noise_variance": "positive"} if self.likelihood == "gaussian" else {}

    def check(self, X):
        """Raise ValueError if the model or X cannot be used."""
        if self.likelihood not in LIKELIHOODS:
            raise ValueError(
                f"likelihood={self.likelihood!r}, expected one of {sorted(LIKELIHOODS)}."
            )
        LIKELIHOODS[self.likelihood].check(X)

    def initialize(self, X, rng):
        """Return random weights, the last layer in the units of the data."""
        level, spread = torch.nanmean(X, 0), _deviation(X)
        if self.likelihood == "bernoulli":
            level, spread = level.clamp(0.01, 0.99).logit(), torch.ones_like(level)
        elif self.likelihood == "poisson":
            level, spread = (level + 0.1).log(), torch.ones_like(level)
        if self.decoder is not None:
            theta = {k: v.detach().clone() for k, v in self.decoder.named_parameters()}
        else:
            theta = self._random_weights(level, spread, rng)
        if self.likelihood == "gaussian":
            theta["noise_variance"] = (spread**2).mean()
        return theta

    def _random_weights(self, level, spread, rng):
        sizes = [self.n_latents, *self.hidden_layer_sizes, len(level)]
        theta = {}
        for i, (inner, outer) in enumerate(pairwise(sizes)):
            weight = rng.standard_normal((outer, inner)) / np.sqrt(inner)
            theta[f"{i}.weight"] = torch.tensor(weight)
            theta[f"{i}.bias"] = torch.tensor(0.1 * rng.standard_normal(outer))
        theta[f"{i}.weight"] = 0.5 * spread[:, None] * theta[f"{i}.weight"]
        theta[f"{i}.bias"] = level
        return theta

    def _predictor(self, Z, theta):
        if self.decoder is not None:
            weights = {k: v for k, v in theta.items() if k != "noise_variance"}
            return torch.func.functional_call(self.decoder, weights, (Z,))
        last = len(self.hidden_layer_sizes)
        for i in range(last + 1):
            Z = Z @ theta[f"{i}.weight"].T + theta[f"{i}.bias"]
            Z = Z if i == last else torch.tanh(Z)
        return Z

    def log_likelihood(self, X, Z, theta):
        """Return log p(x | z; theta), (n_draws, n_samples), in nats, of the known cells."""
        eta = self._predictor(Z, theta)
        known = ~torch.isnan(X)
        x = torch.where(known, X, 0.0)
        if self.likelihood == "gaussian":
            noise = theta["noise_variance"]
            cells = -0.5 * ((x - eta) ** 2 / noise + noise.log() + LOG_2PI)
        elif self.likelihood == "bernoulli":
            cells = x * eta - nn.functional.softplus(eta)
        else:
            cells = x * eta - eta.exp() - torch.lgamma(x + 1)
        return (cells * known).sum(-1)

    def mean(self, Z, theta):
        """Return E[x | z]."""
        eta = self._predictor(Z, theta)
        links = {"bernoulli": torch.sigmoid, "poisson": torch.exp}
        return links.get(self.likelihood, lambda value: value)(eta)

    def sample(self, n_samples, theta, rng):
        """Draw (x, z) from the joint."""
        Z = rng.standard_normal((n_samples, self.n_latents))
        with torch.no_grad():
            eta = self._predictor(torch.tensor(Z), theta).numpy()
        noise = float(theta.get("noise_variance", 1.0))
        return LIKELIHOODS[self.likelihood].draw(eta, noise, rng), Z

    def lower_limits(self, X, weights):
        """Return the smallest values of parameters: the likelihood of a decoder is unbounded."""
        if self.likelihood != "gaussian":
            return {}
        return {"noise_variance": NOISE_FLOOR * float(column_variances(X, weights).mean() or 1.0)}

    def warnings(self, theta, X, weights):
        """Return what a user should know about these parameters."""
        limit = self.lower_limits(X, weights).get("noise_variance", 0.0)
        if limit and theta["noise_variance"] <= 1.01 * limit:
            return [
                f"the noise variance reached its floor, {limit:.3g} (1e-3 of the mean variance of "
                "the columns): the decoder reproduces the data; use a smaller decoder or fewer "
                "latents."
            ]
        return []


def _deviation(X):
    centred = X - torch.nanmean(X, 0)
    return torch.nanmean(centred**2, 0).sqrt().clamp_min(1e-8)
