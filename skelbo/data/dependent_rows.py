"""Rows that depend on each other: sequences, which are held out whole or in one piece."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np

from skelbo.data.sequences import split_group_column

BROKEN = (
    "rows of {name} form sequences, of which rows here and there would be held out; pass groups, "
    "the ids of sequences, or set group_column, or hold out rows that follow each other."
)
NOT_PASSED = (
    "{parameter} is None, and groups are not passed on to that estimator; set it to the column of "
    "X with the ids."
)


def form_sequences(estimator: Any) -> bool:
    """Return whether an estimator, or one within it, takes rows for sequences."""
    return bool(_columns(estimator))


def ids_of_rows(estimator: Any, X: Any) -> np.ndarray | None:
    """Return the ids of sequences that stand in a column of X; None if there is none.

    Parameters
    ----------
    estimator : estimator object
        Its parameter `group_column` names the column.
    X : array-like of shape (n_samples, n_features)

    Returns
    -------
    ids : ndarray of shape (n_samples,) or None
    """
    column = _columns(estimator).get("group_column")
    return None if column is None else np.asarray(split_group_column(X, column)[1])


def features_of_rows(estimator: Any, X: Any) -> Any:
    """Return a table without the column of ids of sequences, where an estimator names one.

    Parameters
    ----------
    estimator : estimator object
        Its parameter `group_column` names the column.
    X : array-like of shape (n_samples, n_features)

    Returns
    -------
    X : of the same kind
    """
    column = _columns(estimator).get("group_column")
    return X if column is None else split_group_column(X, column)[0]


def check_held_out(estimator: Any, rows: np.ndarray, groups: Any) -> None:
    """Raise ValueError if rows held out are no sequences where an estimator takes them for such.

    Parameters
    ----------
    estimator : estimator object
    rows : ndarray of shape (n_held_out,)
        Numbers of the rows held out.
    groups : ndarray of shape (n_samples,) or None
        Ids of the sequences; without them all rows are one.
    """
    columns = _columns(estimator)
    if not columns:
        return
    rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
    apart = np.diff(rows) != 1
    if groups is not None:
        apart &= groups[rows[1:]] == groups[rows[:-1]]
    if apart.any():
        raise ValueError(BROKEN.format(name=type(estimator).__name__))
    if groups is not None and "groups" not in signature(estimator.fit).parameters:
        for parameter, column in columns.items():
            if column is None:
                raise ValueError(NOT_PASSED.format(parameter=parameter))


def _columns(estimator: Any) -> dict[str, Any]:
    """Return the parameters `group_column` of an estimator and of those within it."""
    if not hasattr(estimator, "get_params"):
        return {}
    params = estimator.get_params()
    return {name: params[name] for name in params if name.rpartition("__")[2] == "group_column"}
