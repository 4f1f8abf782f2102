"""Scale of each parameter: the standard error from one row if nothing else were unknown."""

from __future__ import annotations

import numpy as np

from skelbo.inference.distinct_rows import DistinctRows
from skelbo.models.constraints import ParameterVector
from skelbo.models.interface import Model

# Step of the differences in free coordinates, and draws of z for each row.
DIFFERENCE, N_DRAWS = 1e-4, 2


def parameter_scale(
    model: Model,
    data: DistinctRows,
    coordinates: ParameterVector,
    vector: np.ndarray,
    q,
    difference: float | np.ndarray = DIFFERENCE,
) -> np.ndarray:
    """Return the scale of each free coordinate, from squared scores at draws of q, (size,).

    Parameters
    ----------
    model : Model
    data : DistinctRows
        Rows of the fit.
    coordinates : ParameterVector
    vector : ndarray of shape (size,)
        Free coordinates of theta.
    q : Posterior
        Posterior of the rows at theta, independent Bernoullis or Gaussian.
    difference : float or ndarray of shape (size,), default=1e-4
        Step of the differences.
    """
    Z, steps = _draws(model, q), np.broadcast_to(difference, vector.shape)
    squares = np.zeros(len(vector))
    for k in range(len(vector)):
        sides = []
        for step in (steps[k], -steps[k]):
            moved = vector.copy()
            moved[k] += step
            theta = coordinates.from_vector(moved)
            sides.append(np.nan if theta is None else model.joint(data.X, theta).log_joint(Z))
        with np.errstate(all="ignore"):  # a difference across the edge of a density
            slopes = (sides[0] - sides[1]) / (2 * steps[k])
            squares[k] = (data.weights * slopes**2).sum() / (data.total * N_DRAWS)
    known = np.isfinite(squares) & (squares > 0)
    return np.where(known, 1 / np.sqrt(np.where(known, squares, 1.0)), 1.0)


def _draws(model, q) -> np.ndarray:
    """Return the same draws of q each time, (N_DRAWS, n, d)."""
    rng = np.random.RandomState(0)
    shape = (N_DRAWS, *q.mean.shape)
    if model.latent == "binary":
        return (rng.random_sample(shape) < q.mean).astype(np.float64)
    covariance = q.covariance
    variance = covariance if covariance.ndim == 2 else np.einsum("nkk->nk", covariance)
    return q.mean + np.sqrt(variance) * rng.standard_normal(shape)
