"""What estimators do with Dask input: check it, score it in one pass, answer it lazily."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from skelbo.data.dask_graph import Blocks, Table, check_length, is_array, is_dask, one_column_chunk
from skelbo.data.dask_rows import DaskRows

IN_MEMORY_ONLY = (
    "set_output(transform={container!r}) is for tables in memory, got a Dask collection; use "
    "set_output(transform='default'), which gives a Dask array."
)


# ------------------------------------------------------------------------------------------- fits


def read(estimator: Any, X: Any, sample_weight: Any, *, reset: bool) -> DaskRows:
    """Check the arguments of a fit in one pass, with the messages that arrays give."""
    dtype = check_columns(estimator, X, reset=reset)
    cells, questions = estimator._cells(X.shape[1]), estimator._first_pass()
    rows = DaskRows.read(X, sample_weight, dtype, cells, questions)
    _check_counts(estimator, rows, sample_weight is not None)
    return rows


def check_columns(estimator: Any, X: Any, *, reset: bool) -> np.dtype:
    """Check number, names and types of the columns; return float32 or float64."""
    blank = np.empty((0, *X.shape[1:]), X.dtype) if is_array(X) else X._meta
    return validate_data(
        estimator, blank, reset=reset, dtype=[np.float64, np.float32], ensure_min_samples=0
    ).dtype


def _check_counts(estimator: Any, rows: DaskRows, weighted: bool) -> None:
    """Raise what validation in memory would have raised, by way of a small stand-in."""
    census, few = rows.census, estimator._min_samples
    check = partial(check_array, estimator=estimator, input_name="X")
    if census.n_rows < few:
        check(np.zeros((census.n_rows, rows.n_features)), ensure_min_samples=few)
    if census.infinite:
        check(np.full((1, 1), np.inf), ensure_all_finite="allow-nan")
    if not weighted:
        return
    for n_weights, n_rows in census.uneven:
        check_length(n_weights, n_rows)
    stand_in = [1.0] if census.n_present else [0.0]
    stand_in += [np.nan] * (census.invalid > 0) + [-1.0] * (census.negative > 0)
    _check_sample_weight(
        np.array(stand_in),
        np.zeros((len(stand_in), 1)),
        ensure_non_negative=True,
        allow_all_zero_weights=False,
    )


def batches(X: Any, sample_weight: Any, dtype: np.dtype, min_rows: int) -> Iterator[Any]:
    """Yield rows and weights in memory, block after block.

    Blocks without rows of positive weight are passed over, unless there are no others, and blocks
    of fewer than `min_rows` rows join their neighbours.
    """
    ready: list[Any] = []
    held: list[Any] = []
    for table in Blocks.of(X, sample_weight, dtype).in_turn():
        if not table.has_rows:
            continue
        held.append(table)
        if sum(len(table.X) for table in held) >= min_rows:
            if ready:
                yield Table.joined(ready)
            ready, held = held, []
    # Where no block has any rows the last one is refused by whoever reads it.
    yield Table.joined(ready + held or [table])


# ----------------------------------------------------------------------------------------- scores


def mean_log_prob(estimator: Any, X: Any, sample_weight: Any) -> tuple[float, float]:
    """Return the weighted mean of log p(x) and the sum of the weights, in one pass."""
    check_is_fitted(estimator)
    dtype = check_columns(estimator, X, reset=False)
    blocks = Blocks.of(X, sample_weight, dtype)
    sums = blocks.total(_log_prob_of_table, _snapshot(estimator))
    if sums is None:
        check_array(np.empty((0, X.shape[1])), estimator=estimator)
    return float(sums[0]) / float(sums[1]), float(sums[1])


def _log_prob_of_table(table: Any, model: Any) -> np.ndarray | None:
    X, weights = table
    if not len(X):
        return None
    log_prob = model.score_samples(X).astype(np.float64)
    if weights is None:
        return np.array([log_prob.sum(), len(X)])
    check_length(len(weights), len(X))
    present = weights > 0  # a row of weight zero is absent, even where p(x) underflows
    return np.array([(log_prob[present] * weights[present]).sum(), weights.sum()])


# ----------------------------------------------------------------------------- answers row by row


def lazy_on_dask(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method that answers row by row give a lazy Dask array for a Dask collection."""

    @wraps(method)
    def answer(self, X, *args, **kwargs):
        if is_dask(X):
            return _lazily(self, method.__name__, X, args, kwargs)
        return method(self, X, *args, **kwargs)

    return answer


def _lazily(estimator: Any, name: str, X: Any, args: tuple, kwargs: dict) -> Any:
    check_is_fitted(estimator)
    container = _get_output_config("transform", estimator)["dense"]
    if name == "transform" and container != "default":
        raise ValueError(IN_MEMORY_ONLY.format(container=container))
    dtype = check_columns(estimator, X, reset=False)
    ask = partial(_answer, model=_snapshot(estimator), name=name, args=args, kwargs=kwargs)
    # The kind of the answer is learnt from one row: Dask would ask with none.
    example = getattr(ask.keywords["model"], name)(
        np.zeros((1, X.shape[1]), dtype), *args, **kwargs
    )
    shape, dtype = np.shape(_array(example))[1:], _array(example).dtype
    ask = partial(ask, dtype=dtype, shape=shape)
    meta = np.empty((0,) * (1 + len(shape)), dtype)
    if is_array(X):
        X = one_column_chunk(X)
        chunks = (X.chunks[0], *((n,) for n in shape))
        lazy = X.map_blocks(ask, dtype=dtype, meta=meta, chunks=chunks, drop_axis=[1] * (not shape))
    else:
        lazy = X.map_partitions(ask, meta=np.empty((0, *shape), dtype))
    return _like(example, lazy)


def _answer(block: Any, *, model: Any, name: str, args, kwargs, dtype, shape) -> np.ndarray:
    """Answer for one block; a block without rows has an empty answer."""
    if not len(block):
        return np.empty((0, *shape), dtype)
    return _array(getattr(model, name)(np.asarray(block), *args, **kwargs))


def _snapshot(estimator: Any) -> Any:
    """Return the estimator as it is now: a later fit does not change answers still to be given.

    Names of columns have been checked, and callbacks stay where they are.
    """
    model = copy.copy(estimator)
    for attribute in ("feature_names_in_", "_sklearn_output_config", "_skl_callbacks", "_stepwise"):
        vars(model).pop(attribute, None)
    return model


def _array(answer: Any) -> np.ndarray:
    """Return an answer of several arrays of (n_rows,) as one of (n_rows, n_arrays)."""
    return answer if isinstance(answer, np.ndarray) else np.stack(_pieces(answer), axis=1)


def _pieces(answer: Any) -> list[np.ndarray]:
    return list(answer) if isinstance(answer, tuple) else list(answer.stack().T)


def _like(example: Any, lazy: Any) -> Any:
    """Undo `_array`: give a lazy answer the type of an example."""
    if isinstance(example, np.ndarray):
        return lazy
    columns = [lazy[:, i] for i in range(lazy.shape[1])]
    return tuple(columns) if isinstance(example, tuple) else type(example)(*columns)
