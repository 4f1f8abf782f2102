"""Thread pool for blocks of rows, on the threads that matrix products would use otherwise."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

# Threads reserved for this library in the present context; None where BLAS still has its own.
_reserved: ContextVar[int | None] = ContextVar("skelbo_threads", default=None)


# Operations on fewer cells stay in one thread. A shared operation waits until the last of its
# threads has had a core, on a busy machine up to 25 ms; those on 2^21 cells take 10 to 40 ms.
MIN_SHARED_CELLS = 2**21


def _libraries(api: str) -> ThreadpoolController:
    return _loaded_libraries(api, "torch" in sys.modules)


@cache
def _loaded_libraries(api: str, with_torch: bool) -> ThreadpoolController:
    """Return the thread pools of one kind; torch brings its own when it is imported."""
    return ThreadpoolController().select(user_api=api)


def n_threads() -> int:
    """Return the number of threads that work may use now: as many as BLAS is allowed to."""
    return _reserved.get() or _blas_threads()


def _blas_threads() -> int:
    return max((library.num_threads for library in _libraries("blas").lib_controllers), default=1)


class _SharedLimit:
    """Limit of one thread for the whole process, counted by its holders.

    The limit of the process is restored by the last holder: concurrent fits that each restored
    what they had found could restore the limit of one another.

    Parameters
    ----------
    impose : callable
        Imposes the limit and returns a function that restores what was before.
    """

    def __init__(self, impose: Callable[[], Callable[[], Any]]):
        self.impose = impose
        self.lock = Lock()
        self.holders = 0
        self.restore: Callable[[], Any] = lambda: None

    def __enter__(self) -> None:
        with self.lock:
            if self.holders == 0:
                self.restore = self.impose()
            self.holders += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.holders -= 1
            if self.holders == 0:
                self.restore()


def _limit_blas() -> Callable[[], Any]:
    return _libraries("blas").limit(limits=1).restore_original_limits


def _limit_torch() -> Callable[[], Any]:
    """Limit torch, whose matrix products are those of a library of its own, if it is imported."""
    torch = sys.modules.get("torch")
    if torch is None:
        return lambda: None
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    return lambda: torch.set_num_threads(before)


_one_blas_thread, _one_torch_thread = _SharedLimit(_limit_blas), _SharedLimit(_limit_torch)


def one_blas_thread() -> AbstractContextManager:
    """Limit matrix products to one thread each while other threads share the work."""
    return _one_blas_thread


def one_openmp_thread() -> AbstractContextManager:
    """Limit loops of compiled code to one thread, for work that is too little to share."""
    return _libraries("openmp").limit(limits=1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS, OpenMP and torch to one thread."""
    with one_blas_thread(), _one_torch_thread, one_openmp_thread():
        yield


def threads_for(n_cells: float) -> AbstractContextManager:
    """Leave operations on so many cells the threads they have, or one if they are too few."""
    return nullcontext() if n_cells >= MIN_SHARED_CELLS else one_thread()


@contextmanager
def own_threads() -> Iterator[None]:
    """Reserve the threads of BLAS between several calls of `map_in_order` too.

    A thread of BLAS keeps a core busy long after its product, waiting for another.
    """
    token = _reserved.set(n_threads())
    try:
        with one_blas_thread():
            yield
    finally:
        _reserved.reset(token)


def map_in_order(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    count: int,
    consume: Callable[[Any], Any] = lambda result: None,
) -> None:
    """Call ``consume(function(item))`` in the order of the items, `function` in `count` threads.

    Each thread runs its own matrix products: blocks side by side are faster than one block on all
    threads, as the steps between the products run in parallel too. `consume` runs in the thread of
    the caller, and at most twice `count` results wait for an earlier one. The first error is
    raised once the items under way are done; no further item begins.
    """
    count = min(count, len(items))
    if count <= 1:
        for item in items:
            consume(function(item))
        return
    on_warning = np.geterr()  # of the caller: NumPy 1 has one setting per thread

    def work(item: Any) -> Any:
        _reserved.set(1)
        with np.errstate(**on_warning):
            return function(item)

    waiting: deque[Future] = deque()
    with one_blas_thread(), ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                if len(waiting) == 2 * count:
                    consume(waiting.popleft().result())
                waiting.append(pool.submit(copy_context().run, work, item))
            while waiting:
                consume(waiting.popleft().result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
