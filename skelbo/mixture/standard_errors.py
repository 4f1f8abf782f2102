r"""Standard errors of the parameters of a mixture, from the observed information.

The covariance of the estimates is :math:`N (N^T I N)^{-1} N^T`, N the directions that are free:
without those that leave an equation (probabilities add up to one), parameters at the edge of their
domain, and rotations of factors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.rows import Rows
from skelbo.gaussian.factor_analysis.covariance import FactorCovariance
from skelbo.likelihoods.table import Group
from skelbo.mixture.emission_attributes import parameter_arrays
from skelbo.mixture.information import MixtureInformation
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.parameter_layout import ParameterLayout

# Most parameters for which an information matrix is formed.
MAX_INFORMATION = 1500
# Information, in shares of that of rows with known labels, below which a direction is not
# determined; squared share of such directions from which a parameter is lost with them.
NOTHING, SHARE_LOST = 1e-8, 1e-4
# The same, below which theta is clearly no maximum.
SADDLE = -0.01


def mixture_standard_errors(
    theta: Mixture, origin: np.ndarray, X: np.ndarray, weights: np.ndarray
) -> tuple[dict[str, Any], float, bool]:
    """Return the standard errors of the parameters of a mixture.

    Parameters
    ----------
    theta : Mixture
        About `origin`.
    origin : ndarray of shape (n_features,)
    X : ndarray of shape (n_samples, n_features)
        Rows of the fit, NaN where missing.
    weights : ndarray of shape (n_samples,)
        Frequency weights.

    Returns
    -------
    errors : dict
        Arrays in the shapes of the public attributes, and names of these without underscore.
        Infinite where the rows do not determine a parameter, zero where it is held at the edge of
        its domain.
    log_prob : float
        Weighted sum of log p(x) in nats.
    saddle : bool
        Whether theta is clearly no maximum.
    """
    deviations = np.sqrt(ColumnMoments.of_rows(Rows(X, weights, origin)).positive_variance)
    layout = ParameterLayout.of_mixture(theta, deviations)
    information = MixtureInformation.of_rows(layout, X, weights, origin)
    held = np.eye(layout.size)[layout.held]
    constraints = np.concatenate([layout.constraints, held])
    vector, saddle = constrained_errors(
        information.observed, information.complete, constraints, layout.flat
    )
    return public_errors(layout, vector * layout.units), information.log_prob, saddle


def constrained_errors(
    observed: np.ndarray, complete: np.ndarray, constraints: np.ndarray, flat: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Return standard errors under linear constraints (C, size), and whether there is a saddle.

    Along the directions `flat` (F, size) p(x) does not change: their parameters are lost.
    """
    units = np.where(complete > 0, complete, 1.0) ** -0.5
    rows = np.concatenate([constraints * units, flat / units])
    length = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    rows = rows / np.maximum(length, 1e-300)
    basis = linalg.null_space(rows) if len(rows) else np.eye(len(units))
    if not basis.size:
        return np.zeros(len(units)), False
    values, vectors = np.linalg.eigh(basis.T @ (units[:, None] * observed * units) @ basis)
    sound = values > NOTHING
    axes = basis @ vectors
    errors = units * np.sqrt((axes[:, sound] ** 2 / values[sound]).sum(axis=1))
    lost = (axes[:, ~sound] ** 2).sum(axis=1) + (flat**2).sum(axis=0)
    errors[lost > SHARE_LOST] = np.inf
    return errors, bool(values[0] < SADDLE)


def public_errors(layout: ParameterLayout, vector: np.ndarray) -> dict[str, Any]:
    """Return a vector of errors as arrays in the shapes of the public attributes."""
    errors: dict[str, Any] = {}
    if len(layout.weight_places):
        errors["weights"] = vector[layout.weight_places]
    means = np.full((layout.n_components, _n_features(layout)), np.nan)
    means[:, layout.gaussian_columns] = vector[layout.mean_places]
    errors["means"] = means
    if layout.gaussian is not None:
        errors |= _covariance_errors(layout, vector)
    parts = [vector[places] for places in layout.group_places]
    for (kind, columns, _), part in zip(layout.groups, parts, strict=True):
        if kind.mean_is_parameter:
            means[:, columns] = part[0]
    groups = [Group(kind, columns) for kind, columns, _ in layout.groups]
    arrays = parameter_arrays(groups, parts)
    return errors | {name.removesuffix("_"): values for name, values in arrays.items()}


def _covariance_errors(layout: ParameterLayout, vector: np.ndarray) -> dict[str, np.ndarray]:
    """Return the errors of the covariances, or of loadings and noise variances."""
    gaussian = layout.gaussian
    assert gaussian is not None
    (K, p), covariance, part = gaussian.means.shape, gaussian.covariance, None
    part = vector[layout.covariance_places]
    if isinstance(covariance, FactorCovariance):
        q = layout.tangents[0].n_factors
        return {
            "loadings": part[:, : p * q].reshape(K, p, q),
            "noise_variances": part[:, p * q :],
        }
    if covariance.structure.scatter.dense:
        rows, columns = np.tril_indices(p)
        matrices = np.empty((K, p, p))
        matrices[:, rows, columns] = matrices[:, columns, rows] = part
        part = matrices
    shape = covariance.structure.shape(K, p)
    return {"covariances": (part[0] if covariance.structure.shared else part).reshape(shape)}


def _n_features(layout: ParameterLayout) -> int:
    return len(layout.gaussian_columns) + len(layout.other_columns)


def unsupported(theta: Mixture) -> str | None:
    """Return why there are no standard errors from an information matrix, None if there are."""
    layout = ParameterLayout.of_mixture(theta)
    if not layout.has_all_tangents:
        return "the derivatives of this structure of the covariance are not known"
    if layout.size > MAX_INFORMATION:
        return (
            f"the mixture has {layout.size} parameters, and a matrix of {MAX_INFORMATION} is "
            "the largest that is formed"
        )
    return None
