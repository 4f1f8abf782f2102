"""Validation of the tables and weights that an estimator receives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skelbo.data.dask_detection import is_dask
from skelbo.data.memmap import iter_rows
from skelbo.data.row_source import RowSource
from skelbo.data.rows import Rows
from skelbo.data.table_check import check_table
from skelbo.data.weights import check_any_weight, check_weights


class InputValidation:
    """Validation of X and sample_weight, in fits and after them."""

    # Values of the parameters that shape the fitted attributes, None where these were set by hand.
    _fitted_with: dict[str, Any] | None = None
    # Rows that a fit needs at least.
    _min_samples = 2
    # Whether the predictions of a subclass refuse infinite cells themselves.
    _finds_infinity = False

    def _shaping_parameters(self) -> tuple[str, ...]:
        """Return the names of the parameters that may not change after a fit."""
        return ()

    def _check_fitted(self) -> None:
        """Raise unless the estimator is fitted, with the parameters that it has now."""
        check_is_fitted(self)
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        """Raise if a parameter that shapes the fitted attributes has changed since the fit."""
        for name, before in (self._fitted_with or {}).items():
            now = getattr(self, name)
            if now is not before and repr(now) != repr(before):
                raise ValueError(
                    f"{name}={now!r} is not that of the fit, {name}={before!r}; set it back, or "
                    "fit anew (with warm_start=False, where the estimator has it)."
                )

    def _cells(self, n_features: int) -> tuple[int | None, int | None]:
        """Return the sizes of the temporaries of a row in a fit: complete, incomplete."""
        return None, None

    def _validate(self, X: Any, *, finite: bool = True) -> np.ndarray:
        """Check X against what was fitted; return it as float32 or float64.

        With ``finite=False`` the caller refuses infinite cells, and plain arrays are not read here.
        """
        self._check_unchanged()
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
        from skelbo.data.dask_columns import check_columns
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
        from skelbo.data.dask_blocks import Blocks
        from skelbo.data.dask_columns import check_columns

        dtype = check_columns(self, X, reset=reset)
        for rows, weights in Blocks.of(X, sample_weight, dtype).batches(min_rows):
            check_array(rows, ensure_all_finite="allow-nan", estimator=self, input_name="X")
            yield self._rows_of(rows, check_weights(weights, len(rows)))
