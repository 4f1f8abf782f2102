"""Starts for binary latents by simulated annealing: stochastic EM at a falling temperature."""

from __future__ import annotations

import numpy as np

from skelbo.inference.posteriors.bernoulli_posterior import enumerate_posterior, fit_bernoulli
from skelbo.inference.sampling.gibbs import GibbsChains

# Chains of a start; steps of each, per latent and at most. Slower cooling is worse: features freeze
# in pairs while the temperature is still high.
N_CHAINS, STEPS_PER_LATENT, MAX_STEPS = 8, 20, 120
# First inverse temperatures of even and odd chains (noisy data need a lower temperature), and last.
FIRST, LAST = (0.1, 0.2), 1.0
# Steps at the last temperature after the parameters of a relaxed model were restricted.
RESTRICTED_STEPS = 10
# Rows that a start uses.
MAX_ROWS = 500
# Up to this many latents states are drawn exactly, beyond that by Gibbs sweeps.
MAX_STATES = 10
SWEEPS = 3


def annealed_start(model, X, weights, rng, number=0):
    """Return the parameters at the end of the best of several annealed chains.

    EM, and mean field more so, stop at the nearest mode: features merge or split and never recover.
    A chain that replaces the posterior by one draw of it (stochastic EM) moves on, and a
    likelihood raised to an inverse temperature below one keeps the draws free while features form.

    Parameters
    ----------
    model : Model
        With binary latents and a closed-form `maximize`.
    X : ndarray of shape (n_rows, n_features)
    weights : ndarray of shape (n_rows,)
    rng : numpy.random.RandomState
    number : int
        Of the start; starts differ by their draws.

    References
    ----------
    Celeux and Diebolt (1985) for stochastic EM; Ueda and Nakano (1998) for tempering.
    """
    if len(X) > MAX_ROWS:
        X = X[rng.choice(len(X), MAX_ROWS, replace=False, p=weights / weights.sum())]
        weights = np.ones(MAX_ROWS)
    best, best_value = None, -np.inf
    n_steps = min(MAX_STEPS, STEPS_PER_LATENT * model.n_latents)
    relaxed = model.relaxation()
    for chain in range(min(N_CHAINS, 2 * model.n_latents)):
        theta = relaxed.start(X, weights, rng, 0)
        schedule = np.geomspace(FIRST[chain % 2], LAST, n_steps)
        theta = _chain(relaxed, theta, X, weights, rng, schedule)
        if relaxed is not model:
            theta = model.restrict(theta)
            theta = _chain(model, theta, X, weights, rng, np.full(RESTRICTED_STEPS, LAST))
        value = weights @ _bound(model.joint(X, theta))
        if best is None or value > best_value:
            best, best_value = theta, value
    return best


def _chain(model, theta, X, weights, rng, inverse_temperatures):
    """Return the parameters of stochastic EM along a sequence of inverse temperatures."""
    Z = (rng.random_sample((len(X), model.n_latents)) < 0.5).astype(np.float64)
    draw = _draw_states if model.n_latents <= MAX_STATES else _sweep
    for inverse_temperature in inverse_temperatures:
        Z = draw(model.joint(X, theta), inverse_temperature, rng, Z)
        theta = model.away_from_boundary(model.maximize(theta, X, weights[None], Z[None]))
    return theta


def _draw_states(joint, inverse_temperature, rng, Z):
    """Return one draw of the tempered posterior of each row, (n, d), from the list of states."""
    tempered = enumerate_posterior(joint, inverse_temperature)
    total = np.cumsum(tempered.weights, axis=0)
    level = rng.random_sample(total.shape[1]) * total[-1]
    return tempered.states[(total < level).sum(axis=0)]


def _sweep(joint, inverse_temperature, rng, Z):
    """Return Z after Gibbs sweeps of the tempered posterior."""
    chains = GibbsChains(Z[None])
    for _ in range(SWEEPS):
        chains.sweep(joint, rng, inverse_temperature)
    return chains.Z[0]


def _bound(joint):
    """Return log p(x) where states can be listed, else the bound of a mean-field q."""
    if joint.shape[1] <= MAX_STATES:
        return enumerate_posterior(joint).terms.elbo
    return fit_bernoulli(joint).terms.elbo
