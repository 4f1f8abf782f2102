r"""log p(x) of new rows, a function of model, parameters and rows alone.

In order of preference: closed form (Gaussian, or all states of binary latents); adaptive
quadrature (one or two latents); importance sampling. Every answer comes with its
error, and with weighted points of latent space that represent p(z | x).
"""

from __future__ import annotations

import numpy as np

from skelbo.inference.posteriors.bernoulli_posterior import (
    MAX_ENUMERATED,
    enumerate_posterior,
)
from skelbo.inference.posteriors.gaussian_posterior import find_mode
from skelbo.inference.posteriors.row_quadrature import UNRESOLVED, row_quadrature
from skelbo.inference.sampling.annealed_states import state_draws
from skelbo.inference.sampling.draws import Draws
from skelbo.inference.sampling.importance import BaseNoise, importance_draws
from skelbo.inference.sampling.listed_states import MAX_LISTED, listed_draws
from skelbo.likelihoods.gaussian import LOG_2PI

MAX_QUADRATURE = 2
# Disagreement with importance sampling, in its standard errors, beyond which quadrature failed.
DISAGREEMENT = 5.0
# Posterior probability of states that are left out.
NEGLIGIBLE = 1e-9


def log_marginal(joint, noise: BaseNoise) -> tuple[np.ndarray, np.ndarray, Draws | None]:
    """Return log p(x) of each row in nats, its standard error and points for p(z | x).

    Parameters
    ----------
    joint : JointDensity
        log p(x, z; theta) of n rows.
    noise : BaseNoise
        Shared by all rows, so that a row's result does not depend on the others.

    Returns
    -------
    log_prob, std : ndarray of shape (n_rows,)
    draws : Draws or None
        None where log p(x) is a closed form that needs none.
    """
    if joint.latent == "binary":
        return _binary(joint, noise)
    if joint.gaussian:
        return (*_closed_form(joint), None)
    modes = _modes(joint)
    second = modes[1] if len(modes) > 1 else None
    if joint.shape[1] > MAX_QUADRATURE:
        draws, log_prob, std = importance_draws(joint, *modes[0], noise, second)
        return log_prob, std, draws
    found = row_quadrature(joint, modes)
    log_prob, std, draws = found.log_prob, found.error, found.draws
    if joint.shape[1] == 1 or (joint.unimodal and std.max() <= UNRESOLVED):
        return log_prob, std, draws
    # A grid around one mode may have missed another one, or may not resolve a row.
    other, estimate, error = importance_draws(joint, *modes[0], noise, second)
    apart = np.abs(estimate - log_prob)
    doubted = (std > UNRESOLVED) & (error < std)
    if not joint.unimodal:
        doubted |= ~(apart <= DISAGREEMENT * error + 1e-6)
        std = np.maximum(std, apart)
    log_prob = np.where(doubted, estimate, log_prob)
    std = np.where(doubted, error, std)
    return log_prob, std, draws.replaced(np.flatnonzero(doubted), other)


def posterior_sample(joint, noise: BaseNoise, n_draws: int, rng) -> np.ndarray:
    """Return draws of z from p(z | x) of each row, (n_draws, n_rows, n_latents).

    Exact where the posterior is a Gaussian or a list of states; else importance-weighted draws are
    resampled (Rubin 1988). Nodes of a quadrature would be too few different values.
    """
    if joint.latent == "binary":
        return _binary(joint, noise)[2].resampled(n_draws, rng)
    if joint.gaussian:
        mean, precision = joint.start()
        upper = np.linalg.cholesky(precision).swapaxes(1, 2)
        normal = rng.standard_normal((n_draws, *mean.shape))
        return mean + np.linalg.solve(upper, normal[..., None])[..., 0]
    modes = _modes(joint)
    draws = importance_draws(joint, *modes[0], noise, modes[1] if len(modes) > 1 else None)[0]
    return draws.resampled(n_draws, rng)


def _modes(joint) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return one mode of p(z | x) of each row with its precision, or two if there may be more."""
    modes = [find_mode(joint)]
    if not joint.unimodal:
        modes.append(find_mode(joint, joint.second_start(*modes[0])))
    return modes


def _closed_form(joint):
    """Return log p(x) = log p(x, z) - log p(z | x) at the posterior mean."""
    mean, precision = joint.start()
    energy = joint.expected(mean)[1]
    log_det = np.linalg.slogdet(precision)[1]
    log_prob = energy + 0.5 * (mean.shape[1] * LOG_2PI - log_det)
    return log_prob, np.zeros_like(log_prob)


def _likely_states(exact) -> Draws:
    """Return the states that carry all but a negligible share of every row's posterior."""
    order = np.argsort(-exact.weights, axis=0)
    weights = np.take_along_axis(exact.weights, order, axis=0)
    rest = 1 - np.cumsum(weights, axis=0)
    n_states = 1 + int((rest > NEGLIGIBLE).sum(0).max())
    weights = weights[:n_states] / weights[:n_states].sum(0)
    return Draws(exact.states[order[:n_states]], weights, np.arange(n_states), exact=True)


def _binary(joint, noise: BaseNoise):
    """Sum over all states, or sample them where they are too many."""
    n, d = joint.shape
    if d <= MAX_ENUMERATED:
        exact = enumerate_posterior(joint)
        return exact.terms.elbo, np.zeros(n), _likely_states(exact)
    if d <= MAX_LISTED:
        draws, log_prob = listed_draws(joint, noise)
        return log_prob, np.zeros(n), draws
    draws, log_prob, std = state_draws(joint, noise)
    return log_prob, std, draws
