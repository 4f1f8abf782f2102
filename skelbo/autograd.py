"""Context in which torch records gradients, whatever the caller's; the import of optimizers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from skelbo.data.uninterrupted import uninterrupted


@contextmanager
def gradients() -> Iterator[None]:
    """Enable autograd inside ``torch.no_grad()`` and ``torch.inference_mode()``; a decorator too.

    A caller who fits or scores a model there needs no derivatives of the result, but the library
    needs some on the way.
    """
    with torch.inference_mode(False), torch.enable_grad():
        yield


@cache
def load_optimizers() -> None:
    """Build an optimizer, once a process: at the first, torch imports what training needs.

    Networks without initial weights need a part of the same.
    """
    weight = torch.zeros(1, requires_grad=True)
    uninterrupted(lambda: torch.optim.SGD([weight], lr=1.0))
