r"""How small a noise variance may become: below its floor a column is a function of the latents."""

from __future__ import annotations

import numpy as np

# A noise variance below this share of its column's variance is a Heywood case: the likelihood
# climbs without end as the column becomes a function of the latents.
NOISE_FLOOR = 1e-6
HEYWOOD = (
    "the noise variance of column {column} reached its floor, 1e-6 of the column's variance (a "
    "Heywood case: the column is a function of the latents); use fewer latents, "
    "noise='isotropic', or remove the column."
)


def noise_floor(X: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the smallest noise variance of each column, (p,)."""
    share = weights[:, None] * ~np.isnan(X)
    total = share.sum(0)
    values = np.nan_to_num(X - np.nanmean(X, axis=0))
    variance = (share * values**2).sum(0) / total
    variance -= ((share * values).sum(0) / total) ** 2
    positive = variance[variance > 0]
    return NOISE_FLOOR * np.where(variance > 0, variance, positive.mean() if positive.size else 1.0)
