"""Starts of EM for mixed columns: emissions from labels, and the space in which rows cluster."""

from __future__ import annotations

import numpy as np

from skelbo.gaussian.regularization import Regularization
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.emissions import Emissions
from skelbo.mixture.initialization import mixture_of_labels

# Share of all rows in the start of each component's columns that are not Gaussian: a probability
# that begins at 0 stays there.
POOLED = 0.1


def emissions_of_labels(
    layout: EmissionLayout,
    X: np.ndarray,
    weights: np.ndarray,
    regularization: Regularization,
    *,
    own: bool = True,
    pooled: float = POOLED,
) -> Emissions:
    """Return emissions fitted to rows whose components are known, away from the boundary.

    Parameters
    ----------
    layout : EmissionLayout
    X : ndarray of shape (n_samples, n_features)
        Rows about the origin, NaN where missing; in Gaussian columns the origin stands for NaN.
    weights : ndarray of shape (n_samples, n_components)
        Responsibilities times frequency weights.
    regularization : Regularization
        ``layout.regularization(...)``.
    own : bool, default=True
        Whether each component keeps its own covariance, where it is regular.
    pooled : float, default=0.1
        Share of all rows in the estimates of columns that are not Gaussian.

    Raises
    ------
    AscentError
        If all covariances are singular and may not be altered.
    """
    gaussian = None
    parameters: tuple[np.ndarray, ...] = ()
    if layout.structure is not None:
        block = X[:, layout.gaussian_columns]
        block = np.where(np.isnan(block), 0.0, block)
        found = mixture_of_labels(block, weights.T, layout.structure, regularization, own)
        gaussian = found.components
    if layout.table is not None:
        statistics = layout.table.stacked(X[:, layout.other_columns])
        weight = weights.sum(axis=0)[:, None]
        share = weight / weight.sum()
        all_rows = statistics @ weights.sum(axis=1)
        sums = (1 - pooled) * (weights.T @ statistics.T)
        sums += np.where(weight > 0, pooled * share, 1.0) * all_rows
        parameters = layout.table.maxima(sums)
    return Emissions(layout, gaussian, parameters)


def clustering_space(layout: EmissionLayout, X: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return rows in coordinates in which clusters are sought, each column of variance one.

    Codes become indicators, missing cells the mean. Gaussian columns under one variance for all
    keep their relative scales.

    Parameters
    ----------
    layout : EmissionLayout
    X : ndarray of shape (n_samples, n_features)
        NaN where missing.
    weights : ndarray of shape (n_samples,)
        Frequency weights.

    Returns
    -------
    ndarray of shape (n_samples, n_coordinates)
        Centred.
    """
    parts = []
    isotropic = layout.structure is not None and layout.structure.isotropic
    if isotropic:
        block = _standardized(X[:, layout.gaussian_columns], weights, common=True)
        parts.append(np.sqrt(block.shape[1]) * block)
    for j, kind in enumerate(layout.likelihoods):
        if kind.has_codes:
            codes = kind.sufficient_statistics(X[:, [j]])[:, :, 0].T
            codes[np.isnan(X[:, j])] = np.nan
            parts.append(_standardized(codes, weights, common=True))
        elif not (isotropic and j in layout.gaussian_columns):
            parts.append(_standardized(X[:, [j]], weights))
    return np.concatenate(parts, axis=1)


def _standardized(columns: np.ndarray, weights: np.ndarray, common: bool = False) -> np.ndarray:
    """Return centred columns of variance one, or of total variance one if `common`."""
    observed = ~np.isnan(columns)
    share = observed * weights[:, None]
    total = np.where(share.sum(axis=0) > 0, share.sum(axis=0), 1.0)
    cells = np.where(observed, columns, 0.0)
    steps = np.where(observed, cells - (share * cells).sum(axis=0) / total, 0.0)
    variance = (share * steps**2).sum(axis=0) / total
    variance = variance.sum(keepdims=True) if common else variance
    return steps / np.sqrt(np.where(variance > 0, variance, 1.0))
