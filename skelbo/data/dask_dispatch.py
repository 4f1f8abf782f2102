"""Dispatch of Dask collections; Dask is imported only where there is one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from skelbo.data.dask_detection import is_dask


def in_memory(estimator: Any, X: Any, sample_weight: Any = None, *, reset: bool = True) -> tuple:
    """Return X and its weights, a Dask collection as tables in memory if there is room for it."""
    if not is_dask(X):
        return X, sample_weight
    from skelbo.data.dask_download import download

    return download(estimator, X, sample_weight, reset=reset)


def lazy_on_dask(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method that answers row by row return a lazy Dask array for a Dask collection."""

    @wraps(method)
    def answer(self, X, *args, **kwargs):
        if is_dask(X):
            from skelbo.data.dask_answers import lazy_answer

            return lazy_answer(self, method.__name__, X, args, kwargs)
        return method(self, X, *args, **kwargs)

    return answer
