"""A fit to a hostile table, and the laws of every fit: functions that raise `Broken`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import clone

from hostile.gaussian_rounding import gaussian_rounding
from hostile.subjects import Subject, climbs, has_bound, has_sequences, is_exact, table_kind
from hostile.tables import Table

# Spread of a column, as a share of its size, below which rounding of means is seen in scores.
ROUGH = 1e-6


def is_coarse(X: np.ndarray, weights: np.ndarray | None = None) -> bool:
    """Return whether the spread of a column, if it has one, is close to its rounding.

    With weights it is twice the standard deviation, else the range.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # columns without an observed cell
        spread = np.nanmax(X, axis=0) - np.nanmin(X, axis=0)
        if weights is not None:
            share = np.where(np.isnan(X), 0.0, weights[:, None])
            share /= share.sum(axis=0)
            steps = np.nan_to_num(X - np.nansum(share * X, axis=0))
            spread = 2 * np.sqrt((share * steps**2).sum(axis=0))
        return bool(np.any((spread > 0) & (spread < ROUGH * np.nanmax(np.abs(X), axis=0))))


class Broken(Exception):
    """A law that does not hold: its name and the numbers."""

    def __init__(self, law: str, detail: str):
        super().__init__(law, detail)
        self.law, self.detail = law, detail


@dataclass(frozen=True)
class Trial:
    """An estimator fitted to a table.

    Parameters
    ----------
    subject : Subject
        What the estimator promises.
    estimator : object
        Before the fit.
    table : Table
        What it was fitted to.
    model : object
        After the fit.
    """

    subject: Subject
    estimator: Any
    table: Table
    model: Any

    @property
    def X(self) -> Any:
        """The rows as the user passes them."""
        return self.table.rows

    @cached_property
    def log_prob(self) -> tuple[np.ndarray, np.ndarray]:
        """Log p(x) of the rows and its standard error."""
        return self.model.score_samples(self.X, return_std=True, **self.table.given)

    @cached_property
    def terms(self) -> Any:
        """The terms of the bound of the rows."""
        return self.model.elbo_terms(self.X, **self.table.given)

    @property
    def has_bound(self) -> bool:
        """Whether the model has an ELBO."""
        return has_bound(self.model)

    def by_unit(self, values: np.ndarray) -> np.ndarray:
        """Return sums over rows that depend on each other: of a sequence, else the rows."""
        if not has_sequences(self.estimator):
            return values
        groups = self.table.groups
        starts = [0] if groups is None else np.flatnonzero(np.r_[True, np.diff(groups) != 0])
        return np.add.reduceat(values, starts)

    @cached_property
    def scores(self) -> np.ndarray:
        """What the model answers about its rows: log p(x), probabilities, or completed rows."""
        if self.subject.kind == "density":
            return self.log_prob[0]
        return scores(self.model, self.table)

    @property
    def tolerance(self) -> float:
        """Relative size of rounding in published parameters and scores."""
        return 2e-5 if self.table.X.dtype == np.float32 else 1e-6

    @property
    def is_coarse(self) -> bool:
        """Whether published parameters are too coarse for the spread: they end below the climb."""
        return self.table.X.dtype == np.float32 or is_coarse(self.table.X)

    @property
    def densities(self) -> list[Any]:
        """The fitted densities: the model, or those within a meta-estimator."""
        fitted = vars(self.model)
        if "estimators_" in fitted:
            return list(fitted["estimators_"])
        return [fitted.get("best_estimator_", fitted.get("estimator_", self.model))]

    @cached_property
    def rounding(self) -> float:
        """Rounding of log p(x) of a row, nats: of counts x log x is taken, and cancels."""
        if table_kind(self.estimator) != "counts":
            return max(gaussian_rounding(one, self.table.X) for one in self.densities)
        largest = np.nan_to_num(np.nanmax(np.abs(self.table.X), axis=0), nan=0.0)
        return 8 * float(np.finfo(np.float64).eps * np.sum(largest * np.log1p(largest)))

    def agree(self, law: str, got: Any, want: Any, times: float = 1.0) -> None:
        """Raise `Broken` unless two answers agree but for rounding, a number of times as large."""
        got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
        check(law, got.shape == want.shape, lambda: f"shapes {got.shape} and {want.shape}")
        size = 1 + np.max(np.abs(want), initial=0.0)
        off = np.abs(got - want)
        check(
            law,
            off <= times * (self.tolerance * size + self.rounding),
            lambda: f"off by {np.max(off):.2g}: got {_at(got, off)}, expected {_at(want, off)}",
        )

    def refit(self, table: Table, estimator: Any = None) -> Any:
        """Return a new fit to other rows."""
        estimator = self.estimator if estimator is None else estimator
        return clone(estimator).fit(table.rows, **table.fit_arguments)


def scores(model: Any, table: Table) -> np.ndarray:
    """Return what a model answers about rows: log p(x), probabilities, or completed rows."""
    names = ("score_samples", "predict_proba", "transform")
    name = next(name for name in names if hasattr(model, name))
    return np.asarray(getattr(model, name)(table.rows, **table.given))


def check(law: str, holds: Any, detail: Callable[[], str] | str = "") -> None:
    """Raise `Broken` unless a condition holds throughout."""
    if not np.all(holds):
        raise Broken(law, detail() if callable(detail) else detail)


def _at(values: np.ndarray, off: np.ndarray) -> str:
    """Return the value where two answers differ most."""
    return f"{values.flat[np.argmax(np.nan_to_num(off, nan=np.inf))]:.9g}" if values.size else "-"


def answers(trial: Trial) -> None:
    """Every answer is finite, and in the dtype of X; observed cells stay as they are."""
    model, X, given = trial.model, trial.X, trial.table.given
    log_prob, std = trial.log_prob
    latents, filled = model.transform(X, **given), np.asarray(model.impute(X, **given))
    found = {
        "score_samples": log_prob,
        "std": std,
        "transform": latents,
        "inverse_transform": model.inverse_transform(latents),
        "impute": filled,
        "sample": model.sample(3, random_state=0)[0],
    }
    if trial.has_bound:
        found |= {f"elbo_terms.{k}": v for k, v in vars(trial.terms).items()}
    known = ~np.isnan(trial.table.X)
    if not known.all():
        found["draws"] = model.impute(X, n_draws=2, random_state=0, **given)
        kept = found["draws"][:, known] == trial.table.X[known]
        check("draws keep what is known", kept)
    for name, values in found.items():
        check(f"{name} is finite", np.isfinite(values), lambda v=values: f"{v}")
        expected = trial.table.X.dtype
        check(f"dtype of {name}", values.dtype == expected, f"{values.dtype}, X has {expected}")
    check("std is at least zero", std >= 0, lambda: f"{std}")
    check("impute keeps what is known", filled[known] == trial.table.X[known])
    check("lower_bounds_ are finite", np.isfinite([*model.lower_bounds_, model.lower_bound_]))
    check("n_parameters_", model.n_parameters_ > 0, f"{model.n_parameters_}")


def bound(trial: Trial) -> None:
    """The bound is at most the score, equal to it where q is exact, and does not fall."""
    if trial.has_bound:
        _bound_of_rows(trial)
    else:
        check("a point has no elbo", not hasattr(trial.model, "elbo"))
    if climbs(trial.subject, trial.estimator):
        bounds = np.asarray(trial.model.lower_bounds_)[: -1 if trial.is_coarse else None]
        steps = np.diff(bounds)
        floor = -1e-7 * (1 + np.abs(bounds[1:])) - trial.rounding
        check("the bound never falls", steps >= floor, lambda: f"falls by {-np.min(steps):.3g}")


def _bound_of_rows(trial: Trial) -> None:
    """The bound of rows, or of sequences, is at most the score, equal to it where q is exact."""
    log_prob, std = (a.astype(np.float64) for a in trial.log_prob)
    size = trial.by_unit(1 + np.abs(log_prob))
    over = trial.by_unit(trial.terms.elbo.astype(np.float64) - log_prob)
    error = 6 * trial.by_unit(std)
    slack = trial.tolerance * size + trial.rounding * len(log_prob) / len(size)
    excess = over - error - slack
    check("elbo is at most score_samples", excess <= 0, lambda: f"above by {np.max(excess):.3g}")
    if not is_exact(trial.subject, trial.estimator):
        return
    # Steps in two latents are beyond quadrature: such scores come with an error.
    weights = trial.table.weight_vector
    off = abs(trial.model.lower_bound_ - np.average(log_prob, weights=weights))
    slack = np.max(slack) + 6 * np.average(std, weights=weights)
    check("lower_bound_ is score(X)", off <= slack, f"off by {off:.2g}")
    off = np.abs(over)
    check("elbo is score_samples", off <= slack + error, lambda: f"off by {np.max(off):.2g}")


def kept(trial: Trial, before: dict[str, Any]) -> None:
    """Constructor parameters are the objects that they were."""
    after = trial.model.get_params(deep=False)
    check("parameters are kept", [after[k] is v for k, v in before.items()])
