"""Answers of fitted estimators on Dask input: scores in one pass, everything else lazily."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils import check_array

from skelbo.data.dask_blocks import (
    Blocks,
    Table,
    as_table,
    is_array,
    one_column_chunk,
)
from skelbo.data.dask_columns import check_columns
from skelbo.data.weights import check_any_weight

IN_MEMORY_ONLY = (
    "set_output(transform={container!r}) is for tables in memory, got a Dask collection; use "
    "set_output(transform='default'), which gives a Dask array."
)


def mean_over_rows(estimator: Any, name: str, X: Any, sample_weight: Any) -> tuple[float, float]:
    """Return the weighted mean of a method's values for rows, and the sum of the weights.

    In one pass; the method takes validated rows.
    """
    estimator._check_fitted()
    dtype = check_columns(estimator, X, reset=False)
    blocks = Blocks.of(X, sample_weight, dtype)
    sums = blocks.total(_sums_of_table, _snapshot(estimator), name)
    if sums is None:
        check_array(np.empty((0, X.shape[1])), estimator=estimator)
    check_any_weight(sums[1] > 0)
    return float(sums[0] / sums[1]), float(sums[1])


def _sums_of_table(table: Table, model: Any, name: str) -> np.ndarray | None:
    X, weights = table
    if not len(X):
        return None
    values = getattr(model, name)(model._validate(X)).astype(np.float64)
    if weights is None:
        return np.array([values.sum(), len(X)])
    present = weights > 0  # a row of weight zero is absent, even where p(x) underflows
    return np.array([(values[present] * weights[present]).sum(), weights.sum()])


def lazy_answer(estimator: Any, name: str, X: Any, args: tuple, kwargs: dict) -> Any:
    """Return the answers of a method for all rows of a collection, as a lazy Dask array.

    A method that returns a tuple or `ElboTerms` gives one of lazy arrays.
    """
    estimator._check_fitted()
    dtype, model = check_columns(estimator, X, reset=False), _snapshot(estimator)
    method = partial(getattr(model, name), *args, **kwargs)
    # The answer for one row has the type and shape of all: Dask itself would ask with no row.
    example = method(np.zeros((1, X.shape[1]), dtype))
    if name == "transform" and not isinstance(example, np.ndarray):
        container = type(example).__module__.partition(".")[0]
        raise ValueError(IN_MEMORY_ONLY.format(container=container))
    columns = _as_array(example)
    call = partial(_of_block, method=method, dtype=dtype, empty=columns[:0])
    shape, dtype = columns.shape[1:], columns.dtype
    if not is_array(X):
        return _like(example, X.map_partitions(call, meta=np.empty((0, *shape), dtype)))
    X, meta = one_column_chunk(X), np.empty((0,) * (1 + len(shape)), dtype)
    chunks = (X.chunks[0], *((n,) for n in shape))
    lazy = X.map_blocks(call, dtype=dtype, meta=meta, chunks=chunks, drop_axis=[1] * (not shape))
    return _like(example, lazy)


def _of_block(block: Any, *, method: Any, dtype: np.dtype, empty: np.ndarray) -> np.ndarray:
    """Return the answers for one block; a block without rows has an empty answer."""
    return _as_array(method(as_table(block, dtype))) if len(block) else empty


def _snapshot(estimator: Any) -> Any:
    """Return the estimator as it is now: a later fit does not change answers still to be given.

    The names of the columns have been checked, and blocks have none.
    """
    model = copy.copy(estimator).set_callbacks()
    vars(model).pop("feature_names_in_", None)
    return model


def _as_array(answer: Any) -> np.ndarray:
    """Return an answer of several arrays of (n_rows,) as one of (n_rows, n_arrays)."""
    if isinstance(answer, tuple):
        return np.stack(answer, axis=1)
    return answer if isinstance(answer, np.ndarray) else answer.stack()


def _like(example: Any, lazy: Any) -> Any:
    """Return a lazy answer in the type of an example: the inverse of `_as_array`."""
    if isinstance(example, np.ndarray):
        return lazy
    columns = [lazy[:, i] for i in range(lazy.shape[1])]
    return tuple(columns) if isinstance(example, tuple) else type(example)(*columns)
