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
    """

    name: str
    expects: str

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
