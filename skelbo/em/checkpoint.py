"""Checkpoints of a running fit: its state in a file, from which another process goes on."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skelbo.persistence import checkpoint_file
from skelbo.persistence.checkpoint_file import encoded_parameters

# Parameters that change what a fit prints, and not what it finds.
SILENT = {"verbose", "verbose_interval"}


class CheckpointSettings:
    """Settings by the user: see `skelbo.callbacks.Checkpoint`.

    Parameters
    ----------
    path : path-like
    every : float
        In seconds.
    """

    def __init__(self, path: Any, every: float):
        self.path, self.every = path, every


class Resumable(ABC):
    """A part of a running ascent with a state of its own, beside theta."""

    @abstractmethod
    def checkpoint_state(self) -> Any:
        """Return the state: numbers, arrays, containers, and dataclasses of this library."""

    @abstractmethod
    def resume(self, state: Any) -> None:
        """Go on from a state that `checkpoint_state` returned."""


class FitCheckpoint:
    """The checkpoint of one fit: what was found in the file, and what is written to it.

    Parameters
    ----------
    settings : CheckpointSettings
    identity : dict of str to str
        What the fit is of: the class, each parameter, the data, the start.
    rng : RandomState or None
        Source of randomness of the fit, before it is used.
    constants : sequence of object
        Objects within theta that the fit makes anew, and that no file holds.

    Attributes
    ----------
    found : dict or None
        State of the fit in the file.

    Raises
    ------
    ValueError
        If the file is of another fit, or is no checkpoint.
    """

    def __init__(
        self,
        settings: CheckpointSettings,
        identity: dict[str, str],
        rng: np.random.RandomState | None,
        constants: Sequence[Any] = (),
    ):
        self.path, self.every = checkpoint_file.place(settings.path, identity), settings.every
        self.rng = rng
        self.identity, self.constants = identity, constants
        self.start_of_rng: Any = None if rng is None else rng.get_state()
        self.frame: dict[str, Any] = {"number": 0, "failures": [], "ascents": []}
        self.found = self._read() if os.path.exists(self.path) else None
        self.clock = time.monotonic()

    def _read(self) -> dict[str, Any]:
        state = checkpoint_file.read(self.path, self.identity, self.constants)
        if self.rng is not None:
            self.start_of_rng = state["start_of_rng"]
            self.rng.set_state(self.start_of_rng)
        return state

    @property
    def first(self) -> int:
        """Number of the start at which the fit goes on."""
        return 0 if self.found is None else self.found["number"]

    def between_starts(self, number: int) -> None:
        """Go on before the start with this number, if that is where the file was written."""
        if self.found is not None and number == self.first and self.found["running"] is None:
            self._go_on(self.found)

    @property
    def is_resumed(self) -> bool:
        """True if the state of an ascent that was running has not been read yet."""
        return self.found is not None and self.found["running"] is not None

    def running(self) -> Any:
        """Return the state of the ascent that was running, once; None if there was none."""
        if self.found is None or not self.is_resumed:
            return None
        found, self.found = self.found, None
        self._go_on(found)
        return found["running"]

    def _go_on(self, found: dict[str, Any]) -> None:
        """Put the source of randomness where it was when the file was written."""
        if self.rng is not None:
            self.rng.set_state(found["rng"])

    def offer(self, running: Callable[[], Any] | None = None) -> None:
        """Write the state, if it is time: the frame, and what `running` returns of an ascent."""
        if time.monotonic() - self.clock < self.every:
            return
        state = {
            **self.frame,
            "running": None if running is None else running(),
            "rng": None if self.rng is None else self.rng.get_state(),
            "start_of_rng": self.start_of_rng,
        }
        checkpoint_file.write(self.path, self.identity, state, self.constants)
        self.clock = time.monotonic()

    def remove(self) -> None:
        """Remove the file: the fit has ended."""
        checkpoint_file.remove(self.path)


def identity_of(
    estimator: Any, fingerprint: Callable[[], Any], continued: Any, constants: Sequence[Any]
) -> dict[str, str]:
    """Return what a fit is of: two fits with the same identity end the same.

    Parameters
    ----------
    estimator : estimator
    fingerprint : callable, () -> object
        Of the data.
    continued : object
        What the fit begins from, beside the parameters; None for a fit of its own.
    constants : sequence of object
        See `FitCheckpoint`.
    """
    from skelbo import __version__

    parameters = encoded_parameters(estimator)
    return {
        "estimator": type(estimator).__name__,
        "version": __version__,
        **{f"parameter {k}": v for k, v in parameters.items() if k not in SILENT},
        "data": str(fingerprint()),
        "start": checkpoint_file.digest(continued, constants),
    }
