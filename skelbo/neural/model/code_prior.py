r"""Priors of code vectors: uniform, independent and autoregressive.

.. math:: \log p(z) = \sum_c \log p(z_c \mid z_1, \dots, z_{c-1}), \quad
    p(z_c = k \mid z_{<c}) \propto \exp\Bigl(b_{ck} + \sum_{j < c} W_{cj}[z_j, k]\Bigr)

W is zero for an independent prior, b too for a uniform one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import optimize, sparse, special
from torch import Tensor, nn

# Weight, in rows, of a flat prior of each position: no code has probability zero.
PSEUDO_ROWS = 1.0
# Inverse prior variances of W among which the rows of one fold choose.
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
FOLDS = 5


class CodePrior(nn.Module):
    """Distribution of code vectors z = (z_1 .. z_C), each code one of 0 .. K - 1.

    Parameters
    ----------
    kind : {"uniform", "independent", "autoregressive"}
        What is learned.
    n_positions, n_codes : int
        C and K.

    Attributes
    ----------
    intercepts : Tensor of shape (n_positions, n_codes)
        b.
    couplings : Tensor of shape (n_positions * (n_positions - 1) / 2, n_codes, n_codes)
        W, position after position; without a row unless autoregressive.
    """

    intercepts: Tensor
    couplings: Tensor

    def __init__(self, kind: str, n_positions: int, n_codes: int):
        super().__init__()
        self.kind, self.n_positions, self.n_codes = kind, n_positions, n_codes
        n_pairs = n_positions * (n_positions - 1) // 2 if kind == "autoregressive" else 0
        self.register_buffer("intercepts", torch.zeros(n_positions, n_codes))
        self.register_buffer("couplings", torch.zeros(n_pairs, n_codes, n_codes))

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        if self.kind == "uniform":
            return 0
        free = self.n_codes - 1
        return self.n_positions * free + len(self.couplings) * free**2

    def _pair(self, c: int) -> int:
        """Return the place of the couplings of position c with position 0."""
        return c * (c - 1) // 2

    def conditional(self, c: int, before: Tensor) -> Tensor:
        """Return log p(z_c | z_<c).

        Parameters
        ----------
        c : int
            Position.
        before : Tensor of int, shape (..., c) or more
            Codes of the positions before it.

        Returns
        -------
        Tensor of shape (..., n_codes)
            In nats.
        """
        logits = self.intercepts[c].expand(*before.shape[:-1], self.n_codes)
        if self.kind == "autoregressive":
            for j in range(c):
                logits = logits + self.couplings[self._pair(c) + j][before[..., j]]
        return torch.log_softmax(logits, -1)

    def log_prob(self, codes: Tensor) -> Tensor:
        """Return log p(z) of code vectors (..., n_positions), shape (...), in nats."""
        codes = codes.long()
        total = self.intercepts.new_zeros(codes.shape[:-1])
        for c in range(self.n_positions):
            conditional = self.conditional(c, codes)
            total = total + conditional.gather(-1, codes[..., c : c + 1])[..., 0]
        return total

    def sample(self, n_samples: int, generator: torch.Generator) -> Tensor:
        """Draw code vectors, int, shape (n_samples, n_positions)."""
        shape, device = (n_samples, self.n_positions), generator.device
        uniform = torch.rand(shape, dtype=torch.float64, device=device, generator=generator)
        uniform = uniform.to(self.intercepts.device)
        codes = uniform.new_zeros(shape, dtype=torch.long)
        for c in range(self.n_positions):
            codes[:, c] = inverse_cdf(self.conditional(c, codes), uniform[:, c])
        return codes

    def maximize(self, codes: Tensor, weights: Tensor | None) -> None:
        """Fit to code vectors (n_samples, n_positions), with frequency weights."""
        if self.kind == "uniform":
            return
        z = codes.cpu().numpy()
        w = np.ones(len(z)) if weights is None else weights.double().cpu().numpy()
        for c in range(self.n_positions):
            b, W = _regression(z[:, :c], z[:, c], w, self.n_codes, len(self.couplings) > 0)
            self.intercepts[c].copy_(torch.as_tensor(b))
            if len(W):
                pairs = slice(self._pair(c), self._pair(c) + c)
                self.couplings[pairs].copy_(torch.as_tensor(W).view(c, self.n_codes, self.n_codes))


def inverse_cdf(log_prob: Tensor, uniform: Tensor) -> Tensor:
    """Return the code at a quantile, shape (...), from log-probabilities (..., n_codes)."""
    cumulative = log_prob.double().exp().cumsum(-1)
    reached = uniform.double()[..., None] * cumulative[..., -1:]
    return (cumulative <= reached).sum(-1).clamp(max=log_prob.shape[-1] - 1)


def _regression(
    before: np.ndarray, z: np.ndarray, weights: np.ndarray, n_codes: int, coupled: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return intercepts and couplings of one position: a penalised multinomial regression."""
    target = np.zeros((len(z), n_codes))
    target[np.arange(len(z)), z] = 1.0
    counts = weights @ target + PSEUDO_ROWS / n_codes
    intercepts = np.log(counts / counts.sum())
    if not coupled or not before.shape[1]:
        return intercepts, np.empty((0, n_codes))
    rows, c = before.shape
    places = (before + n_codes * np.arange(c)).ravel()
    starts = np.arange(0, rows * c + 1, c)
    design = sparse.csr_matrix((np.ones(rows * c), places, starts), (rows, c * n_codes))
    fold = np.arange(rows) % FOLDS == 0
    if rows < 2 * FOLDS:
        return _ascend(design, target, weights, max(PENALTIES), intercepts)
    losses = []
    for penalty in PENALTIES:
        b, W = _ascend(design[~fold], target[~fold], weights[~fold], penalty, intercepts)
        log_prob = special.log_softmax(b + design[fold] @ W, axis=1)
        losses.append(-float(weights[fold] @ (log_prob * target[fold]).sum(1)))
    return _ascend(design, target, weights, PENALTIES[int(np.argmin(losses))], intercepts)


def _ascend(
    design: Any, target: np.ndarray, weights: np.ndarray, penalty: float, intercepts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return intercepts and couplings of greatest penalised likelihood."""
    n_codes = target.shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        b, W = flat[:n_codes], flat[n_codes:].reshape(-1, n_codes)
        log_prob, flat_prob = special.log_softmax(b + design @ W, 1), special.log_softmax(b)
        residual = weights[:, None] * (np.exp(log_prob) - target)
        value = -float(weights @ (log_prob * target).sum(1)) - PSEUDO_ROWS * flat_prob.mean()
        slope = residual.sum(0) + PSEUDO_ROWS * (np.exp(flat_prob) - 1 / n_codes)
        slopes = design.T @ residual + penalty * W
        return value + 0.5 * penalty * np.sum(W**2), np.concatenate([slope, slopes.ravel()])

    start = np.concatenate([intercepts, np.zeros(design.shape[1] * n_codes)])
    options = {"maxiter": 200, "ftol": 1e-10, "gtol": 1e-6 * max(weights.sum(), 1.0)}
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    return found[:n_codes], found[n_codes:].reshape(-1, n_codes)
