"""Blocks of work on the threads that matrix products would have used otherwise."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def n_threads() -> int:
    """Return the number of threads that BLAS may use now: 1 where the user has limited it so."""
    return max((library.num_threads for library in _libraries().lib_controllers), default=1)


def one_blas_thread() -> AbstractContextManager:
    """Leave matrix products one thread each, for as long as other threads share the work."""
    return _libraries().limit(limits=1)


def threaded(function: Callable[[Any], Any], items: Iterable[Any], count: int) -> Iterator[Any]:
    """Yield ``function(item)`` in the order of the items, computed in `count` threads.

    Each thread runs its own matrix products: one block whole is better than all blocks together,
    as the steps between the products run in parallel too. No more than `count` + 1 results wait.
    """
    if count == 1:
        yield from map(function, items)
        return
    waiting: deque[Future] = deque()
    with one_blas_thread(), ThreadPoolExecutor(count) as pool:
        for item in items:
            waiting.append(pool.submit(copy_context().run, function, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
