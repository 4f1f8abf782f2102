r"""Refinement of q row by row, and the two parts of the encoder's gap.

.. math:: \log p(x) - \mathrm{ELBO}(q_\phi) =
    \underbrace{\mathrm{ELBO}(q^*) - \mathrm{ELBO}(q_\phi)}_{amortisation} +
    \underbrace{\log p(x) - \mathrm{ELBO}(q^*)}_{approximation}
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from skelbo.neural.data.batches import Batch
from skelbo.neural.log_marginal import WeightedDraws, summary
from skelbo.neural.model.latent_family import LatentPosterior
from skelbo.neural.model.objectives import log_weights

# Draws per step: enough that a row's q is fitted to its posterior rather than to the draws.
DRAWS = 64


@dataclass(frozen=True)
class Refinement:
    """The best q of each row, and the parts of the gap of the encoder's q.

    Attributes
    ----------
    mean, std : ndarray of shape (n_samples, n_components)
        Mean and standard deviation of the refined q.
    elbo : ndarray of shape (n_samples,)
        Bound with the refined q, in nats, in the units of the data.
    amortization_gap : ndarray of shape (n_samples,)
        Loss of the encoder: the refined bound minus its own.
    approximation_gap : ndarray of shape (n_samples,)
        Loss of the family of q: `log_prob` minus `elbo`.
    log_prob, log_prob_std : ndarray of shape (n_samples,)
        log p(x) by importance sampling from the refined q, and its standard error.
    """

    mean: np.ndarray
    std: np.ndarray
    elbo: np.ndarray
    amortization_gap: np.ndarray
    approximation_gap: np.ndarray
    log_prob: np.ndarray
    log_prob_std: np.ndarray


def refine(draws: WeightedDraws, X: np.ndarray, n_steps: int, lr: float) -> Refinement:
    """Improve q of each row by gradient steps from the encoder's q.

    Parameters
    ----------
    draws : WeightedDraws
        The model, and the draws that judge the result.
    X : ndarray of shape (n_samples, n_features)
        Rows, possibly with missing cells (NaN).
    n_steps : int
        Steps of Adam.
    lr : float
        Its learning rate at first; it falls linearly to zero.

    Returns
    -------
    Refinement
        Float64. A row whose bound did not rise keeps the encoder's q.
    """
    training = replace(draws, n_draws=DRAWS, seed=draws.seed + 1).noise()
    noise = draws.noise()
    shape = len(X), draws.model.n_latents
    q_mean, q_std = np.empty(shape), np.empty(shape)
    scalars = np.empty((4, len(X)))
    for place, batch in draws.blocks(X):
        with torch.no_grad():
            q = draws.model.encode(batch.targets, batch.mask)
        step = _ascend(draws, q, batch, training, n_steps, lr)
        with torch.no_grad():
            start = draws.log_weights(q, batch, noise)
            end = draws.log_weights(q.displaced(step), batch, noise)
            better = end.mean(0) > start.mean(0)
            refined = q.displaced(torch.where(better[:, None], step, 0.0))
            end = torch.where(better, end, start)
            values = end.mean(0), start.mean(0), *summary(end)[:2]
        scalars[:, place] = [value.cpu().numpy() for value in values]
        q_mean[place], q_std[place] = refined.mean.cpu().numpy(), refined.std.cpu().numpy()
    elbo, before, log_prob, error = scalars
    jacobian = draws.columns.log_jacobian(X)
    return Refinement(
        q_mean, q_std, elbo + jacobian, elbo - before, log_prob - elbo, log_prob + jacobian, error
    )


def _ascend(
    draws: WeightedDraws, q: LatentPosterior, batch: Batch, noise: Tensor, n_steps: int, lr: float
) -> Tensor:
    """Return the displacement of q that maximises the ELBO of each row, theta held fixed."""
    width = draws.model.family.n_outputs
    step = batch.targets.new_zeros(batch.n_samples, width).requires_grad_()
    optimizer = torch.optim.Adam([step], lr=lr)
    for i in range(n_steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - i / n_steps)
        current = q.displaced(step)
        # With q's density held fixed the gradient has no noise where q is exact.
        log_w = log_weights(draws.model, current, batch, noise, density=current.detached())
        (step.grad,) = torch.autograd.grad(-log_w.mean(0).sum(), step)
        optimizer.step()
    return step.detach()
