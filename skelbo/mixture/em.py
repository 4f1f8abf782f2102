"""EM for a Gaussian mixture: from every start an ascent, in turn or side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.rows import Rows
from skelbo.em.anderson import PATIENCE, Anderson
from skelbo.em.loop import Ascent, AscentError, ascend, ascend_together, climbing
from skelbo.em.progress import Progress
from skelbo.gaussian.covariance import Covariance
from skelbo.gaussian.factor_analysis.covariance import Factor
from skelbo.gaussian.regularization import Floor, Regularization, regularization
from skelbo.mixture.backends.numba_pass import fused_e_step
from skelbo.mixture.factor_noise_step import BoldNoise
from skelbo.mixture.incremental import IncrementalEM
from skelbo.mixture.initialization import start_mixture
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.row_sample import sample_rows
from skelbo.mixture.user_parameters import Given

# Where an ascent begins: at parameters that the user gave, or at those that a function makes.
Start = Mixture | Callable[[], Mixture]


@dataclass(frozen=True)
class MixtureEM:
    """The ascents of one fit; options mean what they mean to `EMGaussianMixture`.

    Attributes
    ----------
    rows : RowSource
        About their centre.
    columns : ColumnMoments
        What is known of their columns.
    structure : type of Covariance
    n_components : int
    solver, acceleration, batch_size, device, reg_covar, tol, max_iter
    continued : bool
        Whether the start is where an earlier fit ended.
    """

    rows: Any
    columns: ColumnMoments
    structure: type[Covariance]
    n_components: int
    solver: str
    acceleration: str | None
    batch_size: int | None
    device: str | None
    reg_covar: float | str
    tol: float | str
    max_iter: int
    continued: bool = False

    @cached_property
    def rule(self) -> Regularization:
        """How singular covariances are made regular."""
        return regularization(self.reg_covar, self.columns.positive_variance)

    @cached_property
    def units(self) -> np.ndarray:
        """Standard deviation of each column: what coordinates are measured in."""
        return np.sqrt(self.columns.positive_variance)

    @cached_property
    def e_step(self) -> Callable[[Mixture], tuple[float, Any]]:
        """The step over q, theta -> (bound, moments); on the device if there is one."""
        if self.device is None:
            rows = self.rows  # not self, which would keep itself, and their blocks, alive
            fused = fused_e_step(rows, self.n_components, self.structure)
            return fused or (lambda theta: theta.e_step(rows))
        from skelbo.mixture.backends.torch_pass import DeviceTable

        return DeviceTable(self.rows, self.device).e_step

    def m_step(self, theta: Mixture) -> Callable[[Any, Mixture], Mixture]:
        """Return the step over theta of an ascent from `theta`: EM's, or one uphill."""
        if self.solver == "gradient":
            from skelbo.mixture.gradient_ascent import GradientAscent

            return GradientAscent(
                theta, self.rows, self.units, self.structure, self.reg_covar, self.device
            ).step
        if self.solver == "gem":
            return lambda moments, theta: theta.gradient_step(moments, self.rule)
        return lambda moments, theta: theta.m_step(moments, self.rule)

    def starts(
        self,
        given: Given,
        n_starts: int,
        init_params: str,
        n_factors: int,
        rng: Callable[[], np.random.RandomState],
    ) -> Iterator[Start]:
        """Yield the starts: what the user gave of theta, the rest from a clustering of rows."""
        origin = self.rows.origin
        whole = given.whole(origin)
        if whole is not None:
            yield from [whole] * n_starts
            return
        sample = sample_rows(self.rows, self.n_components)
        start = init_params, sample, self.n_components, self.structure, self.rule, rng(), n_factors
        for _ in range(n_starts):
            yield lambda: given.override(start_mixture(*start), origin)

    def attempts(self, starts: Iterable[Start], progress: Progress) -> Iterator[Callable]:
        """Yield one attempt per start, each to be run before the next is asked for."""
        if not isinstance(self.rows, Rows):
            yield from self._side_by_side(starts, progress)
            return
        for number, start in enumerate(starts):
            progress.begin_start(number)
            yield partial(self._ascent, start, progress)
            progress.end_start()
            if progress.stopped:
                return

    def _ascent(self, start: Start, progress: Progress) -> Ascent:
        """Run one ascent from a start."""
        with self.rows.own_threads():
            theta = start() if callable(start) else start
            try:
                return self._climbed(theta, self._options(progress))
            except AscentError as error:
                return self._outcome(start, error)

    def _climbed(self, theta: Mixture, options: dict[str, Any]) -> Ascent:
        """Climb from theta, by batches if there are."""
        if self.batch_size is not None and self.solver == "em":
            sweeps = IncrementalEM(self.rows, self.rule, self.batch_size)
            return sweeps.finished(ascend(theta, sweeps.e_step, sweeps.m_step, **options))
        m_step, options = self._boldly(self.m_step(theta), options)
        return ascend(theta, self.e_step, m_step, **options)

    def _side_by_side(self, starts: Iterable[Start], progress: Progress) -> Iterator[Callable]:
        """Run all ascents together, so that a pass over the rows serves all; yield the outcomes."""

        def climb(start, report):
            theta = start() if callable(start) else start
            m_step, options = self._boldly(self.m_step(theta), self._options(report))
            return (yield from climbing(theta, m_step, **options))

        starts = list(starts)
        reports = [progress.of_start(number) for number in range(len(starts))]
        climbs = [climb(*pair) for pair in zip(starts, reports, strict=True)]
        results = ascend_together(climbs, lambda thetas: Mixture.e_steps(thetas, self.rows))
        for start, report, result in zip(starts, reports, results, strict=True):
            report.end_start()
            yield partial(self._outcome, start, result)

    def _outcome(self, start: Start, result: Ascent | AscentError) -> Ascent:
        """Return what an ascent reached; raise the error of one that could not go on."""
        if isinstance(result, Ascent):
            return result
        if callable(start):
            raise result
        # The user gave every parameter: if they lead nowhere, they are still an answer.
        bound, moments = self.e_step(start)
        return Ascent(start, bound, (), False, moments)

    def _boldly(self, m_step: Callable, options: dict[str, Any]) -> tuple[Callable, dict[str, Any]]:
        """Let the accelerator of factor models see the moments, for the sake of Heywood cases."""
        anderson, known = options["accelerator"], self.columns.complete
        if anderson is None or not known or self.structure is not Factor:
            return m_step, options
        if not isinstance(self.rule, Floor):  # a ridge has other points of rest
            return m_step, options
        bold = BoldNoise(anderson, m_step, self.rule)
        return bold.m_step, {**options, "accelerator": bold}

    @property
    def _patience(self) -> int:
        """Plain steps before acceleration: an ascent that need not reach the mode is short."""
        return PATIENCE if self.tol == "auto" else 2 * PATIENCE

    def _options(self, progress: Progress) -> dict[str, Any]:
        """Return how `skelbo.elbo.ascend` is to climb."""
        anderson = Anderson(
            lambda theta: theta.to_vector(self.units),
            lambda vector: Mixture.from_vector(
                vector, self.n_components, self.units, self.structure
            ),
            patience=0 if self.acceleration == "anderson" else self._patience,
        )
        gradient = self.solver == "gradient"
        return {
            "tol": self.tol,
            "max_iter": self.max_iter,
            "accelerator": None if gradient or self.acceleration is None else anderson,
            "steady": not gradient,
            "continued": self.continued,
            "on_iteration": progress.iteration,
        }
