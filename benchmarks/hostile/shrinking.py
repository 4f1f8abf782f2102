"""The smallest case that fails as a given one does."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from sklearn.base import clone

from hostile.case import Case, Outcome, run_case
from hostile.laws import LAWS, applies
from hostile.tables import Table

# Parameters that stay as they are.
KEPT = "n_components", "model", "n_importance_samples"


def shrink(case: Case, outcome: Outcome) -> Case:
    """Return a smaller case with the same kind of failure.

    Parameters
    ----------
    case : Case
        A case that fails.
    outcome : Outcome
        How it fails.

    Returns
    -------
    case : Case
        None of whose simplifications fails in the same way.
    """
    while True:
        for smaller in _simpler(case):
            if run_case(smaller).kind == outcome.kind:
                case = smaller
                break
        else:
            return case


def _simpler(case: Case) -> Iterator[Case]:
    """Yield cases that are simpler by one thing."""
    for table in _simpler_tables(case.table):
        yield replace(case, table=table)
    for name, value in case.estimator.get_params(deep=False).items():
        default = inspect.signature(type(case.estimator)).parameters[name].default
        if default is inspect.Parameter.empty or name in KEPT:
            continue
        if value != default:
            yield replace(case, estimator=clone(case.estimator).set_params(**{name: default}))
    if case.law != next(iter(LAWS)):
        yield replace(case, law=next(iter(LAWS)))


def _simpler_tables(table: Table) -> Iterator[Table]:
    """Yield tables with fewer rows, columns, weights and digits."""
    n, p = table.X.shape
    for rows in np.array_split(np.arange(n), 2) if n > 3 else ():
        yield table.take(rows)
    for row in range(n) if n > 1 else ():
        yield table.take(np.delete(np.arange(n), row))
    for column in range(p) if p > 1 else ():
        yield table.take(np.arange(n), np.delete(np.arange(p), column))
    if table.weights is not None:
        yield replace(table, weights=None)
    if table.container != "array":
        yield replace(table, container="array")
    yield from _simpler_cells(table)


def _simpler_cells(table: Table) -> Iterator[Table]:
    """Yield tables whose cells have fewer digits or are complete."""
    if table.X.dtype == np.float32:
        yield replace(table, X=table.X.astype(np.float64))
    if np.isnan(table.X).any():
        yield replace(table, X=np.nan_to_num(table.X, nan=1.0))
    for digits in (1, 3):
        rounded = np.array([[float(f"{x:.{digits}g}") for x in row] for row in table.X])
        rounded = rounded.astype(table.X.dtype)
        if not np.array_equal(rounded, table.X, equal_nan=True):
            yield replace(table, X=rounded)


def code_of(case: Case) -> str:
    """Return Python code that makes the case."""
    law = case.law if applies(case.law, case.subject, case.estimator, case.table) else "-"
    X = np.array2string(case.table.X, separator=", ", floatmode="unique", threshold=10**6)
    table = case.table
    given = "".join(f"{name} = {value!r}\n" for name, value in table.fit_arguments.items())
    arguments = ", ".join(f"{name}={name}" for name in table.fit_arguments)
    return (
        f"X = np.array({X}, dtype=np.{table.X.dtype})  # as {table.container}\n{given}"
        f"{case.estimator!r}.fit(X, {arguments})  # law: {law}"
    )
