"""Validation of the tables and weights that an estimator receives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from skelbo.data.dask_dispatch import is_dask
from skelbo.data.memmap import iter_rows, mapped_file
from skelbo.data.row_source import RowSource
from skelbo.data.rows import Rows
from skelbo.data.weights import check_any_weight, check_weights


def check_table(estimator: Any, X: Any, **options: Any) -> np.ndarray:
    """Return X as float32 or float64, checked by scikit-learn, a mapped file part by part.

    Masked cells are missing cells; columns of dates are refused.
    """
    X = with_missing_cells(X)
    _refuse_dates(X)
    mapped = mapped_file(X) is not None
    X = validate_data(
        estimator,
        X,
        dtype=[np.float64, np.float32],
        ensure_all_finite=False if mapped else "allow-nan",
        **options,
    )
    if mapped:
        for rows in iter_rows(X):
            assert_all_finite(rows, allow_nan=True, input_name="X")
    return X


def with_missing_cells(X: Any) -> Any:
    """Return a masked array as a plain one, with NaN where it is masked; all else as it is."""
    if not np.ma.isMaskedArray(X):
        return X
    values = np.ma.getdata(X)
    dtype = values.dtype if values.dtype.kind == "f" else np.float64
    return np.where(np.ma.getmaskarray(X), np.nan, values).astype(dtype, copy=False)


def _refuse_dates(X: Any) -> None:
    """Raise for dates and durations, of which a conversion to floats makes nanoseconds."""
    if isinstance(X, np.ndarray):
        dates = ["X"] if X.dtype.kind in "mM" else []
    else:
        names = getattr(X, "columns", ())
        dates = [f"column {name!r} of X" for name in names if _holds_dates(X[name])]
    if dates:
        raise ValueError(
            f"{dates[0]} holds dates or durations, expected numbers; subtract a date and divide "
            "by a duration, such as np.timedelta64(1, 'D')."
        )


def _holds_dates(column: Any) -> bool:
    """Return whether a column of a frame has a dtype of dates or durations."""
    return str(column.dtype).lower().startswith(("date", "duration", "timedelta", "time"))


class InputValidation:
    """Validation of X and sample_weight, in fits and after them."""

    # Rows that a fit needs at least.
    _min_samples = 2
    # Whether the predictions of a subclass refuse infinite cells themselves.
    _finds_infinity = False

    def _cells(self, n_features: int) -> tuple[int | None, int | None]:
        """Return the sizes of the temporaries of a row in a fit: complete, incomplete."""
        return None, None

    def _validate(self, X: Any, *, finite: bool = True) -> np.ndarray:
        """Check X against what was fitted; return it as float32 or float64.

        With ``finite=False`` the caller refuses infinite cells, and plain arrays are not read here.
        """
        if self._is_plainly_valid(X, finite):
            return X
        check_is_fitted(self)
        return check_table(self, X, reset=False)

    def _is_plainly_valid(self, X: Any, finite: bool) -> bool:
        """Return whether X is an array that needs no further check.

        The checks of scikit-learn take longer than some predictions.
        """
        if type(X) not in (np.ndarray, np.memmap) or X.dtype not in (np.float64, np.float32):
            return False
        fitted = vars(self)
        fits = X.ndim == 2 and X.shape[1] == fitted.get("n_features_in_")
        if "feature_names_in_" in fitted or not fits or not X.size:
            return False
        if not finite:
            return True
        with np.errstate(over="ignore", invalid="ignore"):
            return all(np.isfinite(np.add.reduce(rows, axis=None)) for rows in iter_rows(X))

    def _validate_fit(
        self, X: Any, sample_weight: Any, *, reset: bool = True, min_samples: int | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Check the arguments of a fit; the weights are None where every row counts once."""
        min_samples = self._min_samples if min_samples is None else min_samples
        X = check_table(self, X, reset=reset, ensure_min_samples=min_samples)
        return X, check_weights(sample_weight, len(X))

    def _read_rows(self, X: Any, sample_weight: Any, *, reset: bool = True) -> RowSource:
        """Check the arguments of a fit that needs no more of the rows than their statistics.

        One row is enough for an update (``reset=False``).
        """
        min_samples = self._min_samples if reset else 1
        if not is_dask(X):
            return self._rows_of(
                *self._validate_fit(X, sample_weight, reset=reset, min_samples=min_samples)
            )
        from skelbo.data.dask_answers import check_columns
        from skelbo.data.dask_rows import DaskRows

        dtype = check_columns(self, X, reset=reset)
        rows = DaskRows.read(X, sample_weight, dtype, *self._cells(X.shape[1]))
        if rows.n_samples < min_samples:
            stand_in = np.zeros((rows.n_samples, rows.n_features))
            check_array(stand_in, ensure_min_samples=min_samples, estimator=self)
        check_any_weight(rows.n_present > 0)
        return rows

    def _rows_of(self, X: np.ndarray, weights: np.ndarray | None) -> Rows:
        """Return validated rows in blocks that fit the estimator."""
        return Rows(X, weights, None, *self._cells(X.shape[1]))

    def _read_batches(
        self, X: Any, sample_weight: Any, *, reset: bool, min_rows: int
    ) -> Iterator[Rows]:
        """Check the arguments of `partial_fit`; yield the blocks of a Dask collection in turn.

        Blocks of a collection that have fewer than `min_rows` rows are joined. One row is enough
        for an update (``reset=False``).
        """
        if not is_dask(X):
            least = self._min_samples if reset else 1
            yield self._rows_of(
                *self._validate_fit(X, sample_weight, reset=reset, min_samples=least)
            )
            return
        from skelbo.data.dask_answers import check_columns
        from skelbo.data.dask_blocks import Blocks

        dtype = check_columns(self, X, reset=reset)
        for rows, weights in Blocks.of(X, sample_weight, dtype).batches(min_rows):
            check_array(rows, ensure_all_finite="allow-nan", estimator=self, input_name="X")
            yield self._rows_of(rows, check_weights(weights, len(rows)))
