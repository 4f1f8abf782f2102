"""Tables of awkward scale, offset, rank, precision, completeness, weight and container."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

ROWS = 1, 2, 3, 4, 5, 6, 8, 10, 10, 15, 20, 30
COLUMNS = 1, 1, 2, 2, 3, 4
CONTAINERS = "array", "array", "fortran", "strided", "read_only", "list", "masked", "frame"


@dataclass(frozen=True)
class Table:
    """Rows with NaN for missing cells, their weights, and the container that a user passes.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Float64 or float32.
    weights : None, float or array-like of shape (n_samples,)
        Frequency weights.
    container : str
        One of `CONTAINERS`, or "integer" for rows of integers.
    groups : None or ndarray of shape (n_samples,)
        Ids of sequences.
    labels : None or ndarray of shape (n_samples,)
        Classes.
    """

    X: np.ndarray
    weights: Any = None
    container: str = "array"
    groups: np.ndarray | None = None
    labels: np.ndarray | None = None

    @property
    def rows(self) -> Any:
        """The rows in their container."""
        return contained(self.X, self.container)

    @property
    def incomplete(self) -> Any:
        """The rows in a container that has room for missing cells."""
        container = "array" if self.container == "integer" else self.container
        return contained(self.X, container)

    @property
    def weight_vector(self) -> np.ndarray:
        """The weights as float64, one a row."""
        weights = 1.0 if self.weights is None else self.weights
        return np.broadcast_to(np.asarray(weights, dtype=np.float64), len(self.X)).copy()

    def take(self, rows: Any, columns: Any = slice(None)) -> Table:
        """Return some rows and columns with their weights."""
        weights, groups, labels = (
            value if np.ndim(value) == 0 else np.asarray(value)[rows]
            for value in (self.weights, self.groups, self.labels)
        )
        X = self.X[rows][:, columns]
        return replace(self, X=X, weights=weights, groups=groups, labels=labels)

    def repeated(self) -> Table:
        """Return the rows of positive weight twice, each with half its weight."""
        present = np.flatnonzero(self.weight_vector > 0)
        twice = replace(self.take(np.r_[present, present]), container="array")
        weights = np.tile(self.weight_vector[present] / 2, 2)
        again = np.repeat([0, 1], len(present))
        groups = None if self.groups is None else 2 * twice.groups + again
        return replace(twice, weights=weights, groups=groups)

    @property
    def last_unit(self) -> np.ndarray:
        """Places of the last rows that depend on each other: one, or those of a sequence."""
        groups = np.arange(len(self.X)) if self.groups is None else self.groups
        return np.flatnonzero(groups == groups[-1])

    @property
    def given(self) -> dict[str, Any]:
        """What methods take beside the rows."""
        return {} if self.groups is None else {"groups": self.groups}

    @property
    def fit_arguments(self) -> dict[str, Any]:
        """What `fit` takes beside the rows."""
        labels = {} if self.labels is None else {"y": self.labels}
        return {**self.given, **labels, "sample_weight": self.weights}


def contained(X: np.ndarray, container: str) -> Any:
    """Return rows in one of the containers that a user may pass."""
    if container == "strided":
        wide = np.full((2 * X.shape[0], 2 * X.shape[1]), np.inf, dtype=X.dtype)
        wide[::2, ::2] = X
        return wide[::2, ::2]
    if container == "masked":
        return np.ma.masked_array(np.where(np.isnan(X), 7, X), mask=np.isnan(X))
    if container == "frame":
        return pd.DataFrame(X, columns=[f"column {j}" for j in range(X.shape[1])])
    makers = {"fortran": np.asfortranarray, "list": np.ndarray.tolist}
    Y = makers.get(container, np.array)(X)
    if container == "integer":
        return Y.astype(np.int64)
    if container == "read_only":
        Y.flags.writeable = False
    return Y


def pick(rng: np.random.Generator, *options: Any) -> Any:
    """Return one of the options."""
    return options[rng.integers(len(options))]


def draw_table(rng: np.random.Generator, kind: str = "real") -> Table:
    """Return a hostile table of real numbers, yes/no answers, counts or codes.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    kind : {"real", "tame", "ratio", "binary", "counts", "codes"}, default="real"
        What the columns hold; "tame" real numbers have scales and offsets of 1e-6 to 1e6; "ratio"
        ones spread over at least a thousandth of their size, as a model without intercept needs.

    Returns
    -------
    table : Table
        At most 30 rows and 4 columns.
    """
    n, p = pick(rng, *ROWS), pick(rng, *COLUMNS)
    if kind in ("real", "tame", "ratio"):
        X = _real(rng, n, p, tame=kind == "tame")
        if kind == "ratio":
            low, high = X.min(axis=0), X.max(axis=0)
            far = (high > low) & (high - low < 1e-3 * np.maximum(high, -low))
            X = X - np.where(far, low, 0.0)
    else:
        X = _discrete(rng, n, p, kind)
    if rng.random() < 0.25:
        X = X[rng.integers(n, size=n)]
    X[rng.random(X.shape) < pick(rng, 0.0, 0.0, 0.0, 0.0, 0.1, 0.3, 0.5, 0.9)] = np.nan
    if rng.random() < 0.1:
        X[rng.integers(n)] = np.nan
    X = X.astype(pick(rng, np.float64, np.float64, np.float32) if _fits_single(X) else float)
    container = pick(rng, *CONTAINERS)
    if np.all(np.round(X) == X) and np.all(np.abs(X) < 2**31) and rng.random() < 0.5:
        X, container = X.astype(np.float64), "integer"
    if container == "list":
        X = X.astype(np.float64)
    return Table(X, _weights(rng, n), container)


def in_sequences(rng: np.random.Generator, table: Table) -> Table:
    """Return a table whose rows belong to sequences; the weights of each are those of its first."""
    starts = rng.random(len(table.X)) < pick(rng, 0.0, 0.1, 0.3, 1.0)
    groups = np.cumsum(starts)
    weights = table.weights
    if np.ndim(weights) > 0:
        first = np.unique(groups, return_index=True, return_inverse=True)[1:]
        weights = np.asarray(weights)[first[0]][first[1]]
        weights = weights if weights.any() else None
    return replace(table, groups=groups, weights=weights)


def in_classes(rng: np.random.Generator, table: Table) -> Table:
    """Return a table whose rows have labels, numbers or strings."""
    labels = rng.integers(pick(rng, 1, 2, 3), size=len(table.X))
    return replace(table, labels=pick(rng, labels, np.array(["a", "b", "c"])[labels]))


def _fits_single(X: np.ndarray) -> bool:
    """Return whether float32 holds the rows without overflow or underflow."""
    sizes = np.abs(X[~np.isnan(X) & (X != 0)])
    return bool(np.all((sizes > 1e-30) & (sizes < 1e30)))


def _real(rng: np.random.Generator, n: int, p: int, tame: bool) -> np.ndarray:
    """Return real rows: a shape, degenerate columns, then scales and offsets."""
    X = _shape(rng, n, p)
    for j in np.flatnonzero(rng.random(p) < 0.2):
        X[:, j] = _degenerate(rng, X, j)
    if tame:
        return X * 10.0 ** pick(rng, 0, rng.integers(-6, 7)) + pick(rng, 0.0, 1e3, -1e6)
    X = X * 10.0 ** pick(rng, 0, 0, 0, rng.integers(-6, 7), rng.integers(-160, 141))
    if rng.random() < 0.25:
        X = X * 10.0 ** rng.integers(-5, 6, p)
    scale = np.max(np.abs(X), axis=0)
    offset = pick(rng, 0.0, 0.0, 1e3, -1e6, 1e9, 1e12) * pick(rng, np.ones(p), scale)
    # The square of an offset of 1e155 overflows.
    return X + np.where(np.abs(offset) < 1e150, offset, 0.0)


def _shape(rng: np.random.Generator, n: int, p: int) -> np.ndarray:
    """Return rows of one kind of distribution, about zero and of unit scale."""
    shape = pick(rng, "normal", "normal", "clusters", "factor", "heavy", "integers", "skew", "grid")
    X = rng.standard_normal((n, p))
    if shape == "clusters":
        return X + 10.0 * rng.integers(3, size=(n, 1)) * rng.standard_normal(p)
    if shape == "factor":
        return rng.standard_normal((n, 1)) @ rng.standard_normal((1, p)) + X * pick(rng, 1, 0.1, 0)
    if shape == "heavy":
        return rng.standard_t(1, (n, p))
    if shape == "integers":
        return np.round(3 * X)
    if shape == "skew":
        return np.exp(3 * X)
    return (X > 0) * 1.0 if shape == "grid" else X


def _degenerate(rng: np.random.Generator, X: np.ndarray, j: int) -> np.ndarray:
    """Return a column without a spread of its own, or with an absurd one."""
    n = len(X)
    noise = rng.standard_normal(n)
    return pick(
        rng,
        np.full(n, pick(rng, 0.0, 5.0, 98.6, 1.7e9)),
        1 + 1e-9 * noise,
        X[:, 0].copy(),
        X.sum(axis=1),
        -2 * X[:, -1],
        np.round(noise),
        np.where(np.arange(n) == 0, 1e8, X[:, j]),
        np.where(np.arange(n) == 0, 1.0, 0.0),
    )


def _discrete(rng: np.random.Generator, n: int, p: int, kind: str) -> np.ndarray:
    """Return yes/no answers, counts or codes, with constant and duplicated columns."""
    eta = rng.standard_normal((n, 1)) * pick(rng, 0.0, 1.0, 5.0) + 2 * rng.standard_normal(p)
    if kind == "binary":
        X = (rng.random((n, p)) < 1 / (1 + np.exp(-eta))) * 1.0
    elif kind == "codes":
        X = rng.integers(0, rng.integers(1, 6, p), (n, p)) * 1.0
    else:
        size = pick(rng, 1.0, 1.0, 0.01, 100.0, 1e6, 1e9)
        X = rng.poisson(np.exp(np.minimum(eta, 8.0)) * size).astype(float)
    for j in np.flatnonzero(rng.random(p) < 0.15):
        X[:, j] = pick(rng, np.zeros(n), np.ones(n), X[:, 0].copy(), 1 - np.minimum(X[:, 0], 1))
    return X


def _weights(rng: np.random.Generator, n: int) -> Any:
    """Return weights: none, everybody's, counts, fractions, of any size, mostly zero."""
    kind = rng.integers(10)
    if kind < 4:
        return None
    one = rng.integers(n) == np.arange(n)
    return (
        pick(rng, 2.0, 3, 0.25, 1e-12, 1e9),
        rng.integers(0, 4, n) + one,
        list(rng.random(n) + 1e-3),
        10.0 ** rng.integers(-12, 13, n),
        np.where(rng.random(n) < 0.7, 0.0, rng.random(n)) + one,
        pick(rng, (rng.random(n) + one) * 1e-13, rng.random(n).astype(np.float16) + one),
    )[kind - 4]
