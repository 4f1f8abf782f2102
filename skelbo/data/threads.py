"""Blocks of work on the threads that matrix products would have used otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, copy_context
from functools import cache
from threading import Condition, Lock, Thread
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

# Threads that are ours to use, where BLAS has been told to leave them.
_ours: ContextVar[int | None] = ContextVar("skelbo_threads", default=None)


@cache
def _libraries(api: str) -> ThreadpoolController:
    return ThreadpoolController().select(user_api=api)


def n_threads() -> int:
    """Return the number of threads that BLAS may use now: 1 where the user has limited it so."""
    return _ours.get() or _blas_threads()


def _blas_threads() -> int:
    return max((library.num_threads for library in _libraries("blas").lib_controllers), default=1)


class _OneBlasThread:
    """Limits BLAS, of which a process has one, for as long as anybody asks for it.

    Were each to put back what it found, the last one might put back the limit of another.
    """

    def __init__(self):
        self.lock = Lock()
        self.holders = 0
        self.limiter: Any = None

    def __enter__(self) -> None:
        with self.lock:
            if self.holders == 0 and _blas_threads() > 1:
                self.limiter = _libraries("blas").limit(limits=1)
            self.holders += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.holders -= 1
            if self.holders == 0 and self.limiter is not None:
                self.limiter.restore_original_limits()
                self.limiter = None


_one_blas_thread = _OneBlasThread()


def one_blas_thread() -> AbstractContextManager:
    """Leave matrix products one thread each, for as long as other threads share the work."""
    return _one_blas_thread


def one_openmp_thread() -> AbstractContextManager:
    """Leave loops of compiled code one thread, for work that is too little to share."""
    return _libraries("openmp").limit(limits=1)


@contextmanager
def own_threads() -> Iterator[None]:
    """Take the threads of BLAS for the work between several calls of `threaded` too.

    A thread of BLAS keeps a core busy long after its product, waiting for another.
    """
    token = _ours.set(n_threads())
    try:
        with one_blas_thread():
            yield
    finally:
        _ours.reset(token)


def threaded(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    count: int,
    take: Callable[[Any], Any] = lambda result: None,
) -> None:
    """Call ``take(function(item))`` in the order of the items, functions in up to `count` threads.

    Each thread runs its own matrix products: one block whole is better than all blocks together,
    as the steps between the products run in parallel too. The caller's thread is one of them.
    """
    count = min(count, len(items))
    if count <= 1:
        for item in items:
            take(function(item))
        return
    line = _Line(function, items, take, 2 * count)
    others = [Thread(target=copy_context().run, args=[line.work]) for _ in range(count - 1)]
    with one_blas_thread():
        for other in others:
            other.start()
        line.work()
        for other in others:
            other.join()
    if line.error is not None:
        raise line.error


class _Line:
    """Items in line for any number of threads; what becomes of them is taken in their order.

    No more than `most` results wait for an earlier one. The first error ends the work of all.
    """

    def __init__(self, function, items, take, most: int):
        self.function, self.take, self.most = function, take, most
        self.items = enumerate(items)
        self.results: dict[int, Any] = {}
        self.turn = 0
        self.error: BaseException | None = None
        self.on_warning = np.geterr()  # of the caller: numpy 1 has one for each thread
        self.moved = Condition()

    def work(self) -> None:
        """Deal with one item after the other until none is left."""
        token = _ours.set(1)
        try:
            with np.errstate(**self.on_warning):
                while (task := self._next()) is not None:
                    self._done(task[0], self.function(task[1]))
        except BaseException as error:
            with self.moved:
                self.error = self.error or error
                self.moved.notify_all()
        finally:
            _ours.reset(token)

    def _next(self) -> tuple[int, Any] | None:
        with self.moved:
            self.moved.wait_for(lambda: self.error or len(self.results) < self.most)
            return next(self.items, None) if self.error is None else None

    def _done(self, number: int, result: Any) -> None:
        with self.moved:
            self.results[number] = result
            while self.turn in self.results:
                self.take(self.results.pop(self.turn))
                self.turn += 1
            self.moved.notify_all()
