"""Starts for binary latents: stochastic EM while the likelihood is switched on."""

from __future__ import annotations

import numpy as np
from scipy import special

from skelbo.inference.posteriors.bernoulli import all_states, fit_bernoulli

# Chains that race for a start; steps of each, per latent and at most; the inverse temperatures that
# they run through. Slower cooling is worse: features freeze in pairs while it is still hot.
N_CHAINS, STEPS_PER_LATENT, MAX_STEPS = 8, 20, 120
COLDEST, HOTTEST = 1.0, (0.1, 0.2)  # by turns: much noise needs less heat
# Rows that a start looks at.
MAX_ROWS = 500
# Up to this many latents states are drawn exactly, beyond that by Gibbs sweeps.
MAX_STATES = 10
SWEEPS = 3


def annealed_start(model, X, weights, rng, number=0):
    """Return the parameters that the best of several annealed chains ends at.

    EM, and mean field more so, stop at the next mode: features merge or split and never recover.
    A chain that replaces the posterior by one draw of it (stochastic EM) moves on, and a
    likelihood raised to a power below one keeps the draws free while the features form.

    Parameters
    ----------
    model : object
        With binary latents and a closed-form `maximize`.
    X : ndarray of shape (n_rows, n_features)
    weights : ndarray of shape (n_rows,)
    rng : numpy.random.RandomState
    number : int
        Of the start; starts differ by what they draw.

    References
    ----------
    Celeux and Diebolt (1985) for stochastic EM; Ueda and Nakano (1998) for tempering.
    """
    if len(X) > MAX_ROWS:
        X = X[rng.choice(len(X), MAX_ROWS, replace=False, p=weights / weights.sum())]
        weights = np.ones(MAX_ROWS)
    best, best_value = None, -np.inf
    n_steps = min(MAX_STEPS, STEPS_PER_LATENT * model.n_latents)
    for chain in range(min(N_CHAINS, 2 * model.n_latents)):
        heats = np.geomspace(HOTTEST[chain % 2], COLDEST, n_steps)
        theta = _chain(model, X, weights, rng, heats)
        value = weights @ _bound(model.joint(X, theta))
        if best is None or value > best_value:
            best, best_value = theta, value
    return best


def _chain(model, X, weights, rng, heats):
    theta = model.start(X, weights, rng, 0)
    Z = (rng.random_sample((len(X), model.n_latents)) < 0.5).astype(np.float64)
    draw = _draw_states if model.n_latents <= MAX_STATES else _sweep
    for heat in heats:
        Z = draw(model.joint(X, theta), heat, rng, Z)
        theta = model.maximize(theta, X, weights[None], Z[None])
        theta["probabilities"] = np.clip(theta["probabilities"], 0.02, 0.98)
    return theta


def _state_logits(joint, heat):
    """Return log p(z) + heat * log p(x | z) up to a constant, (n, 2**d), and the states."""
    states = all_states(joint.shape[1])
    products = (states[:, :, None] * states[:, None, :]).reshape(len(states), -1)
    logits = joint.linear @ states.T
    logits -= 0.5 * joint.gram.reshape(len(joint.gram), -1) @ products.T
    logits *= heat
    logits += states @ joint.log_odds
    return logits, states


def _draw_states(joint, heat, rng, Z):
    logits, states = _state_logits(joint, heat)
    logits -= logits.max(axis=1, keepdims=True)
    total = np.cumsum(np.exp(logits, out=logits), axis=1, out=logits)
    level = rng.random_sample(len(total)) * total[:, -1]
    return states[(total < level[:, None]).sum(axis=1)]


def _sweep(joint, heat, rng, Z):
    Z = Z.copy()
    for _ in range(SWEEPS):
        for k in range(Z.shape[1]):
            logit = joint.log_odds[k] + heat * (joint.conditional_logit(Z, k) - joint.log_odds[k])
            Z[:, k] = rng.random_sample(len(Z)) < special.expit(logit)
    return Z


def _bound(joint):
    """Return log p(x) where states can be listed, else log p(x, z) at the mode of a quick sweep."""
    if joint.shape[1] <= MAX_STATES:
        logits, _ = _state_logits(joint, 1.0)
        return joint.constant + special.logsumexp(logits, axis=1) - _log_normaliser(joint)
    return fit_bernoulli(joint).terms.elbo


def _log_normaliser(joint):
    return np.logaddexp(0, joint.log_odds).sum()
