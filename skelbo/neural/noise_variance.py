"""Noise variances of the Gaussian columns of a net, in the units of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skelbo.neural.data.columns import Columns
from skelbo.neural.model.table_likelihood import TableLikelihood


def noise_variance(likelihood: TableLikelihood, columns: Columns) -> np.ndarray | float:
    """Return the noise variances, shape (n_features,), read-only.

    NaN for columns that are not Gaussian; one number if all columns share one variance.
    """
    variance = np.full(columns.n_features, np.nan)
    if likelihood.gaussian is not None:
        chosen = columns.kinds == "gaussian"
        inside = likelihood.gaussian.variance.cpu().numpy().astype(np.float64)
        variance[chosen] = inside * columns.scale[chosen] ** 2
        if likelihood.gaussian.noise == "isotropic":
            return float(variance[chosen].mean())
    variance.flags.writeable = False
    return variance


def set_noise_variance(likelihood: TableLikelihood, columns: Columns, value: Any) -> None:
    """Set the noise variances of a net, from which its scores and draws follow.

    Parameters
    ----------
    likelihood : TableLikelihood
        Of the net; it is changed in place.
    columns : Columns
        Units of the data.
    value : array-like of shape (n_features,) or float
        In the units of the data; ignored for columns that are not Gaussian.

    Raises
    ------
    ValueError
        If the net has no variance of that form, or a variance is not positive and finite.
    """
    gaussian = likelihood.gaussian
    if gaussian is None or gaussian.noise == "unit":
        reason = "no column is Gaussian" if gaussian is None else "noise='unit' fixes it"
        raise ValueError(f"noise_variance_ cannot be set: {reason}; fit with noise='diag'.")
    variance = np.asarray(value, dtype=np.float64)
    shape = () if gaussian.noise == "isotropic" else (columns.n_features,)
    if variance.shape != shape:
        raise ValueError(
            f"noise_variance_ got the shape {variance.shape}, expected {shape} with "
            f"noise={gaussian.noise!r}; pass one variance per "
            f"{'table' if shape == () else 'column'}."
        )
    chosen = columns.kinds == "gaussian"
    inside = np.broadcast_to(variance, columns.n_features)[chosen] / columns.scale[chosen] ** 2
    if not (np.isfinite(inside).all() and (inside > 0).all()):
        raise ValueError(
            f"noise_variance_ got {value!r}, expected positive finite variances of the Gaussian "
            "columns, in the units of the data."
        )
    gaussian.variance.copy_(torch.as_tensor(inside))
