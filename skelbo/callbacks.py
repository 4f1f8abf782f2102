"""Callbacks for `set_callbacks`, following scikit-learn's callback protocol."""

from __future__ import annotations

from typing import Any


class ELBOMonitor:
    """Record the bound of every iteration of every fit.

    Set it on an estimator, a Pipeline or a search: it is passed on to the estimators inside. In a
    search with several processes each process records for itself.

    Parameters
    ----------
    patience : int or None, default=None
        If given, end a start once the bound has climbed by less than `min_climb` in this many
        iterations running.
    min_climb : float, default=0.0
        In nats per row.

    Attributes
    ----------
    log_ : list of dict
        One entry per iteration: ``run`` (number of the fit), ``start``, ``iteration`` (from 1),
        ``lower_bound`` (nats per row).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skelbo import ELBOMonitor, EMGaussianMixture
    >>> monitor = ELBOMonitor()
    >>> model = EMGaussianMixture(3, random_state=0).set_callbacks(monitor)
    >>> bounds = model.fit(load_iris().data).lower_bounds_
    >>> [entry["lower_bound"] for entry in monitor.log_] == bounds
    True
    """

    max_propagation_depth = None

    def __init__(self, patience: int | None = None, min_climb: float = 0.0):
        self.patience = patience
        self.min_climb = min_climb
        self.log_: list[dict[str, Any]] = []
        self._runs: list[Any] = []

    def setup(self, estimator, context):
        """Do nothing: a run is entered when its first iteration ends."""

    def teardown(self, estimator, context):
        """Do nothing: the log stays."""

    def on_fit_task_begin(self, estimator, context):
        """Do nothing: an iteration is recorded when it ends."""

    def on_fit_task_end(self, estimator, context, *, metadata=None):
        """Record an iteration; return True to end the start if `patience` is spent."""
        if not metadata or "n_iter" not in metadata:
            return False
        start = context.parent
        run = id(start.parent)
        if run not in self._runs:
            self._runs.append(run)
        entry = {
            "run": self._runs.index(run),
            "start": start.task_id,
            "iteration": metadata["n_iter"],
            "lower_bound": metadata["lower_bound"],
        }
        self.log_.append(entry)
        return self._is_spent(entry)

    def _is_spent(self, entry: dict[str, Any]) -> bool:
        if self.patience is None:
            return False
        curve = self.curves()[entry["run"], entry["start"]]
        if len(curve) <= self.patience:
            return False
        return curve[-1] - curve[-1 - self.patience] < self.min_climb

    def curves(self) -> dict[tuple[int, int], list[float]]:
        """Return the bounds by (run, start), in nats per row."""
        curves: dict[tuple[int, int], list[float]] = {}
        for entry in self.log_:
            curves.setdefault((entry["run"], entry["start"]), []).append(entry["lower_bound"])
        return curves

    def plot(self, ax=None, **kwargs):
        """Draw the bound against the iteration, one line per start.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure if not given.
        **kwargs : dict
            Passed on to ``Axes.plot``.

        Returns
        -------
        ax : matplotlib.axes.Axes
            The axes drawn on.

        Raises
        ------
        ImportError
            If matplotlib is not installed (extra ``skelbo[plot]``).

        See Also
        --------
        skelbo.display.ELBOCurveDisplay : The picture behind it, also of fitted estimators.
        """
        from skelbo.display.elbo_curve import ELBOCurveDisplay

        curves = {f"fit {run}, start {start}": c for (run, start), c in self.curves().items()}
        return ELBOCurveDisplay(lower_bounds=curves).plot(ax, **kwargs).ax_
