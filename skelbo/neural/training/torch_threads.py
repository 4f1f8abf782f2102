"""Threads of torch in forked processes."""

from __future__ import annotations

import os

import torch

_PROCESS = os.getpid()


def use_one_thread_after_fork() -> None:
    """Set torch to one thread in a forked process.

    The threads of OpenMP do not survive a fork, and the child would wait for them for ever.
    """
    if os.getpid() != _PROCESS:
        torch.set_num_threads(1)
