r"""What q loses, in two parts: because a network has to guess it, and because it is a Gaussian.

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
from skelbo.neural.log_marginal import Sampler, summary
from skelbo.neural.model.diagonal_gaussian import Posterior
from skelbo.neural.model.networks import LOG_VARIANCE_RANGE
from skelbo.neural.model.objectives import log_weights

# Draws of each step: enough that a row's q is fitted to its posterior rather than to the draws.
DRAWS = 64


@dataclass(frozen=True)
class Refinement:
    """The best Gaussian q of each row, and where the gap of the encoder's q comes from.

    Attributes
    ----------
    mean, std : ndarray of shape (n_samples, n_components)
        Of the refined q.
    elbo : ndarray of shape (n_samples,)
        Bound with the refined q, in nats, in the units of the data.
    amortization_gap : ndarray of shape (n_samples,)
        What the encoder loses: the refined bound minus its own.
    approximation_gap : ndarray of shape (n_samples,)
        What a diagonal Gaussian loses: `log_prob` minus `elbo`.
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


def refine(sampler: Sampler, X: np.ndarray, n_steps: int, lr: float) -> Refinement:
    """Improve q of each row by gradient steps, from where the encoder starts it.

    Parameters
    ----------
    sampler : Sampler
        The model, and the draws by which the result is judged.
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
    fitting = replace(sampler, n_draws=DRAWS, seed=sampler.seed + 1).noise()
    judging = sampler.noise()
    shape = len(X), sampler.model.n_latents
    q_mean, q_std = np.empty(shape), np.empty(shape)
    scalars = np.empty((4, len(X)))
    for place, batch in sampler.blocks(X):
        with torch.no_grad():
            q = sampler.model.encode(batch.targets, batch.mask)
        refined = _climb(sampler, q, batch, fitting, n_steps, lr)
        with torch.no_grad():
            start = sampler.log_weights(q, batch, judging)
            end = sampler.log_weights(refined, batch, judging)
            better = end.mean(0) > start.mean(0)
            refined = Posterior(
                *(
                    torch.where(better[:, None], new, old)
                    for new, old in zip(refined, q, strict=True)
                )
            )
            end = torch.where(better, end, start)
            values = end.mean(0), start.mean(0), *summary(end)[:2]
        scalars[:, place] = [value.cpu().numpy() for value in values]
        q_mean[place] = refined.mean.cpu().numpy()
        q_std[place] = torch.exp(0.5 * refined.log_variance).cpu().numpy()
    elbo, before, log_prob, error = scalars
    jacobian = sampler.columns.log_jacobian(X)
    return Refinement(
        q_mean, q_std, elbo + jacobian, elbo - before, log_prob - elbo, log_prob + jacobian, error
    )


def _climb(
    sampler: Sampler, q: Posterior, batch: Batch, noise: Tensor, n_steps: int, lr: float
) -> Posterior:
    """Climb the ELBO of each row over its own mean and log-variance, theta held fixed."""
    mean, log_variance = (t.clone().requires_grad_() for t in q)
    # In units of q's own width a step is of the right size for narrow and wide posteriors alike.
    width = torch.exp(0.5 * q.log_variance)
    shift = torch.zeros_like(mean, requires_grad=True)
    optimizer = torch.optim.Adam([shift, log_variance], lr=lr)
    for step in range(n_steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / n_steps)
        current = Posterior(mean.detach() + width * shift, log_variance.clamp(*LOG_VARIANCE_RANGE))
        # q's density held fixed: the gradient has no noise left where q is exact.
        log_w = log_weights(sampler.model, current, batch, noise, density=current.detached())
        loss = -log_w.mean(0).sum()
        shift.grad, log_variance.grad = torch.autograd.grad(loss, (shift, log_variance))
        optimizer.step()
    with torch.no_grad():
        return Posterior(mean + width * shift, log_variance.clamp(*LOG_VARIANCE_RANGE))
