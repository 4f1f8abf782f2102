"""Summary of the values of each column, from which its likelihood is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelbo.data.rows import Block

# "auto" takes integers 0 .. 9 for codes if there are enough rows for each code.
MAX_AUTO_CODES = 10
ROWS_PER_CODE = 10


@dataclass(frozen=True)
class ColumnValues:
    """Range and kind of the observed values of each column; additive over sets of rows.

    Attributes
    ----------
    n_rows : ndarray of shape (n_features,)
        Weight of the rows in which the column is observed.
    smallest, largest : ndarray of shape (n_features,)
        Range of the values; infinite where there are none.
    integral : ndarray of bool, shape (n_features,)
        Whether all values are integers.
    has_code : ndarray of bool, shape (n_features, 10)
        Which of the codes 0 to 9 occur.
    """

    n_rows: np.ndarray
    smallest: np.ndarray
    largest: np.ndarray
    integral: np.ndarray
    has_code: np.ndarray

    @classmethod
    def of_columns(
        cls, values: np.ndarray, weights: np.ndarray, observed: np.ndarray | None = None
    ) -> ColumnValues:
        """Summarise rows given columns first.

        Parameters
        ----------
        values : ndarray of shape (n_features, n_rows)
            float64, NaN where missing.
        weights : ndarray of shape (n_rows,)
            Positive.
        observed : ndarray of bool, shape (n_features, n_rows), optional
            Which cells have a value; all if not given.
        """
        if observed is None:
            low = high = values
            n_rows = np.full(len(values), weights.sum())
        else:
            low, high = np.where(observed, values, np.inf), np.where(observed, values, -np.inf)
            n_rows = observed @ weights
        smallest, largest = low.min(axis=1, initial=np.inf), high.max(axis=1, initial=-np.inf)
        integral = ((values == np.floor(values)) | np.isnan(values)).all(axis=1)
        has_code = np.zeros((len(values), MAX_AUTO_CODES), dtype=bool)
        coded = np.flatnonzero(integral & (smallest >= 0) & (largest < MAX_AUTO_CODES))
        n_codes = int(largest[coded].max(initial=-1)) + 1
        for code in range(n_codes):
            has_code[coded, code] = (values[coded] == code).any(axis=1)
        return cls(n_rows, smallest, largest, integral, has_code)

    @classmethod
    def of_block(cls, block: Block) -> ColumnValues:
        """Summarise a block of rows about zero."""
        return cls.of_columns(block.values, block.weights, block.observed)

    def __add__(self, other: ColumnValues) -> ColumnValues:
        return ColumnValues(
            self.n_rows + other.n_rows,
            np.minimum(self.smallest, other.smallest),
            np.maximum(self.largest, other.largest),
            self.integral & other.integral,
            self.has_code | other.has_code,
        )

    def name(self, column: int) -> str:
        """Return the name of the likelihood that "auto" stands for in a column.

        0 and 1 are "bernoulli", a few integer codes from 0 are "categorical" if there are ten rows
        for each code, everything else is "gaussian"; counts are never detected.
        """
        smallest, largest = self.smallest[column], self.largest[column]
        if not self.integral[column] or smallest < 0 or smallest >= largest:
            return "gaussian"
        if largest == 1:
            return "bernoulli"
        n_codes = self.has_code[column].sum()
        few = largest < MAX_AUTO_CODES and self.n_rows[column] >= ROWS_PER_CODE * n_codes
        return "categorical" if few else "gaussian"
