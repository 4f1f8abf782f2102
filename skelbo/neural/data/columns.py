"""Columns of a table: likelihood, centre and scale of each, and the units of a network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skelbo.likelihoods import LIKELIHOODS, Likelihood, MixedColumns, column_likelihoods
from skelbo.likelihoods.poisson import Poisson

# A column has at most as many codes as it has rows, or this many if those are few.
MAX_CODES = 1000
# exp(20) counts; beyond it a step of the optimiser would overflow float32.
MAX_LOG_RATE = 20.0
MAX_COUNT = math.exp(MAX_LOG_RATE)
# Cells that are read at once: 32 MiB of float64.
BLOCK_CELLS = 2**22


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
        Mean and standard deviation of the observed cells if Gaussian, else 0 and 1.
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
        observed = sum((~np.isnan(block)).sum(axis=0) for block in _blocks(X))
        empty = np.flatnonzero(observed == 0)
        if empty.size:
            raise ValueError(
                f"column {empty[0]} of X has no observed cell, expected at least one; drop the "
                "column."
            )
        _check_support(X, _table(kinds, own))
        _check_size(X, kinds)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = _moments(X, weights)
            wide = np.flatnonzero(~np.isfinite(scale**2))
        if wide.size:
            raise ValueError(
                f"column {wide[0]} of X has values too large to square in float64, expected a "
                "finite variance; rescale the column."
            )
        gaussian = kinds == "gaussian"
        return cls(
            kinds,
            np.where(gaussian, mean, 0.0),
            np.where(gaussian & (scale > 0), scale, 1.0),
            mean,
            tuple(_frequencies(X[:, j], weights) for j in np.flatnonzero(kinds == "categorical")),
            bool(np.any(observed < len(X))),
            scale == 0,
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


def _table(kinds: np.ndarray, own: tuple[Likelihood, ...]) -> MixedColumns:
    """Return the likelihoods with these names, as networks use them."""
    known = {**LIKELIHOODS, "poisson": Poisson(MAX_LOG_RATE), **{kind.name: kind for kind in own}}
    return MixedColumns([known[name] for name in kinds.tolist()])


def _check_support(X: np.ndarray, table: MixedColumns) -> None:
    """Refuse cells without a density, block by block."""
    start = 0
    for block in _blocks(X):
        table.check(block, start)
        start += len(block)


def _blocks(X: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows in blocks: a table may be a memory map larger than memory."""
    size = max(1, BLOCK_CELLS // X.shape[1])
    for start in range(0, len(X), size):
        yield X[start : start + size]


def _check_size(X: np.ndarray, kinds: np.ndarray) -> None:
    """Refuse codes and counts that no network could have outputs for."""
    for limit, kind, advice in (
        (max(MAX_CODES, len(X)), "categorical", "encode the column, with OrdinalEncoder say"),
        (MAX_COUNT, "poisson", "use likelihood='gaussian'"),
    ):
        for j in np.flatnonzero(kinds == kind):
            largest = max(float(np.nanmax(block[:, j], initial=0)) for block in _blocks(X))
            if largest >= limit:
                raise ValueError(
                    f"column {j} of X has the value {largest:g}, but likelihood {kind!r} expected "
                    f"less than {limit:g}; {advice}."
                )


def _moments(X: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the observed cells, in three passes."""
    p = X.shape[1]
    total, first, second, largest = (np.zeros(p) for _ in range(4))
    for values, _ in _weighted(X, None):
        largest = np.maximum(largest, np.abs(values).max(axis=0))
    # In units of the largest cell no square of a tiny one is lost.
    unit = np.where(largest > 0, largest, 1.0)
    for values, share in _weighted(X, weights):
        total += share.sum(axis=0)
        first += (share * (values / unit)).sum(axis=0)
    mean = first / total
    for values, share in _weighted(X, weights):
        second += (share * (values / unit - mean) ** 2).sum(axis=0)
    scale = np.sqrt(second / total)
    # Rounding of a constant column is not spread.
    constant = scale <= 8 * np.finfo(X.dtype).eps * np.abs(mean)
    return mean * unit, np.where(constant, 0.0, scale * unit)


def _weighted(X: np.ndarray, weights: np.ndarray | None):
    """Yield blocks of rows, zero where missing, with the weight of each cell."""
    start = 0
    for block in _blocks(X):
        missing = np.isnan(block)
        share = (~missing).astype(np.float64)
        if weights is not None:
            share *= weights[start : start + len(block), None]
        yield np.where(missing, 0.0, block).astype(np.float64), share
        start += len(block)


def _frequencies(column: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    observed = ~np.isnan(column)
    counts = np.bincount(
        column[observed].astype(int), None if weights is None else weights[observed]
    )
    return counts / counts.sum()
