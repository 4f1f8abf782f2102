"""When an ascent has arrived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# `tol="auto"`: stop when the climb that is left, extrapolated geometrically, is below this many
# nats per row. At n = 1000 this is 1e-4 nats in total, far below what AIC or BIC resolve.
REMAINING_CLIMB = 1e-7


@dataclass
class StoppingRule:
    r"""Decides from the climb of each iteration whether the ascent is over.

    A number is the classical rule: stop when one iteration climbs less than `tol`. ``"auto"`` asks
    for the mode itself: plain EM climbs geometrically, so that after a step of size
    :math:`\Delta` at rate r what is left is :math:`\Delta\, r / (1 - r)` (Aitken); stop when
    that is below `REMAINING_CLIMB`. Accelerated steps come in uneven sizes and decide nothing: a
    small one asks for a plain one to confirm, at the rate that the accelerator has seen, or for
    two where it has seen none.

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
        """Tell whether a step that climbed by `climb` to `bound` was the last."""
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
        """Tell whether less than `REMAINING_CLIMB` is left, and whether a plain step can be sure.

        The rate is the slower of two: of the last two steps, and the accelerator's. One is needed.
        """
        # A climb below the rounding of the bound itself is no climb.
        nothing = bool(climb <= 100 * np.finfo(float).eps * max(abs(bound), 1.0))
        if climb >= REMAINING_CLIMB:
            return nothing, before is not None
        slowest = known = rate()
        if before is not None and before > 0:
            slowest = max(known, min(max(climb / before, 0.0), 0.9999))
        left = climb * max(1.0, slowest / (1 - slowest))
        return nothing or bool(left < REMAINING_CLIMB), before is not None or known > 0
