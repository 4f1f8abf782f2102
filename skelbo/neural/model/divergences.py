r"""f-divergences of the data from a model, as functions of one logistic critic.

A critic V that separates rows x of the data from draws of the model q by logistic regression
estimates log p(x) / q(x). For every f with conjugate f*, and for any V,

.. math:: D_f(p \,\|\, q) \ge E_p[f'(e^V)] - E_q[f^*(f'(e^V))]

with equality at the true ratio (Nowozin, Cseke and Tomioka 2016, eq. 4 and 5): on rows that the
critic did not learn from, the right-hand side is a lower bound up to the noise of its means. The
critic itself never learns by an exponential, whatever f is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import softplus

# The log-ratio is bounded where its exponential counts: one draw must not decide.
LARGEST_LOG_RATIO = 6.0


class Divergence(ABC):
    """An f-divergence of the data p from the model q, in nats.

    The arguments are critics: estimates of log p(x) / q(x), shape (n_samples,).
    """

    @abstractmethod
    def data_term(self, critic: Tensor) -> Tensor:
        """Return f'(e^V) at rows of the data, shape (n_samples,)."""

    @abstractmethod
    def model_term(self, critic: Tensor) -> Tensor:
        """Return -f*(f'(e^V)) at draws of the model, shape (n_samples,)."""

    def generator_loss(self, critic: Tensor) -> Tensor:
        """Return what the generator minimises at its draws, shape (n_samples,)."""
        return self.model_term(critic)


class ForwardKL(Divergence):
    """KL(p || q), whose minimum is that of maximum likelihood: q covers p."""

    def data_term(self, critic: Tensor) -> Tensor:
        """Return 1 + V."""
        return 1 + _bounded(critic)

    def model_term(self, critic: Tensor) -> Tensor:
        """Return -e^V."""
        return -torch.exp(_bounded(critic))


class ReverseKL(Divergence):
    """KL(q || p), whose minimum takes a mode of p rather than all."""

    def data_term(self, critic: Tensor) -> Tensor:
        """Return -e^-V."""
        return -torch.exp(-_bounded(critic))

    def model_term(self, critic: Tensor) -> Tensor:
        """Return 1 - V."""
        return 1 - _bounded(critic)

    def generator_loss(self, critic: Tensor) -> Tensor:
        """Return -V, without a bound: where q has no mass of p the slope must remain."""
        return -critic


class JensenShannon(Divergence):
    """Half KL(p || m) plus half KL(q || m) with m = (p + q) / 2: at most log 2.

    Goodfellow et al. (2014) state twice this number minus log 4, Nowozin et al. twice this number.
    """

    def data_term(self, critic: Tensor) -> Tensor:
        """Return (log 2 + log sigmoid(V)) / 2."""
        return 0.5 * (math.log(2) - softplus(-critic))

    def model_term(self, critic: Tensor) -> Tensor:
        """Return (log 2 + log sigmoid(-V)) / 2."""
        return 0.5 * (math.log(2) - softplus(critic))

    def generator_loss(self, critic: Tensor) -> Tensor:
        """Return log sigmoid(-V), twice the model's term: the gradient of the game's own loss."""
        return -softplus(critic)


class NonSaturatingJensenShannon(JensenShannon):
    """Jensen-Shannon, whose generator maximises log sigmoid(V) (Goodfellow et al. 2014)."""

    def generator_loss(self, critic: Tensor) -> Tensor:
        """Return -log sigmoid(V)."""
        return softplus(-critic)


def _bounded(critic: Tensor) -> Tensor:
    return critic.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)


DIVERGENCES: dict[str, Divergence] = {
    "js": JensenShannon(),
    "kl": ForwardKL(),
    "reverse_kl": ReverseKL(),
    "js_nonsaturating": NonSaturatingJensenShannon(),
}
