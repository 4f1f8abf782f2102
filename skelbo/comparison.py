"""Comparison of estimators by log-likelihood held out, with paired differences and both errors.

The module is not called after its function, `skelbo.compare`: importing a module of that name would
put it in the place of the function.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter, signature
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold, check_cv
from sklearn.utils import _safe_indexing

from skelbo.data.dependent_rows import check_held_out, ids_of_rows
from skelbo.data.numeric_table import as_table
from skelbo.data.random_stream import random_stream
from skelbo.printed_table import PrintedTable, data_frame, number

COLUMNS = (
    "estimator",
    "log_prob",
    "se",
    "mc_se",
    "difference",
    "difference_se",
    "elbo",
    "gap",
    "n_parameters",
    "fit_time",
    "error",
)
FORMATS = {"n_parameters": ".0f", "fit_time": ".2f", "mc_se": ".1e"}


@dataclass(frozen=True)
class Comparison:
    """Estimators side by side on rows that they were not fitted to.

    Attributes
    ----------
    results : dict of str to list
        The columns of the table. ``estimator``: names. ``log_prob``: mean log p(x) of rows held
        out, in nats per row. ``se``: its standard error over the rows. ``mc_se``: upper limit of
        the standard error of the estimate of log p(x), zero where that is exact. ``difference``:
        to the best, row by row, and ``difference_se``, its standard error. ``elbo``, ``gap``:
        means held out, in nats per row; NaN where an estimator has none. ``n_parameters``.
        ``fit_time``: seconds of all fits. ``error``: message of a fit that failed, "" if none.
    row_log_prob : ndarray of shape (n_estimators, n_samples)
        Log p(x) of each row when it was held out, in nats; NaN for rows that never were.

    Examples
    --------
    >>> import skelbo
    >>> from sklearn.datasets import load_iris
    >>> from skelbo import EMGaussianMixture, GaussianMLE
    >>> two = [GaussianMLE(), EMGaussianMixture(3, covariance_type="tied", random_state=0)]
    >>> found = skelbo.compare(two, load_iris().data, progress=False)
    >>> found.best
    'EMGaussianMixture'
    >>> [round(value, 2) for value in found.results["log_prob"]]
    [-2.63, -1.91]
    """

    results: dict[str, list]
    row_log_prob: np.ndarray

    @property
    def best(self) -> str:
        """Name of the estimator with the highest log-likelihood held out."""
        return self.results["estimator"][int(np.nanargmax(self.results["log_prob"]))]

    def to_frame(self):
        """Return the table as a dataframe.

        Returns
        -------
        pandas.DataFrame
            One row for each estimator.
        """
        return data_frame(self.results)

    def _printed(self) -> PrintedTable:
        columns = {
            name: [
                value if isinstance(value, str) else number(value, FORMATS.get(name, ".3f"))
                for value in values
            ]
            for name, values in self.results.items()
        }
        if not any(columns["error"]):
            del columns["error"]
        return PrintedTable(columns, frozenset({"estimator", "error"}))

    def __str__(self) -> str:
        n_rows = int((~np.isnan(self.row_log_prob)).any(axis=0).sum())
        return f"{n_rows} rows held out, nats per row\n{self._printed()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._printed().to_html()


@dataclass
class _HeldOut:
    """Scores of one estimator on the rows held out, fold by fold."""

    n_samples: int
    log_prob: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    std: list[float] = field(default_factory=list)
    elbo: list[float] = field(default_factory=list)
    gap: list[float] = field(default_factory=list)
    n_parameters: float = np.nan
    seconds: float = 0.0
    error: str = ""

    def rows(self) -> np.ndarray:
        """Return log p(x) of each row, a mean where it was held out several times, (n_samples,)."""
        total, count = np.zeros(self.n_samples), np.zeros(self.n_samples)
        if self.error:
            return np.full(self.n_samples, np.nan)
        for test, values in self.log_prob:
            total[test] += values
            count[test] += 1
        return np.divide(total, count, out=np.full(self.n_samples, np.nan), where=count > 0)


def compare(estimators, X, *, cv=5, groups=None, random_state=0, progress=True):
    """Compare estimators by the log-likelihood of rows that they were not fitted to.

    Parameters
    ----------
    estimators : list of estimators, or dict of str to estimator
        With ``fit`` and ``score_samples``, the log-density in nats, such as all of skelbo. In a
        list their names are those of their classes, numbered where there are several of one.
    X : array-like of shape (n_samples, n_features)
        Rows, with missing cells (NaN) where all estimators take them.
    cv : int, splitter or iterable of (train, test), default=5
        Number of folds of shuffled rows (of whole groups, if `groups` are given), or a splitter of
        scikit-learn.
    groups : array-like of shape (n_samples,) or None, default=None
        Ids of groups of rows that depend on each other. They are held out whole, standard errors
        are over groups, and estimators whose ``fit`` takes groups (sequences of a hidden Markov
        model) get them. By default the ids in the `group_column` of an estimator, if one has it.
    random_state : int, RandomState or None, default=0
        Source of the shuffling, if `cv` is a number. It is no seed of the estimators.
    progress : bool, default=True
        Whether each fit is announced on standard error.

    Returns
    -------
    comparison : Comparison
        Prints as a table; ``to_frame()`` gives a dataframe.

    Raises
    ------
    ValueError
        If there are no estimators, one has no density, or all fail.

    Notes
    -----
    Differences are paired: they have the standard error of the mean of differences row by row, far
    below that of either mean where rows are hard for all. An estimator of which a fit fails is a
    row with the error; so is one of sequences, of which rows here and there are held out.

    Examples
    --------
    >>> import numpy as np
    >>> import skelbo
    >>> from skelbo import GaussianMLE
    >>> X = np.random.default_rng(0).standard_normal((100, 3))
    >>> kinds = {kind: GaussianMLE(kind) for kind in ("full", "diag", "spherical")}
    >>> comparison = skelbo.compare(kinds, X, progress=False)
    >>> comparison.best
    'spherical'
    """
    named = _named(estimators)
    X = as_table(X)
    groups = _ids(named, X) if groups is None else np.asarray(groups)
    splits = list(_splits(X, cv, groups, random_state))
    found = []
    for name, estimator in named.items():
        found.append(_held_out(name, estimator, X, groups, splits, progress))
    if all(one.error for one in found):
        raise ValueError(f"all {len(found)} estimators failed; the first with: {found[0].error}")
    return Comparison(*_table(list(named), found, groups))


def _named(estimators: Any) -> dict[str, Any]:
    """Return the estimators by their names; ValueError for what has no density."""
    if isinstance(estimators, Mapping):
        named = dict(estimators)
    elif isinstance(estimators, Sequence):
        kinds = [type(estimator).__name__ for estimator in estimators]
        named = {
            f"{kind} {kinds[: place + 1].count(kind)}" if kinds.count(kind) > 1 else kind: one
            for place, (kind, one) in enumerate(zip(kinds, estimators, strict=True))
        }
    else:
        raise ValueError(
            f"estimators is {type(estimators).__name__}, expected a list of estimators, or a dict "
            "of names; put one estimator into a list."
        )
    if not named:
        raise ValueError("estimators is empty, expected at least one; pass a list of estimators.")
    for name, estimator in named.items():
        if not (hasattr(estimator, "fit") and hasattr(estimator, "score_samples")):
            raise ValueError(
                f"estimator {name!r} has no fit and score_samples, expected a density; use an "
                "estimator of skelbo, or another that has both."
            )
    return named


def _ids(named: dict[str, Any], X: Any) -> np.ndarray | None:
    """Return the ids of sequences in a column of X that one of the estimators names, if any."""
    found = (ids_of_rows(estimator, X) for estimator in named.values())
    return next((ids for ids in found if ids is not None), None)


def _check_groups(X: Any, groups: np.ndarray, cv: int) -> None:
    """Raise ValueError unless there is a group for each row, and as many as folds."""
    if groups.shape != (len(X),):
        raise ValueError(
            f"groups has shape {groups.shape}, expected ({len(X)},): the id of each row of X; pass "
            "one id per row."
        )
    if (n_groups := len(np.unique(groups))) < cv:
        raise ValueError(
            f"groups has {n_groups} different ids, expected at least cv={cv}, as groups are held "
            f"out whole; pass cv={n_groups} or less, or more groups."
        )


def _splits(X: Any, cv: Any, groups: Any, random_state: Any) -> Iterator[tuple]:
    """Return the rows to fit and those to hold out, split by split."""
    if isinstance(cv, Integral):
        kind = KFold if groups is None else GroupKFold
        if groups is not None:
            _check_groups(X, groups, int(cv))
        folds = kind(int(cv), shuffle=True, random_state=random_stream(random_state))
        return folds.split(X, groups=groups)
    splitter = check_cv(cv)
    labels = signature(splitter.split).parameters.get("y")
    if labels is not None and labels.default is Parameter.empty:
        raise ValueError(
            f"cv={type(cv).__name__} splits by labels, of which there are none here, expected a "
            "splitter of rows or groups; pass its splits, cv=list(splitter.split(X, y))."
        )
    return splitter.split(X, groups=groups)


def _held_out(name, estimator, X, groups, splits, progress) -> _HeldOut:
    """Fit an estimator to each split, and score the rows held out; warnings come once a kind."""
    result, caught = _HeldOut(X.shape[0]), []
    for place, (train, test) in enumerate(splits):
        if progress and sys.stderr.isatty():
            text = f"{name}: fit {place + 1} of {len(splits)}"
            print(f"\r{text:70s}", end="", file=sys.stderr, flush=True)
        with warnings.catch_warnings(record=True) as some:
            warnings.simplefilter("always")
            try:
                check_held_out(estimator, test, groups)
                _score_fold(result, clone(estimator), X, groups, train, test)
            except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
                cause = " ".join(str(error).split())
                result.error = f"fit {place + 1} of {len(splits)}: {cause}"
        caught += some
        if result.error:
            break
    if progress:
        end = "failed" if result.error else f"{len(splits)} fits, {result.seconds:.2f} s"
        start = "\r" if sys.stderr.isatty() else ""
        print(f"{start}{f'{name}: {end}':70s}".rstrip(), file=sys.stderr)
    first = {warning.category: warning.message for warning in reversed(caught)}
    for message in first.values():
        warnings.warn(message, stacklevel=3)
    return result


def _score_fold(result: _HeldOut, model, X, groups, train, test) -> None:
    """Fit a model to some rows and add what it gives to others."""
    start = time.perf_counter()
    if "group_column" in model.get_params(deep=False) and model.group_column is not None:
        groups = None  # a column of X holds the ids
    model.fit(_safe_indexing(X, train), **_groups_for(model.fit, groups, train))
    result.seconds += time.perf_counter() - start
    rows, score = _safe_indexing(X, test), model.score_samples
    given = _groups_for(score, groups, test)
    if "return_std" in signature(score).parameters:
        log_prob, std = score(rows, return_std=True, **given)
    else:
        log_prob, std = score(rows, **given), np.zeros(len(test))
    result.log_prob.append((test, np.asarray(log_prob, dtype=np.float64)))
    result.std.append(float(np.sum(std)))
    result.n_parameters = float(getattr(model, "n_parameters_", np.nan))
    try:
        bound = model.elbo(rows, **_groups_for(model.elbo, groups, test))
    except (AttributeError, NotImplementedError):  # a density without latents
        bound = np.full(len(test), np.nan)
    result.elbo.append(float(np.sum(bound, dtype=np.float64)))
    result.gap.append(float(_difference(result.log_prob[-1][1], bound).sum()))


def _difference(left: Any, right: Any) -> np.ndarray:
    """Return left - right row by row, 0 where both are the same infinity."""
    with np.errstate(invalid="ignore"):
        return np.where(left == right, 0.0, np.asarray(left, dtype=np.float64) - right)


def _groups_for(method: Any, groups: Any, rows: np.ndarray) -> dict[str, Any]:
    """Return the groups of some rows as an argument, if the method takes it."""
    if groups is None or "groups" not in signature(method).parameters:
        return {}
    return {"groups": groups[rows]}


def _table(names: list[str], found: list[_HeldOut], groups: Any) -> tuple[dict, np.ndarray]:
    """Return the columns of the table, and log p(x) of all rows."""
    rows = np.array([one.rows() for one in found])
    known = ~np.isnan(rows)
    totals = np.where(known, rows, 0.0).sum(axis=1)
    counts = known.sum(axis=1)
    means = np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)
    best = rows[int(np.nanargmax(means))]
    lines = [
        _line(name, one, row, best, groups)
        for name, one, row in zip(names, found, rows, strict=True)
    ]
    return {column: [line[column] for line in lines] for column in COLUMNS}, rows


def _line(name: str, one: _HeldOut, row: np.ndarray, best: np.ndarray, groups: Any) -> dict:
    """Return the cells of one estimator."""
    if one.error:
        empty = dict.fromkeys(COLUMNS, np.nan)
        return {**empty, "estimator": name, "fit_time": one.seconds, "error": one.error}
    step = _difference(row, best)
    count = sum(len(test) for test, _ in one.log_prob)
    elbo, gap = sum(one.elbo) / count, sum(one.gap) / count
    return {
        "estimator": name,
        "log_prob": float(np.mean(row[~np.isnan(row)])),
        "se": _standard_error(row, groups),
        "mc_se": sum(one.std) / count,
        "difference": float(np.mean(step[~np.isnan(row)])),
        "difference_se": _standard_error(np.where(np.isnan(row), np.nan, step), groups),
        "elbo": elbo,
        "gap": gap if np.isnan(gap) else max(gap, 0.0),
        "n_parameters": one.n_parameters,
        "fit_time": one.seconds,
        "error": "",
    }


def _standard_error(values: np.ndarray, groups: Any) -> float:
    """Return the standard error of the mean over rows, or over groups of rows that depend."""
    known = ~np.isnan(values)
    if not known.any():
        return np.nan
    if not np.isfinite(values[known]).all():
        return np.inf
    values, n_rows = values[known], int(known.sum())
    if groups is not None:
        _, group = np.unique(groups[known], return_inverse=True)
        values = np.bincount(group, values - values.mean())  # sums, as the groups differ in size
    n_units = len(values)
    if n_units < 2:
        return np.inf
    # Squares of densities of rows far from everything overflow; a power of two rounds nothing.
    unit = 2.0 ** np.frexp(np.abs(values).max())[1].clip(-1000, 1000)
    return float(unit * (np.sqrt(n_units * (values / unit).var(ddof=1)) / n_rows))
