"""Curves of yes/no items: the probability of a yes over one latent, with bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special, stats

from skelbo.display.column_kinds import column_kinds, latent_kind
from skelbo.display.display import Display, require_matplotlib
from skelbo.display.named_estimators import named_estimators
from skelbo.display.palette import color, dashes

# More items than this have a panel each.
ONE_PANEL = 5
N_COLUMNS = 5
NO_ITEMS = (
    "{name} has {kind} columns, expected yes/no items with a Bernoulli likelihood; fit "
    "VariationalEM(1, model='bernoulli', posterior='exact'), say."
)


class ItemCurveDisplay(Display):
    r"""Picture of the probability of a yes for each item over one latent, with bands.

    The band of an item with :math:`\operatorname{logit} p(x_j = 1 \mid z) = b_j + w_j z` is
    :math:`b_j + w_j z \pm c\,(\mathrm{se}(b_j) + |z|\,\mathrm{se}(w_j))`, c the quantile of
    `confidence`: the standard error of a sum is at most the sum of standard errors, whatever their
    correlation, so that a band covers at least what it states at each z.

    Parameters
    ----------
    latent : ndarray of shape (n_points,)
        Values of the latent, in standard deviations of its prior.
    probabilities : ndarray of shape (n_points, n_items)
        Probability of a yes.
    lower, upper : ndarray of shape (n_points, n_items), default=None
        Ends of the bands.
    item_names : sequence of str, default=None
        Names of the items.
    confidence : float, default=0.95
        What the bands cover, for the legend.
    latent_name : str, default="z0"
        Label of the horizontal axis.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes or ndarray of Axes
        One panel for up to five items, else a panel for each.
    figure_ : matplotlib.figure.Figure
        The figure.

    References
    ----------
    Bock and Aitkin (1981), *Marginal maximum likelihood estimation of item parameters*.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo.display import ItemCurveDisplay
    >>> z = np.linspace(-3, 3, 61)
    >>> probabilities = 1 / (1 + np.exp(-np.outer(z, [0.5, 2.0])))
    >>> display = ItemCurveDisplay(latent=z, probabilities=probabilities).plot()
    >>> len(display.ax_.lines)
    2
    """

    def __init__(
        self,
        *,
        latent,
        probabilities,
        lower=None,
        upper=None,
        item_names: Sequence[str] | None = None,
        confidence: float = 0.95,
        latent_name: str = "z0",
    ):
        self.latent = latent
        self.probabilities = probabilities
        self.lower = lower
        self.upper = upper
        self.item_names = item_names
        self.confidence = confidence
        self.latent_name = latent_name

    @classmethod
    def from_estimator(
        cls, estimator, *, component=0, items=None, confidence=0.95, span=3.0, ax=None
    ):
        """Draw the item curves of a fitted latent-trait model.

        Parameters
        ----------
        estimator : VariationalEM, MCEM or VAEEstimator
            Fitted to yes/no columns, with continuous latents. Bands come from `standard_errors_`,
            where the estimator has them.
        component : int, default=0
            Latent along the horizontal axis; the others are zero.
        items : list of int, default=None
            Items to draw; None is all.
        confidence : float, default=0.95
            Coverage of the bands.
        span : float, default=3.0
            The axis reaches from -span to span, in standard deviations of the prior.
        ax : Axes or array-like of Axes of shape (n_rows, n_columns), default=None
            Where to draw; a new figure if None.

        Returns
        -------
        display : ItemCurveDisplay
            The picture.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the columns are no yes/no items.
        ValueError
            If there is no such latent or item.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import VariationalEM
        >>> from skelbo.display import ItemCurveDisplay
        >>> answers = np.array(
        ...     [
        ...         [0, 0, 0],
        ...         [0, 0, 1],
        ...         [0, 1, 0],
        ...         [0, 1, 1],
        ...         [1, 0, 0],
        ...         [1, 0, 1],
        ...         [1, 1, 0],
        ...         [1, 1, 1],
        ...     ]
        ... )
        >>> persons = [31, 12, 9, 18, 8, 15, 17, 60]
        >>> trait = VariationalEM(1, model="bernoulli", posterior="exact")
        >>> display = ItemCurveDisplay.from_estimator(trait.fit(answers, sample_weight=persons))
        >>> bool((display.lower < display.probabilities).all())
        True
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        (estimator,) = named_estimators(estimator).values()
        names = _item_names(estimator)
        chosen = list(range(len(names))) if items is None else [int(item) for item in items]
        if not chosen or not all(0 <= item < len(names) for item in chosen):
            raise ValueError(f"items={items!r}, expected items from 0 to {len(names) - 1}.")
        latent = np.linspace(-span, span, 121)
        probabilities = np.asarray(
            estimator.inverse_transform(_latents(estimator, component, latent))
        )
        lower, upper = _bands(estimator, component, latent, confidence)
        return cls(
            latent=latent,
            probabilities=probabilities[:, chosen],
            lower=None if lower is None else lower[:, chosen],
            upper=None if upper is None else upper[:, chosen],
            item_names=[names[item] for item in chosen],
            confidence=confidence,
            latent_name=f"z{component}",
        ).plot(ax)

    def _n_items(self) -> int:
        return np.shape(self.probabilities)[1]

    def _grid(self):
        n = self._n_items()
        return (1, 1) if n <= ONE_PANEL else (-(-n // N_COLUMNS), N_COLUMNS)

    def _size(self):
        rows, columns = self._grid()
        return (6.4, 4.4) if rows * columns == 1 else (2.0 * columns, 1.7 * rows + 0.6)

    def _draw(self, axes: np.ndarray) -> None:
        n = self._n_items()
        names = list(self.item_names or [f"item {j}" for j in range(n)])
        label = f"{self.latent_name} (standard deviations of the prior)"
        if axes.size == 1:
            ax = axes[0, 0]
            for item in range(n):
                self._draw_item(ax, item, names[item], number=item)
            ax.set(xlabel=label, ylabel="probability of a yes")
            title = None if self.lower is None else f"bands: {self.confidence:.0%}"
            self._legend(ax, title=title)
            return
        for item, ax in enumerate(axes.flat):
            if item >= n:
                ax.set_axis_off()
                continue
            self._draw_item(ax, item, names[item], number=0)
            ax.set_title(names[item], fontsize="small")
            ax.tick_params(labelleft=item % N_COLUMNS == 0, labelbottom=item + N_COLUMNS >= n)
        axes[len(axes) // 2, 0].set_ylabel("probability of a yes")
        middle = N_COLUMNS // 2  # the lowest panel of the middle column that has an item
        axes[(n - 1 - middle) // N_COLUMNS, middle].set_xlabel(label)

    def _draw_item(self, ax, item: int, name: str, number: int) -> None:
        style = {"color": color(number), "linestyle": dashes(number)}
        ax.plot(self.latent, np.asarray(self.probabilities)[:, item], label=name, **style)
        if self.lower is not None and self.upper is not None:
            low, high = np.asarray(self.lower)[:, item], np.asarray(self.upper)[:, item]
            ax.fill_between(self.latent, low, high, color=style["color"], alpha=0.15, lw=0)
        ax.set_ylim(-0.02, 1.02)


def _item_names(estimator: Any) -> list[str]:
    """Return the names of the items; TypeError unless all columns are yes/no."""
    n_items = estimator.n_features_in_
    kinds = column_kinds(estimator, n_items)
    other = sorted({str(kind) for kind in kinds} - {"bernoulli"})
    if other or latent_kind(estimator) != "continuous":
        kind = " and ".join(other) or "binary latents of"
        raise TypeError(NO_ITEMS.format(name=type(estimator).__name__, kind=kind))
    names = getattr(estimator, "feature_names_in_", None)
    return [f"item {j}" for j in range(n_items)] if names is None else [str(n) for n in names]


def _latents(estimator: Any, component: int, latent: np.ndarray) -> np.ndarray:
    """Return latents with one of them along the axis and the others at zero."""
    n_latents = len(estimator.get_feature_names_out())
    if not 0 <= component < n_latents:
        raise ValueError(f"component={component!r}, expected a latent from 0 to {n_latents - 1}.")
    Z = np.zeros((len(latent), n_latents))
    Z[:, component] = latent
    return Z


def _bands(estimator: Any, component: int, latent: np.ndarray, confidence: float):
    """Return the ends of the bands, or None twice where there are no standard errors."""
    params = getattr(estimator, "params_", {})
    if not {"loadings", "intercepts"} <= set(params):
        return None, None
    errors = getattr(estimator, "standard_errors_", None)
    if errors is None:
        return None, None
    predictor = params["intercepts"] + np.outer(latent, params["loadings"][:, component])
    width = errors["intercepts"] + np.outer(np.abs(latent), errors["loadings"][:, component])
    width = width * stats.norm.ppf(0.5 + confidence / 2)
    return special.expit(predictor - width), special.expit(predictor + width)
