"""Support of a likelihood: the values that have a density, and the error for those that do not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np


class Support(ABC):
    """Values that a column may have.

    Attributes
    ----------
    name : str
        Word of the vocabulary.
    expects : str
        The values, and a remedy: the end of the error message of `check`.
    max_value : float
        Largest value in a fit. Beyond it the terms of the log-probability at the mean are so large
        that float64 loses their difference; far from the mean, where new rows are scored, it does
        not.
    """

    name: str
    expects: str
    max_value = np.inf

    @abstractmethod
    def supports(self, values: np.ndarray) -> np.ndarray:
        """Return whether values have a density.

        Parameters
        ----------
        values : ndarray of any shape
            None of them NaN.

        Returns
        -------
        ndarray of bool, of the shape of `values`
            One for each.
        """

    def check(
        self,
        X: np.ndarray,
        columns: Sequence[int] | np.ndarray | None = None,
        first_row: int | None = None,
    ) -> None:
        """Raise an error that names the first cell without a density.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.
        columns : sequence of int, optional
            The columns to check; all by default.
        first_row : int, optional
            Number of the first row of X in the user's table; by default no row is named.

        Raises
        ------
        ValueError
            With the column, the value and a remedy.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.likelihoods import LIKELIHOODS
        >>> LIKELIHOODS["poisson"].check(np.array([[0.0, 2.0], [3.0, np.nan]]))
        """
        chosen = np.arange(X.shape[1]) if columns is None else np.asarray(columns)
        values = X if columns is None else X[:, chosen]
        with np.errstate(invalid="ignore"):
            bad = ~(self.supports(values) | np.isnan(values))
        if not bad.any():
            return
        row, column = np.argwhere(bad)[0]
        value = values[row, column]
        negative = "Negative values in data: " if value < 0 else ""
        place = "" if first_row is None else f" in row {first_row + row}"
        raise ValueError(
            f"{negative}column {chosen[column]} of X has the value {value:g}{place}, but "
            f"likelihood {self.name!r} expected {self.expects}, or use likelihood 'gaussian'."
        )

    def check_fit(self, X: np.ndarray, columns: Sequence[int] | np.ndarray | None = None) -> None:
        """Raise an error that names the first column with values beyond `max_value`.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows of a fit, NaN where missing.
        columns : sequence of int, optional
            The columns to check; all by default.

        Raises
        ------
        ValueError
            With the column, the value and a remedy.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.likelihoods import LIKELIHOODS
        >>> LIKELIHOODS["poisson"].check_fit(np.array([[0.0, 2.0], [3.0, np.nan]]))
        """
        if np.isinf(self.max_value):
            return
        for j in range(X.shape[1]) if columns is None else columns:
            self.check_largest(j, float(np.nanmax(X[:, j], initial=-np.inf)))

    def check_largest(self, column: int, value: float) -> None:
        """Raise the same error if the largest value of a column is beyond `max_value`.

        Parameters
        ----------
        column : int
            Its position.
        value : float
            Its largest value.

        Raises
        ------
        ValueError
            With the column, the value and a remedy.

        Examples
        --------
        >>> from skelbo.likelihoods import LIKELIHOODS
        >>> LIKELIHOODS["poisson"].check_largest(0, 1e6)
        """
        if value > self.max_value:
            raise ValueError(
                f"column {column} of X has the value {value:g}, but likelihood {self.name!r} "
                f"expected values up to {self.max_value:g}, whose probability float64 resolves; "
                "count in larger units, or use likelihood 'gaussian'."
            )
