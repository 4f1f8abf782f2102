"""One candidate of a search: its fit, its criterion, and what went wrong."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing

from skelbo.data.dependent_rows import check_held_out, ids_of_rows
from skelbo.degenerate_fit import DegenerateFitWarning
from skelbo.meta.meta_estimator import rows_of

N_FOLDS = 5


@dataclass(frozen=True)
class Task:
    """Data and criterion that all candidates of a search share.

    Attributes
    ----------
    criterion : {"bic", "aic", "icl", "held_out"}
    X : array-like of shape (n_samples, n_features)
    weights : ndarray of shape (n_samples,) or None
    params : dict
        Metadata for ``fit``, weights included.
    """

    criterion: str
    X: Any
    weights: np.ndarray | None
    params: dict


@dataclass(frozen=True)
class Candidate:
    """A candidate after its fit.

    Attributes
    ----------
    criterion : float
        NaN if the fit failed.
    fit_time : float
        Seconds.
    model : estimator object or None
        Fitted to all rows; None with "held_out", or if the fit failed.
    n_parameters, lower_bound : float
        NaN where the estimator has none.
    converged, degenerate : bool
    error : str
        Message of the exception, "" if there was none.
    warnings : list of Warning
        Warnings of its fits.
    """

    criterion: float
    fit_time: float
    model: Any = None
    n_parameters: float = np.nan
    lower_bound: float = np.nan
    converged: bool = False
    degenerate: bool = False
    error: str = ""
    warnings: list[Warning | str] = field(default_factory=list)


def run_candidate(model: Any, task: Task, search: Any, context: Any) -> Candidate:
    """Fit a candidate, and compute its criterion.

    Parameters
    ----------
    model : estimator object
        Not fitted.
    task : Task
    search : CriterionSearch
    context : CallbackContext
        The place of the fit among the tasks of the search.
    """
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with context.propagate_callback_context(model):
            context.call_on_fit_task_begin(estimator=search, X=task.X)
            try:
                criterion, fitted = _judged(model, task)
                error = ""
            except (ValueError, ArithmeticError, np.linalg.LinAlgError) as failure:
                criterion, fitted, error = np.nan, None, f"{type(failure).__name__}: {failure}"
            context.call_on_fit_task_end(estimator=search, X=task.X)
    seconds = time.perf_counter() - start
    messages = [warning.message for warning in caught]
    if fitted is None:
        return Candidate(np.nan, seconds, error=error, warnings=messages)
    kinds = [warning.category for warning in caught]
    unfinished = any(issubclass(kind, ConvergenceWarning) for kind in kinds)
    return Candidate(
        criterion,
        seconds,
        fitted if task.criterion != "held_out" else None,
        float(getattr(fitted, "n_parameters_", np.nan)),
        float(getattr(fitted, "lower_bound_", np.nan)),
        bool(getattr(fitted, "converged_", not unfinished)) and not unfinished,
        any(issubclass(kind, DegenerateFitWarning) for kind in kinds),
        error,
        messages,
    )


def _judged(model: Any, task: Task) -> tuple[float, Any]:
    """Return the criterion, and the model fitted to all rows (or to those of a fold)."""
    if task.criterion == "held_out":
        return _held_out(model, task)
    model.fit(task.X, **task.params)
    method = getattr(model, task.criterion)
    return float(method(task.X, **accepted(method, task.params))), model


def _held_out(model: Any, task: Task) -> tuple[float, Any]:
    """Return the mean log-likelihood of rows held out, in nats per row."""
    n_samples = task.X.shape[0]
    weights = np.ones(n_samples) if task.weights is None else task.weights
    total = 0.0
    groups = task.params.get("groups")
    groups = ids_of_rows(model, task.X) if groups is None else np.asarray(groups)
    for fold, (train, test) in enumerate(_folds(task.X, groups, np.flatnonzero(weights > 0))):
        check_held_out(model, test, groups)
        fitted = model if fold == 0 else clone(model)
        fitted.fit(_safe_indexing(task.X, train), **rows_of(task.params, n_samples, train))
        params = accepted(fitted.score, rows_of(task.params, n_samples, test))
        total += float(fitted.score(_safe_indexing(task.X, test), **params)) * weights[test].sum()
    return total / weights.sum(), model


def _folds(
    X: Any, groups: np.ndarray | None, present: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows to fit and those held out, of the rows of positive weight.

    Equal rows, or the rows of a group, are in one fold, so that weights count as repetitions.
    """
    keys = row_keys(_safe_indexing(X, present) if groups is None else groups)
    _, unit = np.unique(keys if groups is None else keys[present], return_inverse=True)
    n_units = int(unit.max()) + 1
    if n_units < 2:
        raise ValueError(
            f"criterion='held_out' got {n_units} different {'row' if groups is None else 'group'} "
            f"of positive weight (n_samples={X.shape[0]}), expected at least 2; use "
            "criterion='bic'."
        )
    n_folds = min(N_FOLDS, n_units)
    fold = np.random.RandomState(0).permutation(n_units)[unit] % n_folds
    for number in range(n_folds):
        yield present[fold != number], present[fold == number]


def row_keys(X: Any) -> np.ndarray:
    """Return a value for each row that is equal for equal rows."""
    try:
        cells = np.asarray(X, dtype=np.float64).reshape(X.shape[0], -1) + 0.0  # no -0.0
    except (ValueError, TypeError):  # labels of groups, columns of strings
        rows = np.asarray(X, dtype=object).reshape(X.shape[0], -1)
        return np.array([repr(row.tolist()) for row in rows])
    cells[np.isnan(cells)] = np.nan  # of one sign
    return np.ascontiguousarray(cells).view(np.dtype((np.void, 8 * cells.shape[1]))).ravel()


def accepted(method: Callable[..., Any], params: dict) -> dict:
    """Return the parameters that a method takes."""
    names = signature(method).parameters
    return {name: value for name, value in params.items() if name in names}


def results_table(grid: list[dict], candidates: list[Candidate], rank: np.ndarray) -> dict:
    """Return the columns of `results_`."""
    table: dict[str, Any] = {"params": grid}
    for name in sorted({name for values in grid for name in values}):
        column = np.ma.masked_all(len(grid), dtype=object)
        for place, values in enumerate(grid):
            if name in values:
                column[place] = values[name]
        table[f"param_{name}"] = column
    table["criterion"] = np.array([candidate.criterion for candidate in candidates])
    table["rank"] = rank
    for name in ("n_parameters", "lower_bound", "converged", "degenerate", "fit_time"):
        table[name] = np.array([getattr(candidate, name) for candidate in candidates])
    table["error"] = np.array([candidate.error for candidate in candidates], dtype=object)
    return table
