"""Means and covariances of the components of a fitted estimator, whatever their structure."""

from __future__ import annotations

from typing import Any

import numpy as np

from skelbo.display.column_kinds import column_kinds


def gaussian_components(estimator: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return means and covariances of the Gaussians of an estimator, None if it has none.

    Parameters
    ----------
    estimator : estimator
        Fitted; with public means and covariances of one of the covariance types, or without.

    Returns
    -------
    means : ndarray of shape (n_components, n_features)
        Means.
    covariances : ndarray of shape (n_components, n_features, n_features)
        Full matrices; NaN in the rows and columns of features that are not Gaussian.
    """
    if hasattr(estimator, "mean_"):
        means, array = np.asarray(estimator.mean_)[None], np.asarray(estimator.covariance_)
        array = array[None] if estimator.covariance_type != "spherical" else np.reshape(array, 1)
    elif hasattr(estimator, "means_") and hasattr(estimator, "covariances_"):
        means, array = np.asarray(estimator.means_), np.asarray(estimator.covariances_)
    else:
        return None
    gaussian = column_kinds(estimator, means.shape[1]) == "gaussian"
    n_components, p = len(means), int(gaussian.sum())
    covariances = np.full((n_components, len(gaussian), len(gaussian)), np.nan)
    block = full_matrices(array, estimator.covariance_type, n_components, p)
    covariances[np.ix_(np.arange(n_components), gaussian, gaussian)] = block
    return means, covariances


def full_matrices(array: np.ndarray, covariance_type: str, n_components: int, n_features: int):
    """Return covariance matrices of all components from the array of a covariance type.

    Parameters
    ----------
    array : ndarray
        Shape as in the attribute `covariances_` of `EMGaussianMixture`.
    covariance_type : str
        As of `EMGaussianMixture`; where the components share something, it is "tied" or
        "tied_diag", or one variance.
    n_components, n_features : int
        Shape of the result.

    Returns
    -------
    matrices : ndarray of shape (n_components, n_features, n_features)
        Covariances.
    """
    identity, shape = np.eye(n_features), (n_components, n_features, n_features)
    if array.ndim == 3 or covariance_type == "tied":
        matrices = array
    elif array.ndim == 2 or covariance_type == "tied_diag":
        matrices = array[..., None] * identity
    else:
        matrices = np.reshape(array, (-1, 1, 1)) * identity
    return np.broadcast_to(matrices, shape)
