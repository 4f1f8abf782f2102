"""Rows in the space of two latents, with the width of q as ellipses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skelbo.display.column_kinds import latent_kind
from skelbo.display.display import Display, require_matplotlib
from skelbo.display.named_estimators import named_estimators
from skelbo.display.palette import COLORS, SEQUENTIAL, color, marker

# Ellipses of more rows than this hide each other: evenly spaced rows have them.
MAX_ELLIPSES = 150
# Numbers with more values than this are drawn on a continuous scale of colours.
MAX_CLASSES = 20


class LatentSpaceDisplay(Display):
    """Picture of rows at the means of their q, coloured by y, with its deviations as ellipses.

    With one latent the panel has its histogram, one outline per class of y.

    Parameters
    ----------
    latents : ndarray of shape (n_samples, 1 or 2)
        Mean of q of each row.
    latents_std : ndarray of shape (n_samples, 1 or 2), default=None
        Standard deviation of q: an ellipse of one standard deviation, for at most 150 rows.
    y : array-like of shape (n_samples,), default=None
        Classes, or numbers, that colour the rows.
    latent_names : sequence of str, default=None
        Labels of the axes.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The panel.
    figure_ : matplotlib.figure.Figure
        The figure.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo.display import LatentSpaceDisplay
    >>> latents = np.array([[-1.0, 0.0], [1.0, 0.5], [0.0, -0.5]])
    >>> display = LatentSpaceDisplay(latents=latents, y=["a", "b", "a"]).plot()
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['a', 'b']
    """

    def __init__(
        self,
        *,
        latents,
        latents_std=None,
        y=None,
        latent_names: Sequence[str] | None = None,
    ):
        self.latents = latents
        self.latents_std = latents_std
        self.y = y
        self.latent_names = latent_names

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, components=None, ax=None):
        """Draw rows in the latent space of an estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `transform`; where it has `transform_std`, ellipses are drawn.
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        y : array-like of shape (n_samples,), default=None
            Classes, or numbers, that colour the rows.
        components : tuple of int, default=None
            One latent or two. None is the two most active ones, whose means vary most over the
            rows.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        display : LatentSpaceDisplay
            The picture.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no such latent, or y has another length than X.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skelbo import VariationalEM
        >>> from skelbo.display import LatentSpaceDisplay
        >>> from skelbo.models import FactorModel
        >>> X, y = load_iris(return_X_y=True)
        >>> factors = VariationalEM(model=FactorModel(2, noise="isotropic")).fit(X)
        >>> display = LatentSpaceDisplay.from_estimator(factors, X, y)
        >>> display.latents.shape
        (150, 2)
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        (estimator,) = named_estimators(estimator).values()
        latents = np.asarray(estimator.transform(X))
        if y is not None and len(y) != len(latents):
            raise ValueError(f"y has {len(y)} entries, expected {len(latents)}: one per row of X.")
        chosen = _chosen(components, latents)
        std = _standard_deviations(estimator, X)
        name = "p(z = {} | x)" if latent_kind(estimator) in ("label", "chain") else "z{}"
        return cls(
            latents=latents[:, chosen],
            latents_std=None if std is None else std[:, chosen],
            y=y,
            latent_names=[name.format(k) for k in chosen],
        ).plot(ax)

    def _draw(self, axes: np.ndarray) -> None:
        ax, latents = axes[0, 0], np.asarray(self.latents)
        names = self.latent_names or [f"z{k}" for k in range(latents.shape[1])]
        groups = self._groups()
        if latents.shape[1] == 1:
            self._draw_histograms(ax, latents[:, 0], groups)
            ax.set(xlabel=f"{names[0]}, mean of q", ylabel="rows")
        else:
            self._draw_points(ax, latents, groups)
            ax.set(xlabel=f"{names[0]}, mean of q", ylabel=f"{names[1]}, mean of q")
        if groups is not None and len(groups) > 1:
            self._legend(ax)

    def _groups(self) -> dict[str, np.ndarray] | None:
        """Return the rows of each class, None where y is a continuous number."""
        if self.y is None:
            return {"rows": np.ones(len(self.latents), dtype=bool)}
        y = np.asarray(self.y)
        classes = np.unique(y)
        if y.dtype.kind == "f" and len(classes) > MAX_CLASSES:
            return None
        return {str(label): y == label for label in classes}

    def _draw_points(self, ax, latents: np.ndarray, groups) -> None:
        size = 24 if len(latents) < 300 else 12
        if groups is None:
            points = ax.scatter(*latents.T, c=self.y, cmap=SEQUENTIAL, s=size, zorder=2)
            ax.figure.colorbar(points, ax=ax, label="y")
            self._draw_ellipses(ax, latents, ["0.5"] * len(latents))
            return
        colors = np.empty(len(latents), dtype=object)
        # Where colours come twice, short labels are their own marks.
        spelled = len(groups) > len(COLORS) and max(map(len, groups)) <= 2
        for number, (label, rows) in enumerate(groups.items()):
            mark = f"${label}$" if spelled else marker(number)
            style = {"color": color(number), "marker": mark, "s": 3 * size if spelled else size}
            ax.scatter(*latents[rows].T, label=label, linewidths=0, zorder=2, **style)
            colors[rows] = color(number)
        self._draw_ellipses(ax, latents, colors)

    def _draw_ellipses(self, ax, latents: np.ndarray, colors: Any) -> None:
        """Draw one standard deviation of q around evenly spaced rows."""
        from matplotlib.collections import EllipseCollection

        if self.latents_std is None:
            return
        some = slice(None, None, -(-len(latents) // MAX_ELLIPSES))
        std = np.asarray(self.latents_std, dtype=np.float64)[some]
        widths, heights = 2 * std.T
        ellipses = EllipseCollection(
            widths,
            heights,
            np.zeros(len(widths)),
            units="xy",
            offsets=latents[some],
            offset_transform=ax.transData,
            facecolors="none",
            edgecolors=list(colors[some]),
            alpha=0.6,
            linewidths=0.8,
            zorder=1,
        )
        ax.add_collection(ellipses)
        ax.update_datalim(np.concatenate([latents[some] - std, latents[some] + std]))
        ax.autoscale_view()

    def _draw_histograms(self, ax, values: np.ndarray, groups) -> None:
        edges = np.histogram_bin_edges(values, bins="auto")
        for number, (label, rows) in enumerate((groups or {"rows": ...}).items()):
            ax.hist(values[rows], edges, histtype="step", color=color(number), lw=2, label=label)


def _chosen(components: Any, latents: np.ndarray) -> list[int]:
    """Return one or two latents: the chosen ones, or those whose means vary most."""
    n = latents.shape[1]
    if components is None:
        most_active = np.argsort(-latents.var(axis=0), kind="stable")[:2]
        return sorted(int(k) for k in most_active)
    chosen = [int(k) for k in np.ravel(components)]
    if not 1 <= len(chosen) <= 2 or not all(0 <= k < n for k in chosen):
        raise ValueError(
            f"components={components!r}, expected one or two latents from 0 to {n - 1}."
        )
    return chosen


def _standard_deviations(estimator: Any, X: Any) -> np.ndarray | None:
    """Return the standard deviations of q, None where z is discrete or a point."""
    if not hasattr(estimator, "transform_std"):
        return None
    return np.asarray(estimator.transform_std(X))
