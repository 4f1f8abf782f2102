"""Laws that take another fit or other rows; a case checks one of them."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone

from hostile.chain_laws import paths
from hostile.code_laws import enumeration
from hostile.comparison_laws import compared, n_units
from hostile.own_model import OwnFactorModel
from hostile.subjects import Subject, climbs, density_of, has_sequences, one_unit
from hostile.tables import Table
from hostile.trial import ROUGH, Trial, check, is_coarse, scores
from skelbo import MCEM, VariationalEM, VQVAEEstimator

# Standard error of log p(x), in nats, from which a score is no estimate.
UNKNOWN = 0.5


def same_again(trial: Trial) -> None:
    """The same fit gives the same bits, whatever the container."""
    model = trial.refit(trial.table)
    check("the same fit again", np.array_equal(scores(model, trial.table), trial.scores))


def containers(trial: Trial) -> None:
    """A plain array of the same cells gives the same fit."""
    for container in "array", ("masked", "frame", "read_only")[trial.table.X.size % 3]:
        table = replace(trial.table, container=container)
        model = trial.refit(table)
        if trial.subject.kind == "density":
            trial.agree(f"container {container}", model.lower_bound_, trial.model.lower_bound_)
        else:
            trial.agree(f"container {container}", scores(model, table), trial.scores)


def criteria(trial: Trial) -> None:
    """Scores and criteria with weights are finite numbers, and agree with those of the rows."""
    model, X, table = trial.model, trial.X, trial.table
    given = {**table.given, "sample_weight": table.weights}
    names = ["aic", "bic"] + ["icl"] * hasattr(model, "icl")
    values = {name: getattr(model, name)(X, **given) for name in names}
    values["score"] = model.score(X, **given)
    for name, value in values.items():
        check(f"{name} is finite", np.isfinite(value), f"{value}")
    if "icl" in values:
        over = values["bic"] - values["icl"]
        check("icl is at least bic", over <= 1e-9 * abs(values["bic"]), f"below by {over:.3g}")
    mean = np.average(trial.log_prob[0].astype(float), weights=table.weight_vector)
    trial.agree("score is the mean of score_samples", values["score"], mean)
    if not trial.has_bound:
        return
    trial.agree("elbo is a term", model.elbo(X, **table.given), trial.terms.elbo)
    gap = trial.log_prob[0] - trial.terms.elbo
    size = np.max(np.abs(trial.log_prob[0]), initial=1.0)
    trial.agree("gap is the difference", model.gap(X, **table.given), gap, float(size))


def pickled(trial: Trial) -> None:
    """A pickled estimator gives the same scores."""
    again = pickle.loads(pickle.dumps(trial.model))
    check("pickle keeps the scores", np.array_equal(scores(again, trial.table), trial.scores))


def filed(trial: Trial) -> None:
    """An estimator from its file gives the same scores."""
    own = isinstance(getattr(trial.model, "model", None), OwnFactorModel)
    given = {"model": trial.estimator.model} if own else {}
    with tempfile.TemporaryDirectory() as folder:
        trial.model.to_file(f"{folder}/model")
        again = type(trial.model).from_file(f"{folder}/model", **given)
    check("a file keeps the scores", np.array_equal(scores(again, trial.table), trial.scores))


def repetition(trial: Trial) -> None:
    """Weights are repetitions: rows with half their weight twice, without those of weight zero."""
    twice = trial.table.repeated()
    model = trial.refit(twice)
    if trial.subject.kind != "density":
        table = replace(trial.table, container=twice.container)
        trial.agree("weights are repetitions", scores(model, table), trial.scores)
        return
    if is_coarse(trial.table.X):
        return  # the parameters are published too coarsely: their rounding moves the bound
    trial.agree("weights are repetitions", model.lower_bound_, trial.model.lower_bound_)
    score = model.score(twice.rows, sample_weight=twice.weights, **twice.given)
    weights = trial.table.weights
    want = trial.model.score(trial.X, sample_weight=weights, **trial.table.given)
    trial.agree("weights are repetitions in score", score, want)


def units(trial: Trial) -> None:
    """At the defaults, another unit of a column changes scores by -log of the factor alone."""
    X = trial.table.X.astype(np.float64)
    rng = np.random.default_rng(X.size)
    estimator = trial.subject.default()
    # A column that is constant to rounding has no unit of its own: its scale is that of the others.
    constant = _is_constant(X[trial.table.weight_vector > 0])
    one = one_unit(estimator) or constant.any() or is_coarse(X, trial.table.weight_vector)
    factors = 2.0 ** rng.integers(-20, 21, 1 if one else X.shape[1])
    factors = np.broadcast_to(factors, X.shape[1]).astype(X.dtype)
    Y = X * factors
    if not _moderate(X, Y) or constant.all():
        return
    base, there = _compared(trial, X, estimator), _compared(trial, Y, estimator)
    if base is None or there is None:
        return
    jacobian = np.where(np.isnan(X), 0.0, np.log(factors)).sum(axis=1)
    _same(trial, "units", there + jacobian, base, 10)


def shifts(trial: Trial) -> None:
    """At the defaults, an exact shift of the columns changes nothing."""
    X = trial.table.X.astype(np.float64)
    # The only scale of a table without any spread is where it lies.
    constant = _is_constant(X[trial.table.weight_vector > 0])
    if not _moderate(X) or constant.all() or is_coarse(X, trial.table.weight_vector):
        return
    sizes = np.nanmax(np.abs(X), axis=0)
    shift = 4 * 2.0 ** np.ceil(np.log2(np.where(sizes > 0, sizes, 1.0))).astype(X.dtype)
    Y = (X + shift).astype(X.dtype)
    X = Y - shift  # so that the shift is exact
    if not np.array_equal(X + shift, Y, equal_nan=True):
        return
    estimator = trial.subject.default()
    base, there = _compared(trial, X, estimator), _compared(trial, Y, estimator)
    if base is None or there is None:
        return
    _same(trial, "shifts", there, base, 100)


def _compared(trial: Trial, X: np.ndarray, estimator: Any) -> np.ndarray | None:
    """Return the scores of other cells under an estimator fitted to them.

    None where EM has not arrived at the maximum given incomplete rows: on a long way to a singular
    covariance the rounding of a first step grows by 1e12.
    """
    table = replace(trial.table, X=X, container="array")
    model = trial.refit(table, estimator)
    if "exact" in trial.subject.laws and np.isnan(X).any() and not model.converged_:
        return None
    return scores(model, table)


def _same(trial: Trial, law: str, got: np.ndarray, want: np.ndarray, times: float) -> None:
    """Raise `Broken` unless scores agree, or, of models with mirrored maxima, their mean does.

    Rounding chooses one of two maxima of one height. Rows whose weight is rounding are left out.
    """
    weights = trial.table.weight_vector
    rows = weights > ROUGH * weights.sum()
    got, want, weights = got[rows], want[rows], weights[rows]
    if isinstance(trial.estimator, VariationalEM | MCEM):
        got, want = (np.average(values, weights=weights) for values in (got, want))
    trial.agree(law, got, want, times)


def _is_constant(X: np.ndarray) -> np.ndarray:
    """Return which columns have no two different cells."""
    return ~(np.fmax.reduce(X) > np.fmin.reduce(X))


def _moderate(*tables: np.ndarray) -> bool:
    """Return whether all numbers have squares far from overflow and underflow."""
    cells = np.concatenate([np.abs(X[~np.isnan(X)]).astype(np.float64) for X in tables])
    limits = (1e-12, 1e12) if tables[0].dtype == np.float32 else (1e-100, 1e100)
    cells = cells[cells > 0]
    return bool(np.all((cells > limits[0]) & (cells < limits[1])))


def stream(trial: Trial) -> None:
    """`partial_fit` of the rows in two parts gives finite answers; of one Gaussian, the fit."""
    table = trial.table
    half = (len(table.X) + 1) // 2
    parts = table.take(np.arange(half)), table.take(np.arange(half, len(table.X)))
    model = clone(trial.estimator)
    for part in parts:
        if part.weight_vector.any():
            model.partial_fit(part.rows, sample_weight=part.weights)
    scores = model.score_samples(trial.X)
    check("partial_fit is finite", np.isfinite(scores), lambda: f"{scores}")
    if type(trial.estimator).__name__ == "GaussianMLE":
        score = model.score(trial.X, sample_weight=table.weights)
        trial.agree("partial_fit is fit", score, trial.model.lower_bound_, 10)


def empty_row(trial: Trial) -> None:
    """A row without an observed cell has log p(x) = 0, and its imputation is finite."""
    row = replace(trial.table, X=np.full_like(trial.table.X[:1], np.nan)).incomplete
    log_prob, std = trial.model.score_samples(row, return_std=True)
    zero = (np.abs(log_prob) <= 1e-15) & (std == 0)  # probabilities of components sum to one
    check("an empty row has log p = 0", zero, f"{log_prob} +- {std}")
    if trial.has_bound:
        elbo = trial.model.elbo(row)
        check("an empty row has elbo <= 0", elbo <= 1e-6, f"{elbo}")
    check("an empty row is imputed", np.isfinite(np.asarray(trial.model.impute(row))))


def batches(trial: Trial) -> None:
    """The answers about a row, or a sequence, do not depend on the others."""
    places = trial.table.last_unit
    last = trial.table.take(places)
    names = ["score_samples", "transform"] + ["elbo"] * trial.has_bound
    for name in names if trial.subject.kind == "density" else ():
        ask = getattr(trial.model, name)
        got, want = ask(last.rows, **last.given), ask(trial.X, **trial.table.given)[places]
        if name == "score_samples":
            # One draw has all the weight of such an estimate: rounding chooses which.
            known = trial.log_prob[1][places] < UNKNOWN
            got, want = got[known], want[known]
        trial.agree(f"{name} row by row", got, want)
    if trial.subject.kind != "density":
        trial.agree("row by row", scores(trial.model, last), trial.scores[places])


def warm(trial: Trial) -> None:
    """A warm start goes on from the fit: the bound does not fall."""
    model = clone(trial.estimator).set_params(warm_start=True)
    first, second = (model.fit(trial.X, **trial.table.fit_arguments).lower_bound_ for _ in range(2))
    check("warm start is finite", np.isfinite(second))
    # Published locations far from zero have too few digits to begin where the fit ended.
    if climbs(trial.subject, trial.estimator) and not is_coarse(trial.table.X):
        # Both are bounds of published means, which are rounded.
        fall = trial.tolerance * (1 + abs(first)) + trial.rounding
        check("a warm start does not fall", second >= first - fall, f"{first:.9g}, {second:.9g}")


# Laws of every estimator, and those of densities alone.
COMMON = same_again, containers, pickled, repetition, batches
DENSITY = criteria, filed, units, shifts, stream, empty_row, warm, compared, paths, enumeration
LAWS: dict[str, Callable[[Trial], None]] = {law.__name__: law for law in (*COMMON, *DENSITY)}


def applies(law: str, subject: Subject, estimator: Any, table: Table) -> bool:
    """Return whether an estimator promises a law for a table."""
    if subject.kind != "density" and LAWS[law] not in COMMON:
        return False
    if law == "repetition":
        # On its way L-BFGS amplifies the rounding of sums; only its end is that of the weights.
        solver = getattr(density_of(estimator), "solver", "em")
        return "repeats" in subject.laws and solver != "gradient"
    if law == "stream":
        complete = not np.isnan(table.X).any()
        return complete and len(table.X) > 1 and "streams" in subject.laws
    if law == "batches":
        # A draw of the missing cells depends on its place in the stream.
        return not getattr(estimator, "sample_posterior", False)
    if law == "warm":
        return "warm_start" in estimator.get_params()
    if law in ("units", "shifts"):
        return not np.isnan(table.X).all(axis=0).any()
    if law == "compared":
        return "exact" in subject.laws and n_units(table) > 1
    if law == "paths":
        return has_sequences(estimator)
    if law == "enumeration":
        return isinstance(estimator, VQVAEEstimator)
    return True
