"""What every meta-estimator answers, and how its answers follow from those of its density."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp

from hostile.trial import Trial, check


def classifies(trial: Trial) -> None:
    """Probabilities are those of Bayes' rule, and the label is the most probable one."""
    model, X = trial.model, trial.X
    log_proba, proba = model.predict_log_proba(X), model.predict_proba(X)
    check("log probabilities are at most zero", log_proba <= 0, lambda: f"{log_proba}")
    trial.agree("probabilities add up to one", proba.sum(axis=1), np.ones(len(proba)))
    labels = model.predict(X)
    check("a label is one of the fit", np.isin(labels, trial.table.labels))
    check("the label is the most probable", model.classes_[proba.argmax(axis=1)] == labels)
    joint = np.stack([one.score_samples(X).astype(float) for one in model.estimators_], axis=1)
    joint += np.log(model.class_prior_)
    here = joint.max(axis=1) > -np.inf
    expected = np.exp(joint[here] - logsumexp(joint[here], axis=1, keepdims=True))
    trial.agree("Bayes' rule", proba[here], expected)


def detects(trial: Trial) -> None:
    """Outliers are the rows below the border, and at most their share of the weight is below."""
    model, X = trial.model, trial.X
    decision, scores = model.decision_function(X), model.score_samples(X)
    check("decisions are finite", np.isfinite(decision), lambda: f"{decision}")
    trial.agree("decision is the distance from the border", decision, scores - model.offset_)
    check("outliers are below the border", (model.predict(X) == -1) == (decision < 0))
    share = 0.1 if model.contamination == "auto" else model.contamination
    weights = trial.table.weight_vector
    below = weights[scores.astype(float) < model.offset_].sum() / weights.sum()
    check("no more outliers than asked for", below <= share + 1e-9, f"{below:.6g} of {share}")


def completes(trial: Trial) -> None:
    """The rows are complete, the same each time, and observed cells are unchanged."""
    model, X, cells = trial.model, trial.X, trial.table.X
    completed = np.asarray(model.transform(X))
    check("completed rows are finite", np.isfinite(completed), lambda: f"{completed}")
    check("dtype of completed rows", completed.dtype == cells.dtype, f"{completed.dtype}")
    check("the same at a second call", completed == np.asarray(model.transform(X)))
    known, rows = ~np.isnan(cells), completed[:, : cells.shape[1]]
    check("the imputer keeps what is known", rows[known] == cells[known])
    n_columns = len(model.get_feature_names_out())
    check("as many columns as names", completed.shape[1] == n_columns)


def searches(trial: Trial) -> None:
    """The chosen candidate is the best usable one, and the search answers as it does."""
    model, X, results = trial.model, trial.X, trial.model.results_
    place, criterion = model.best_index_, model.criterion
    check("ranks", np.sort(results["rank"]) == np.arange(1, len(results["rank"]) + 1))
    check("the first is chosen", results["rank"][place] == 1)
    usable = np.isfinite(results["criterion"]) & ~results["degenerate"].astype(bool)
    values = results["criterion"][usable] * (-1 if criterion == "held_out" else 1)
    chosen = results["criterion"][place] * (-1 if criterion == "held_out" else 1)
    check("the chosen is the best", chosen <= values) if usable[place] else None
    scores = model.score_samples(X)
    check("scores are finite", np.isfinite(scores), lambda: f"{scores}")
    check("scores are those of the chosen", scores == model.best_estimator_.score_samples(X))
    if criterion != "held_out":
        again = getattr(model.best_estimator_, criterion)(X, sample_weight=trial.table.weights)
        trial.agree("criterion of the chosen", results["criterion"][place], again)


META: dict[str, tuple[Callable[[Trial], None], ...]] = {
    "classifier": (classifies,),
    "detector": (detects,),
    "imputer": (completes,),
    "search": (searches,),
}
