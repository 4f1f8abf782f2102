"""The fit of a mixture by EM: from several starts, or in batches of a stream."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, Self

import numpy as np

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.random_stream import random_stream
from skelbo.data.row_source import RowSource
from skelbo.data.rows import Rows
from skelbo.em.engine import EMEngine, Start
from skelbo.em.loop import Ascent
from skelbo.em.progress import Progress
from skelbo.gaussian.regularization import (
    SINGULAR,
    Regularization,
    SingularCovarianceWarning,
)
from skelbo.mixins.latent_variable_estimator import LatentVariableEstimator
from skelbo.mixins.standard_errors import FitRows
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.stepwise_em import FirstRows, StepwiseState
from skelbo.transaction import fit_method


class MixtureFit(LatentVariableEstimator):
    """The fit of a mixture by EM, whole or in batches; a subclass supplies its components.

    Attributes
    ----------
    n_components, n_init, max_iter, tol, verbose, verbose_interval, random_state, warm_start
        Parameters that a subclass has.
    """

    n_components: int
    n_init: int
    max_iter: int
    tol: float | str
    verbose: int
    verbose_interval: int
    random_state: Any
    warm_start: bool
    means_: np.ndarray

    _resumes_fits = True
    random_state_: np.random.RandomState | None = None  # continued by `sample`
    _stepwise: StepwiseState  # of `partial_fit`, and of `fit` before it

    @abstractmethod
    def _centred(self, rows: RowSource) -> tuple[RowSource, ColumnMoments]:
        """Check what the options ask of rows about zero; return these about their centre."""

    @abstractmethod
    def _engine(self, rows: RowSource, columns: ColumnMoments, *, continued: bool) -> EMEngine:
        """Return the engine of a fit to rows about their centre."""

    @abstractmethod
    def _starts(self, engine: EMEngine, n_starts: int, rng) -> Iterator[Start]:
        """Return the starts of the ascents."""

    @abstractmethod
    def _regularization(self, columns: ColumnMoments, dtype: np.dtype) -> Regularization:
        """Return the rule of the M-step for rows with these moments, in this precision."""

    @abstractmethod
    def _theta(self, origin: np.ndarray) -> Mixture:
        """Return theta about an origin, from the public arrays."""

    @abstractmethod
    def _publish(self, ascent: Ascent, rows: RowSource, e_step: Callable) -> None:
        """Set the fitted attributes; the bound is that of the parameters as they are rounded."""

    @property
    def _is_start(self) -> bool:
        """True if the mixture so far is a start for the rows that are being fitted."""
        return True

    def _about_origin(self, rows: RowSource, columns: ColumnMoments) -> RowSource:
        """Return a batch about the origin of a table with these moments."""
        return rows.about(columns.mean)

    def _ordered(self, ascent: Ascent) -> Ascent:
        """Return an ascent with its components in the order in which they are published."""
        return ascent

    def _fit_constants(self) -> tuple[Any, ...]:
        """Return objects within theta that are no dataclasses; each fit makes them anew."""
        return ()

    # -------------------------------------------------------------------- fit

    @fit_method
    def fit(self, X, y=None, sample_weight=None):
        """Fit the mixture to the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN), which are integrated out. A memory map is
            read block by block. A Dask array or dataframe is computed anew in each iteration:
            pass ``X.persist()`` where there is memory for it.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights: weight 2 is the row twice, weight 0 is the row absent.

        Returns
        -------
        self : object
            The fitted mixture.

        Raises
        ------
        ValueError
            If the data cannot be used, or if every start fails.
        """
        rows, columns = self._centred(self._read_rows(X, sample_weight))
        warm = self.warm_start and self._is_fitted
        engine = self._engine(rows, columns, continued=warm)
        rng = random_stream(self.random_state)
        starts = [self._theta(rows.origin)] if warm else self._starts(engine, self.n_init, rng)
        n_starts = 1 if warm else self.n_init
        self._climb(engine, columns, starts, n_starts, rng, protected=True)
        self._data = FitRows.of_rows(rows)
        return self

    def _climb(
        self, engine, columns, starts: Iterable[Start], n_starts, rng, protected=False
    ) -> Self:
        """Run an ascent from each start and publish the best; `protected` ones have files."""
        rows = engine.rows
        verbosity = self.verbose, self.verbose_interval
        progress = Progress(self, rows.X, n_starts, self.max_iter, *verbosity)
        if protected:
            start = next(iter(starts)) if engine.continued else None
            engine.protect(progress, rng, start, self._fit_constants())
        with rows.own_threads():
            restarts = engine.fit(starts, progress)
        best = self._ordered(restarts.best)
        self._publish(best, rows, engine.evaluate)
        self.failed_starts_, self.random_state_ = restarts.failures, rng
        weight = rows.total_weight
        self._stepwise = StepwiseState(best.statistics.scaled(1 / weight), weight, columns)
        self._warn_if_not_converged(best, self.max_iter, self.tol)
        progress.end()
        return self

    def fit_predict(self, X, y=None, sample_weight=None):
        """Fit to X and return ``predict(X)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights.

        Returns
        -------
        labels : ndarray of int, shape (n_samples,)
            Most probable component of each row.
        """
        return self.fit(X, y, sample_weight=sample_weight).predict(X)

    @fit_method
    def partial_fit(self, X, y=None, sample_weight=None):
        """Update the mixture by one batch of a stream: stepwise EM.

        The first rows are kept, and fitted whole each time they have grown fourfold, from three
        starts or `n_init`. When there are 16384 (64 a component if that is more; down to 4096 where
        rows have more than 64 columns), the last such fit begins from the mixture so far or from
        one of five starts or `n_init`, whichever is best after a few iterations. From then on no
        row is kept: each batch moves the expected statistics towards its own, by a step of t^-0.8
        at the t-th batch if all are of one size, and an M-step follows. After `fit` the stream goes
        on from there.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN); at the beginning of a stream at least
            `n_components`. The blocks of a Dask collection are batches, one after another.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights.

        Returns
        -------
        self : object
            The updated mixture; `lower_bound_` is the mean log-likelihood of this batch.

        Raises
        ------
        ValueError
            If the data cannot be used, or if the first rows are fewer than `n_components`.

        References
        ----------
        Cappe and Moulines (2009), *On-line EM algorithm for latent data models*.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMGaussianMixture
        >>> rng = np.random.default_rng(0)
        >>> model = EMGaussianMixture(2, random_state=0)
        >>> for _ in range(5):
        ...     labels = rng.integers(2, size=100)
        ...     model = model.partial_fit(6.0 * labels[:, None] + rng.normal(size=(100, 1)))
        >>> bool(abs(np.ptp(model.means_) - 6.0) < 0.5)
        True
        """
        reset, min_rows = not self._is_fitted, max(self._min_samples, self.n_components)
        for rows in self._read_batches(X, sample_weight, reset=reset, min_rows=min_rows):
            first = self._first_rows(rows.n_features)
            for part in [rows] if first is None else first.parts(rows):
                self._take_batch(part)
        self._data = None
        return self

    def _check_enough_rows(self, n_rows: float) -> None:
        """Raise unless there is a row for each component."""
        if n_rows < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                f"n_samples = {n_rows:g}; use fewer components or more data."
            )

    def _check_width(self, n_features: int) -> None:
        """Raise unless a fit that goes on has the columns of the one before."""
        if n_features != self.means_.shape[1]:
            raise ValueError(
                f"X with {n_features} features does not fit the mixture fitted before, which has "
                f"{self.means_.shape[1]}; set warm_start=False to begin anew."
            )

    def _warn_if_singular(self, theta: Mixture) -> None:
        """Warn of covariances that had to be altered."""
        floored = np.flatnonzero(theta.components.floored)
        if floored.size:
            what = f"component {floored[0]}" if len(floored) == 1 else f"{len(floored)} components"
            warnings.warn(SINGULAR.format(what=what), SingularCovarianceWarning, stacklevel=4)

    @property
    def _is_fitted(self) -> bool:
        return "means_" in vars(self)

    def _first_rows(self, n_features: int) -> FirstRows | None:
        """Return the first rows of the stream, None if they are not needed any more."""
        if "_stepwise" in vars(self):
            return self._stepwise.first
        return FirstRows.wanted(self.n_components, n_features)

    def _take_batch(self, rows: Rows) -> None:
        """Fit a batch together with the first rows, or take a step towards its statistics."""
        first = self._first_rows(rows.n_features)
        first = None if first is None else first.joined(rows)
        if first is not None and first.due:
            self._fit_first_rows(first)
        else:
            self._step_towards(rows)
        kept = None if first is None else first.kept()
        self._stepwise = replace(self._stepwise, first=kept)

    def _fit_first_rows(self, first: FirstRows) -> None:
        """Fit the first rows of a stream, the last time by way of short runs."""
        rows, columns = self._centred(self._rows_of(*first.table))
        warm = self.warm_start and self._is_fitted
        known = first.enough and self._is_fitted and self._is_start
        engine = self._engine(rows, columns, continued=warm)
        rng, n_starts = random_stream(self.random_state), max(self.n_init, first.n_starts)
        here: list[Start] = [self._theta(rows.origin)] if warm or known else []
        starts = here if warm else chain(here, self._starts(engine, n_starts, rng))
        if first.enough:
            starts = [engine.best_after_short_runs(starts)]
        self._climb(engine, columns, starts, n_starts, rng)

    def _step_towards(self, rows: RowSource) -> None:
        """Take one step of stepwise EM towards the statistics of a batch."""
        columns = self._stepwise.columns
        rows = self._about_origin(rows, columns)
        theta = self._theta(rows.origin)
        rule = self._regularization(columns, rows.dtype)
        step, state = self._stepwise.step(theta, rows, rule)
        step = self._ordered(step)
        state = replace(state, moments=step.statistics)
        self._publish(step, rows, lambda theta: theta.e_step(rows))
        self._stepwise = state
