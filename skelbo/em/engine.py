"""EM on any `Theta`: an ascent from every start, the best of which is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.data.fingerprint import table_digest
from skelbo.em.anderson import PATIENCE, Anderson, BolderAnderson
from skelbo.em.checkpoint import Resumable
from skelbo.em.loop import Accelerator, Ascent, AscentError, ascend
from skelbo.em.progress import Progress
from skelbo.em.restarts import Restarts, climb_from_each
from skelbo.em.theta import Theta

# Iterations of the two rounds of short runs.
FIRST_ROUND, SECOND_ROUND = 10, 20

# Where an ascent begins: at parameters that the user gave, or at those that a function returns.
Start = Theta | Callable[[], Theta]
# (theta, its image under the M-step, the statistics) -> a point beyond the image.
BolderStep = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class EMEngine:
    """The ascents of one fit.

    Parameters
    ----------
    rows : object
        The data, passed to `Theta.e_step`; a `RowSource`, whose `fold` gives the fingerprint of
        the data in a checkpoint.
    regularization : object
        Passed to `Theta.m_step`.
    units : ndarray of shape (n_features,)
        Scale of the columns, passed to `Theta.to_vector`.
    tol : float or "auto"
        See `StoppingRule`.
    max_iter : int
        Largest number of iterations of an ascent.
    acceleration : {"auto", "anderson", None}
        Anderson acceleration with a monotone fallback, from the first step on or after some plain
        ones ("auto").
    continued : bool
        Whether the start is where an earlier fit ended.
    e_step : callable, theta -> (bound, statistics), optional
        Replaces `Theta.e_step`: the same numbers from another backend.
    m_step_from : callable, theta -> callable, optional
        Replaces `Theta.m_step`: for the start of an ascent, a function (statistics, theta) ->
        theta, which may have a state of its own.
    steady : bool
        Whether steps shrink geometrically near a mode; those of EM do.
    bolder : callable, (theta, image, statistics) -> theta, optional
        A step beyond the M-step with the same fixed points, from which acceleration extrapolates.
    """

    rows: Any
    regularization: Any
    units: np.ndarray
    tol: float | str
    max_iter: int
    acceleration: str | None = "auto"
    continued: bool = False
    e_step: Callable[[Any], tuple[float, Any]] | None = None
    m_step_from: Callable[[Any], Callable[[Any, Any], Any]] | None = None
    steady: bool = True
    bolder: BolderStep | None = None

    def fit(self, starts: Iterable[Start], progress: Progress) -> Restarts:
        """Run an ascent from each start and report it; keep the best.

        Parameters
        ----------
        starts : iterable of Start
            Read one at a time, before each ascent.
        progress : Progress

        Returns
        -------
        Restarts
            The best ascent, and the causes of those that failed.

        Raises
        ------
        AscentError
            If all starts fail.
        """
        return climb_from_each(
            starts,
            lambda start: self._ascent(start, progress),
            progress,
            replay=lambda start: start() if callable(start) else None,
        )

    def protect(
        self,
        progress: Progress,
        rng: Any = None,
        start: Theta | None = None,
        constants: Sequence[Any] = (),
    ) -> None:
        """Write the ascents to a file, and go on from it, if the user has set a checkpoint.

        Called before `fit`, and before `rng` is used.

        Parameters
        ----------
        progress : Progress
        rng : RandomState, optional
            Source of randomness of the starts.
        start : Theta, optional
            Where a fit that is continued begins.
        constants : sequence of object, optional
            See `Progress.protect`.
        """
        progress.protect(lambda: self.rows.fold(table_digest), rng, start, constants)

    def _ascent(self, start: Start, progress: Progress) -> Ascent:
        theta = start() if callable(start) else start
        try:
            return self._climb(
                theta,
                self.max_iter,
                self._accelerator(theta),
                progress.iteration,
                progress.checkpoint,
            )
        except AscentError:
            if callable(start):
                raise
            # The user gave every parameter: if they lead nowhere, they are still an answer.
            bound, statistics = self.evaluate(theta)
            return Ascent(theta, bound, (), False, statistics)

    def _climb(
        self, theta: Theta, max_iter: int, accelerator=None, on_iteration=None, checkpoint=None
    ) -> Ascent:
        m_step = self._plain_m_step if self.m_step_from is None else self.m_step_from(theta)
        return ascend(
            theta,
            self.evaluate,
            m_step,
            tol=self.tol,
            max_iter=max_iter,
            accelerator=accelerator,
            steady=self.steady,
            continued=self.continued,
            on_iteration=on_iteration,
            checkpoint=checkpoint,
            stateful=[part for part in (accelerator, m_step) if isinstance(part, Resumable)],
        )

    def evaluate(self, theta: Theta) -> tuple[float, Any]:
        """Return the bound at theta, in nats per row, and the expected statistics."""
        return theta.e_step(self.rows) if self.e_step is None else self.e_step(theta)

    def _plain_m_step(self, statistics: Any, theta: Theta) -> Theta:
        return theta.m_step(statistics, self.regularization)

    def _accelerator(self, theta: Theta) -> Accelerator | None:
        if self.acceleration is None:
            return None
        # A number as `tol` mostly stops before the mode: such an ascent is short.
        patience = PATIENCE if self.tol == "auto" else 2 * PATIENCE

        def anderson(patience: int) -> Anderson:
            return Anderson(
                lambda theta: theta.to_vector(self.units),
                lambda vector: theta.from_vector(vector, self.units),
                patience,
            )

        accelerator = anderson(0 if self.acceleration == "anderson" else patience)
        if self.bolder is None:
            return accelerator
        return BolderAnderson(accelerator, anderson(PATIENCE), self.bolder)

    def best_after_short_runs(self, starts: Iterable[Start]) -> Start:
        """Return the end of the most promising of several short ascents.

        Parameters
        ----------
        starts : iterable of Start

        Returns
        -------
        theta : Start
            The better half of the starts after ten iterations continues for twenty more; the best
            of these. If every start fails, the first of them, to fail again.

        Notes
        -----
        Short runs of EM as a start of EM: Biernacki, Celeux and Govaert (2003); successive halving:
        Jamieson and Talwalkar (2016).
        """
        starts = list({id(start): start for start in starts}.values())  # user's are all the same
        if len(starts) == 1:
            return starts[0]
        first = self._ranked(starts, FIRST_ROUND)
        better = [run.theta for run in first[: (len(first) + 1) // 2]]
        second = self._ranked(better, SECOND_ROUND)
        return second[0].theta if second else starts[0]

    def _ranked(self, starts: list[Start], n_iter: int) -> list[Ascent]:
        """Return short plain ascents from each start, regular ones and highest bounds first."""
        runs = []
        for start in starts:
            try:
                theta = start() if callable(start) else start
                runs.append(self._climb(theta, min(n_iter, self.max_iter)))
            except AscentError:
                continue
        return sorted(runs, key=lambda run: (run.theta.is_regular, run.lower_bound), reverse=True)
