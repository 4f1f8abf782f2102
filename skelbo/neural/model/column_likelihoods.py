r"""Likelihoods as modules: the columns of one likelihood, with what belongs to them on the device.

Outputs of a decoder have shape (n_draws, n_samples, n_outputs), targets (n_samples, n_columns).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from skelbo.likelihoods import Likelihood
from skelbo.likelihoods.gaussian import Gaussian
from skelbo.likelihoods.noise_floor import NOISE_FLOOR


class Evaluation(NamedTuple):
    """A likelihood at some outputs.

    Attributes
    ----------
    log_prob : Tensor of shape (n_draws, n_samples)
        log p(x | z) over the observed cells, nats, in the units of the network.
    squares : Tensor of shape (n_draws, n_samples, n_gaussian) or None
        Squared residuals of the Gaussian columns, zero at missing cells.
    """

    log_prob: Tensor
    squares: Tensor | None


class ColumnGroup(nn.Module):
    """Columns of one likelihood; outputs are predictors about those of the data mean.

    Parameters
    ----------
    likelihood : Likelihood
        Of these columns.
    level : ndarray of shape (n_columns,)
        Their means.

    Attributes
    ----------
    n_outputs : int
        Width of their part of the decoder's output.
    n_parameters : int
        Number of free parameters beside the outputs.
    offset : Tensor of shape (n_outputs,)
        Outputs at the data mean.
    """

    n_parameters = 0
    offset: Tensor

    def __init__(self, likelihood: Likelihood, level: np.ndarray):
        super().__init__()
        self.likelihood = likelihood
        self.n_outputs = len(level)
        self.register_buffer("offset", likelihood.offset(torch.as_tensor(level)))

    def predictor(self, outputs: Tensor) -> Tensor:
        """Return the predictors of the cells."""
        return outputs

    def evaluate(self, outputs: Tensor, targets: Tensor, mask: Tensor | None) -> Evaluation:
        """Return log p(x | z) over the observed cells of each row."""
        eta = self.predictor(outputs)
        return Evaluation(self.likelihood.row_log_prob(targets, eta, mask=mask), None)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return E[x | z]; of codes, the most probable one."""
        return self.likelihood.mean(self.predictor(outputs))

    def average(self, outputs: Tensor, share: Tensor) -> Tensor:
        """Return E[x] under draws of z with weights `share`; of codes, the most probable one."""
        return self.likelihood.average(self.predictor(outputs), share)

    def sample(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x given z."""
        return self.likelihood.sample(self.predictor(outputs), rng=generator)


class GaussianColumns(ColumnGroup):
    r"""Columns with :math:`u_j \mid z \sim N(f_j(z), v_j)`, v shared by all rows.

    Parameters
    ----------
    likelihood : Gaussian
        Of these columns.
    scale : ndarray of shape (n_columns,)
        Scale of each column in the units of the data.
    noise : {"unit", "isotropic", "diag"}
        v = 1 in standardised units; one variance in the units of the data; one per column.
    """

    likelihood: Gaussian
    variance: Tensor
    squared_scale: Tensor

    def __init__(self, likelihood: Gaussian, scale: np.ndarray, noise: str):
        super().__init__(likelihood, np.zeros(len(scale), dtype=np.float32))
        self.noise = noise
        self.register_buffer("variance", torch.ones(len(scale)))
        # Square of the scale, relative, so that "isotropic" is exact in any units.
        squared = (scale / scale.max()) ** 2
        self.register_buffer("squared_scale", torch.as_tensor(squared))
        if noise == "isotropic":
            self.variance.copy_(self.squared_scale.mean() / self.squared_scale)

    def evaluate(self, outputs: Tensor, targets: Tensor, mask: Tensor | None) -> Evaluation:
        """Return log p(u | z) over the observed cells of each row, and the squared residuals."""
        squares = self.likelihood.squared_residuals(targets, outputs, mask)
        return Evaluation(self.likelihood.row_log_prob_at(squares, self.variance, mask), squares)

    def maximize(self, variance: Tensor, rate: float) -> None:
        """Move v towards its closed-form maximum, the mean squared residual under q: a theta-step.

        Parameters
        ----------
        variance : Tensor of shape (n_columns,)
            Mean squared residuals of an epoch.
        rate : float
            Share of the move that is made.
        """
        if self.noise == "unit":
            return
        if self.noise == "isotropic":
            pooled = (variance * self.squared_scale).mean()
            floored = pooled.clamp(min=NOISE_FLOOR * self.squared_scale.mean())
            variance = floored / self.squared_scale
        self.variance.lerp_(variance.clamp(min=NOISE_FLOOR), rate)

    @property
    def n_parameters(self) -> int:  # type: ignore[override]
        """Number of free noise variances."""
        return {"unit": 0, "isotropic": 1, "diag": self.n_outputs}[self.noise]

    @property
    def at_floor(self) -> Tensor:
        """True if each column's noise lies at its floor."""
        return self.variance <= NOISE_FLOOR * (1 + 1e-6)

    def sample(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw u given z."""
        return self.likelihood.sample(outputs, self.variance, generator)


class CodeColumns(ColumnGroup):
    r"""Columns of codes; outputs are one logit per code, column after column.

    Parameters
    ----------
    likelihood : Likelihood
        Of these columns, with one predictor per code.
    frequencies : tuple of ndarray of shape (n_codes,)
        Relative frequencies of the codes of each column.
    """

    position: Tensor
    exists: Tensor

    def __init__(self, likelihood: Likelihood, frequencies: tuple[np.ndarray, ...]):
        super().__init__(likelihood, np.concatenate(frequencies))
        sizes = [len(f) for f in frequencies]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        code = np.arange(max(sizes))
        exists = code < np.array(sizes)[:, None]
        # Columns may differ in their number of codes: pad to the largest, as one tensor.
        position = np.where(exists, starts[:, None] + code, 0)
        self.register_buffer("position", torch.as_tensor(position), persistent=False)
        self.register_buffer("exists", torch.as_tensor(exists), persistent=False)

    def predictor(self, outputs: Tensor) -> Tensor:
        """Return the logits, (..., n_columns, n_codes), -inf where a column has no such code."""
        return outputs[..., self.position].masked_fill(~self.exists, -math.inf)
