"""Table of mixed columns: the product of the likelihoods of its columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from skelbo.likelihoods.likelihood import Likelihood


class Group(NamedTuple):
    """Columns of one likelihood.

    Attributes
    ----------
    likelihood : Likelihood
        Of these columns.
    columns : ndarray of int, shape (n_columns,)
        Their positions in the table.
    """

    likelihood: Likelihood
    columns: np.ndarray


class MixedColumns:
    r"""Likelihood of a row, :math:`\prod_j p_j(x_j)`, each column with a likelihood of its own.

    Columns of one likelihood form a group, so that a whole group is one operation on arrays.
    Parameters, predictors and statistics of a table are lists with one array per group.

    Parameters
    ----------
    likelihoods : sequence of Likelihood
        One per column.

    Attributes
    ----------
    groups : tuple of Group
        In the order in which the likelihoods occur first.
    n_features : int
        Number of columns.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo.likelihoods import LIKELIHOODS, MixedColumns
    >>> X = np.array([[1.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
    >>> table = MixedColumns([LIKELIHOODS["bernoulli"], LIKELIHOODS["poisson"]])
    >>> probabilities, rates = table.maximize(table.statistics(X, np.ones((3, 1))))
    >>> probabilities.round(3), rates
    (array([[[0.667]]]), array([[[2.]]]))
    """

    def __init__(self, likelihoods: Sequence[Likelihood]):
        self.n_features = len(likelihoods)
        kinds = dict.fromkeys(likelihoods)
        self.groups = tuple(
            Group(kind, np.array([j for j, other in enumerate(likelihoods) if other is kind]))
            for kind in kinds
        )

    def check(self, X: np.ndarray, first_row: int | None = None) -> None:
        """Raise an error that names the first cell without a density.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.
        first_row : int, optional
            Number of the first row of X in the user's table; by default no row is named.

        Raises
        ------
        ValueError
            With the column, the value and a remedy.
        """
        for likelihood, columns in self.groups:
            likelihood.check(X, columns, first_row)

    def statistics(self, X: Any, weights: Any) -> list[Any]:
        """Return the weighted sums of the sufficient statistics of each group.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Rows, NaN where missing.
        weights : array of shape (n_samples, n_components)
            Responsibilities times frequency weights.

        Returns
        -------
        list of array of shape (n_statistics, n_components, n_columns)
            Additive over rows.
        """
        return [kind.statistics(X[:, columns], weights) for kind, columns in self.groups]

    def maximize(self, statistics: Sequence[Any]) -> list[Any]:
        """Return the parameters of greatest weighted likelihood of each group.

        Parameters
        ----------
        statistics : sequence of array of shape (n_statistics, n_components, n_columns)
            Sums over all rows.

        Returns
        -------
        list of array of shape (n_parameters, n_components, n_columns)
            On their natural scale.
        """
        pairs = zip(self.groups, statistics, strict=True)
        return [group.likelihood.maximize(sums) for group, sums in pairs]

    def component_log_prob(self, X: Any, parameters: Sequence[Any]) -> Any:
        """Return log p(x | component) of each row over its observed cells.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Rows, NaN where missing.
        parameters : sequence of array of shape (n_parameters, n_components, n_columns)
            As `maximize` returns them.

        Returns
        -------
        array of shape (n_samples, n_components)
            In nats.
        """
        pairs = zip(self.groups, parameters, strict=True)
        return sum(kind.component_log_prob(X[:, j], values) for (kind, j), values in pairs)

    def log_prob(self, X: Any, etas: Sequence[Any], noises: Sequence[Any] | None = None) -> Any:
        """Return log p(x | eta) of each row over its observed cells.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Rows, NaN where missing.
        etas : sequence of array of shape (..., n_samples, n_columns[, n_codes])
            Predictors of each group.
        noises : sequence of array of shape (n_columns,), optional
            Noise variances of each group; of groups without noise anything.

        Returns
        -------
        array of shape (..., n_samples)
            In nats.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.likelihoods import LIKELIHOODS, MixedColumns
        >>> table = MixedColumns([LIKELIHOODS["bernoulli"], LIKELIHOODS["gaussian"]])
        >>> X, zero = np.array([[1.0, 0.0]]), np.zeros((1, 1))
        >>> table.log_prob(X, [zero, zero], [1.0, np.ones(1)]).round(4)
        array([-1.6121])
        """
        total = 0.0
        for g, (kind, columns) in enumerate(self.groups):
            cells, noise = X[:, columns], 1.0 if noises is None else noises[g]
            observed = cells == cells  # NaN is not equal to itself, in NumPy and torch
            mask = observed if isinstance(observed, np.ndarray) else observed.to(cells.dtype)
            cells = cells.copy() if isinstance(cells, np.ndarray) else cells.clone()
            cells[~observed] = 0.0
            total = total + kind.row_log_prob(cells, etas[g], noise, mask)
        return total
