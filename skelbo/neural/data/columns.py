"""Columns of a table: likelihood, centre and scale of each, and the units of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skelbo.data.blocks import iter_blocks
from skelbo.data.column_moments import ColumnMoments
from skelbo.likelihoods import LIKELIHOODS, Likelihood, MixedColumns, column_likelihoods
from skelbo.likelihoods.poisson import Poisson

# A column has at most as many codes as it has rows, or this many if those are few.
MAX_CODES = 1000
# exp(20) counts; beyond it a step of the optimiser would overflow float32.
MAX_LOG_RATE = 20.0
MAX_COUNT = math.exp(MAX_LOG_RATE)
# Cells that a pass over a table reads at once: 32 MiB of float64.
READ_CELLS = 2**22


@dataclass(frozen=True)
class Columns:
    r"""Likelihood, centre and scale of each column.

    A network reads a Gaussian column as :math:`u = (x - c) / s`, so that
    :math:`\log p(x) = \log p(u) - \log s`; all others as they are, with s = 1.

    Attributes
    ----------
    kinds : ndarray of str, shape (n_features,)
        Name of the likelihood of each column.
    center, scale : ndarray of shape (n_features,)
        Mean and standard deviation of the observed cells if Gaussian, else 0 and 1. A constant
        column has the typical deviation of the other Gaussian ones, so that it follows their unit.
    mean : ndarray of shape (n_features,)
        Mean of the observed cells.
    frequencies : tuple of ndarray
        Relative frequencies of the codes of each categorical column, in order.
    has_missing : bool
        Whether a cell was missing when the columns were read.
    constant : ndarray of bool, shape (n_features,)
        Whether all observed cells were the same.
    own : tuple of Likelihood
        Likelihoods of the user's own among them.

    Examples
    --------
    >>> X = np.array([[1.5, 0.0], [2.5, 1.0], [3.5, 1.0]])
    >>> columns = Columns.read(X, None, "auto")
    >>> columns.kinds.tolist()
    ['gaussian', 'bernoulli']
    >>> columns.standardize(X[:3])[:, 0].round(3)
    array([-1.225,  0.   ,  1.225])
    """

    kinds: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    frequencies: tuple[np.ndarray, ...]
    has_missing: bool
    constant: np.ndarray
    own: tuple[Likelihood, ...] = ()

    @classmethod
    def read(cls, X: np.ndarray, weights: np.ndarray | None, likelihood: Any) -> Columns:
        """Read the columns off a table.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        weights : ndarray of shape (n_samples,) or None
            Frequency weights.
        likelihood : str, Likelihood, or sequence of these
            For all columns or one for each; see `skelbo.likelihoods.column_likelihoods`.

        Returns
        -------
        Columns
            Statistics in float64.
        """
        chosen = column_likelihoods(X, likelihood)
        kinds = np.array([kind.name for kind in chosen])
        own = tuple(kind for kind in dict.fromkeys(chosen) if kind not in LIKELIHOODS.values())
        _check_support(X, _table(kinds, own))
        _check_size(X, kinds)
        moments = ColumnMoments.of_table(X, weights)
        gaussian = kinds == "gaussian"
        return cls(
            kinds,
            np.where(gaussian, moments.mean, 0.0),
            _scales(moments, gaussian),
            moments.mean,
            tuple(_frequencies(X[:, j], weights) for j in np.flatnonzero(kinds == "categorical")),
            not moments.complete,
            moments.is_constant,
            own,
        )

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.kinds)

    @cached_property
    def table(self) -> MixedColumns:
        """The likelihoods of the columns, by groups."""
        return _table(self.kinds, self.own)

    @cached_property
    def categories(self) -> np.ndarray:
        """Number of codes of each categorical column."""
        return np.array([len(f) for f in self.frequencies], dtype=int)

    def check(self, X: np.ndarray) -> None:
        """Refuse values that the likelihoods give no probability, such as 0.5 for a count."""
        _check_support(X, self.table)
        for j, size in zip(
            np.flatnonzero(self.kinds == "categorical"), self.categories, strict=True
        ):
            if np.nanmax(X[:, j], initial=0) >= size:
                raise ValueError(
                    f"column {j} of X has the code {np.nanmax(X[:, j]):g}, expected one of the "
                    f"{size} codes 0 .. {size - 1} seen in fit; fit again with rows of that code."
                )

    def standardize(self, X: np.ndarray) -> np.ndarray:
        """Return the rows in the units of the network, float64, missing cells kept: a copy."""
        if not np.any(self.kinds == "gaussian"):
            return np.array(X, dtype=np.float64)
        # Centred in float64: an offset of 1e8 must not eat the digits of a float32 network.
        with np.errstate(over="ignore"):
            return (np.asarray(X, dtype=np.float64) - self.center) / self.scale

    def restore(self, U: np.ndarray) -> np.ndarray:
        """Return rows in the units of the data, float64."""
        return np.asarray(U, dtype=np.float64) * self.scale + self.center

    def log_jacobian(self, X: np.ndarray) -> np.ndarray:
        """Return log |du/dx| over the observed cells of each row, shape (n_samples,)."""
        log_scale = np.log(self.scale)
        missing = np.isnan(X)
        if not missing.any():
            return np.full(len(X), -log_scale.sum())
        return -(~missing @ log_scale)


def _scales(moments: ColumnMoments, gaussian: np.ndarray) -> np.ndarray:
    """Return the scale of each column; 1 where it is not Gaussian."""
    varying = gaussian & ~moments.is_constant
    sizes = moments.rms[varying] if varying.any() else np.abs(moments.mean[gaussian])
    largest = sizes.max(initial=0.0)
    typical = largest * np.sqrt(np.mean((sizes / largest) ** 2)) if largest > 0 else 1.0
    return np.where(varying, moments.rms, np.where(gaussian, typical, 1.0))


def _table(kinds: np.ndarray, own: tuple[Likelihood, ...]) -> MixedColumns:
    """Return the likelihoods with these names, as networks use them."""
    known = {**LIKELIHOODS, "poisson": Poisson(MAX_LOG_RATE), **{kind.name: kind for kind in own}}
    return MixedColumns([known[name] for name in kinds.tolist()])


def _check_support(X: np.ndarray, table: MixedColumns) -> None:
    """Refuse cells without a density, block by block."""
    for rows in iter_blocks(len(X), X.shape[1], READ_CELLS):
        table.check(X[rows], rows.start)


def _check_size(X: np.ndarray, kinds: np.ndarray) -> None:
    """Refuse codes and counts that no network could have outputs for."""
    for limit, kind, advice in (
        (max(MAX_CODES, len(X)), "categorical", "encode the column, with OrdinalEncoder say"),
        (MAX_COUNT, "poisson", "use likelihood='gaussian'"),
    ):
        for j in np.flatnonzero(kinds == kind):
            blocks = iter_blocks(len(X), X.shape[1], READ_CELLS)
            largest = max(float(np.nanmax(X[rows, j], initial=0)) for rows in blocks)
            if largest >= limit:
                raise ValueError(
                    f"column {j} of X has the value {largest:g}, but likelihood {kind!r} expected "
                    f"less than {limit:g}; {advice}."
                )


def _frequencies(column: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    observed = ~np.isnan(column)
    counts = np.bincount(
        column[observed].astype(int), None if weights is None else weights[observed]
    )
    return counts / counts.sum()
