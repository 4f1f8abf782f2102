"""The EM engine of a mixture of mixed columns, on distinct rows where these are few.

The E-step is `Mixture.e_step`, as of Gaussians: `Emissions` take their place as components.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.row_source import RowSource
from skelbo.data.rows import Rows
from skelbo.em.engine import EMEngine
from skelbo.gaussian.regularization import column_units
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.row_sample import HashSample, lexicographic, sample_size


def emission_engine(
    rows: RowSource,
    columns: ColumnMoments,
    layout: EmissionLayout,
    n_components: int,
    *,
    reg_covar: float | str,
    **options: Any,
) -> EMEngine:
    """Return the engine of a fit of a mixture with columns that are not Gaussian.

    A table of codes and counts mostly repeats few rows. Passes then run over the distinct ones
    with their numbers as weights, whatever the length of the table.

    Parameters
    ----------
    rows : RowSource
        About ``layout.origin(columns)``.
    columns : ColumnMoments
    layout : EmissionLayout
    n_components : int
    reg_covar : float or "auto"
        See `EMMixture`.
    **options
        Passed to `EMEngine`.

    Returns
    -------
    EMEngine
    """
    units = column_units(columns.positive_variance, columns.rounding_variance(rows.dtype))
    distinct = distinct_rows(rows, layout, n_components) if layout.structure is None else None
    return EMEngine(
        rows,
        layout.regularization(reg_covar, columns, rows.dtype),
        units,
        e_step=None if distinct is None else lambda theta: theta.e_step(distinct),
        **options,
    )


def distinct_rows(rows: RowSource, layout: EmissionLayout, n_components: int) -> Rows | None:
    """Return the distinct rows, sorted, with their weights; None where they are many.

    The bits of a fit then depend neither on the order of the rows nor on whether a row is weighted
    or repeated. None also where a cell is no integer.
    """
    size = sample_size(n_components)
    found = rows.fold(HashSample.of_table, size, np.ones(rows.n_features))
    X = found.values
    if len(X) == size or np.any(np.floor(X) != X, where=~np.isnan(X)):
        return None
    order = lexicographic(X)
    cells = layout.cells(n_components)
    return Rows(X[order].astype(np.float64), found.weights[order], rows.origin, *cells)
