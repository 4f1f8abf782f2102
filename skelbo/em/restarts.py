"""Several starts, the best of which counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from skelbo.em.loop import Ascent, AscentError


@dataclass
class Restarts:
    """The ascents from several starts: the best one, and what became of the others.

    Attributes
    ----------
    best : Ascent or None
        Highest bound among the sound ascents, else among the degenerate ones.
    failures : list of (int, str)
        Number and cause of each start that failed.
    """

    best: Ascent | None = None
    best_is_sound: bool = False
    failures: list[tuple[int, str]] = field(default_factory=list)

    def run(
        self,
        attempts: Iterable[Callable[[], Ascent]],
        is_sound: Callable[[Any], bool] = lambda theta: True,
    ) -> Ascent:
        """Run each attempt; a failed one is recorded and skipped, all failing is an error."""
        for number, attempt in enumerate(attempts):
            try:
                self._compare(attempt(), is_sound, number)
            except AscentError as error:
                self.failures.append((number, str(error)))
        if self.best is None:
            raise AscentError(self.failures[-1][1])
        return self.best

    def _compare(self, ascent: Ascent, is_sound, number: int) -> None:
        sound = is_sound(ascent.theta)
        if not sound:
            self.failures.append((number, "a covariance collapsed to its floor"))
        if self.best is None or (sound, ascent.lower_bound) > (
            self.best_is_sound,
            self.best.lower_bound,
        ):
            self.best, self.best_is_sound = ascent, sound
