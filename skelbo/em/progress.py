"""What a fit reports while it runs: scikit-learn's callbacks, and lines on the terminal."""

from __future__ import annotations

import time
from copy import copy
from typing import Any

import numpy as np


class Progress:
    """Reports a fit to scikit-learn's callbacks and, if `verbose`, to the terminal.

    The task tree is fit > start > iteration. A callback whose ``on_fit_task_end`` returns True
    ends the ascent (at an iteration) or the restarts (at a start).

    Parameters
    ----------
    estimator : LatentVariableEstimator
        The estimator that is being fitted; its ``fit`` runs inside scikit-learn's
        callback management.
    n_starts, max_iter : int
        Number of starts, and of iterations of each at most.
    """

    def __init__(self, estimator, X, n_starts: int, max_iter: int):
        self.estimator, self.X, self.max_iter = estimator, X, max_iter
        self.verbose = getattr(estimator, "verbose", 0)
        self.interval = getattr(estimator, "verbose_interval", 10)
        self.root = estimator._init_callback_context(max_subtasks=n_starts)
        self.root.call_on_fit_task_begin(estimator=estimator, X=X)
        self.heard = bool(getattr(estimator, "_skl_callbacks", ()))
        self.stopped = False

    def begin_start(self, number: int) -> None:
        """Announce the start with this number."""
        self.start = self.root.subcontext("start", max_subtasks=self.max_iter)
        self.start.call_on_fit_task_begin(estimator=self.estimator, X=self.X)
        self.bound, self.clock = -np.inf, time.perf_counter()
        if self.verbose:
            print(f"Initialization {number}")

    def of_start(self, number: int) -> Progress:
        """Announce a start and return what reports it, beside others."""
        own = copy(self)
        own.begin_start(number)
        return own

    def iteration(self, n_iter: int, bound: float, theta: Any) -> bool:
        """Report an iteration; return True if a callback asks to stop."""
        if self.verbose and n_iter % self.interval == 0:
            seconds = "" if self.verbose < 2 else f"\t time lapse {self._lap():.5f}s"
            change = "" if self.verbose < 2 else f"\t ll change {bound - self.bound:.5f}"
            print(f"  Iteration {n_iter}{seconds}{change}")
        self.bound = bound
        if not self.heard:
            return False
        leaf = self.start.subcontext("iteration")
        leaf.call_on_fit_task_begin(estimator=self.estimator, X=self.X)
        return leaf.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            metadata={"lower_bound": bound, "n_iter": n_iter},
        )

    def end_start(self) -> None:
        """Announce the end of a start."""
        if self.verbose:
            print(f"Initialization ended.\t lower bound {self.bound:.5f}")
        self.stopped = self.start.call_on_fit_task_end(
            estimator=self.estimator, X=self.X, metadata={"lower_bound": self.bound}
        )

    def end(self) -> None:
        """Announce the end of the fit."""
        self.root.call_on_fit_task_end(estimator=self.estimator, X=self.X)

    def _lap(self) -> float:
        seconds, self.clock = time.perf_counter() - self.clock, time.perf_counter()
        return seconds
