"""Kinds of the columns and of the latents of a fitted estimator."""

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
    kinds = getattr(estimator, "column_likelihoods_", None)  # other libraries' have none
    return np.full(n_features, "gaussian") if kinds is None else np.asarray(kinds, dtype=str)


def latent_kind(estimator: Any) -> str:
    """Return the kind of latents, "continuous" for an estimator of another library.

    Parameters
    ----------
    estimator : estimator
        Fitted.

    Returns
    -------
    kind : {"continuous", "binary", "label", "chain", "code"}
        Its `latent_kind`.
    """
    return getattr(estimator, "latent_kind", "continuous")
