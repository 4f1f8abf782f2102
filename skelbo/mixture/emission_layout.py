"""Likelihood of each column of a table, as components of a mixture or states of a chain use it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.row_source import RowSource
from skelbo.data.rows import Block
from skelbo.gaussian.covariance import CovarianceStructure
from skelbo.gaussian.regularization import Regularization, regularization
from skelbo.gaussian.structures import STRUCTURES
from skelbo.likelihoods import Likelihood
from skelbo.likelihoods.column_values import ColumnValues
from skelbo.likelihoods.component_table import ComponentTable
from skelbo.likelihoods.table import MixedColumns
from skelbo.likelihoods.vocabulary import as_likelihood, given_likelihoods

# Codes that a column may have however few its rows.
MANY_CODES = 100


class EmissionLayout:
    """Columns of a table: one block of Gaussian columns, and all others by their likelihoods.

    Parameters
    ----------
    likelihoods : sequence of Likelihood
        One per column.
    covariance_type : str
        Covariance structure of the block of Gaussian columns, a key of `STRUCTURES`.
    n_factors : int, default=0
        Factors per component for ``covariance_type="factor"``.

    Attributes
    ----------
    likelihoods : tuple of Likelihood
    gaussian_columns, other_columns : ndarray of int
        Positions of the columns of the block, and of the others.
    structure : CovarianceStructure or None
        Of the block; None where no column is Gaussian.
    table : ComponentTable or None
        The other columns; None where there are none.
    """

    def __init__(
        self, likelihoods: Sequence[Likelihood], covariance_type: str = "full", n_factors: int = 0
    ):
        self.likelihoods = tuple(likelihoods)
        gaussian = np.array([kind.is_block for kind in likelihoods], dtype=bool)
        self.gaussian_columns, self.other_columns = (
            np.flatnonzero(gaussian),
            np.flatnonzero(~gaussian),
        )
        p = len(self.gaussian_columns)
        self.structure: CovarianceStructure | None = None
        if p:
            self.structure = STRUCTURES[covariance_type].configured(p, n_factors)
        others = [kind for kind in likelihoods if not kind.is_block]
        self.table = ComponentTable(others) if others else None

    @classmethod
    def of_rows(
        cls, rows: RowSource, likelihood: Any, covariance_type: str = "full", n_factors: int = 0
    ) -> EmissionLayout:
        """Choose the likelihoods of a table about zero, and check its cells.

        Parameters
        ----------
        rows : RowSource
            About zero.
        likelihood : str, Likelihood, or sequence of these
            See `skelbo.likelihoods.column_likelihoods`.
        covariance_type : str
        n_factors : int

        Raises
        ------
        ValueError
            If there is not one known likelihood for each column, or a cell has no density; the
            message names the column.
        """
        given = given_likelihoods(likelihood, rows.n_features)
        values = rows.total(ColumnValues.of_block)
        names = [values.name(j) if kind == "auto" else kind for j, kind in enumerate(given)]
        kinds = [as_likelihood(kind, codes=True) for kind in names]
        rows.total(cls(kinds).check_block)
        for j, kind in enumerate(kinds):
            kind.check_largest(j, values.largest[j])
        return cls(_closed(kinds, values, rows.n_present), covariance_type, n_factors)

    @classmethod
    def of_names(
        cls,
        names: Sequence[str],
        n_codes: Sequence[int],
        covariance_type: str = "full",
        likelihood: Any = "auto",
    ) -> EmissionLayout:
        """Return the layout of a fit from the names of its likelihoods.

        Parameters
        ----------
        names : sequence of str
            One per column.
        n_codes : sequence of int
            Numbers of codes of the categorical columns, in their order.
        covariance_type : str
        likelihood : str, Likelihood, or sequence of these
            The user's own, where a name is not one of `LIKELIHOODS`.
        """
        given = given_likelihoods(likelihood, len(names))
        kinds = [
            as_likelihood(own if isinstance(own, Likelihood) else name, codes=True)
            for name, own in zip(names, given, strict=True)
        ]
        coded, closed = [j for j, kind in enumerate(kinds) if kind.has_codes], cache(_closed_at)
        if len(coded) != len(n_codes):
            raise ValueError(f"{len(coded)} categorical columns have {len(n_codes)} tables")
        for j, n in zip(coded, n_codes, strict=True):
            kinds[j] = closed(kinds[j], n)
        return cls(kinds, covariance_type)

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.likelihoods)

    @property
    def is_gaussian(self) -> bool:
        """True if all columns are Gaussian."""
        return self.table is None

    @property
    def names(self) -> np.ndarray:
        """Names of the likelihoods, an array of objects (n_features,)."""
        return np.array([kind.name for kind in self.likelihoods], dtype=object)

    def agrees_with(self, other: EmissionLayout) -> bool:
        """Return whether parameters of one are parameters of the other."""
        return all(
            one is two or (type(one) is type(two) and vars(one) == vars(two))
            for one, two in zip(self.likelihoods, other.likelihoods, strict=True)
        )

    def check(self, X: np.ndarray) -> None:
        """Raise an error that names the first column with a cell without a density.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows in the units of the data, NaN where missing.
        """
        if self.table is not None:
            MixedColumns(self.likelihoods).check(X)

    def check_block(self, block: Block) -> None:
        """Raise the same error for a block about zero."""
        self.check(block.values.T)

    def origin(self, columns: ColumnMoments) -> np.ndarray:
        """Return the point about which rows are read: means of Gaussian columns, else zero."""
        gaussian = np.zeros(self.n_features, dtype=bool)
        gaussian[self.gaussian_columns] = True
        return np.where(gaussian, columns.mean, 0.0)

    def regularization(
        self, reg_covar: float | str, columns: ColumnMoments, dtype: np.dtype
    ) -> Regularization:
        """Return the rule that `reg_covar` names for the block of Gaussian columns."""
        variances, j = columns.positive_variance, self.gaussian_columns
        return regularization(reg_covar, variances[j], columns.rounding_variance(dtype)[j])

    def cells(self, n_components: int) -> tuple[int, int | None]:
        """Return the sizes of the temporaries of a row: complete, and incomplete."""
        if self.table is None:
            assert self.structure is not None
            return self.structure.row_cells(n_components, self.n_features)
        others = 2 * n_components + self.n_features + self.table.n_statistics
        if self.structure is None:
            return others, others
        p = len(self.gaussian_columns)
        complete, incomplete = self.structure.row_cells(n_components, p)
        return others + complete, others + (p * p if incomplete is None else incomplete)

    # ----------------------------------------------------------------- blocks

    def gaussian_block(self, block: Block) -> Block:
        """Return the Gaussian columns of a block; the block itself if all columns are."""
        return block if self.table is None else block.once(self._gaussian_block)

    def statistics(self, block: Block) -> np.ndarray:
        """Return t(x) of the other columns of a block, (n_statistics, n_rows)."""
        return block.once(self._statistics)

    def log_base(self, block: Block) -> np.ndarray:
        """Return log h(x) of the other columns of a block, (n_rows,), in nats."""
        return block.once(self._log_base)

    def _gaussian_block(self, block: Block) -> Block:
        columns = self.gaussian_columns
        observed = None if block.observed is None else block.observed[columns]
        if observed is not None and observed.all():
            observed = None
        return Block(block.values[columns], block.weights, block.index, observed, block.room)

    def _statistics(self, block: Block) -> np.ndarray:
        assert self.table is not None
        return self.table.stacked(block.values[self.other_columns].T)

    def _log_base(self, block: Block) -> np.ndarray:
        assert self.table is not None
        return self.table.log_base(block.values[self.other_columns].T)


def _closed(kinds: Sequence[Likelihood], values: ColumnValues, n_rows: int) -> list[Likelihood]:
    """Give categorical columns the number of their codes; those of equal numbers are one group."""
    closed, result = cache(_closed_at), list(kinds)
    for j, kind in enumerate(kinds):
        if not kind.closed and values.n_rows[j] > 0:
            n_codes = max(int(values.largest[j]) + 1, 2)
            if n_codes > max(n_rows, MANY_CODES):
                raise ValueError(
                    f"column {j} of X has the code {values.largest[j]:g}, expected codes 0, 1, 2, "
                    f"... of which {n_rows} rows can have a share; encode the column, with "
                    "OrdinalEncoder say."
                )
            result[j] = closed(kind, n_codes)
    return result


def _closed_at(kind: Likelihood, n_codes: int) -> Likelihood:
    """Return `Likelihood.closed_at`; cached, columns of equal numbers share one instance."""
    return kind.closed_at(n_codes)
