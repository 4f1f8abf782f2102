"""Contours of a density: of two columns, or of all pairs of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skelbo.display.density_grid import DensityGrid
from skelbo.display.display import Display, require_matplotlib
from skelbo.display.gaussian_components import gaussian_components
from skelbo.display.named_estimators import named_estimators
from skelbo.display.palette import BLUE, GREY, SEQUENTIAL, VERMILION

# Contours, in nats below the highest density of the grid.
LEVELS = (-8.0, -5.0, -3.0, -2.0, -1.0, -0.3)
# Radius of the ellipses of components, in standard deviations.
RADIUS = 2.0
# Points per side of a grid: of one panel, and of each of several.
RESOLUTIONS = {1: 300, 2: 100}
SMALL_RESOLUTION = 50


class DensityDisplay(Display):
    """Picture of log p(x) over its rows: a curve, contours, or panels of all pairs of columns.

    With one column the panel has the density over a histogram. With two it has contours of
    log p(x), 0.3 to 8 nats below the highest value. With more, the diagonal has the density of each
    column and the panels below it the density of each pair: all other columns are integrated out.

    Parameters
    ----------
    grid : sequence of ndarray
        Values of each column at which the density is evaluated, in the units of the data.
    log_prob : dict of (int, int) to ndarray
        Log-densities in nats: key (i, i) has shape (n_i,), key (i, j) with i < j has shape
        (n_j, n_i), for contours with column i to the right and column j upwards.
    X : ndarray of shape (n_samples, n_columns), default=None
        Rows that are drawn as points.
    means : ndarray of shape (n_components, n_columns), default=None
        Means of Gaussian components.
    covariances : ndarray of shape (n_components, n_columns, n_columns), default=None
        Their covariances: ellipses of two standard deviations.
    feature_names : sequence of str, default=None
        Labels of the axes.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes or ndarray of Axes, shape (n_columns, n_columns)
        The panel, or the panels where there are three columns or more.
    figure_ : matplotlib.figure.Figure
        The figure.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo.display import DensityDisplay
    >>> t = np.linspace(-3, 3, 30)
    >>> log_prob = -0.5 * (t[:, None] ** 2 + t**2)
    >>> display = DensityDisplay(grid=[t, t], log_prob={(0, 1): log_prob}).plot()
    >>> display.ax_.get_xlabel()
    'x0'
    """

    def __init__(
        self,
        *,
        grid: Sequence[np.ndarray],
        log_prob: Mapping[tuple[int, int], np.ndarray],
        X=None,
        means=None,
        covariances=None,
        feature_names: Sequence[str] | None = None,
    ):
        self.grid = grid
        self.log_prob = log_prob
        self.X = X
        self.means = means
        self.covariances = covariances
        self.feature_names = feature_names

    @classmethod
    def from_estimator(cls, estimator, X, *, features=None, grid_resolution=None, ax=None):
        """Draw the density of an estimator over rows.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `score_samples`; with missing cells (NaN) where X has more columns than are
            drawn or more than two are drawn.
        X : array-like of shape (n_samples, n_features)
            Rows, which are drawn as points; the grids reach a tenth of their range beyond them.
        features : list of int or str, default=None
            Columns to draw; the others are integrated out. None is all columns, at most six.
        grid_resolution : int, default=None
            Points per side of a grid; None is 300 for one column, 100 for two, and 50 for each of
            several panels.
        ax : Axes or array-like of Axes of shape (n_columns, n_columns), default=None
            Where to draw; a new figure if None.

        Returns
        -------
        display : DensityDisplay
            The picture.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there are too many columns, no such column, or one without a density.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skelbo import EMGaussianMixture
        >>> from skelbo.display import DensityDisplay
        >>> X = load_iris().data
        >>> mixture = EMGaussianMixture(3, random_state=0).fit(X)
        >>> display = DensityDisplay.from_estimator(mixture, X, features=[2, 3])
        >>> display.log_prob[0, 1].shape
        (100, 100)
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        (estimator,) = named_estimators(estimator).values()
        grid = DensityGrid.of_rows(estimator, X, features)
        n_columns = len(grid.features)
        resolution = grid_resolution or RESOLUTIONS.get(n_columns, SMALL_RESOLUTION)
        axes = grid.axes(resolution)
        pairs = [(0, 1)] if n_columns == 2 else grid.pairs()
        components = gaussian_components(estimator)
        chosen: dict[str, Any] = {}
        if components is not None:
            means, covariances = components
            chosen["means"] = means[:, grid.features]
            chosen["covariances"] = covariances[:, grid.features][:, :, grid.features]
        return cls(
            grid=axes,
            log_prob={pair: grid.log_prob(axes, pair) for pair in pairs},
            X=grid.X,
            feature_names=grid.names,
            **chosen,
        ).plot(ax)

    # ---------------------------------------------------------------- drawing

    def _grid(self):
        n = len(self.grid)
        return (1, 1) if n <= 2 else (n, n)

    def _size(self):
        n = len(self.grid)
        return (6.4, 4.8) if n <= 2 else (2.0 * n + 1.2, 2.0 * n)

    def _names(self) -> list[str]:
        return list(self.feature_names or [f"x{j}" for j in range(len(self.grid))])

    def _draw(self, axes: np.ndarray) -> None:
        if len(self.grid) <= 2:
            self._draw_one(axes[0, 0])
            return
        contours = None
        for j in range(len(axes)):
            for i in range(len(axes)):
                if i > j:
                    axes[j, i].set_axis_off()
                    continue
                if i == j:
                    self._draw_curve(axes[j, i], i)
                else:
                    contours = self._draw_contours(axes[j, i], i, j, size=2)
                self._label_edge(axes[j, i], i, j, last=j == len(axes) - 1)
        self._add_colorbar(axes[0, 0].figure, contours, list(axes.flat))

    def _draw_one(self, ax) -> None:
        names = self._names()
        if len(self.grid) == 1:
            self._draw_curve(ax, 0)
            ax.set(xlabel=names[0], ylabel=f"density (per unit of {names[0]})")
            return
        contours = self._draw_contours(ax, 0, 1, size=3)
        ax.set(xlabel=names[0], ylabel=names[1])
        self._add_colorbar(ax.figure, contours, ax)
        if self.means is not None:
            ax.legend(loc="best", fontsize="small")

    def _draw_curve(self, ax, i: int) -> None:
        """Draw the density of one column over a histogram of its values."""
        if self.X is not None:
            values = self.X[:, i][np.isfinite(self.X[:, i])]
            ax.hist(values, bins="auto", density=True, color="0.85")
        ax.plot(self.grid[i], np.exp(self.log_prob[i, i]), color=BLUE)

    def _draw_contours(self, ax, i: int, j: int, size: float):
        """Draw log p of two columns, the rows and the components; return the contours."""
        log_prob = np.asarray(self.log_prob[i, j])
        top = log_prob[np.isfinite(log_prob)].max()
        contours = ax.contour(
            self.grid[i],
            self.grid[j],
            np.maximum(log_prob - top, 2 * LEVELS[0]),
            levels=LEVELS,
            cmap=SEQUENTIAL,
            linewidths=1.2,
            zorder=2,
        )
        if self.X is not None:
            ax.plot(self.X[:, i], self.X[:, j], ".", color=GREY, ms=size, zorder=1)
        self._draw_components(ax, i, j)
        return contours

    def _draw_components(self, ax, i: int, j: int) -> None:
        """Draw the centre of each component and its ellipse of two standard deviations."""
        from matplotlib.patches import Ellipse

        if self.means is None or self.covariances is None:
            return
        ax.plot(
            self.means[:, i],
            self.means[:, j],
            "P",
            color=VERMILION,
            mec="white",
            ms=7,
            zorder=4,
            label=f"components ({RADIUS:g} sd)",
        )
        for mean, covariance in zip(self.means, self.covariances, strict=True):
            variances, directions = np.linalg.eigh(covariance[np.ix_([i, j], [i, j])])
            height, width = 2 * RADIUS * np.sqrt(np.maximum(variances, 0))
            angle = np.degrees(np.arctan2(directions[1, 1], directions[0, 1]))
            ellipse = Ellipse(
                (mean[i], mean[j]),
                width,
                height,
                angle=angle,
                fill=False,
                ls="--",
                color=VERMILION,
                zorder=3,
            )
            ax.add_patch(ellipse)

    def _label_edge(self, ax, i: int, j: int, last: bool) -> None:
        """Label the outer panels only, and the diagonal by its column."""
        names = self._names()
        if last:
            ax.set_xlabel(names[i])
        else:
            ax.tick_params(labelbottom=False)
        if i == 0 and j > 0:
            ax.set_ylabel(names[j])
        elif i == j:
            ax.set_yticks([])
            ax.set_title(names[i], fontsize="medium")
        else:
            ax.tick_params(labelleft=False)

    def _add_colorbar(self, figure, contours, ax) -> None:
        from matplotlib.cm import ScalarMappable

        scale = ScalarMappable(norm=contours.norm, cmap=contours.cmap)
        bar = figure.colorbar(scale, ax=ax, ticks=LEVELS, shrink=0.8)
        bar.set_label("log p(x) below its highest value (nats)")
