"""Stopping rule of the EM loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# `tol="auto"`: stop when the remaining climb, extrapolated geometrically, is below this many nats
# per row. At n = 1000 this is 1e-4 nats in total, far below what AIC or BIC resolve.
REMAINING_CLIMB = 1e-7


@dataclass
class StoppingRule:
    r"""Stopping rule of an ascent, from the climb of each iteration.

    With a number, stop when one iteration climbs less than `tol`. With ``"auto"``, stop at the
    mode: plain EM climbs geometrically, so that after a step of size :math:`\Delta` at rate r the
    remaining climb is :math:`\Delta\, r / (1 - r)` (Aitken); stop when that is below
    `REMAINING_CLIMB`. Accelerated steps have uneven sizes and decide nothing: after a small one, a
    plain step must confirm, at the rate that the accelerator has measured, or two where it has
    measured none.

    Attributes
    ----------
    tol : float or "auto"
    steady : bool
        Whether plain steps shrink geometrically; if not, two in a row must be small.
    confirming : bool
        Whether the next step should be a plain one.
    """

    tol: float | str
    steady: bool = True
    confirming: bool = False
    previous: float | None = None

    def met(
        self, climb: float, bound: float, plain: bool, rate: Callable[[], float] = lambda: 0.0
    ) -> bool:
        """Return whether a step that climbed by `climb` to `bound` was the last."""
        before, self.previous = self.previous, climb if plain else None
        if self.tol == "auto":
            small, sure = self._nothing_left(climb, bound, before, rate)
        else:
            small, sure = abs(climb) < float(self.tol), True
        if not self.steady:
            sure = self.confirming
        self.confirming = small
        return bool(small and sure and plain)

    @staticmethod
    def _nothing_left(
        climb: float, bound: float, before: float | None, rate: Callable[[], float]
    ) -> tuple[bool, bool]:
        """Return whether less than `REMAINING_CLIMB` remains, and whether the rate is known.

        The rate is the slower of that of the last two steps and the accelerator's; one is needed.
        """
        # A climb below the rounding of the bound is zero.
        nothing = bool(climb <= 100 * np.finfo(float).eps * max(abs(bound), 1.0))
        if climb >= REMAINING_CLIMB:
            return nothing, before is not None
        slowest = known = rate()
        if before is not None and before > 0:
            slowest = max(known, min(max(climb / before, 0.0), 0.9999))
        left = climb * max(1.0, slowest / (1 - slowest))
        return nothing or bool(left < REMAINING_CLIMB), before is not None or known > 0
