"""Results that several fits to the same rows share, within a search over estimators."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_SHARED: ContextVar[dict[Hashable, Any] | None] = ContextVar("_SHARED", default=None)


@contextmanager
def sharing() -> Iterator[None]:
    """Keep the results of `shared` until the end of the block, in this thread."""
    token = _SHARED.set({})
    try:
        yield
    finally:
        _SHARED.reset(token)


def is_sharing() -> bool:
    """Return whether results are kept."""
    return _SHARED.get() is not None


def shared(key: Hashable, compute: Callable[[], Any]) -> Any:
    """Return ``compute()``, or what it returned for this key earlier in the block."""
    known = _SHARED.get()
    if known is None:
        return compute()
    if key not in known:
        known[key] = compute()
    return known[key]
