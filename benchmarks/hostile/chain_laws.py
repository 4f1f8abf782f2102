"""The law of chains: the paths of a sequence add up to its probability."""

from __future__ import annotations

from copy import copy
from itertools import product

import numpy as np
from scipy.special import logsumexp

from hostile.trial import Trial, check

# Largest number of paths that are listed.
MAX_PATHS = 512


def paths(trial: Trial) -> None:
    """All paths add up to log p(x), of which the most probable one is that of `predict`."""
    model, table = trial.model, trial.table
    rows = table.last_unit if table.groups is not None else np.arange(len(table.X))
    emission = _emission(trial)[rows]
    with np.errstate(divide="ignore"):
        start, step = np.log(model.startprob_, dtype=float), np.log(model.transmat_, dtype=float)

    def joint(path: np.ndarray) -> float:
        moves = step[path[:-1], path[1:]].sum()
        return start[path[0]] + moves + emission[np.arange(len(path)), path].sum()

    log_prob = trial.log_prob[0][rows].astype(float)
    total = log_prob.sum()
    slack = trial.tolerance * (1 + np.abs(log_prob)).sum() + trial.rounding * len(rows)
    best = joint(model.predict(trial.X, **table.given)[rows])
    check("the best path is possible", best <= total + slack, f"{best:.9g} and {total:.9g}")
    if len(emission[0]) ** len(rows) <= MAX_PATHS:
        all_paths = product(range(len(emission[0])), repeat=len(rows))
        joints = np.array([joint(np.array(path)) for path in all_paths])
        off = abs(logsumexp(joints) - total)
        check("paths add up to log p(x)", off <= slack, f"off by {off:.3g}")
        less = joints.max() - best
        check("predict is the best path", less <= slack, f"below by {less:.3g}")


def _emission(trial: Trial) -> np.ndarray:
    """Return log p(x | state) of all rows, each a sequence of its own that begins in the state."""
    one, n = copy(trial.model), len(trial.table.X)
    columns = []
    for state in range(len(one.startprob_)):
        one.startprob_ = np.eye(len(one.startprob_), dtype=one.startprob_.dtype)[state]
        columns.append(one.score_samples(trial.X, groups=np.arange(n)))
    return np.array(columns, dtype=float).T
