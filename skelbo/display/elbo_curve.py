"""Curves of the bound: its climb in the fits of one or more estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skelbo.display.display import Display, require_matplotlib
from skelbo.display.named_estimators import named_estimators, require
from skelbo.display.palette import color, dashes

# Longer fits are drawn over the logarithm of the iteration, where the first ones can be read.
LOGARITHMIC = 50
# Share of a fit after which its bound is in the picture at the latest.
EARLY = 0.05


class ELBOCurveDisplay(Display):
    """Picture of the bound against the iteration, one line per fit.

    Parameters
    ----------
    lower_bounds : dict of str to sequence of float
        Bound after each iteration (epoch), in nats per row, by the name of the fit.
    validation_lower_bounds : dict of str to sequence of float, default=None
        Bound of the rows held out, for the fits that have it: dotted lines.
    converged : dict of str to bool, default=None
        Whether the fit came to its own end: such a line ends in a full circle, others in an empty
        one.
    step_name : str, default="iteration"
        Label of the horizontal axis.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The panel. It shows every fit from the twentieth part of its iterations on, and earlier
        ones as far as they fit.
    figure_ : matplotlib.figure.Figure
        The figure.
    lines_ : list of matplotlib.lines.Line2D
        One line per entry of `lower_bounds`.

    See Also
    --------
    ELBOMonitor : Callback that records the bound of every start.

    References
    ----------
    Ding (2020), eq. 2 and 3.

    Examples
    --------
    >>> from skelbo.display import ELBOCurveDisplay
    >>> bounds = {"first start": [-3.0, -2.4, -2.1], "second start": [-2.8, -2.2]}
    >>> display = ELBOCurveDisplay(lower_bounds=bounds).plot()
    >>> [len(line.get_ydata()) for line in display.lines_]
    [3, 2]
    """

    lines_: list[Any]

    def __init__(
        self,
        *,
        lower_bounds: Mapping[str, Sequence[float]],
        validation_lower_bounds: Mapping[str, Sequence[float]] | None = None,
        converged: Mapping[str, bool] | None = None,
        step_name: str = "iteration",
    ):
        self.lower_bounds = lower_bounds
        self.validation_lower_bounds = validation_lower_bounds
        self.converged = converged
        self.step_name = step_name
        self._line_options: dict[str, Any] = {}

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the climb of the bound in the fits of estimators.

        Parameters
        ----------
        estimator : estimator, list of estimators or dict of str to estimator
            Fitted estimators with `lower_bounds_`.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        display : ELBOCurveDisplay
            The picture.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If an estimator has no `lower_bounds_`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skelbo import EMGaussianMixture
        >>> from skelbo.display import ELBOCurveDisplay
        >>> mixture = EMGaussianMixture(3, random_state=0).fit(load_iris().data)
        >>> display = ELBOCurveDisplay.from_estimator(mixture)
        >>> len(display.lines_[0].get_ydata()) == mixture.n_iter_
        True
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        named = named_estimators(estimator)
        remedy = "pass a fitted estimator of skelbo, not a pipeline or a search around it"
        bounds = {
            name: require(fitted, "lower_bounds_", cls, remedy) for name, fitted in named.items()
        }
        held_out = {
            name: fitted.validation_lower_bounds_
            for name, fitted in named.items()
            if hasattr(fitted, "validation_lower_bounds_")
        }
        steps = {name: "epoch" if name in held_out else "iteration" for name in named}
        return cls(
            lower_bounds=bounds,
            validation_lower_bounds={name: curve for name, curve in held_out.items() if len(curve)},
            converged={name: bool(fitted.converged_) for name, fitted in named.items()},
            step_name=" or ".join(sorted(set(steps.values()), reverse=True)),
        ).plot(ax)

    def plot(self, ax=None, **kwargs):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; a new figure if None.
        **kwargs : dict
            Passed on to ``Axes.plot`` for the lines of `lower_bounds`.

        Returns
        -------
        display : ELBOCurveDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        self._line_options = kwargs
        return super().plot(ax)

    def _draw(self, axes: np.ndarray) -> None:
        ax = axes[0, 0]
        held_out, ends = self.validation_lower_bounds or {}, self.converged or {}
        self.lines_ = []
        for number, (name, bounds) in enumerate(self.lower_bounds.items()):
            steps = np.arange(1, len(bounds) + 1)
            style = {"color": color(number), "linestyle": dashes(number)}
            marker = "." if len(bounds) < LOGARITHMIC else None
            label = f"{name}: {bounds[-1]:.3f}" if len(bounds) else name
            options = {"label": label, "marker": marker, **style, **self._line_options}
            (line,) = ax.plot(steps, bounds, **options)
            self.lines_.append(line)
            if name in held_out:
                self._draw_held_out(ax, held_out[name], name, line.get_color())
            if name in ends and len(bounds):
                fill = line.get_color() if ends[name] else "white"
                ax.scatter(
                    steps[-1], bounds[-1], s=36, color=fill, edgecolors=line.get_color(), zorder=3
                )
        self._scale(ax)
        ax.set(xlabel=self.step_name, ylabel="ELBO (nats per row)")
        self._legend(ax, title=self._legend_title())

    def _draw_held_out(self, ax, bounds, name: str, line_color) -> None:
        label = f"{name}, rows held out: {bounds[-1]:.3f}"
        steps = np.arange(1, len(bounds) + 1)
        ax.plot(steps, bounds, linestyle=":", color=line_color, label=label)

    def _legend_title(self) -> str | None:
        return "not converged: empty circle" if not all((self.converged or {}).values()) else None

    def _size(self):
        return 7.6, 4.4

    def _scale(self, ax) -> None:
        """Set the scale of the iterations, and leave out bounds far below the later ones."""
        curves = [np.asarray(curve) for curve in self.lower_bounds.values() if len(curve)]
        if not curves:
            return
        if max(map(len, curves)) > LOGARITHMIC:
            ax.set_xscale("log")
        else:
            ax.xaxis.get_major_locator().set_params(integer=True)
        last = [curve[-1] for curve in curves]
        early = [curve[min(int(np.ceil(EARLY * len(curve))), len(curve) - 1)] for curve in curves]
        low, high = min(min(early), min(last)), max(curve.max() for curve in curves)
        first = min(curve.min() for curve in curves)
        if np.isfinite(low) and low < high and first < low - (high - low):
            margin = 0.1 * (high - low)
            ax.set_ylim(low - 3 * margin, high + margin)
