"""Kind of each column of a fitted estimator."""

from __future__ import annotations

from typing import Any

import numpy as np


def column_kinds(estimator: Any, n_features: int) -> np.ndarray:
    """Return the name of the likelihood of each column.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    n_features : int
        Number of columns.

    Returns
    -------
    kinds : ndarray of str, shape (n_features,)
        ``"gaussian"`` where the estimator has no likelihood of columns.
    """
    kinds = getattr(estimator, "likelihood_", None)
    if kinds is None:
        kinds = getattr(getattr(estimator, "model_", None), "likelihood", "gaussian")
    if isinstance(kinds, str) or not np.iterable(kinds):
        kinds = [kinds] * n_features
    return np.array([kind if isinstance(kind, str) else kind.name for kind in kinds])
