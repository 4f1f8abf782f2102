"""Checks of the columns of a Dask collection."""

from __future__ import annotations

from typing import Any

import numpy as np

from skelbo.data.dask_blocks import (
    without_rows,
)
from skelbo.data.table_check import check_table


def check_columns(estimator: Any, X: Any, *, reset: bool) -> np.dtype:
    """Check number, names and types of the columns; return float32 or float64."""
    return check_table(estimator, without_rows(X), reset=reset, ensure_min_samples=0).dtype
