"""Fitted attributes of a net, and the warnings and errors about its fit."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from skelbo.degenerate_fit import NoiseFloorWarning
from skelbo.em.loop import AscentError
from skelbo.likelihoods.noise_floor import NOISE_FLOOR
from skelbo.neural.data.columns import Columns
from skelbo.neural.model.table_likelihood import TableLikelihood
from skelbo.neural.training.runaway import check_rows

# A latent is active if the mean of q varies this much over rows (Burda et al. 2015).
ACTIVE_VARIANCE = 0.01

AT_FLOOR = (
    "{n} of {p} Gaussian columns (the first is column {first}) are constant, or their noise "
    "reached its floor, {floor:g} of the column's standard deviation: the likelihood of such a "
    "column has no upper bound. It may be discrete or a copy of another; drop it, or name its "
    "likelihood."
)
# Cause of the end of a training that did not converge -> warning.
NOT_CONVERGED = {
    "max_epochs": (
        "the bound was still rising after max_iter={max_iter} epochs; increase max_iter or lr."
    ),
    "warm_up": (
        "the weight of the KL was still rising after max_iter={max_iter} epochs; decrease "
        "kl_warmup (now {kl_warmup} epochs) or increase max_iter."
    ),
    "callback": (
        "a callback ended the fit after {n} epochs, before the bound was known to rise no more; "
        "let it end later, or take the fit as it is."
    ),
    "interrupted": "the fit was interrupted after {n} epochs; the best weights so far are kept.",
}
OVERFLOWS = (
    "the noise of column {column} has the standard deviation {deviation:g}, whose draws overflow "
    "{dtype}; use a smaller lr (now {lr:g}), or divide the column by a constant."
)
# Standard deviations of the noise within which its draws lie.
FARTHEST = 10.0


def check_finite(
    bound: np.ndarray, mean: np.ndarray, dtype: np.dtype, epoch: int, lr: float
) -> None:
    """Raise if a bound, (n_samples,), in the precision of scores, or a mean of q is not finite."""
    with np.errstate(over="ignore"):
        sound = np.isfinite(bound.astype(dtype)) & np.isfinite((mean**2).sum(axis=1))
    check_rows(torch.from_numpy(np.where(sound, bound, np.nan)), epoch, lr)


def check_noise(likelihood: TableLikelihood, columns: Columns, dtype: np.dtype, lr: float) -> None:
    """Raise if the noise is so large that draws of it overflow the precision of the data."""
    if likelihood.gaussian is None:
        return
    members = np.flatnonzero(columns.kinds == "gaussian")
    inside = likelihood.gaussian.variance.cpu().numpy().astype(np.float64)
    deviation = np.sqrt(inside) * columns.scale[members]
    largest = min(np.finfo(dtype).max, np.sqrt(np.finfo(np.float64).max)) / FARTHEST
    if not np.all(deviation <= largest):
        worst = int(np.argmax(deviation))
        raise AscentError(
            OVERFLOWS.format(
                column=members[worst], deviation=deviation[worst], dtype=np.dtype(dtype), lr=lr
            )
        )


def active_units(mean: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Return whether the mean of q varies over rows by more than 0.01, shape (n_latents,)."""
    centre = np.average(mean, axis=0, weights=weights)
    return np.average((mean - centre) ** 2, axis=0, weights=weights) > ACTIVE_VARIANCE


def warn_of_floor(likelihood: TableLikelihood, columns: Columns, stacklevel: int) -> None:
    """Warn of Gaussian columns whose noise is at its floor."""
    gaussian = likelihood.gaussian
    if gaussian is None or gaussian.noise == "unit":
        return
    members = np.flatnonzero(columns.kinds == "gaussian")
    doubtful = members[gaussian.at_floor.cpu().numpy() | columns.constant[members]]
    if len(doubtful):
        message = AT_FLOOR.format(
            n=len(doubtful), p=len(members), first=doubtful[0], floor=NOISE_FLOOR**0.5
        )
        warnings.warn(message, NoiseFloorWarning, stacklevel=stacklevel + 1)


def warn_of_end(end: str, n_iter: int, max_iter: int, kl_warmup: int, stacklevel: int) -> None:
    """Warn that training did not converge, with the cause of its end."""
    message = NOT_CONVERGED[end].format(n=n_iter, max_iter=max_iter, kl_warmup=kl_warmup)
    warnings.warn(message, ConvergenceWarning, stacklevel=stacklevel + 1)
