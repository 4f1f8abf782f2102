"""Checks of a table that scikit-learn makes, part by part where it is a mapped file."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import validate_data

from skelbo.data.memmap import iter_rows, mapped_file
from skelbo.data.numeric_table import as_numbers, with_column


def check_table(estimator: Any, X: Any, **options: Any) -> np.ndarray:
    """Return X as float32 or float64, checked by scikit-learn, a mapped file part by part."""
    X, mapped = as_numbers(X), mapped_file(X) is not None
    try:
        X = validate_data(
            estimator,
            X,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False if mapped else "allow-nan",
            **options,
        )
    except (ValueError, TypeError) as error:
        raise with_column(error, X) from error
    if mapped:
        for rows in iter_rows(X):
            assert_all_finite(rows, allow_nan=True, input_name="X")
    return X
