"""Columns of X that the parameters of components belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skelbo.gaussian.structures import STRUCTURES
from skelbo.likelihoods import Likelihood


def parameter_columns(
    name: str, names: Sequence[str], kinds: Sequence[Likelihood], covariance_type: str
) -> list[str] | None:
    """Return the names of the columns along the column axis of a parameter.

    Parameters
    ----------
    name : str
        Parameter of the components, without its underscore.
    names : sequence of str, length n_features
        Names of the columns of X.
    kinds : sequence of Likelihood, length n_features or 0
        Likelihoods of the columns; none where all are Gaussian.
    covariance_type : str
        Structure of the Gaussian columns.

    Returns
    -------
    columns : list of str or None
        None where the parameter has one number for all columns, as spherical variances have.
    """
    if name == "covariances" and STRUCTURES[covariance_type].isotropic:
        return None
    if not kinds or name == "means":
        return list(names)
    pairs = zip(names, kinds, strict=True)
    return [label for label, kind in pairs if _attribute(kind) == name]


def _attribute(kind: Likelihood) -> str:
    """Return the name of the parameters of a column, without its underscore."""
    return "covariances" if kind.is_block else kind.attribute.removesuffix("_")


def gaussian_means(means: np.ndarray, kinds: Sequence[Likelihood]) -> np.ndarray:
    """Return means, NaN in the columns whose means follow from other parameters."""
    return np.where([kind.is_block for kind in kinds], means, np.nan) if kinds else means
