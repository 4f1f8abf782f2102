r"""The objectives of a variational auto-encoder: bounds on log p(x), and their gradients.

All are made of one quantity, the log-weight of a draw z of q(z | x):

.. math:: \log w = \log p(x \mid z) + \log p(z) - \log q(z \mid x)

Its mean is the ELBO (Ding 2020, eq. 3 and 4), the log of the mean of w the importance-weighted
bound (Burda et al. 2015), and with many draws log p(x) itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.latent_family import LatentPosterior, LatentProposal
from skelbo.neural.model.networks import AutoEncoder


def log_weights(
    model: AutoEncoder,
    q: LatentProposal,
    batch: Batch,
    noise: Tensor,
    density: LatentProposal | None = None,
) -> Tensor:
    """Return log p(x, z) - log q(z | x) of draws of q.

    Parameters
    ----------
    model : AutoEncoder
        Both networks.
    q : LatentProposal
        Distribution of the draws.
    batch : Batch
        Rows.
    noise : Tensor of shape (n_draws, n_samples or 1, ...)
        Noise of the family.
    density : LatentProposal, optional
        Density of the draws where it differs from q, as q without its gradient; q by default.

    Returns
    -------
    Tensor of shape (n_draws, n_samples)
        In nats, in the units of the network.
    """
    z = q.draw(noise)
    log_prob = model.likelihood.evaluate(model.decode(z), batch.targets, batch.mask).log_prob
    return log_prob + model.family.log_prior(z) - (q if density is None else density).log_prob(z)


class Estimate(NamedTuple):
    """A bound of each row, its gradient's surrogate, and the residuals for the noise variance.

    Attributes
    ----------
    surrogate : Tensor of shape (n_samples,)
        Its gradient is the direction of ascent; its value need not be the bound.
    bound : Tensor of shape (n_samples,)
        The bound itself, at beta = 1, in nats, in the units of the network; no gradient.
    share : Tensor of shape (n_draws, n_samples) or None
        Weight of each draw in the theta-step; None where all are equal.
    squares : Tensor of shape (n_draws, n_samples, n_gaussian) or None
        Squared residuals, no gradient.
    """

    surrogate: Tensor
    bound: Tensor
    share: Tensor | None
    squares: Tensor | None


@dataclass(frozen=True)
class Objective:
    r"""A bound on log p(x) and an estimator of its gradient.

    Attributes
    ----------
    name : {"elbo", "iwae", "reconstruction"}
        ``"elbo"``: :math:`E_q[\log p(x \mid z)] - \beta\,\mathrm{KL}(q \,\|\, p(z))`, with the KL
        in closed form: Algorithm 2 of Ding (2020). ``"iwae"``: :math:`\log \frac1K \sum_k w_k`.
        ``"reconstruction"``: :math:`\log p(x \mid z)` at the mean of q, that of an auto-encoder.
    gradient : {"reparameterized", "score_function", "dreg"}
        Through the draws; by the score function (Ding 2020, footnote 5), with the other draws as
        baseline; or doubly reparameterised (Tucker et al. 2018), which for the ELBO is "sticking
        the landing" (Roeder et al. 2017): no noise where q is exact.
    n_draws : int
        M of Algorithm 2, K of the importance-weighted bound.
    """

    name: str = "elbo"
    gradient: str = "reparameterized"
    n_draws: int = 1

    def is_random(self, model: AutoEncoder) -> bool:
        """Return whether the bound depends on draws."""
        return self.name != "reconstruction"

    def noise(self, model: AutoEncoder, batch: Batch, generator: torch.Generator) -> Tensor:
        """Draw the noise behind z of a batch, shape (n_draws, n_samples, ...)."""
        if self.name == "reconstruction":
            return batch.targets.new_empty(1, batch.n_samples, 0)
        return model.family.noise(self.n_draws, batch.n_samples, batch.targets, generator)

    def __call__(
        self, model: AutoEncoder, batch: Batch, noise: Tensor, kl_weight: Tensor | float
    ) -> Estimate:
        """Estimate the bound of each row.

        Parameters
        ----------
        model : AutoEncoder
            Both networks.
        batch : Batch
            Rows.
        noise : Tensor of shape (n_draws, n_samples, ...)
            As `noise` draws it.
        kl_weight : Tensor or float
            beta, warmed up.

        Returns
        -------
        Estimate
            Per row, in nats.
        """
        q = model.encode(batch.targets, batch.mask)
        if self.name == "reconstruction":
            return _reconstruction(model, q, batch)
        if self.gradient == "score_function":
            return _by_score_function(model, q, batch, noise, kl_weight)
        if self.name == "elbo" and self.gradient == "reparameterized":
            return _algorithm_2(model, q, batch, noise, kl_weight)
        return self._by_weights(model, q, batch, noise, kl_weight)

    def _by_weights(self, model, q: LatentPosterior, batch: Batch, noise, kl_weight) -> Estimate:
        """Climb the mean of log w, or the log of the mean of w."""
        dreg = self.gradient == "dreg"
        z = q.draw(noise)
        # Doubly reparameterised: q counts only through its draws, whose gradients are weighted
        # once more by the share of the draw (Tucker et al. 2018, eq. 8).
        density = q.detached() if dreg else q
        evaluation = model.likelihood.evaluate(model.decode(z), batch.targets, batch.mask)
        ratio = model.family.log_prior(z) - density.log_prob(z)
        log_w = evaluation.log_prob + kl_weight * ratio
        plain = (evaluation.log_prob + ratio).detach()
        squares = None if evaluation.squares is None else evaluation.squares.detach()
        if self.name == "elbo":
            return Estimate(log_w.mean(0), plain.mean(0), None, squares)
        share = torch.softmax(log_w.detach(), dim=0)
        if dreg and z.requires_grad:
            z.register_hook(lambda gradient: gradient * share[..., None])
        bound = torch.logsumexp(plain, 0) - math.log(self.n_draws)
        return Estimate((share * log_w).sum(0), bound, share, squares)


def _reconstruction(model: AutoEncoder, q: LatentPosterior, batch: Batch) -> Estimate:
    """Return log p(x | z) at the mean of q."""
    evaluation = model.likelihood.evaluate(model.decode(q.mean), batch.targets, batch.mask)
    squares = None if evaluation.squares is None else evaluation.squares.detach()[None]
    return Estimate(evaluation.log_prob, evaluation.log_prob.detach(), None, squares)


def _algorithm_2(model, q: LatentPosterior, batch: Batch, noise, kl_weight) -> Estimate:
    """Reconstruction minus KL, by reparameterised draws: Ding (2020), Algorithm 2."""
    single = len(noise) == 1
    # One draw needs no axis of its own: broadcasting over it costs a small net 5 % of its step.
    outputs = model.decode(q.draw(noise[0] if single else noise))
    evaluation = model.likelihood.evaluate(outputs, batch.targets, batch.mask)
    reconstruction = evaluation.log_prob if single else evaluation.log_prob.mean(0)
    kl = q.kl()
    squares = None if evaluation.squares is None else evaluation.squares.detach()
    if single and squares is not None:
        squares = squares[None]
    if isinstance(kl_weight, float) and kl_weight == 1:
        surrogate = reconstruction - kl
        return Estimate(surrogate, surrogate.detach(), None, squares)
    bound = reconstruction.detach() - kl.detach()
    return Estimate(reconstruction - kl_weight * kl, bound, None, squares)


def _by_score_function(model, q: LatentPosterior, batch: Batch, noise, kl_weight) -> Estimate:
    r"""Climb the ELBO by :math:`E_q[(\log p(x \mid z) - b) \nabla \log q(z \mid x)]`.

    The baseline b is the mean over the other draws of the same row or, with one draw, over the
    other rows: either is independent of the draw, so that the gradient stays unbiased.
    """
    z = q.draw(noise).detach()
    evaluation = model.likelihood.evaluate(model.decode(z), batch.targets, batch.mask)
    signal = evaluation.log_prob.detach()
    axis = 0 if signal.shape[0] > 1 else 1
    others = max(signal.shape[axis] - 1, 1)
    baseline = (signal.sum(axis, keepdim=True) - signal) / others
    score = (signal - baseline) * q.log_prob(z)
    kl = q.kl()
    surrogate = (evaluation.log_prob + score).mean(0) - kl_weight * kl
    squares = None if evaluation.squares is None else evaluation.squares.detach()
    return Estimate(surrogate, (signal.mean(0) - kl).detach(), None, squares)
