"""Base class of the displays: where the panels of a picture are drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

NO_MATPLOTLIB = "{name} needs matplotlib, which is not installed; pip install 'skelbo[plot]'."


class Display(ABC):
    """Data of a picture in one or more panels, and its drawing by matplotlib.

    A subclass keeps its data as attributes of its constructor's names and supplies `_draw`, and
    `_grid` and `_size` where there are several panels.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes or ndarray of Axes
        The panel drawn on; an array of shape (n_rows, n_columns) where there are several.
    figure_ : matplotlib.figure.Figure
        The figure that holds the panels.
    """

    ax_: Any
    figure_: Any
    _owns_figure = True

    @abstractmethod
    def _draw(self, axes: np.ndarray) -> None:
        """Draw on the panels, an array of Axes of shape (n_rows, n_columns)."""

    def _grid(self) -> tuple[int, int]:
        """Return the numbers of rows and columns of panels."""
        return 1, 1

    def _size(self) -> tuple[float, float]:
        """Return width and height of a new figure, in inches."""
        return 6.4, 4.8

    def _legend(self, ax: Any, **kwargs: Any) -> None:
        """Add a legend: beside the panel in a figure of its own, within it in one that is shared.

        Beside a panel of a shared figure there may be another one.
        """
        beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
        place = beside if self._owns_figure else {"loc": "best"}
        ax.legend(fontsize="small", **place, **kwargs)

    def plot(self, ax=None):
        """Draw the picture.

        Parameters
        ----------
        ax : Axes or array-like of Axes of shape (n_rows, n_columns), default=None
            Where to draw; a new figure if None. Several panels take an array with one Axes for
            each, or share out the place of one subplot.

        Returns
        -------
        display : Display
            The display itself, with `ax_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `ax` has another number of panels than the picture.

        Examples
        --------
        >>> from skelbo.display import ELBOCurveDisplay
        >>> display = ELBOCurveDisplay(lower_bounds={"EM": [-3.0, -2.5, -2.4]}).plot()
        >>> display.ax_.get_ylabel()
        'ELBO (nats per row)'
        """
        require_matplotlib(f"{type(self).__name__}.plot")
        self._owns_figure = ax is None
        axes = panels(ax, self._grid(), self._size())
        self._draw(axes)
        self.ax_ = axes[0, 0] if axes.size == 1 else axes
        self.figure_ = axes[0, 0].figure
        return self


def require_matplotlib(name: str) -> None:
    """Raise an error that names the extra if matplotlib is missing; `name` is what needs it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(NO_MATPLOTLIB.format(name=name)) from error


def panels(ax: Any, grid: tuple[int, int], size: tuple[float, float]) -> np.ndarray:
    """Return the Axes to draw on, shape `grid`: new ones, those given, or parts of the one given.

    Parameters
    ----------
    ax : Axes, array-like of Axes or None
        As in `Display.plot`.
    grid : tuple of (int, int)
        Rows and columns of panels.
    size : tuple of (float, float)
        Width and height of a new figure, in inches.

    Returns
    -------
    axes : ndarray of Axes, shape (n_rows, n_columns)
        The panels.

    Raises
    ------
    ValueError
        If the panels do not fit into `ax`.
    """
    import matplotlib.pyplot as plt

    if ax is None:
        return plt.subplots(*grid, figsize=size, layout="constrained", squeeze=False)[1]
    axes = np.asarray(ax, dtype=object)
    n_panels = grid[0] * grid[1]
    if axes.size == n_panels:
        return axes.reshape(grid)
    place = ax.get_subplotspec() if axes.ndim == 0 else None
    if place is None:
        raise ValueError(
            f"ax has {axes.size} panels, expected an array of {n_panels} (or one subplot, whose "
            "place they share); make them by plt.subplots"
            f"({grid[0]}, {grid[1]}), or leave ax=None."
        )
    ax.set_axis_off()
    inner = place.subgridspec(*grid)
    return inner.subplots(squeeze=False)
