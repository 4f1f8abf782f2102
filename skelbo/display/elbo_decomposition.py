"""Decomposition of log p(x): reconstruction, KL, energy, entropy and gap side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skelbo.data.weights import check_weights
from skelbo.display.display import Display, require_matplotlib
from skelbo.display.named_estimators import named_estimators
from skelbo.display.palette import BLUE, GREEN, VERMILION

# Bar -> attribute of its length, colour, attribute of its beginning, attribute of its end.
BARS = {
    "KL": ("kl", BLUE, "reconstruction", "elbo"),
    "entropy": ("entropy", GREEN, "energy", "elbo"),
    "gap": ("gap", VERMILION, "elbo", "log_prob"),
}
# Mark at the end of each of these bars -> attribute and marker.
MARKS = {
    "reconstruction": ("reconstruction", "o"),
    "energy": ("energy", "s"),
    "log p(x)": ("log_prob", "D"),
}


class ELBODecompositionDisplay(Display):
    r"""Picture of the terms of the bound, which add up to log p(x): a group of bars per estimator.

    .. math::
        \log p(x) = \underbrace{E_q[\log p(x \mid z)]}_{reconstruction}
        - \underbrace{\mathrm{KL}(q \,\|\, p(z))}_{KL} + gap
        = \underbrace{E_q[\log p(x, z)]}_{energy} + \underbrace{H[q]}_{entropy} + gap

    A bar leads from the reconstruction down to the ELBO (KL), one from the energy to the ELBO
    (entropy), and one from the ELBO up to log p(x) (gap).

    Parameters
    ----------
    reconstruction, kl, energy, entropy, gap : array-like of shape (n_estimators,)
        Mean terms, in nats per row; Ding (2020), eq. 2 to 4.
    estimator_names : sequence of str
        One name per estimator.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The panel.
    figure_ : matplotlib.figure.Figure
        The figure.

    References
    ----------
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*, eq. 2 to 4.

    Examples
    --------
    >>> from skelbo.display import ELBODecompositionDisplay
    >>> display = ELBODecompositionDisplay(
    ...     reconstruction=[-3.0],
    ...     kl=[0.7],
    ...     energy=[-4.0],
    ...     entropy=[0.3],
    ...     gap=[0.1],
    ...     estimator_names=["model"],
    ... ).plot()
    >>> display.log_prob.round(1)
    array([-3.6])
    """

    def __init__(self, *, reconstruction, kl, energy, entropy, gap, estimator_names: Sequence[str]):
        self.reconstruction = np.asarray(reconstruction, dtype=np.float64)
        self.kl = np.asarray(kl, dtype=np.float64)
        self.energy = np.asarray(energy, dtype=np.float64)
        self.entropy = np.asarray(entropy, dtype=np.float64)
        self.gap = np.asarray(gap, dtype=np.float64)
        self.estimator_names = list(estimator_names)

    @property
    def elbo(self) -> np.ndarray:
        """The bound, in nats per row."""
        return self.reconstruction - self.kl

    @property
    def log_prob(self) -> np.ndarray:
        """Mean log p(x), in nats per row."""
        return self.elbo + self.gap

    @classmethod
    def from_estimator(cls, estimator, X, *, sample_weight=None, ax=None):
        """Draw the terms of the bound of rows under estimators.

        Parameters
        ----------
        estimator : estimator, list of estimators or dict of str to estimator
            Fitted estimators with `elbo_terms` and `gap`.
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        sample_weight : array-like of shape (n_samples,), default=None
            Frequency weights of the means.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        display : ELBODecompositionDisplay
            The picture.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If X does not match a fit.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skelbo import EMGaussianMixture
        >>> from skelbo.display import ELBODecompositionDisplay
        >>> X = load_iris().data
        >>> mixture = EMGaussianMixture(3, random_state=0).fit(X)
        >>> display = ELBODecompositionDisplay.from_estimator(mixture, X)
        >>> bool(abs(display.log_prob[0] - mixture.score(X)) < 1e-12)
        True
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        named = named_estimators(estimator)
        means = [_mean_terms(fitted, X, sample_weight) for fitted in named.values()]
        reconstruction, kl, energy, entropy, gap = np.transpose(means)
        return cls(
            reconstruction=reconstruction,
            kl=kl,
            energy=energy,
            entropy=entropy,
            gap=gap,
            estimator_names=list(named),
        ).plot(ax)

    def _size(self):
        return 7.0, 1.2 + 0.95 * len(self.estimator_names)

    def _draw(self, axes: np.ndarray) -> None:
        ax = axes[0, 0]
        rows = np.arange(len(self.estimator_names)) * (len(BARS) + 1.0)
        ticks, labels = [], []
        for number, (term, (size, color, begin, end)) in enumerate(BARS.items()):
            left, right = getattr(self, begin), getattr(self, end)
            ax.barh(rows + number, right - left, left=left, color=color)
            ticks += list(rows + number)
            labels += [f"{term}  {round(value, 3) + 0.0:.3f}" for value in getattr(self, size)]
        for number, (label, (name, marker)) in enumerate(MARKS.items()):
            ax.plot(getattr(self, name), rows + number, marker, color="black", ms=5, label=label)
        ax.vlines(self.elbo, rows - 0.5, rows + len(BARS) - 0.5, color="black", label="ELBO")
        for row, name in zip(rows, self.estimator_names, strict=True):
            place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            ax.annotate(
                name, (0, row - 0.6), xytext=(4, 1), weight="bold", fontsize="small", **place
            )
        ax.set_yticks(ticks, labels, fontsize="small")
        ax.set_ylim(rows[-1] + 2.8, -1.4)
        ax.use_sticky_edges = False
        ax.margins(x=0.08)
        ax.set_xlabel("nats per row")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize="small", frameon=False)


def _mean_terms(estimator, X, sample_weight) -> np.ndarray:
    """Return the weighted means of reconstruction, KL, energy, entropy and gap."""
    terms = estimator.elbo_terms(X)
    columns = np.asarray([*terms.stack().T, estimator.gap(X)], dtype=np.float64)
    return np.average(columns, axis=1, weights=check_weights(sample_weight, columns.shape[1]))
