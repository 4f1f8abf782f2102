"""Derivatives by torch, also where the caller has switched them off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def gradients() -> Iterator[None]:
    """Let torch record operations, inside ``torch.no_grad()`` and ``torch.inference_mode()`` too.

    Also a decorator. Those who fit or score a model there mean that they need no derivatives of
    the result; what the library takes inside is its own business.
    """
    with torch.inference_mode(False), torch.enable_grad():
        yield
