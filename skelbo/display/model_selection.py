"""Criterion of a search over a grid of models, as in mclust's plot of BIC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skelbo.display.display import Display, require_matplotlib
from skelbo.display.named_estimators import require
from skelbo.display.palette import color, dashes, marker

PREFIX = "param_"
# Criterion -> label of its axis; another criterion is labelled by its name.
LABELS = {
    "bic": "BIC (twice nats; lower is better)",
    "aic": "AIC (twice nats; lower is better)",
    "icl": "ICL (twice nats; lower is better)",
    "held_out": "held-out log p(x) (nats per row; higher is better)",
}
NO_NUMBERS = (
    "results has no parameter with numbers to draw the criterion over, expected a column "
    "param_NAME such as param_n_components; search over one, or name one by x."
)


class ModelSelectionDisplay(Display):
    """Picture of a criterion over the grid of a search: a line per setting of other parameters.

    The best candidate has a star, degenerate ones (a variance at its floor) have empty marks, and
    candidates that failed are left out of the lines.

    Parameters
    ----------
    results : dict of str to array-like of shape (n_candidates,)
        Columns ``param_NAME`` and ``criterion``, possibly ``degenerate`` and ``rank``: the
        `results_` of a :class:`~skelbo.meta.CriterionSearch`.
    criterion : str, default="bic"
        What is drawn, for the label: ``"bic"``, ``"aic"``, ``"icl"`` (twice nats, lower is better)
        or ``"held_out"`` (nats per row, higher is better).
    best_index : int, default=None
        Position of the best candidate.
    x : str, default=None
        Parameter along the horizontal axis; None is the first one whose values are numbers.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The panel.
    figure_ : matplotlib.figure.Figure
        The figure.
    lines_ : list of matplotlib.lines.Line2D
        One line per setting of the other parameters, in their order in `results`.

    Examples
    --------
    >>> from skelbo.display import ModelSelectionDisplay
    >>> results = {
    ...     "param_n_components": [1, 2, 1, 2],
    ...     "param_covariance_type": ["full", "full", "tied", "tied"],
    ...     "criterion": [2600.0, 2322.0, 2600.0, 2325.0],
    ... }
    >>> display = ModelSelectionDisplay(results=results, best_index=1).plot()
    >>> [line.get_label() for line in display.lines_]
    ['full', 'tied']
    """

    lines_: list[Any]

    def __init__(
        self,
        *,
        results: Mapping[str, Any],
        criterion: str = "bic",
        best_index: int | None = None,
        x: str | None = None,
    ):
        self.results = results
        self.criterion = criterion
        self.best_index = best_index
        self.x = x

    @classmethod
    def from_estimator(cls, estimator, *, x=None, ax=None):
        """Draw the criterion over the grid of a fitted search.

        Parameters
        ----------
        estimator : CriterionSearch
            Fitted, with `results_` and `best_index_`.
        x : str, default=None
            Parameter along the horizontal axis; None is the first one whose values are numbers.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        display : ModelSelectionDisplay
            The picture.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no `results_`.
        ValueError
            If no parameter of the grid has numbers, or `x` is not one that has.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skelbo import EMGaussianMixture
        >>> from skelbo.display import ModelSelectionDisplay
        >>> from skelbo.meta import CriterionSearch
        >>> mixture = EMGaussianMixture(covariance_type="tied", random_state=0)
        >>> search = CriterionSearch(mixture, {"n_components": [1, 2, 3]}).fit(load_iris().data)
        >>> display = ModelSelectionDisplay.from_estimator(search)
        >>> display.lines_[0].get_ydata().round(1)
        array([830. , 688.1, 633. ])
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        results = require(estimator, "results_", cls, "pass a fitted CriterionSearch")
        return cls(
            results=results,
            criterion=estimator.criterion,
            best_index=getattr(estimator, "best_index_", None),
            x=x,
        ).plot(ax)

    def _draw(self, axes: np.ndarray) -> None:
        ax, x = axes[0, 0], self._x()
        values = np.asarray(self.results[PREFIX + x], dtype=np.float64)
        criterion = np.asarray(self.results["criterion"], dtype=np.float64)
        degenerate = self._degenerate(len(criterion))
        self.lines_ = []
        for number, (label, members) in enumerate(self._series(x).items()):
            order = members[np.argsort(values[members], kind="stable")]
            style = {"color": color(number), "linestyle": dashes(number), "marker": marker(number)}
            shown = order[np.isfinite(criterion[order])]
            (line,) = ax.plot(values[shown], criterion[shown], label=label, ms=5, **style)
            self.lines_.append(line)
            hollow = shown[degenerate[shown]]
            empty = {"marker": marker(number), "mfc": "white", "mec": color(number), "zorder": 3}
            ax.plot(values[hollow], criterion[hollow], ls="none", ms=5, **empty)
        if self.best_index is not None:
            star = {"color": "black", "ms": 14, "mec": "white", "zorder": 4, "label": "best"}
            ax.plot(values[self.best_index], criterion[self.best_index], "*", **star)
        ticks = np.unique(values)
        if len(ticks) <= 12:
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.set(xlabel=x, ylabel=LABELS.get(self.criterion, self.criterion))
        title = "empty: degenerate" if degenerate.any() else None
        self._legend(ax, title=title)

    def _degenerate(self, n_candidates: int) -> np.ndarray:
        marks = self.results.get("degenerate", np.zeros(n_candidates))
        return np.array([mark is not None and bool(mark) for mark in marks])

    def _parameters(self) -> list[str]:
        return [name.removeprefix(PREFIX) for name in self.results if name.startswith(PREFIX)]

    def _x(self) -> str:
        """Return the parameter along the horizontal axis."""
        names = [self.x] if self.x is not None else self._parameters()
        for name in names:
            if PREFIX + name in self.results and _are_numbers(self.results[PREFIX + name]):
                return name
        if self.x is not None:
            raise ValueError(
                f"x={self.x!r} is no parameter of the grid with numbers; choose among "
                f"{self._parameters()}."
            )
        raise ValueError(NO_NUMBERS)

    def _series(self, x: str) -> dict[str, np.ndarray]:
        """Return the candidates of each setting of the other parameters, by the label of it."""
        others = [name for name in self._parameters() if name != x]
        columns = [self.results[PREFIX + name] for name in others]
        members: dict[str, list[int]] = {}
        for index in range(len(self.results["criterion"])):
            setting = [column[index] for column in columns]
            members.setdefault(_label(others, setting), []).append(index)
        return {label: np.array(rows) for label, rows in members.items()}


def _label(names: Sequence[str], setting: Sequence[Any]) -> str:
    if len(names) <= 1:
        return str(setting[0]) if setting else "criterion"
    return ", ".join(f"{name}={value}" for name, value in zip(names, setting, strict=True))


def _are_numbers(column: Any) -> bool:
    """Return whether every value of a column of the grid is a number."""
    return all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in column)
