"""Columns of X that the parameters of components belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Names of parameters of columns that are not Gaussian, and of the likelihoods of these.
DISCRETE_NAMES = {
    "probabilities": "bernoulli",
    "rates": "poisson",
    "category_probabilities": "categorical",
}
DISCRETE = frozenset(DISCRETE_NAMES.values())


def parameter_columns(
    name: str, names: Sequence[str], kinds: Sequence[str] | np.ndarray | None, covariance_type: str
) -> list[str] | None:
    """Return the names of the columns along the column axis of a parameter.

    Parameters
    ----------
    name : str
        Parameter of the components, without its underscore.
    names : sequence of str, length n_features
        Names of the columns of X.
    kinds : sequence of str, length n_features, or None
        Likelihoods of the columns; None where all are Gaussian.
    covariance_type : str
        Structure of the Gaussian columns.

    Returns
    -------
    columns : list of str or None
        None where the parameter has one number for all columns, as spherical variances have.
    """
    if name == "covariances" and covariance_type in ("spherical", "tied_spherical"):
        return None
    if kinds is None or name == "means":
        return list(names)
    wanted = DISCRETE_NAMES.get(name, "gaussian")
    return [label for label, kind in zip(names, kinds, strict=True) if kind == wanted]


def gaussian_means(means: np.ndarray, kinds: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return means, NaN in the columns whose means follow from other parameters."""
    return np.where([str(kind) in DISCRETE for kind in kinds], np.nan, means)
