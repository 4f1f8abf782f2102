"""Effect of each latent, component or code: the expected row as one of them changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skelbo.display.display import Display, require_matplotlib
from skelbo.display.latent_paths import LatentPaths
from skelbo.display.named_estimators import named_estimators
from skelbo.display.palette import DIVERGING, color, dashes, marker
from skelbo.display.shown_table import ShownTable

# Columns that are drawn as lines; more are a map of colours.
MAX_LINES = 7
MAX_PANEL_COLUMNS = 4
TILES_PER_ROW = 10


class TraversalDisplay(Display):
    """Picture of E[x | z] as one latent changes and the others stay: the effect of each latent.

    Images are tiles, one row per latent. Other tables have one panel per latent, with the change of
    each column in its own standard deviations: lines for up to seven columns, else colours.

    Parameters
    ----------
    expected : sequence of ndarray of shape (n_steps, n_features)
        E[x | z] along each latent, in the units of the data.
    steps : sequence of ndarray of shape (n_steps,)
        Values of each latent, in the unit of `step_label`.
    latent_names : sequence of str
        Names of the latents.
    step_label : str, default="z"
        What `steps` are, with their unit.
    image_shape : tuple of (int, int), default=None
        Height and width, if a row is an image.
    mean, scale : ndarray of shape (n_features,), default=None
        Means and standard deviations of the columns, by which changes are measured; None leaves
        the units of the data.
    feature_names : sequence of str, default=None
        Names of the columns.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes or ndarray of Axes
        The panel of images, or the panels of the latents.
    figure_ : matplotlib.figure.Figure
        The figure.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo.display import TraversalDisplay
    >>> steps = np.array([-1.0, 0.0, 1.0])
    >>> expected = np.outer(steps, [2.0, -1.0])
    >>> display = TraversalDisplay(expected=[expected], steps=[steps], latent_names=["z0"]).plot()
    >>> len(display.ax_.lines)
    2
    """

    def __init__(
        self,
        *,
        expected: Sequence[Any],
        steps: Sequence[Any],
        latent_names: Sequence[str],
        step_label: str = "z",
        image_shape: tuple[int, int] | None = None,
        mean=None,
        scale=None,
        feature_names: Sequence[str] | None = None,
    ):
        self.expected = expected
        self.steps = steps
        self.latent_names = latent_names
        self.step_label = step_label
        self.image_shape = image_shape
        self.mean = mean
        self.scale = scale
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls, estimator, X, *, components=None, n_steps=7, span=2.0, image_shape=None, ax=None
    ):
        """Draw what the latents of an estimator do.

        A continuous latent goes from its mean over the rows of X, down and up by `span` of its
        standard deviations over them, the others stay at their means. A binary latent goes from
        absent to present, the others absent. A mixture shows its components. A discrete code goes
        through all codes, the other positions at their most common one.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `transform` and `inverse_transform`.
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        components : list of int, default=None
            Latents (components, positions) to draw; None is the eight most active ones, whose means
            vary most, in decreasing order, and all components of a mixture.
        n_steps : int, default=7
            Values of a continuous latent.
        span : float, default=2.0
            Reach of a continuous latent, in standard deviations.
        image_shape : tuple of (int, int), default=None
            Height and width, if a row is an image.
        ax : Axes or array-like of Axes of shape (n_rows, n_columns), default=None
            Where to draw; a new figure if None.

        Returns
        -------
        display : TraversalDisplay
            The picture.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no such latent, or a row is no image of this shape.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skelbo import VariationalEM
        >>> from skelbo.display import TraversalDisplay
        >>> from skelbo.models import FactorModel
        >>> X = load_iris().data
        >>> factors = VariationalEM(model=FactorModel(2, noise="isotropic")).fit(X)
        >>> display = TraversalDisplay.from_estimator(factors, X)
        >>> [array.shape for array in display.expected]
        [(7, 4), (7, 4)]
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        (estimator,) = named_estimators(estimator).values()
        table = ShownTable.of(X)
        if image_shape is not None and np.prod(image_shape) != len(table.names):
            raise ValueError(
                f"image_shape={image_shape!r} has {np.prod(image_shape)} cells, expected "
                f"{len(table.names)}, the number of columns of X."
            )
        paths = LatentPaths.of(estimator, X, components, n_steps, span)
        scale = np.nanstd(table.values, axis=0)
        return cls(
            expected=[np.asarray(estimator.inverse_transform(Z)) for Z in paths.latents],
            steps=paths.steps,
            latent_names=paths.names,
            step_label=paths.step_label,
            image_shape=image_shape,
            mean=np.nanmean(table.values, axis=0),
            scale=np.where(scale > 0, scale, 1.0),
            feature_names=table.names,
        ).plot(ax)

    # ---------------------------------------------------------------- drawing

    def _grid(self):
        n = len(self.expected)
        if self.image_shape is not None or n == 1:
            return 1, 1
        return -(-n // MAX_PANEL_COLUMNS), min(n, MAX_PANEL_COLUMNS)

    def _size(self):
        if self.image_shape is not None:
            tiles = self._tile_rows()
            widest = max(len(row) for row, _ in tiles)
            height, width = self.image_shape
            return 1.4 + 0.75 * widest, 0.9 + 0.75 * len(tiles) * height / width
        rows, columns = self._grid()
        if rows * columns == 1:
            return 6.4, 4.8
        return 2.8 * columns + (1.4 if self._n_features() <= MAX_LINES else 1.0), 2.6 * rows + 0.4

    def _n_features(self) -> int:
        return np.shape(self.expected[0])[1]

    def _draw(self, axes: np.ndarray) -> None:
        if self.image_shape is not None:
            self._draw_images(axes[0, 0])
            return
        shown = list(axes.flat)[: len(self.expected)]
        for ax in list(axes.flat)[len(self.expected) :]:
            ax.set_axis_off()
        lines = self._n_features() <= MAX_LINES and not self._is_categorical()
        draw = self._draw_lines if lines else self._draw_map
        drawn = [draw(ax, number) for number, ax in enumerate(shown)]
        for number, ax in enumerate(shown):
            ax.set_xlabel(self.step_label)
            if number % axes.shape[1]:
                ax.tick_params(labelleft=False)
        if lines:
            self._legend(shown[min(axes.shape[1], len(shown)) - 1])
        else:
            bar = axes[0, 0].figure.colorbar(drawn[0], ax=list(axes.flat))
            bar.set_label(self._change_label())

    def _is_categorical(self) -> bool:
        """Return whether the steps have no order, as the components of a mixture."""
        return self.step_label in ("component", "code")

    def _change_label(self) -> str:
        if self.scale is None:
            return "E[x | z] (units of the data)"
        return "E[x | z] - mean (sd of the column)"

    def _changes(self, number: int) -> np.ndarray:
        """Return what is drawn of one latent, shape (n_steps, n_features)."""
        expected = np.asarray(self.expected[number], dtype=np.float64)
        if self.mean is None or self.scale is None:
            return expected
        return (expected - self.mean) / self.scale

    def _names(self) -> list[str]:
        return list(self.feature_names or [f"x{j}" for j in range(self._n_features())])

    def _draw_lines(self, ax, number: int):
        changes = self._changes(number)
        for j, name in enumerate(self._names()):
            style = {"color": color(j), "linestyle": dashes(j), "marker": marker(j), "ms": 4}
            ax.plot(self.steps[number], changes[:, j], label=name, **style)
        low = min(self._changes(k).min() for k in range(len(self.expected)))
        high = max(self._changes(k).max() for k in range(len(self.expected)))
        margin = 0.05 * (high - low) or 1.0
        ax.set_ylim(low - margin, high + margin)
        ax.set_title(self.latent_names[number], fontsize="medium")
        if number % MAX_PANEL_COLUMNS == 0:
            ax.set_ylabel(self._change_label())

    def _draw_map(self, ax, number: int):
        changes = self._changes(number).T
        largest = max(np.abs(self._changes(k)).max() for k in range(len(self.expected)))
        image = ax.imshow(
            changes,
            cmap=DIVERGING,
            vmin=-largest,
            vmax=largest,
            aspect="auto",
            interpolation="none",
        )
        steps = self.steps[number]
        if self._is_categorical():
            ticks = np.arange(0, len(steps), -(-len(steps) // 20))
        else:
            ticks = np.unique([0, len(steps) // 2, len(steps) - 1])
        ax.set_xticks(ticks, [f"{step:.3g}" for step in np.asarray(steps)[ticks]])
        names = self._names()
        some = -(-len(names) // 20)
        ax.set_yticks(range(0, len(names), some), names[::some], fontsize="small")
        if self.latent_names[number] != self.step_label:
            ax.set_title(self.latent_names[number], fontsize="medium")
        return image

    # ----------------------------------------------------------------- images

    def _tile_rows(self) -> list[tuple[np.ndarray, str]]:
        """Return the rows of tiles, images side by side, and their labels."""
        rows = []
        for expected, steps, name in zip(self.expected, self.steps, self.latent_names, strict=True):
            for begin in range(0, len(expected), self._tiles_per_row()):
                part = slice(begin, begin + self._tiles_per_row())
                label = name if not self._is_categorical() or len(self.expected) > 1 else ""
                if len(expected) > self._tiles_per_row():
                    label = f"{name} {steps[part][0]:g}-{steps[part][-1]:g}"
                rows.append((np.asarray(expected[part]), label))
        return rows

    def _tiles_per_row(self) -> int:
        return TILES_PER_ROW if self._is_categorical() else 10**6

    def _draw_images(self, ax) -> None:
        """Draw all tiles as one image, with white lines between them."""
        height, width = self.image_shape or (1, 1)
        rows = self._tile_rows()
        widest = max(len(images) for images, _ in rows)
        canvas = np.full((len(rows) * (height + 1) - 1, widest * (width + 1) - 1), np.nan)
        for i, (images, _) in enumerate(rows):
            for j, image in enumerate(images):
                top, left = i * (height + 1), j * (width + 1)
                canvas[top : top + height, left : left + width] = np.reshape(image, (height, width))
        ax.imshow(canvas, cmap="gray_r", interpolation="none")
        middle = (np.arange(len(rows)) * (height + 1)) + (height - 1) / 2
        ax.set_yticks(middle, [label for _, label in rows], fontsize="small")
        across = (np.arange(widest) * (width + 1)) + (width - 1) / 2
        ticks = [f"{step:.2g}" for step in self.steps[0][:widest]]
        wrapped = len(self.steps[0]) > self._tiles_per_row()
        ax.set_xticks(across, [""] * widest if wrapped else ticks, fontsize="small")
        ax.tick_params(length=0)
        if not wrapped:
            ax.set_xlabel(self.step_label)
        for side in ax.spines.values():
            side.set_visible(False)
