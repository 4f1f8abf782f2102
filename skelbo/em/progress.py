"""Reports of a running fit: scikit-learn's callbacks, and lines on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skelbo.em.checkpoint import CheckpointSettings, FitCheckpoint, identity_of


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
    interrupted : bool
        Whether Ctrl-C ended the fit.
    checkpoint : FitCheckpoint or None
        File of the fit, if `protect` was called and the user has set a checkpoint.
    """

    def __init__(
        self, estimator, X, n_starts: int, max_iter: int, verbose: int = 0, verbose_interval=10
    ):
        self.estimator, self.X, self.max_iter = estimator, X, max_iter
        self.verbose, self.verbose_interval = verbose, verbose_interval
        self.root = estimator._init_callback_context(max_subtasks=n_starts)
        self.root.call_on_fit_task_begin(estimator=estimator, X=X)
        self.has_callbacks = bool(getattr(estimator, "_skl_callbacks", ()))
        self.stopped = self.interrupted = False
        self.checkpoint: FitCheckpoint | None = None

    def protect(
        self,
        fingerprint: Callable[[], Any],
        rng: np.random.RandomState | None = None,
        continued: Any = None,
        constants: Sequence[Any] = (),
    ) -> None:
        """Write the state of the fit to a file, and go on from it, if a checkpoint is set.

        Parameters
        ----------
        fingerprint : callable, () -> object
            Of the data.
        rng : RandomState, optional
            Source of randomness of the fit, before it is used; it is set to that of the file.
        continued : object, optional
            What the fit begins from, beside the parameters of the estimator.
        constants : sequence of object, optional
            Objects within theta that are no dataclasses: each fit makes them anew.
        """
        callbacks = getattr(self.estimator, "_skl_callbacks", ())
        settings = [c for c in callbacks if isinstance(c, CheckpointSettings)]
        if len(settings) > 1:
            paths = [str(each.path) for each in settings]
            raise ValueError(f"set_callbacks got Checkpoints at {paths}, expected one.")
        if settings:
            identity = identity_of(self.estimator, fingerprint, continued, constants)
            self.checkpoint = FitCheckpoint(settings[0], identity, rng, constants)

    def skip_start(self) -> None:
        """Count a start that had ended before the fit was resumed."""
        self.root.subcontext("start", max_subtasks=self.max_iter)

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
        """Announce the end of the fit, and remove its file unless Ctrl-C was the end."""
        if self.checkpoint is not None and not self.interrupted:
            self.checkpoint.remove()
        self.root.call_on_fit_task_end(estimator=self.estimator, X=self.X)

    def _lap(self) -> float:
        seconds, self.clock = time.perf_counter() - self.clock, time.perf_counter()
        return seconds
