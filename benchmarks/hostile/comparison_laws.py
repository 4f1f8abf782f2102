"""The law of `skelbo.compare`: its columns are numbers that agree with each other."""

from __future__ import annotations

import numpy as np

import skelbo
from hostile.refusals import refusal_of
from hostile.tables import Table
from hostile.trial import Trial, check
from skelbo import GaussianMLE


def n_units(table: Table) -> int:
    """Return the number of rows, or of sequences where there are any."""
    return len(table.X if table.groups is None else np.unique(table.groups))


def compared(trial: Trial) -> None:
    """Each estimator has numbers, the best is no worse than the others, or an error by name."""
    named = {"one": trial.estimator, "other": GaussianMLE("diag", max_iter=5)}
    X = trial.table.incomplete
    found = skelbo.compare(named, X, cv=2, groups=trial.table.groups, progress=False)
    results = found.results
    for place, error in enumerate(results["error"]):
        if error:
            refused = refusal_of(ValueError(error))
            check("compare: an error is a documented refusal", refused is not None, error)
        else:
            values = {name: column[place] for name, column in results.items()}
            _check_line(trial, values, found.row_log_prob[place])
    check("compare: best", results["difference"][results["estimator"].index(found.best)] == 0)


def _check_line(trial: Trial, values: dict, row: np.ndarray) -> None:
    """Check the numbers of one estimator."""
    mean = values["log_prob"]
    check("compare: no NaN in log p(x)", ~np.isnan(row), f"{row}")
    if np.isfinite(mean):
        trial.agree("compare: mean of the rows", [mean], [np.mean(row)])
    over = values["difference"] - 1e-12 * (1 + np.abs(row).max())
    check("compare: the best is best", over <= 0, f"above by {over:.3g}")
    errors = np.array([values[name] for name in ("se", "difference_se", "mc_se")])
    check("compare: standard errors", errors >= 0, f"{errors}")
