"""The EM engine of a Gaussian mixture: its E-step, its M-step and its acceleration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.row_source import RowSource
from skelbo.em.engine import BolderStep, EMEngine
from skelbo.gaussian.covariance import CovarianceStructure
from skelbo.gaussian.regularization import Regularization, column_units, regularization
from skelbo.mixture.backends import e_step_of
from skelbo.mixture.mixture import Mixture


def mixture_engine(
    rows: RowSource,
    columns: ColumnMoments,
    structure: CovarianceStructure,
    n_components: int,
    *,
    reg_covar: float | str,
    solver: str,
    device: str | None,
    **options: Any,
) -> EMEngine:
    """Return the engine of a fit of a Gaussian mixture to rows about their centre.

    Parameters
    ----------
    rows : RowSource
    columns : ColumnMoments
        Means and variances of the columns of `rows`.
    structure : CovarianceStructure
    n_components : int
    reg_covar, solver, device
        See `EMGaussianMixture`.
    **options
        Passed to `EMEngine`.

    Returns
    -------
    EMEngine
    """
    variances, rounding = columns.positive_variance, columns.rounding_variance(rows.dtype)
    rule = regularization(reg_covar, variances, rounding)
    units = column_units(variances, rounding)
    if solver == "gradient":
        options |= {"acceleration": None, "steady": False}
        options["m_step_from"] = partial(
            _gradient_m_step, rows, units, structure, reg_covar, device
        )
    elif solver == "gem":
        options["m_step_from"] = lambda start: (
            lambda moments, theta: theta.gradient_step(moments, rule)
        )
    return EMEngine(
        rows,
        rule,
        units,
        e_step=e_step_of(rows, n_components, structure, device),
        bolder=_bolder_step(structure, columns, rule),
        **options,
    )


def _gradient_m_step(
    rows, units, structure, reg_covar, device, start: Mixture
) -> Callable[[Any, Mixture], Mixture]:
    """Return the step of L-BFGS on log p(X; theta) from a start."""
    from skelbo.mixture.gradient_ascent import GradientAscent  # which needs torch

    return GradientAscent(start, rows, units, structure, reg_covar, device)


def _bolder_step(
    structure: CovarianceStructure, columns: ColumnMoments, rule: Regularization
) -> BolderStep | None:
    """Return the step that accelerates Heywood cases; it needs complete rows and no ridge."""
    if not (structure.has_bolder_step and columns.complete and rule.always_succeeds):
        return None
    return lambda theta, image, moments: theta.bolder(image, moments, rule)
