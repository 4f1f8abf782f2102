r"""The objective of a VQ-VAE: the ELBO of its codes, and a gradient that passes through them.

Hard codes: the gradient of log p(x | z) is that of the vectors of the codes, handed to the encoder
as it is (straight through; van den Oord et al. 2017), with a commitment term that keeps encodings
near their codes. Soft codes: one draw of q by the Gumbel-max trick, whose gradient is that of a
softmax (Jang et al. 2017; Maddison et al. 2017), and the KL in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skelbo.neural.data.batches import Batch
from skelbo.neural.model.code_posterior import CodePosterior
from skelbo.neural.model.codes import CodeFamily
from skelbo.neural.model.networks import AutoEncoder
from skelbo.neural.model.objectives import Estimate, Objective

# Inverse sharpness of the softmax whose gradient stands for that of a draw.
TEMPERATURE = 0.7


@dataclass(frozen=True)
class CodeObjective(Objective):
    """ELBO of a VQ-VAE; while it is climbed by a training model, the codebook follows.

    Attributes
    ----------
    commitment : float
        Weight of the squared distances of encodings to their codes; of hard codes only.
    """

    commitment: float = 0.25

    def is_random(self, model: AutoEncoder) -> bool:
        """Return whether the bound depends on draws: that of soft codes does."""
        family = model.family
        assert isinstance(family, CodeFamily)
        return family.soft

    def noise(self, model: AutoEncoder, batch: Batch, generator: torch.Generator) -> Tensor:
        """Draw Gumbel noise for soft codes, shape (1, n_samples, C, K); none for hard ones."""
        family, n = model.family, batch.n_samples
        assert isinstance(family, CodeFamily)
        if not family.soft:
            return batch.targets.new_empty(1, n, 0)
        shape, like = (1, n, family.n_latents, family.n_codes), batch.targets
        uniform = torch.rand(shape, dtype=like.dtype, device=generator.device, generator=generator)
        tiny = torch.finfo(uniform.dtype).tiny
        return -(-uniform.clamp(min=tiny).log()).clamp(min=tiny).log().to(like.device)

    def __call__(
        self, model: AutoEncoder, batch: Batch, noise: Tensor, kl_weight: Tensor | float
    ) -> Estimate:
        """Estimate the bound of each row; its KL is that to the independent prior."""
        q = model.encode(batch.targets, batch.mask)
        family = model.family
        assert isinstance(q, CodePosterior)
        assert isinstance(family, CodeFamily)
        if family.soft:
            inputs, penalty = _drawn(q, noise[0]), q.kl()
        else:
            vectors = family.vectors(q.codes)
            inputs = q.encodings + (vectors - q.encodings).detach()
            penalty = self.commitment * (q.encodings - vectors).square().sum((1, 2))
        outputs = model.decode_embedded(inputs.flatten(1))
        evaluation = model.likelihood.evaluate(outputs, batch.targets, batch.mask)
        bound = (evaluation.log_prob - q.kl()).detach()
        if model.training:
            family.follow(q, batch.weights)
        squares = None if evaluation.squares is None else evaluation.squares.detach()[None]
        return Estimate(evaluation.log_prob - penalty, bound, None, squares)


def _drawn(q: CodePosterior, noise: Tensor) -> Tensor:
    """Return the vectors of a draw, with the gradient of those of a softmax."""
    soft = torch.softmax((q.log_soft + noise) / TEMPERATURE, -1)
    hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
    share = hard + soft - soft.detach()
    return torch.einsum("nck,ckd->ncd", share, q.family.codebook)
