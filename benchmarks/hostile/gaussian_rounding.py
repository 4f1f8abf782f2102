"""Rounding of log-densities under fitted Gaussians, which nearly singular covariances magnify."""

from __future__ import annotations

from typing import Any

import numpy as np

# Error of a float32 row under a mixture, nats: its rows stay in float32 where the terms that cancel
# are below 3e3, the rounding of which it is.
SINGLE = 4e-4


def gaussian_rounding(model: Any, X: np.ndarray) -> float:
    r"""Return what rounding may change in log p(x) of a row, in nats.

    With the conditional deviation :math:`s_j` of each column given the others, a mean that is off
    by the rounding :math:`\rho_j` of its column is :math:`\sum_j \rho_j / s_j` deviations off. A
    variance :math:`s_j^2`, a difference of sums of the size of the column's whole variance, is off
    by the rounding of these sums.
    """
    single = X.dtype == np.float32
    mixture = hasattr(model, "weights_")
    found = [_diagonals(model, name, X.shape[1]) for name in ("covariance", "precision")]
    rounding = SINGLE if single and mixture else 0.0
    if found[0] is None or found[1] is None:
        return rounding
    variances, inverses = found
    eps = np.finfo(X.dtype).eps
    with np.errstate(all="ignore"):
        sizes = np.nan_to_num(np.nanmax(np.abs(X), axis=0))
        steps = (0.5 * eps * sizes + eps * np.sqrt(variances)) * np.sqrt(inverses)
        sums = np.finfo(np.float64).eps * X.shape[1] * variances * inverses
        return rounding + 3 * float(np.nan_to_num(np.max(steps.sum(axis=1) + sums.sum(axis=1))))


def _diagonals(model: Any, name: str, p: int) -> np.ndarray | None:
    """Return the diagonals, (K or 1, p), of fitted matrices; None where some columns have none."""
    values = getattr(model, f"{name}_", getattr(model, f"{name}s_", None))
    if values is None or not hasattr(model, "covariance_type"):
        return None
    values = np.asarray(values, dtype=np.float64)
    kind = model.covariance_type
    if kind in ("full", "tied", "factor"):
        values = np.diagonal(values, axis1=-2, axis2=-1)
    elif kind == "spherical":
        values = values[..., None]
    values = np.atleast_2d(values)
    return np.broadcast_to(values, (len(values), p)) if values.shape[1] in (1, p) else None
