"""Reports of a running fit: scikit-learn's callbacks, and lines on the terminal."""

from __future__ import annotations

import time
from typing import Any

import numpy as np


class Progress:
    """Reporter of a fit to scikit-learn's callbacks and, if `verbose`, to the terminal.

    The task tree is fit > start > iteration. A callback whose ``on_fit_task_end`` returns True
    ends the ascent (at an iteration) or the restarts (at a start).

    Parameters
    ----------
    estimator : LatentVariableEstimator
        The estimator that is being fitted; its ``fit`` runs inside scikit-learn's
        callback management.
    X : array-like
        The data of the fit.
    n_starts, max_iter : int
        Number of starts, and of iterations of each at most.
    verbose : int, default=0
        1 prints starts and iterations, 2 also times and climbs.
    verbose_interval : int, default=10
        Iterations between two lines.

    Attributes
    ----------
    stopped : bool
        Whether a callback asked to stop at the end of a start.
    """

    def __init__(
        self, estimator, X, n_starts: int, max_iter: int, verbose: int = 0, verbose_interval=10
    ):
        self.estimator, self.X, self.max_iter = estimator, X, max_iter
        self.verbose, self.verbose_interval = verbose, verbose_interval
        self.root = estimator._init_callback_context(max_subtasks=n_starts)
        self.root.call_on_fit_task_begin(estimator=estimator, X=X)
        self.has_callbacks = bool(getattr(estimator, "_skl_callbacks", ()))
        self.stopped = False

    def begin_start(self, number: int) -> None:
        """Announce the start with this number."""
        self.start = self.root.subcontext("start", max_subtasks=self.max_iter)
        self.start.call_on_fit_task_begin(estimator=self.estimator, X=self.X)
        self.bound, self.clock = -np.inf, time.perf_counter()
        if self.verbose:
            print(f"Initialization {number}")

    def iteration(self, n_iter: int, bound: float, theta: Any) -> bool:
        """Report an iteration; return True if a callback asks to stop."""
        if self.verbose and n_iter % self.verbose_interval == 0:
            seconds = "" if self.verbose < 2 else f"\t time lapse {self._lap():.5f}s"
            change = "" if self.verbose < 2 else f"\t ll change {bound - self.bound:.5f}"
            print(f"  Iteration {n_iter}{seconds}{change}")
        self.bound = bound
        if not self.has_callbacks:
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
