"""Grids of columns on which a density is evaluated, all other columns integrated out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.display.column_kinds import column_kinds, latent_kind
from skelbo.display.shown_table import ShownTable

MAX_COLUMNS = 6
# Share of the range of a column that a grid reaches beyond its values.
MARGIN = 0.1

SEQUENCE = (
    "{name} gives rows a density within their sequence, not alone; use SequenceDisplay for the "
    "states and the forecasts of a sequence."
)
TOO_MANY = (
    "X has {n} columns, expected at most {limit} to draw in pairs; choose some by "
    "features=[0, 1, ...], and the others are integrated out."
)
DISCRETE = (
    "features contains column {column}, which is {kind} and has no density to draw contours of; "
    "choose among the columns with a Gaussian likelihood: {real}."
)


@dataclass(frozen=True)
class DensityGrid:
    """Columns of a table and the estimator whose density is drawn over them.

    Attributes
    ----------
    estimator : estimator
        Fitted, with `score_samples`.
    table : ShownTable
        All columns.
    features : list of int
        Columns that are drawn.
    """

    estimator: Any
    table: ShownTable
    features: list[int]

    @classmethod
    def of_rows(cls, estimator: Any, X: Any, features: Any = None) -> DensityGrid:
        """Choose the columns.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        X : array-like of shape (n_samples, n_features)
            Rows.
        features : list of int or str, default=None
            Columns; None is all that have a density.

        Returns
        -------
        grid : DensityGrid
            Columns and names.

        Raises
        ------
        ValueError
            If columns are too many, unknown or discrete.
        """
        table = ShownTable.of(X)
        names = table.names
        kinds = column_kinds(estimator, len(names))
        if latent_kind(estimator) == "chain":
            raise ValueError(SEQUENCE.format(name=type(estimator).__name__))
        real = [names[j] for j in range(len(names)) if kinds[j] == "gaussian"]
        if features is None:
            features = real or names[:1]
        chosen = [table.index(feature) for feature in features]
        for column in chosen:
            if kinds[column] != "gaussian":
                raise ValueError(
                    DISCRETE.format(column=names[column], kind=kinds[column], real=real or "none")
                )
        if not 1 <= len(chosen) <= MAX_COLUMNS:
            raise ValueError(TOO_MANY.format(n=len(chosen), limit=MAX_COLUMNS))
        return cls(estimator, table, chosen)

    @property
    def X(self) -> np.ndarray:
        """Columns that are drawn, shape (n_samples, n_columns)."""
        return self.table.values[:, self.features]

    @property
    def names(self) -> list[str]:
        """Names of these columns."""
        return [self.table.names[j] for j in self.features]

    def axes(self, resolution: int) -> list[np.ndarray]:
        """Return the values of each column at which the density is evaluated.

        Parameters
        ----------
        resolution : int
            Number of values.

        Returns
        -------
        axes : list of ndarray of shape (resolution,)
            From below the least value to above the largest.
        """
        low, high = np.nanmin(self.X, axis=0), np.nanmax(self.X, axis=0)
        margin = MARGIN * np.where(high > low, high - low, 1.0)
        return list(np.linspace(low - margin, high + margin, resolution, axis=1))

    def pairs(self) -> list[tuple[int, int]]:
        """Return the keys of all panels: (i, i) of one column and (i, j), i < j, of two."""
        n = len(self.features)
        return [(i, j) for j in range(n) for i in range(j + 1)]

    def log_prob(self, axes: list[np.ndarray], pair: tuple[int, int]) -> np.ndarray:
        """Evaluate the log-density of one or two columns on their grid.

        Parameters
        ----------
        axes : list of ndarray
            Values of each column.
        pair : tuple of (int, int)
            Key as in `pairs`.

        Returns
        -------
        log_prob : ndarray of shape (n_i,) or (n_j, n_i)
            In nats.
        """
        i, j = pair
        values = [axes[i].ravel()] if i == j else [m.ravel() for m in np.meshgrid(axes[i], axes[j])]
        rows = np.full((len(values[0]), len(self.table.names)), np.nan)
        for position, column in zip(dict.fromkeys(pair), values, strict=True):
            rows[:, self.features[position]] = column
        shape = (len(axes[i]),) if i == j else (len(axes[j]), len(axes[i]))
        return np.asarray(self.estimator.score_samples(self.table.like(rows))).reshape(shape)
