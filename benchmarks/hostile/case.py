"""One hostile case: an estimator, a table and a law, all drawn from one integer."""

from __future__ import annotations

import re
import time
import traceback
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from hostile.laws import LAWS, applies
from hostile.meta_laws import META
from hostile.refusals import is_stray, refusal_of
from hostile.subjects import SUBJECTS, Subject, density_of, has_sequences, has_zeros, table_kind
from hostile.tables import Table, draw_table, in_classes, in_sequences
from hostile.trial import Broken, Trial, answers, bound, check, kept

LIBRARY = str(Path("skelbo")) + "/"


@dataclass(frozen=True)
class Case:
    """An unfitted estimator, what it is fitted to, and the law to check beside those of all."""

    name: str
    estimator: Any
    table: Table
    law: str

    @property
    def subject(self) -> Subject:
        """What the estimator promises."""
        return SUBJECTS[self.name]


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Parameters
    ----------
    status : {"answered", "refused", "failed"}
        Whether the fit was answered and all laws hold.
    kind : str
        Kind of refusal, or the law that does not hold.
    detail : str
        The numbers, or the message and the place of an exception.
    seconds : float
        Of CPU.
    """

    status: str
    kind: str = ""
    detail: str = ""
    seconds: float = 0.0


def draw_case(seed: int, name: str | None = None) -> Case:
    """Return the case of a seed, of one estimator where its name is given."""
    rng = np.random.default_rng([seed, 1])
    shares = np.array([subject.share for subject in SUBJECTS.values()])
    drawn = str(np.random.default_rng([seed, 0]).choice(list(SUBJECTS), p=shares / shares.sum()))
    name = name or drawn
    subject = SUBJECTS[name]
    estimator = subject.draw(rng)
    table = draw_table(rng, table_kind(estimator))
    if has_sequences(estimator):
        table = in_sequences(rng, table)
    if subject.kind == "classifier":
        table = in_classes(rng, table)
    if (has_zeros(estimator) or _underflows(estimator, table)) and table.weights is not None:
        # A row that the fit did not have may contradict a probability of zero, or lie 1e19 of the
        # least deviations away, whose square float32 does not hold: -inf is its score.
        weights = table.weight_vector
        table = replace(table, weights=np.where(weights > 0, weights, 1.0))
    promised = [law for law in LAWS if applies(law, subject, estimator, table)]
    return Case(name, estimator, table, str(rng.choice(promised)))


def _underflows(estimator: Any, table: Table) -> bool:
    """Return whether float32 may not hold log p(x) of a row that is not fitted."""
    number = density_of(estimator).get_params().get("reg_covar", "auto") != "auto"
    return number and table.X.dtype == np.float32


def run_case(case: Case) -> Outcome:
    """Fit, ask everything, and check the laws of every fit and the one of the case."""
    start = time.process_time()
    outcome = _outcome(case)
    return replace(outcome, seconds=time.process_time() - start)


def _outcome(case: Case) -> Outcome:
    """Return how a case ends."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            _run(case)
        except Broken as broken:
            return Outcome("failed", broken.law, broken.detail)
        except Exception as error:
            kind = refusal_of(error)
            if kind is not None:
                return Outcome("refused", kind, str(error))
            return Outcome("failed", f"{type(error).__name__} {_place(error)}", str(error))
    stray = [warning for warning in caught if is_stray(warning)]
    if stray:
        first = stray[0]
        where = f"{_short(first.filename)}:{first.lineno}"
        return Outcome("failed", f"{first.category.__name__} {where}", str(first.message))
    return Outcome("answered")


def _run(case: Case) -> None:
    """Fit and check; raise where something does not hold."""
    rows = case.table.rows
    estimator = clone(case.estimator)
    before = estimator.get_params(deep=False)
    estimator.fit(rows, **case.table.fit_arguments)
    trial = Trial(case.subject, case.estimator, case.table, estimator)
    same = np.asarray(rows, dtype=case.table.X.dtype)
    same = np.where(np.ma.getmaskarray(rows), np.nan, same) if np.ma.isMA(rows) else same
    check("X is not written to", np.array_equal(same, case.table.X, equal_nan=True))
    kept(trial, before)
    for law in META.get(case.subject.kind, (answers, bound)):
        law(trial)
    LAWS[case.law](trial)


def _short(path: str) -> str:
    """Return a path from the library's folder on."""
    return path[path.rindex(LIBRARY) :] if LIBRARY in path else Path(path).name


def _place(error: Exception) -> str:
    """Return the last line of the library on the way to an exception."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if LIBRARY in frame.filename] or frames
    return f"{_short(ours[-1].filename)}:{ours[-1].lineno}"


def mechanism(outcome: Outcome) -> str:
    """Return what outcomes of one mechanism have in common: the kind without numbers."""
    return re.sub(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", "#", outcome.kind)
