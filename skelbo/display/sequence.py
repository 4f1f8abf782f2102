"""States of a sequence over time, with a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skelbo.display.display import Display, require_matplotlib
from skelbo.display.named_estimators import named_estimators, require
from skelbo.display.palette import COLORS, GREY, color, marker
from skelbo.display.shown_run import ShownRun

# Half the width of the band of a forecast, in standard deviations: 95 % of a Gaussian.
BAND = 1.96
HATCHES = ("", "//", "..", "xx")


class SequenceDisplay(Display):
    """Picture of one sequence, its states, and the forecast of its next rows.

    One panel per column has the values, marked by the most probable path of states, and the
    forecast with a band of 1.96 standard deviations; the lowest panel has the probability of each
    state given the whole sequence, and in the forecast given the sequence before.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)
        Rows of the sequence, NaN where missing.
    states : ndarray of int, shape (n_rows,)
        Most probable path of states.
    state_proba : ndarray of shape (n_rows, n_components)
        Probability of each state at each row.
    forecast_mean, forecast_std : ndarray of shape (n_steps, n_columns), default=None
        Mean and standard deviation of the next rows.
    forecast_state_proba : ndarray of shape (n_steps, n_components), default=None
        Probability of each state in them.
    feature_names : sequence of str, default=None
        Labels of the panels.

    Attributes
    ----------
    ax_ : ndarray of Axes, shape (n_columns + 1, 1)
        One panel per column, and that of the states.
    figure_ : matplotlib.figure.Figure
        The figure.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo.display import SequenceDisplay
    >>> proba = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]])
    >>> display = SequenceDisplay(
    ...     values=[[1.0], [4.0], [5.0]], states=[0, 1, 1], state_proba=proba
    ... ).plot()
    >>> display.ax_.shape
    (2, 1)
    """

    def __init__(
        self,
        *,
        values,
        states,
        state_proba,
        forecast_mean=None,
        forecast_std=None,
        forecast_state_proba=None,
        feature_names: Sequence[str] | None = None,
    ):
        self.values = values
        self.states = states
        self.state_proba = state_proba
        self.forecast_mean = forecast_mean
        self.forecast_std = forecast_std
        self.forecast_state_proba = forecast_state_proba
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls, estimator, X, *, groups=None, group=None, steps=0, features=None, ax=None
    ):
        """Draw one sequence under a hidden Markov model.

        Parameters
        ----------
        estimator : EMHiddenMarkovModel
            Fitted.
        X : array-like of shape (n_samples, n_features)
            Rows of one sequence or more, possibly with missing cells (NaN).
        groups : array-like of shape (n_samples,), default=None
            Ids of the sequences; not needed where the estimator has a `group_column`.
        group : int or str, default=None
            Id of the sequence to draw; None is the first one.
        steps : int, default=0
            Number of rows to forecast.
        features : list of int or str, default=None
            Columns to draw; None is all.
        ax : array-like of Axes of shape (n_columns + 1,), default=None
            Where to draw; a new figure if None.

        Returns
        -------
        display : SequenceDisplay
            The picture.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no states.
        ValueError
            If there is no such sequence or column.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> from skelbo.display import SequenceDisplay
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> model = EMHiddenMarkovModel(2, random_state=0).fit(X)
        >>> display = SequenceDisplay.from_estimator(model, X, steps=2)
        >>> display.forecast_mean.shape
        (2, 1)
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        (estimator,) = named_estimators(estimator).values()
        require(estimator, "transmat_", cls, "pass a fitted EMHiddenMarkovModel")
        run = ShownRun.of(X, groups, estimator.group_column, group)
        columns = [run.index(f) for f in (run.names if features is None else features)]
        forecast: dict[str, Any] = {}
        if steps:
            ahead = estimator.forecast(run.X, steps)
            forecast["forecast_mean"] = np.asarray(ahead.mean)[0][:, columns]
            forecast["forecast_std"] = np.asarray(ahead.std)[0][:, columns]
            forecast["forecast_state_proba"] = np.asarray(ahead.state_proba)[0]
        return cls(
            values=run.values[:, columns],
            states=np.asarray(estimator.predict(run.X)),
            state_proba=np.asarray(estimator.predict_proba(run.X)),
            feature_names=[run.names[j] for j in columns],
            **forecast,
        ).plot(ax)

    # ---------------------------------------------------------------- drawing

    def _grid(self):
        return np.shape(self.values)[1] + 1, 1

    def _size(self):
        return 8.0, 2.0 * self._grid()[0] + 0.6

    def _draw(self, axes: np.ndarray) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        names = list(self.feature_names or [f"x{j}" for j in range(values.shape[1])])
        last = len(values) - 0.5 + len(self._ahead())
        for j, ax in enumerate(axes[:-1, 0]):
            self._draw_values(ax, values[:, j])
            self._draw_forecast(ax, values[:, j], j)
            ax.set(ylabel=names[j], xlim=(-0.5, last))
            ax.tick_params(labelbottom=False)
        self._draw_states(axes[-1, 0])
        axes[-1, 0].set(
            xlabel="row of the sequence", ylabel="p(state)", ylim=(0, 1), xlim=(-0.5, last)
        )
        self._legend(axes[0, 0], title="states")

    def _ahead(self) -> np.ndarray:
        """Return the positions of the forecast rows."""
        n_steps = 0 if self.forecast_mean is None else len(self.forecast_mean)
        return len(self.values) + np.arange(n_steps)

    def _draw_values(self, ax, values: np.ndarray) -> None:
        states, time = np.asarray(self.states), np.arange(len(values))
        ax.plot(time, values, color=GREY, lw=0.8, zorder=1)
        for state in range(np.shape(self.state_proba)[1]):
            rows = states == state
            style = {"color": color(state), "marker": marker(state)}
            ax.scatter(time[rows], values[rows], s=14, label=str(state), zorder=2, **style)

    def _draw_forecast(self, ax, values: np.ndarray, j: int) -> None:
        """Draw mean and band of the next rows, from the last observed value on."""
        ahead = self._ahead()
        if not len(ahead):
            return
        mean, std = np.asarray(self.forecast_mean)[:, j], np.asarray(self.forecast_std)[:, j]
        ax.axvline(ahead[0] - 0.5, color=GREY, ls=":")
        ax.plot(ahead, mean, color="black", ls="--", marker=".", label="forecast")
        ax.fill_between(ahead, mean - BAND * std, mean + BAND * std, color="0.85", lw=0, zorder=0)

    def _draw_states(self, ax) -> None:
        """Draw the probabilities of the states as bars on top of each other."""
        proba = np.asarray(self.state_proba)
        if self.forecast_state_proba is not None:
            proba = np.concatenate([proba, np.asarray(self.forecast_state_proba)])
        time, bottom = np.arange(len(proba)), np.zeros(len(proba))
        for state, share in enumerate(proba.T):
            hatch = HATCHES[state // len(COLORS) % len(HATCHES)]
            ax.bar(time, share, width=1.0, bottom=bottom, color=color(state), hatch=hatch, lw=0)
            bottom = bottom + share
        if len(self._ahead()):
            ax.axvline(self._ahead()[0] - 0.5, color="white", ls=":")
