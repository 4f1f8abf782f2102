r"""Start of the perceptrons of a VAE at the factor analysis of the training rows.

.. math:: z \sim N(0, I), \quad u \mid z \sim N(m + W z, \operatorname{diag} v), \quad
    q(z \mid u) = p(z \mid u)

A decoder contains this model, and an encoder its posterior, whose covariance is diagonal after a
rotation of the latents. Perceptrons compute both exactly where an activation satisfies
:math:`\phi(a) - \phi(-a) = c a`: a pair of units per layer carries each latent. All other units
begin with no weight on the outputs.

Columns that are nearly linear functions of each other are learned far better from there: random
networks take thousands of steps to find such a structure, and a table of few rows is overfitted
by then. Elsewhere the linear part is a start that training does not leave again for a better one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.column_likelihoods import GaussianColumns
from skelbo.neural.model.diagonal_gaussian import GaussianFamily
from skelbo.neural.model.networks import AutoEncoder

# c of the activations that have one.
PAIRED: dict[type[nn.Module], float] = {
    nn.ReLU: 1.0,
    nn.GELU: 1.0,
    nn.SiLU: 1.0,
    nn.Softplus: 1.0,
    nn.LeakyReLU: 1.01,
}
# Largest share of the units of a layer that carry latents; the others are left to learn.
LARGEST_SHARE = 0.5
# Steps of the factor analysis, within so many multiply-adds: it is a start, no estimate.
MAX_STEPS, MIN_CHANGE, BUDGET = 100, 1e-4, 2e9
# Smallest first noise: with less, the first steps of the optimiser are far too long.
LEAST_NOISE = 1e-3
# Share of the variance of the columns that the factors must explain, on average; and rows per
# column, as with fewer any table looks linear.
LEAST_EXPLAINED, ROWS_PER_COLUMN = 0.8, 2


class FactorAnalysis(NamedTuple):
    """A factor analyser in the units of a network, float64, with a diagonal posterior.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        m.
    loadings : ndarray of shape (n_features, n_latents)
        W, with orthogonal columns in units of the noise, the largest first.
    noise : ndarray of shape (n_features,)
        v.
    """

    mean: np.ndarray
    loadings: np.ndarray
    noise: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """Diagonal of the precision of p(z | u), shape (n_latents,)."""
        return 1 + (self.loadings**2 / self.noise[:, None]).sum(0)

    @property
    def regression(self) -> np.ndarray:
        """Matrix of E[z | u] = regression @ (u - m), shape (n_latents, n_features)."""
        return (self.loadings / self.noise[:, None] / self.precision).T


@torch.no_grad()
def start_at_factors(model: AutoEncoder, rows: Batch, fresh: bool = True) -> bool:
    """Set networks and noise to the factor analysis of some rows, if that is a good start.

    Parameters
    ----------
    model : AutoEncoder
        Initialised.
    rows : Batch
        Training rows.
    fresh : bool
        Whether to set them; otherwise only the answer is wanted.

    Returns
    -------
    bool
        Whether the networks can compute a factor analysis, the rows are complete, it restricts the
        covariance of their columns, and the factors explain most of the variance.
    """
    gaussian, p = model.likelihood.gaussian, rows.targets.shape[1]
    if gaussian is None or model.features.with_mask or not _can_start(model, p):
        return False
    if rows.n_samples < ROWS_PER_COLUMN * p:
        return False
    noise = gaussian.variance.clone()
    factors = _analyse(*_moments(rows), model.n_latents, gaussian)
    good = factors.noise.mean() <= 1 - LEAST_EXPLAINED
    if not (good and fresh):
        gaussian.variance.copy_(noise)
    else:
        _set_networks(model, factors)
    return bool(good)


def _can_start(model: AutoEncoder, p: int) -> bool:
    """Return whether the networks can compute a factor analysis of p Gaussian columns."""
    d = model.n_latents
    return (
        isinstance(model.family, GaussianFamily)
        and len(model.likelihood.groups) == 1
        and not model.has_custom_networks
        and (p - d) ** 2 >= p + d  # fewer parameters than a covariance (Ledermann 1937)
        and all(_carries(network, d) for network in (model.encoder, model.decoder))
    )


def _carries(network: nn.Module, n_latents: int) -> bool:
    """Return whether a perceptron has hidden layers, all wide enough, and a paired activation."""
    parts = list(network.children())
    widths = [part.out_features for part in parts[:-1] if isinstance(part, nn.Linear)]
    activations = [part for part in parts if not isinstance(part, nn.Linear)]
    return (
        bool(widths)
        and all(type(part) in PAIRED for part in activations)
        and 2 * n_latents <= LARGEST_SHARE * min(widths)
    )


def _set_networks(model: AutoEncoder, factors: FactorAnalysis) -> None:
    """Make both networks compute a factor analysis."""
    d, regression = model.n_latents, factors.regression
    # The encoder's outputs are d means, to be carried, and d log-variances, the same for all rows.
    _set_linear(model.encoder, d, regression, -regression @ factors.mean, np.eye(2 * d, d))
    _last(model.encoder).bias[d:].copy_(torch.as_tensor(-np.log(factors.precision)))
    _set_linear(model.decoder, d, np.eye(d), np.zeros(d), factors.loadings)
    _last(model.decoder).bias.copy_(torch.as_tensor(factors.mean))


def _moments(rows: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (p,) and covariance (p, p) of complete rows."""
    u = rows.targets.double().cpu().numpy()
    weights = np.ones(len(u)) if rows.weights is None else rows.weights.double().cpu().numpy()
    mean = np.average(u, axis=0, weights=weights)
    return mean, np.cov(u.T, ddof=0, aweights=weights).reshape(len(mean), -1)


def _analyse(
    mean: np.ndarray, covariance: np.ndarray, d: int, gaussian: GaussianColumns
) -> FactorAnalysis:
    """Return a factor analysis whose noise, of the kind of the net, is also set there.

    Alternates between the loadings, in closed form given the noise, and the noise given them
    (Barber 2012, algorithm 21.1); neither step lowers the likelihood.
    """
    variance = covariance.diagonal()
    noise = _maximized(gaussian, variance)
    for _ in range(int(np.clip(BUDGET // len(variance) ** 3, 1, MAX_STEPS))):
        before, loadings = noise, _loadings(covariance, noise, d)
        noise = _maximized(gaussian, variance - (loadings**2).sum(1))
        if np.abs(np.log(noise / before)).max() < MIN_CHANGE:
            break
    return FactorAnalysis(mean, _loadings(covariance, noise, d), noise)


def _maximized(gaussian: GaussianColumns, residual: np.ndarray) -> np.ndarray:
    """Set the noise of a net for mean squared residuals, and return it: of its kind."""
    floored = torch.as_tensor(np.maximum(residual, LEAST_NOISE))
    gaussian.maximize(floored.to(gaussian.variance), 1.0)
    return gaussian.variance.double().cpu().numpy().copy()


def _loadings(covariance: np.ndarray, noise: np.ndarray, d: int) -> np.ndarray:
    """Return the likeliest loadings given the noise, zero beyond the rank, (n_features, d)."""
    root = np.sqrt(noise)
    values, vectors = np.linalg.eigh(covariance / root / root[:, None])
    values, vectors = values[::-1][:d], vectors[:, ::-1][:, :d]
    loadings = np.zeros((len(noise), d))
    loadings[:, : len(values)] = root[:, None] * vectors * np.sqrt(np.maximum(values - 1, 0.0))
    return loadings


def _set_linear(
    network: nn.Module, d: int, inner: np.ndarray, bias: np.ndarray, outer: np.ndarray
) -> None:
    """Make a perceptron compute outer @ (inner @ x + bias) through the first 2 d of its units.

    The other units of the hidden layers keep their initial weights, but have none on the outputs,
    whose biases are zero.
    """
    layers = [part for part in network.children() if isinstance(part, nn.Linear)]
    c = next(PAIRED[type(part)] for part in network.children() if type(part) in PAIRED)
    weight = torch.as_tensor(inner).to(layers[0].weight)
    shift = torch.as_tensor(bias).to(layers[0].bias)
    for layer in layers[:-1]:
        layer.weight[: 2 * d] = 0
        layer.weight[: 2 * d, : weight.shape[1]] = torch.cat([weight, -weight])
        layer.bias[: 2 * d] = torch.cat([shift, -shift])
        unit = torch.eye(d, dtype=weight.dtype, device=weight.device) / c
        weight, shift = torch.cat([unit, -unit], 1), torch.zeros_like(shift)
    nn.init.zeros_(layers[-1].weight)
    nn.init.zeros_(layers[-1].bias)
    layers[-1].weight[:, : 2 * d] = torch.as_tensor(outer).to(weight) @ weight


def _last(network: nn.Module) -> nn.Linear:
    """Return the last layer of a perceptron."""
    layer = list(network.children())[-1]
    assert isinstance(layer, nn.Linear)
    return layer
