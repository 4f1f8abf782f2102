r"""Derivatives of log p(x | component) in the parameters of a component.

.. math:: \partial_\theta \log p(x \mid k) = \sum_s t_s(x)\, \partial_\theta \eta_s(\theta)

They make the observed information of mixtures, and so the standard errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# Step of a numerical derivative, in shares of the parameter: the formulas err by its 4th power,
# rounding by 1e-16 over its square.
STEP = 1e-3
# Weights of the values at +-1 and +-2 steps in a first derivative of fourth order.
STENCIL = ((1, 2 / 3), (-1, -2 / 3), (2, -1 / 12), (-2, 1 / 12))


def separate_derivatives(
    first: np.ndarray, second: np.ndarray, observed: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives of parameters whose mixed second derivatives are zero.

    Parameters
    ----------
    first, second : ndarray of shape (n_samples, n_parameters, n_features)
        First, and minus second derivatives of each cell, anything where they are infinite.
    observed : ndarray of bool, shape (n_samples, 1, n_features)
        Whether each cell is there.
    weights : ndarray of shape (n_samples,)
        Weights of the rows.

    Returns
    -------
    scores, information : ndarray
        As of `ComponentLikelihood.component_derivatives`.
    """
    first, second = (np.where(observed & np.isfinite(part), part, 0.0) for part in (first, second))
    n, m, p = second.shape
    information = np.zeros((m, m, p))
    diagonal = np.arange(m)
    information[diagonal, diagonal] = (weights @ second.reshape(n, -1)).reshape(m, p)
    return first, information


def numerical_derivatives(
    natural: Callable[[np.ndarray], np.ndarray],
    statistics: np.ndarray,
    parameters: np.ndarray,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives of an exponential family by differences of its natural parameters.

    Parameters
    ----------
    natural : callable
        From parameters (n_parameters, n_features) to natural ones (n_statistics, n_features).
    statistics : ndarray of shape (n_statistics, n_samples, n_features)
        Sufficient statistics of the rows.
    parameters : ndarray of shape (n_parameters, n_features)
        Of one component.
    weights : ndarray of shape (n_samples,)
        Weights of the rows.

    Returns
    -------
    scores, information : ndarray
        As of `ComponentLikelihood.component_derivatives`; zero where there are no derivatives.
    """
    steps = STEP * np.where(parameters == 0, 1.0, np.abs(parameters))

    def slopes(function: Callable) -> Callable:
        """Return the function (n_parameters, ...) of derivatives in each parameter."""

        def derivatives(theta: np.ndarray) -> np.ndarray:
            result: list[Any] = []
            for place, step in enumerate(steps):
                moved = []
                for n_steps, factor in STENCIL:
                    point = theta.copy()
                    point[place] += n_steps * step
                    moved.append(factor * function(point))
                result.append(sum(moved) / step)
            return np.stack(result)

        return derivatives

    with np.errstate(all="ignore"):
        first, second = slopes(natural)(parameters), slopes(slopes(natural))(parameters)
    first, second = (np.where(np.isfinite(part), part, 0.0) for part in (first, second))
    totals = np.einsum("n,snp->sp", weights, statistics)
    return (
        np.einsum("snp,msp->nmp", statistics, first),
        -np.einsum("sp,lmsp->lmp", totals, second),
    )
