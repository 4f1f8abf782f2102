"""Context in which torch records gradients, even inside ``no_grad`` or ``inference_mode``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def gradients() -> Iterator[None]:
    """Enable autograd inside ``torch.no_grad()`` and ``torch.inference_mode()``; a decorator too.

    A caller who fits or scores a model there needs no derivatives of the result, but the library
    needs some on the way.
    """
    with torch.inference_mode(False), torch.enable_grad():
        yield
