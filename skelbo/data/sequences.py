"""Sequences of rows: contiguous runs of a table, named by the ids of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.data.dask_detection import is_dask
from skelbo.data.weights import check_any_weight, weight_vector

LIST_OF_SEQUENCES = (
    "{name} is a list of {n} sequences, expected one table with their rows below each other; pass "
    "X, groups = skelbo.sequences(list_of_arrays), which are np.concatenate(list_of_arrays) and "
    "np.repeat(ids, lengths)."
)


@dataclass(frozen=True)
class Runs:
    """Contiguous runs of rows, one per sequence.

    Attributes
    ----------
    bounds : ndarray of int, shape (n_runs + 1,)
        Run r holds the rows from ``bounds[r]`` up to ``bounds[r + 1]``.
    ids : ndarray of shape (n_runs,)
        Name of each run.
    """

    bounds: np.ndarray
    ids: np.ndarray

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return len(self.ids)

    @property
    def n_rows(self) -> int:
        """Number of rows of all runs."""
        return int(self.bounds[-1])

    @property
    def lengths(self) -> np.ndarray:
        """Number of rows of each run, (n_runs,)."""
        return np.diff(self.bounds)

    def repeated(self, values: np.ndarray) -> np.ndarray:
        """Return one value per run, (n_runs, ...), for each of its rows, (n_rows, ...)."""
        return np.repeat(values, self.lengths, axis=0)

    def take(self, which: np.ndarray) -> tuple[Runs, np.ndarray]:
        """Return some of the runs, a mask (n_runs,), and the mask (n_rows,) of their rows."""
        bounds = np.concatenate([[0], np.cumsum(self.lengths[which])])
        return Runs(bounds, self.ids[which]), self.repeated(which)


def sequences(arrays: Sequence[Any], ids: Sequence[Any] | None = None) -> tuple[Any, np.ndarray]:
    """Join sequences into one table and the ids of its rows.

    Parameters
    ----------
    arrays : sequence of array-like of shape (n_rows, n_features) or (n_rows,)
        One table per sequence, of at least one row each; vectors are tables of one column.
        Dataframes of pandas give a dataframe.
    ids : sequence of length n_sequences, optional
        Names of the sequences, all different; 0, 1, 2, ... by default.

    Returns
    -------
    X : ndarray or DataFrame of shape (n_samples, n_features)
        The rows of all sequences below each other.
    groups : ndarray of shape (n_samples,)
        The id of each row's sequence.

    Raises
    ------
    ValueError
        If there is no sequence, one is empty, or their columns differ.

    Examples
    --------
    >>> import skelbo
    >>> X, groups = skelbo.sequences([[[1.0], [2.0]], [[3.0]]])
    >>> X.ravel(), groups
    (array([1., 2., 3.]), array([0, 0, 1]))
    """
    parts = [part if hasattr(part, "columns") else _as_table(part) for part in arrays]
    if not parts:
        raise ValueError("sequences got no array, expected a list of at least one.")
    names = np.arange(len(parts)) if ids is None else np.asarray(ids)
    if names.shape != (len(parts),) or len(set(names.tolist())) < len(parts):
        raise ValueError(
            f"ids has {len(np.unique(names))} different names for {len(parts)} sequences; give one "
            "name of its own to each."
        )
    for name, part in zip(names, parts, strict=True):
        if len(part) == 0:
            raise ValueError(f"sequence {name} has no rows, expected at least one; leave it out.")
        if part.shape[1] != parts[0].shape[1]:
            raise ValueError(
                f"sequence {name} has {part.shape[1]} columns, sequence {names[0]} has "
                f"{parts[0].shape[1]}; all need the same columns."
            )
    groups = np.repeat(names, [len(part) for part in parts])
    if all(hasattr(part, "iloc") for part in parts):
        import pandas as pd

        return pd.concat(parts, ignore_index=True), groups
    return np.concatenate([np.asarray(part) for part in parts]), groups


def _as_table(part: Any) -> np.ndarray:
    """Return one sequence as a table; a vector is one column."""
    array = np.ma.asarray(part) if np.ma.isMaskedArray(part) else np.asarray(part)
    if array.ndim not in (1, 2):
        raise ValueError(
            f"a sequence has shape {array.shape}, expected (n_rows, n_features); pass a list of "
            "tables."
        )
    return array[:, None] if array.ndim == 1 else array


def refuse_list_of_sequences(X: Any, name: str = "X") -> None:
    """Raise if X is a list of tables, or a table with a third axis, instead of one table.

    Parameters
    ----------
    X : object
        What the user passed.
    name : str
        Its name in the message.

    Raises
    ------
    ValueError
        With the remedy.
    """
    if is_dask(X):
        raise ValueError(
            f"{name} is a Dask collection, expected a table in memory: rows of a sequence depend "
            "on each other across blocks; pass X.compute()."
        )
    if isinstance(X, np.ndarray):
        many = X.ndim == 3 or (X.dtype == object and X.ndim == 1 and any(map(np.ndim, X)))
    else:
        many = isinstance(X, list | tuple) and _holds_tables(X)
    if many:
        raise ValueError(LIST_OF_SEQUENCES.format(name=name, n=len(X)))


def _holds_tables(rows: Sequence[Any]) -> bool:
    """Return whether a list holds tables, or rows of different lengths."""
    if any(hasattr(row, "columns") or getattr(row, "ndim", 0) == 2 for row in rows):
        return True
    lists = [row for row in rows if isinstance(row, list | tuple | np.ndarray)]
    if any(isinstance(cell, list | tuple | np.ndarray) for row in lists for cell in row):
        return True
    return len(lists) == len(rows) > 0 and len({len(row) for row in lists}) > 1


def runs_of(groups: Any, n_rows: int, name: str = "groups") -> Runs:
    """Return the runs that the ids of the rows name; None is one run of all rows.

    Parameters
    ----------
    groups : array-like of shape (n_rows,) or None
        Numbers or strings.
    n_rows : int
        Number of rows of X.
    name : str
        Name of the argument in messages.

    Returns
    -------
    Runs

    Raises
    ------
    ValueError
        If there is not one id per row, one is missing, or an id returns after another one.

    Examples
    --------
    >>> from skelbo.data.sequences import runs_of
    >>> runs_of(["a", "a", "b"], 3).bounds
    array([0, 2, 3])
    """
    if groups is None:
        return Runs(np.array([0, n_rows]), np.array([0]))
    codes = _ids(groups, n_rows, name)
    if n_rows == 0:
        return Runs(np.array([0]), codes)
    first = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    ids = codes[first]
    _check_contiguous(ids, np.append(first, n_rows), name)
    return Runs(np.append(first, n_rows), ids)


def _ids(groups: Any, n_rows: int, name: str) -> np.ndarray:
    """Return the ids as a vector of numbers or of objects, none of them missing."""
    if np.ma.is_masked(groups):
        raise ValueError(f"{name} has masked ids, expected an id for every row.")
    ids = np.asarray(groups)
    if ids.ndim == 2 and ids.shape[1] == 1:
        ids = ids[:, 0]
    if ids.shape != (n_rows,):
        raise ValueError(
            f"{name} has shape {ids.shape}, expected ({n_rows},); pass the id of the sequence of "
            "each row of X."
        )
    missing = ids != ids if ids.dtype.kind in "fcmM" else np.zeros(n_rows, bool)
    if ids.dtype == object:
        missing = np.array([identity is None or identity != identity for identity in ids], bool)
    if missing.any():
        raise ValueError(
            f"{name} has no id in row {np.flatnonzero(missing)[0]}, expected a number or a string "
            "for every row."
        )
    return ids


def _check_contiguous(ids: np.ndarray, bounds: np.ndarray, name: str) -> None:
    """Raise if an id names two runs."""
    seen: dict[Any, int] = {}
    for number, identity in enumerate(ids.tolist()):
        before = seen.setdefault(identity, number)
        if before != number:
            raise ValueError(
                f"{name}: id {identity!r} of rows {bounds[before]} to {bounds[before + 1] - 1} "
                f"returns in row {bounds[number]}, expected the rows of a sequence below each "
                "other; sort the table by sequence and time, or give the second part an id of "
                "its own."
            )


def run_weights(sample_weight: Any, runs: Runs) -> np.ndarray | None:
    """Return the weight of each run, None where every one counts once.

    Parameters
    ----------
    sample_weight : array-like of shape (n_rows,), float or None
        Weights of the rows, equal within a run.
    runs : Runs

    Returns
    -------
    weights : ndarray of shape (n_runs,) or None
        Weight 2 is the sequence twice, weight 0 the sequence absent.

    Raises
    ------
    ValueError
        If they are no weights, or differ within a run.
    """
    if sample_weight is None:
        return None
    weights = weight_vector(sample_weight, runs.n_rows)
    check_any_weight(bool(weights.any()))
    per_run = weights[runs.bounds[:-1]]
    differing = np.flatnonzero(weights != runs.repeated(per_run))
    if differing.size:
        row = int(differing[0])
        number = int(np.searchsorted(runs.bounds, row, "right")) - 1
        raise ValueError(
            f"sample_weight is {weights[row]:g} in row {row} and {per_run[number]:g} in row "
            f"{runs.bounds[number]} of the same sequence ({runs.ids.tolist()[number]!r}), expected "
            "one weight for all rows of a sequence; a weight is the number of times that the whole "
            "sequence was observed."
        )
    return None if np.all(per_run == 1) else per_run


def split_group_column(X: Any, column: Any) -> tuple[Any, Any]:
    """Return a table without its column of ids, and the ids.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_samples, n_features + 1)
    column : str or int
        Name, or position, of the column.

    Returns
    -------
    X : of the same kind, shape (n_samples, n_features)
    groups : array of shape (n_samples,)

    Raises
    ------
    ValueError
        If X has no such column, or no other.
    """
    names = getattr(X, "columns", None)
    if names is not None:
        position = _position_by_name(list(names), column)
        label = list(names)[position]
        left = [name for place, name in enumerate(names) if place != position]
        _check_rest(left, column)
        if hasattr(X, "iloc"):
            return X[left], X.iloc[:, position].to_numpy()
        return X.select(left), X.get_column(label).to_numpy()
    if isinstance(column, str):
        raise ValueError(
            f"group_column={column!r} is a name, but X has no column names; pass a dataframe, or "
            "the position of the column."
        )
    X = X if isinstance(X, np.ndarray) else _object_table(X)
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got an array of shape {X.shape} instead.")
    position = _checked_position(column, X.shape[1])
    rest = np.delete(np.arange(X.shape[1]), position)
    _check_rest(rest, column)
    return X[:, rest], X[:, position]


def _check_rest(rest: Any, column: Any) -> None:
    """Raise if no column is left beside that of ids."""
    if not len(rest):
        raise ValueError(
            f"X has no column besides group_column={column!r}, expected at least one that is "
            "observed; pass the whole table."
        )


def _object_table(X: Any) -> np.ndarray:
    """Return a list of rows as an array that keeps ids that are strings."""
    array = np.asarray(X)
    return np.asarray(X, dtype=object) if array.dtype.kind in "US" else array


def _position_by_name(names: list[Any], column: Any) -> int:
    if column in names:
        return names.index(column)
    if isinstance(column, str):
        raise ValueError(
            f"group_column={column!r} is not a column of X, whose columns are {names}; pass the "
            "table with the column that holds the ids of the sequences."
        )
    return _checked_position(column, len(names))


def _checked_position(column: int, n_columns: int) -> int:
    if isinstance(column, bool) or not -n_columns <= column < n_columns:
        raise ValueError(
            f"group_column={column} is not the position of one of the {n_columns} columns of X."
        )
    return column % n_columns
