r"""The Gaussian mixture as a model of rows x and hidden labels z.

.. math:: p(x, z = k; \theta) = \pi_k\, N(x; \mu_k, \Sigma_k)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelbo.elbo import ElboTerms
from skelbo.gaussian.components import Components, View
from skelbo.gaussian.moments import Moments
from skelbo.gaussian.regularization import Regularization
from skelbo.gaussian.structure import Covariance
from skelbo.rows import Block, RowSource


@dataclass(frozen=True)
class Expected:
    """What an E-step passes to the M-step; additive over blocks of rows.

    Attributes
    ----------
    log_prob : float
        Weighted sum of log p(x) in nats: the bound, as q is the exact posterior.
    moments : Moments
        Expected moments under the posterior.
    """

    log_prob: float
    moments: Moments

    def __add__(self, other: Expected) -> Expected:
        return Expected(self.log_prob + other.log_prob, self.moments + other.moments)


@dataclass(frozen=True)
class Posterior:
    """q(z) of a block of rows: the exact posterior.

    Attributes
    ----------
    log_joint : ndarray of shape (n_components, n_rows)
        log p(x, z = k; theta) in nats.
    log_prob : ndarray of shape (n_rows,)
        log p(x; theta) in nats.
    resp : ndarray of shape (n_components, n_rows)
        Responsibilities p(z = k | x; theta).
    """

    view: View
    log_joint: np.ndarray
    log_prob: np.ndarray
    resp: np.ndarray


@dataclass(frozen=True)
class Mixture:
    """Parameters theta of a Gaussian mixture, about the origin of the rows; immutable.

    Attributes
    ----------
    weights : ndarray of shape (n_components,)
        Probabilities of the labels.
    components : Components
        The Gaussians.
    """

    weights: np.ndarray
    components: Components

    @classmethod
    def from_moments(
        cls, structure: type[Covariance], moments: Moments, regularization: Regularization
    ) -> Mixture:
        """Return the maximum likelihood fit to moments whose labels are known."""
        components = Components.from_moments(structure, moments, regularization)
        return cls(moments.weight / moments.weight.sum(), components)

    @property
    def sound(self) -> bool:
        """Whether no covariance had to be altered to become regular."""
        return not self.components.covariance.floored.any()

    def posterior(self, block: Block) -> Posterior:
        """Compute q(z) = p(z | x; theta) for a block of rows."""
        view = self.components.view(block)
        with np.errstate(divide="ignore"):
            log_weights = np.log(self.weights)[:, None]
        log_joint = view.log_prob + log_weights
        top = log_joint.max(axis=0)
        lost = np.isneginf(top)  # so far away that every density underflows
        if lost.any():
            log_joint[:, lost] = log_weights
            top[lost] = log_weights.max()
        resp = np.exp(log_joint - top)
        total = resp.sum(axis=0)
        resp /= total
        log_prob = top + np.log(total)
        log_prob[lost] = -np.inf
        return Posterior(view, log_joint, log_prob, resp)

    def expected(self, block: Block) -> Expected:
        """Return the E-step's statistics of one block."""
        posterior = self.posterior(block)
        log_prob = float(block.weights @ posterior.log_prob)
        return Expected(log_prob, posterior.view.moments(posterior.resp * block.weights))

    def e_step(self, rows: RowSource) -> tuple[float, Moments]:
        """Return the bound in nats per row and the expected moments, with q = p(z | x; theta).

        With this q the gap of eq. 2 of Ding (2020) is zero: the bound is log p(X; theta).
        """
        expected = rows.total(self.expected)
        return expected.log_prob / rows.total_weight, expected.moments

    def m_step(self, moments: Moments, regularization: Regularization) -> Mixture:
        """Maximise the energy, the first term of eq. 3 of Ding (2020), in closed form."""
        components = self.components.updated(moments, regularization)
        return Mixture(moments.weight / moments.weight.sum(), components)

    def gradient_step(self, moments: Moments, regularization: Regularization) -> Mixture:
        """Take one guarded gradient step uphill: the M-step of generalized EM.

        The gradient of the expected log-joint is scaled by the Fisher information of the complete
        data, and the step is halved until the expected log-joint rises.
        """
        here = self.expected_log_joint(moments, regularization)
        target = moments.weight / moments.weight.sum()
        slope = np.divide(target, self.weights, out=np.ones_like(target), where=self.weights > 0)
        size = 1.0
        while size > 1e-6:
            with np.errstate(all="ignore"):  # the first, longest step may be absurd
                weights = self.weights * np.exp(np.minimum(size * (slope - 1), 50.0))
                components = self.components.stepped(moments, regularization, size)
                candidate = Mixture(weights / weights.sum(), components)
                there = candidate.expected_log_joint(moments, regularization)
            if there >= here and np.isfinite(there):
                return candidate
            size /= 2
        return self

    def expected_log_joint(
        self, moments: Moments, regularization: Regularization | None = None
    ) -> float:
        """Return Q(theta), the expected log p(x, z; theta) of rows with these moments, in nats."""
        weighted = np.where(moments.weight > 0, moments.weight, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            labels = np.where(weighted > 0, weighted * np.log(self.weights), 0.0).sum()
        return float(labels) + self.components.expected_log_prob(moments, regularization)

    def elbo_terms(self, block: Block) -> ElboTerms:
        """Return the terms of eq. 3 and 4 of Ding (2020) for a block of rows."""
        q = self.posterior(block)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_resp = np.log(q.resp)
            log_ratio = log_resp - np.log(self.weights)[:, None]

        def expect(values: np.ndarray) -> np.ndarray:
            return np.where(q.resp > 0, q.resp * values, 0.0).sum(axis=0)

        with np.errstate(invalid="ignore"):
            return ElboTerms(
                reconstruction=expect(q.view.log_prob),
                kl=expect(log_ratio),
                energy=expect(q.log_joint),
                entropy=-expect(log_resp),
            )

    def to_vector(self, units: np.ndarray) -> np.ndarray:
        """Return unconstrained coordinates: log-weights, means, covariance, in `units`."""
        with np.errstate(divide="ignore"):
            log_weights = np.log(self.weights)
        means = (self.components.means / units).ravel()
        return np.concatenate([log_weights, means, self.components.covariance.to_vector(units)])

    @classmethod
    def from_vector(
        cls, vector: np.ndarray, n_components: int, units: np.ndarray, structure: type[Covariance]
    ) -> Mixture | None:
        """Invert `to_vector`; None if the covariances are numerically singular."""
        log_weights, rest = vector[:n_components], vector[n_components:]
        weights = np.exp(log_weights - log_weights.max())
        means, rest = np.split(rest, [n_components * len(units)])
        covariance = structure.from_vector(rest, n_components, units)
        if covariance is None:
            return None
        components = Components(means.reshape(n_components, -1) * units, covariance)
        return cls(weights / weights.sum(), components)
