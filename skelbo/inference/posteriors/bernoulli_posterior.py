r"""Posteriors of binary latents: independent Bernoullis per row, or all 2^d states.

Mean field sets :math:`\mathrm{logit}\, \lambda_k = E_{q(z_{-k})}[\log p(x, z_k{=}1, z_{-k}) -
\log p(x, z_k{=}0, z_{-k})]`, one k after the other: updates of all k at once can lower the bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from skelbo.elbo import ElboTerms

# Largest number of latents of which all states, 4096 per row, are listed.
MAX_ENUMERATED = 12
# Inverse temperatures before a start: local optima vanish where the likelihood counts little.
COOLING = (0.02, 0.05, 0.1, 0.2, 0.35, 0.6)
MAX_SWEEPS = 500
TOLERANCE = 1e-10


@dataclass(frozen=True)
class BernoulliPosterior:
    """Independent Bernoullis per row.

    Attributes
    ----------
    mean : ndarray of shape (n_rows, n_latents)
        Probabilities of one.
    terms : ElboTerms
        The bound of each row, in nats.
    """

    mean: np.ndarray
    terms: ElboTerms

    @property
    def covariance(self) -> np.ndarray:
        """Variances, (n_rows, n_latents)."""
        return self.mean * (1 - self.mean)

    def draws(self, moments_suffice):
        """Return weights, means and variances."""
        return np.ones((1, len(self.mean))), self.mean[None], self.covariance


@dataclass(frozen=True)
class EnumeratedPosterior:
    """The exact posterior of binary latents, over all their states.

    Attributes
    ----------
    states : ndarray of shape (n_states, n_latents)
    weights : ndarray of shape (n_states, n_rows)
        p(state | x).
    terms : ElboTerms
        The bound of each row, here equal to log p(x), in nats.
    """

    states: np.ndarray
    weights: np.ndarray
    terms: ElboTerms

    @property
    def mean(self) -> np.ndarray:
        """Probabilities of one, (n_rows, n_latents)."""
        return self.weights.T @ self.states

    @property
    def covariance(self) -> np.ndarray:
        """Covariance matrices, (n_rows, n_latents, n_latents)."""
        S, d = self.states.shape
        products = (self.states[:, :, None] * self.states[:, None, :]).reshape(S, d * d)
        second = (self.weights.T @ products).reshape(-1, d, d)
        mean = self.mean
        return second - mean[:, :, None] * mean[:, None, :]

    def draws(self, moments_suffice):
        """Return weights, means and covariances, or all states and their probabilities."""
        if moments_suffice:
            return np.ones((1, self.weights.shape[1])), self.mean[None], self.covariance
        shape = (*self.weights.shape, self.states.shape[1])
        return self.weights, np.broadcast_to(self.states[:, None], shape), None


def all_states(n_latents: int) -> np.ndarray:
    """Return all binary vectors, (2**n_latents, n_latents)."""
    return ((np.arange(2**n_latents)[:, None] >> np.arange(n_latents)) & 1).astype(np.float64)


def enumerate_posterior(joint, inverse_temperature: float = 1.0) -> EnumeratedPosterior:
    """Return the exact posterior, or that of a likelihood raised to a power."""
    states = all_states(joint.shape[1])
    likelihood = joint.log_likelihood(states[:, None])
    prior = np.broadcast_to(joint.log_prior(states[:, None]), likelihood.shape)
    log_joint = inverse_temperature * likelihood + prior
    largest = log_joint.max(0)
    weights = np.exp(log_joint - largest)
    total = weights.sum(0)
    weights /= total
    log_prob = largest + np.log(total)
    reconstruction = (weights * likelihood).sum(0)
    energy = reconstruction + (weights * prior).sum(0)
    terms = ElboTerms.from_energy(reconstruction, energy, log_prob - energy)
    return EnumeratedPosterior(states, weights, terms)


def fit_bernoulli(joint, start: np.ndarray | None = None) -> BernoulliPosterior:
    """Return the mean-field posterior of every row; rows do not influence each other.

    Parameters
    ----------
    joint : BinaryJointDensity
        log p(x, z; theta) of n rows.
    start : ndarray of shape (n_rows, n_latents), optional
        Means at which to begin. Default is annealing from the prior and, where the states can be
        listed, also the exact posterior mean and mode; the best result is kept.
    """
    if start is not None:
        return _ascend(joint, start)
    n, d = joint.shape
    best = _ascend(joint, _anneal(joint, np.tile(joint.prior_mean(), (n, 1))))
    if d <= MAX_ENUMERATED:
        exact = enumerate_posterior(joint)
        mode = exact.states[exact.weights.argmax(0)]
        for other in (exact.mean, 0.98 * mode + 0.01):
            best = best_of(best, _ascend(joint, other))
    return best


def best_of(one: BernoulliPosterior, other: BernoulliPosterior) -> BernoulliPosterior:
    """Return, row by row, the one with the higher bound."""
    take = other.terms.elbo > one.terms.elbo + 1e-9 * (1 + np.abs(one.terms.elbo))
    mean = np.where(take[:, None], other.mean, one.mean)
    return BernoulliPosterior(mean, other.terms.where(take, one.terms))


def _anneal(joint, mean):
    """Return means after sweeps at falling temperatures."""
    for inverse_temperature in COOLING:
        for _ in range(3):
            mean = _sweep(joint, mean, inverse_temperature)
    return mean


def _ascend(joint, mean):
    """Sweep until no mean moves; rows that are done drop out."""
    mean = np.clip(mean, 1e-12, 1 - 1e-12)
    active, part = np.arange(len(mean)), joint
    for _ in range(MAX_SWEEPS):
        new = _sweep(part, mean[active])
        moved = np.abs(new - mean[active]).max(1) > TOLERANCE
        mean[active] = new
        if not moved.any():
            break
        if not moved.all():
            active = active[moved]
            part = joint.take(active)
    return BernoulliPosterior(mean, _terms(joint, mean))


def _sweep(joint, mean, inverse_temperature=1.0):
    mean = mean.copy()
    prior = special.logit(joint.prior_mean())
    for k in range(mean.shape[1]):
        logit = joint.conditional_logit(mean, k)
        if inverse_temperature != 1:
            logit = prior[k] + inverse_temperature * (logit - prior[k])
        mean[:, k] = special.expit(logit)
    return mean


def _terms(joint, mean):
    reconstruction, energy = joint.expected(mean)
    entropy = (special.entr(mean) + special.entr(1 - mean)).sum(1)
    return ElboTerms.from_energy(reconstruction, energy, entropy)
