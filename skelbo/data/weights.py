"""Frequency weights of rows: one validated vector for fits, scores and criteria."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_array


def check_weights(sample_weight: Any, n_rows: int) -> np.ndarray | None:
    """Return the weights as a float64 vector, None where every row counts once.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,), float or None
        Frequency weights; one number is the weight of every row.
    n_rows : int
        Number of rows of X.

    Returns
    -------
    weights : ndarray of shape (n_rows,) or None
        Finite, not negative, not all zero.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, all are zero, or there is not one per row.
    """
    if sample_weight is None:
        return None
    weights = weight_vector(sample_weight, n_rows)
    check_any_weight(bool(weights.any()))
    return None if np.all(weights == 1) else weights


def weight_vector(sample_weight: Any, n_rows: int) -> np.ndarray:
    """Return the weights of some rows, which may all be zero; ValueError if they are no weights."""
    if np.ma.is_masked(sample_weight):
        raise ValueError(
            "sample_weight has masked weights, expected a number for every row; leave a row out "
            "by weight 0."
        )
    if isinstance(sample_weight, Real) or getattr(sample_weight, "shape", None) == ():
        sample_weight = np.full(n_rows, sample_weight)
    weights = check_array(
        sample_weight,
        dtype=np.float64,
        order="C",
        ensure_2d=False,
        allow_nd=True,
        ensure_min_samples=0,
        input_name="sample_weight",
    )
    check_weights_shape(weights.shape, n_rows)
    if np.any(weights < 0):
        raise ValueError(
            f"sample_weight has negative weights, the smallest is {weights.min()}, expected "
            "numbers of at least 0; leave a row out by weight 0."
        )
    return weights


def check_weights_shape(shape: tuple[int, ...], n_rows: Any) -> None:
    """Raise unless there is one weight per row."""
    if shape != (n_rows,):
        raise ValueError(
            f"sample_weight has shape {shape}, expected ({n_rows},); pass one weight per row of X, "
            "or one number for all rows."
        )


def check_any_weight(positive: bool) -> None:
    """Raise unless there is a positive weight."""
    if not positive:
        raise ValueError(
            "sample_weight is zero for all rows, expected a positive weight for at least one; "
            "leave sample_weight=None to count every row once."
        )
