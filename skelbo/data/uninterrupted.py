"""Work that Ctrl-C may not cut short."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def uninterrupted(function: Callable[[], Result]) -> Result:
    """Return ``function()``; Ctrl-C meanwhile is raised once it has ended.

    For the first import of a large package: one that is cut short leaves modules without their
    attributes, and every later fit fails until Python is started anew. Python interrupts the main
    thread only, so the function runs in another.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(function).result()
