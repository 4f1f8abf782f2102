"""Random generators of a fit: its own, never torch's global one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# Held while the global generator is seeded for somebody, so that fits in other threads wait.
_GLOBAL = threading.RLock()


def draw_seed(rng: np.random.RandomState) -> int:
    """Draw a seed for torch."""
    return int(rng.randint(2**31 - 1))


def make_generator(seed: int, device: str = "cpu") -> torch.Generator:
    """Return a generator of its own on a device."""
    return torch.Generator(device).manual_seed(seed)


def on_device(generator: torch.Generator, device: str) -> torch.Generator:
    """Return the generator, or one of the same seed on another device."""
    if torch.device(device).type == generator.device.type:
        return generator
    return make_generator(generator.initial_seed(), device)


@contextmanager
def global_seed(seed: int, device: str) -> Iterator[None]:
    """Seed torch's global generators inside, and restore them afterwards.

    Only for code that takes no generator, such as the initial weights and the dropout of a user's
    networks. Other threads wait for their turn.
    """
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with _GLOBAL, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
