"""ELBO of an encoder whose decoder is fixed, with the noise of the exact EM step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.networks import AutoEncoder
from skelbo.neural.model.objectives import Estimate, Objective


@dataclass(frozen=True)
class EncoderObjective(Objective):
    r"""ELBO for the encoder; draws of q weighted by p(x, z) / q(z | x) for the noise.

    The noise that maximises the ELBO includes the error of q: a poor encoder makes a large noise,
    and a large noise keeps the encoder poor, up to q = p(z). Under weighted draws the step over the
    noise is EM's, towards the maximum of log p(x), which the encoder then follows. The gradient of
    the ELBO has no noise where q is exact (Roeder et al. 2017).
    """

    n_draws: int = 5

    def __call__(
        self, model: AutoEncoder, batch: Batch, noise: torch.Tensor, kl_weight: torch.Tensor | float
    ) -> Estimate:
        """Estimate the ELBO of each row; the decoder learns nothing."""
        q = model.encode(batch.targets, batch.mask)
        z = q.draw(noise)
        evaluation = model.likelihood.evaluate(model.decode(z), batch.targets, batch.mask)
        log_w = evaluation.log_prob + model.family.log_prior(z) - q.detached().log_prob(z)
        bound = log_w.mean(0)
        share = torch.softmax(log_w.detach(), 0)
        squares = None if evaluation.squares is None else evaluation.squares.detach()
        return Estimate(bound, bound.detach(), share, squares)
