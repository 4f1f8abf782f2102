r"""Components of a mixture over a table of mixed columns, as one exponential family.

.. math:: \log p(x \mid k) = \eta_k^T t(x) + \log h(x)

The sufficient statistics of all columns are stacked, so that the densities of all rows, and the
statistics of an M-step, are one product of matrices each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from skelbo.likelihoods.component_likelihood import LOG_ZERO, observed_cells
from skelbo.likelihoods.likelihood import Likelihood
from skelbo.likelihoods.table import MixedColumns


class ComponentTable(MixedColumns):
    """Mixed columns given the component; parameters are tuples with one array per group.

    Parameters
    ----------
    likelihoods : sequence of Likelihood
        One per column.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo.likelihoods import LIKELIHOODS
    >>> from skelbo.likelihoods.component_table import ComponentTable
    >>> table = ComponentTable([LIKELIHOODS["bernoulli"], LIKELIHOODS["poisson"]])
    >>> X = np.array([[1.0, 4.0], [0.0, 2.0]])
    >>> table.stacked(X).T
    array([[0., 1., 1., 4.],
           [1., 0., 1., 2.]])
    """

    def __init__(self, likelihoods: Sequence[Likelihood]):
        super().__init__(likelihoods)
        self.likelihoods = tuple(likelihoods)

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Numbers of statistics and of columns of each group."""
        probes = (np.full((1, len(columns)), np.nan) for _, columns in self.groups)
        pairs = zip(self.groups, probes, strict=True)
        lengths = (len(group.likelihood.sufficient_statistics(probe)) for group, probe in pairs)
        return tuple((n, len(g.columns)) for n, g in zip(lengths, self.groups, strict=True))

    @cached_property
    def n_statistics(self) -> int:
        """Length of t(x)."""
        return sum(n * p for n, p in self.shapes)

    def stacked(self, X: np.ndarray) -> np.ndarray:
        """Return t(x) of rows (n_samples, n_features), shape (n_statistics, n_samples)."""
        parts = []
        for kind, columns in self.groups:
            cells = X.T[columns].T  # in the order of memory of rows given columns first
            part = np.swapaxes(kind.sufficient_statistics(cells), 1, 2)
            parts.append(np.ascontiguousarray(part, dtype=np.float64).reshape(-1, len(X)))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def log_base(self, X: np.ndarray) -> np.ndarray:
        """Return log h(x) of rows (n_samples, n_features) over their observed cells, in nats."""
        base = np.zeros(len(X))
        for kind, columns in self.groups:
            if type(kind).log_base is Likelihood.log_base:
                continue  # zero
            known, values = observed_cells(X[:, columns])
            base += (known * kind.log_base(values)).sum(axis=1)
        return base

    def natural(self, parameters: Sequence[np.ndarray]) -> np.ndarray:
        """Return eta, (n_components, n_statistics), with `LOG_ZERO` in place of log 0."""
        pairs = zip(self.groups, parameters, strict=True)
        parts = [kind.natural_parameters(values) for (kind, _), values in pairs]
        stacked = [part.swapaxes(0, 1).reshape(part.shape[1], -1) for part in parts]
        return np.concatenate(stacked, axis=1)

    def maxima(self, sums: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the parameters of greatest weighted likelihood.

        Parameters
        ----------
        sums : ndarray of shape (n_components, n_statistics)
            Weighted sums of t(x).

        Returns
        -------
        tuple of ndarray of shape (n_parameters, n_components, n_columns)
            One per group.
        """
        parts, start = [], 0
        for n, p in self.shapes:
            part = sums[:, start : start + n * p]
            parts.append(part.reshape(len(sums), n, p).swapaxes(0, 1))
            start += n * p
        return tuple(self.maximize(parts))

    def by_column(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Return arrays (..., n_columns) of the groups as one (..., n_features)."""
        result = np.empty((*values[0].shape[:-1], self.n_features))
        for (_, columns), part in zip(self.groups, values, strict=True):
            result[..., columns] = part
        return result

    def n_parameters(self, parameters: Sequence[np.ndarray]) -> int:
        """Return the number of free parameters."""
        pairs = zip(self.groups, parameters, strict=True)
        return sum(kind.n_free(len(part)) * part[0].size for (kind, _), part in pairs)

    def mean(self, parameters: Sequence[np.ndarray]) -> np.ndarray:
        """Return E[x | component], (n_components, n_features); NaN in columns of codes."""
        pairs = zip(self.groups, parameters, strict=True)
        return self.by_column([kind.component_mean(part) for (kind, _), part in pairs])

    def expected_cells(self, parameters: Sequence[np.ndarray], resp: np.ndarray) -> np.ndarray:
        """Return E[x | resp] of all cells (n_samples, n_features); see `component_cells`."""
        pairs = zip(self.groups, parameters, strict=True)
        return self.by_column([kind.component_cells(part, resp) for (kind, _), part in pairs])

    def draw(self, parameters: Sequence[np.ndarray], labels: np.ndarray, rng: Any) -> np.ndarray:
        """Draw a row from the component that each label names, (n_samples, n_features)."""
        pairs = zip(self.groups, parameters, strict=True)
        parts = [kind.component_sample(part, labels, rng) for (kind, _), part in pairs]
        return self.by_column(parts)

    def to_vector(self, parameters: Sequence[np.ndarray]) -> np.ndarray:
        """Return coordinates of the parameters, shape (n_coordinates,)."""
        pairs = zip(self.groups, parameters, strict=True)
        return np.concatenate([kind.coordinates(part).ravel() for (kind, _), part in pairs])

    def from_vector(
        self, vector: np.ndarray, like: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, ...] | None:
        """Return the parameters at coordinates, of shapes as those of `like`; None if none are."""
        result, start = [], 0
        with np.errstate(invalid="ignore"):  # coordinates may be of no parameters
            for (kind, _), part in zip(self.groups, like, strict=True):
                there = vector[start : start + part.size].reshape(part.shape)
                result.append(kind.from_coordinates(there))
                start += part.size
        return tuple(result) if all(np.isfinite(part).all() for part in result) else None


def with_infinity(log_prob: np.ndarray, natural: np.ndarray) -> np.ndarray:
    """Put -inf where a sum contains `LOG_ZERO`, in place.

    Parameters
    ----------
    log_prob : ndarray
        Products of `natural` with statistics.
    natural : ndarray
        Natural parameters.
    """
    if np.minimum.reduce(natural, axis=None) < 0.5 * LOG_ZERO:
        log_prob[log_prob < 0.5 * LOG_ZERO] = -np.inf
    return log_prob
