"""Tables as numbers: masked cells are missing, dates are refused, errors name the column."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import numpy as np
from sklearn.utils import check_array

DATES = (
    "column {column!r} of X holds dates or durations, expected numbers (type {kind}); subtract a "
    "date and divide by a duration, such as np.timedelta64(1, 'D'), or remove the column."
)
NO_NUMBERS = "{error} (column {column!r} of X, of type {kind}); encode or remove the column."


def as_numbers(X: Any) -> Any:
    """Return a table without masks: NaN stands for masked cells and for `pandas.NA`.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        A masked array, a list of masked rows, and what holds `pandas.NA` in columns of type object
        are copied; everything else is returned as it is.

    Returns
    -------
    X : array-like of shape (n_samples, n_features)

    Raises
    ------
    ValueError
        If a column holds dates or durations: numpy would count their ticks, and NaT as -2^63.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo.data.numeric_table import as_numbers
    >>> as_numbers(np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]]))
    array([[ 1., nan],
           [ 3.,  4.]])
    """
    X = without_masks(X)
    for name, column in _columns(X):
        kind = _kind_of_dates(column)
        if kind is not None:
            raise ValueError(DATES.format(column=name, kind=kind))
    return _without_na(X)


def as_table(X: Any) -> Any:
    """Return X with a shape and without masks, its cells otherwise unchecked; lists as arrays."""
    X = without_masks(X)
    return X if hasattr(X, "shape") else np.asarray(X)


def without_masks(X: Any) -> Any:
    """Return a masked array, or a list of masked rows, with NaN in masked cells; others as is."""
    if isinstance(X, list | tuple) and any(isinstance(row, np.ma.MaskedArray) for row in X):
        X = np.ma.stack([np.ma.asarray(row) for row in X])
    if not isinstance(X, np.ma.MaskedArray):
        return X
    return np.ma.asarray(X, None if X.dtype.kind == "f" else np.float64).filled(np.nan)


def _without_na(X: Any) -> Any:
    """Return a table with NaN in place of `pandas.NA`, which has no place among numbers."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return X
    if isinstance(X, pandas.DataFrame):
        holders = [place for place, (_, column) in enumerate(X.items()) if _has_na(column)]
        X = X.copy(deep=False) if holders else X
        for place in holders:
            X.isetitem(place, _nan_for_na(X.iloc[:, place].to_numpy()))
        return X
    array = _as_array(X) if isinstance(X, list | tuple) else X
    if not (isinstance(array, np.ndarray) and array.ndim == 2 and _has_na(array)):
        return X
    return _nan_for_na(array)


def _has_na(cells: Any) -> bool:
    """Return whether an array or column of type object holds `pandas.NA`."""
    missing = sys.modules["pandas"].NA
    return cells.dtype == object and any(cell is missing for cell in np.ravel(cells))


def _nan_for_na(cells: np.ndarray) -> np.ndarray:
    """Return an array of type object with NaN in place of `pandas.NA`."""
    missing = sys.modules["pandas"].NA
    flat = [np.nan if cell is missing else cell for cell in cells.ravel()]
    result = np.empty(cells.shape, dtype=object)
    result.ravel()[:] = flat
    return result


def with_column(error: Exception, X: Any) -> Exception:
    """Return an error of a conversion with the name of the first column that has no numbers."""
    for name, column in _columns(X):
        try:
            check_array(column, dtype=np.float64, ensure_2d=False, ensure_all_finite=False)
        except (ValueError, TypeError):
            message = NO_NUMBERS.format(error=error, column=name, kind=column.dtype)
            return ValueError(message) if isinstance(error, ValueError) else TypeError(message)
    return error


def _columns(X: Any) -> Iterator[tuple[Any, Any]]:
    """Yield name and content of each column, where there may be columns without numbers."""
    if _is_of(X, "pandas", "DataFrame"):
        yield from X.items()
    elif _is_of(X, "polars", "DataFrame"):
        yield from zip(X.columns, X.get_columns(), strict=True)
    else:
        X = _as_array(X) if isinstance(X, list | tuple) else X
        if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind not in "biuf":
            yield from enumerate(X.T)


def _as_array(X: Any) -> np.ndarray | None:
    """Return a list of rows as an array, None if they are of several lengths."""
    try:
        array = np.asarray(X)
    except ValueError:
        return None
    return array.astype(object) if array.dtype.kind in "US" else array


def _is_of(X: Any, library: str, name: str) -> bool:
    """Return whether X is of a class of a library, without importing it."""
    module = sys.modules.get(library)
    return module is not None and isinstance(X, getattr(module, name))


def _kind_of_dates(column: Any) -> str | None:
    """Return the type of the dates or durations in a column, None if it has none."""
    dtype = column.dtype
    if _is_of(column, "polars", "Series"):
        return str(dtype) if dtype.is_temporal() else None
    if dtype.kind in "mM" or str(dtype).startswith("period"):
        return str(dtype)
    if dtype.kind != "O":
        return None
    dates = date, timedelta, np.datetime64, np.timedelta64
    return next((type(cell).__name__ for cell in column if isinstance(cell, dates)), None)
