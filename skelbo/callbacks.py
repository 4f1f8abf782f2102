"""Callbacks for `set_callbacks`, following scikit-learn's callback protocol."""

from __future__ import annotations

from typing import Any

from skelbo.em.checkpoint import CheckpointSettings


class FitCallback:
    """Callback of scikit-learn's protocol whose hooks do nothing until a subclass has its own.

    Examples
    --------
    >>> from skelbo import EMGaussianMixture
    >>> from skelbo.callbacks import FitCallback
    >>> class Counter(FitCallback):
    ...     n_tasks = 0
    ...
    ...     def on_fit_task_end(self, estimator, context):
    ...         self.n_tasks += 1
    >>> counter = Counter()
    >>> model = EMGaussianMixture(2, random_state=0).set_callbacks(counter)
    >>> model = model.fit([[0.0], [0.2], [5.0], [5.3]])
    >>> counter.n_tasks > model.n_iter_
    True
    """

    def setup(self, estimator, context):
        """Prepare for a fit.

        Parameters
        ----------
        estimator : estimator
            On which the callback was set.
        context : sklearn.callback.CallbackContext
            Of the fit.
        """

    def teardown(self, estimator, context):
        """Clean up after a fit.

        Parameters
        ----------
        estimator : estimator
            On which the callback was set.
        context : sklearn.callback.CallbackContext
            Of the fit.
        """

    def on_fit_task_begin(self, estimator, context):
        """Run at the begin of a task of a fit: a start, or an iteration.

        Parameters
        ----------
        estimator : estimator
            On which the callback was set.
        context : sklearn.callback.CallbackContext
            Of the task.
        """


class ELBOMonitor(FitCallback):
    """Recorder of the bound of every iteration of every fit.

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

    def on_fit_task_end(self, estimator, context, *, metadata=None):
        """Record an iteration.

        Parameters
        ----------
        estimator : estimator
            On which the callback was set.
        context : sklearn.callback.CallbackContext
            Of the fit or of its task.
        metadata : dict or None, default=None
            ``n_iter`` and ``lower_bound`` (nats per row) of an iteration.

        Returns
        -------
        bool
            True ends the start: `patience` is spent.
        """
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
        """Return the bounds by run and start.

        Returns
        -------
        dict of (int, int) to list of float
            In nats per row, one for each iteration.
        """
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


class Checkpoint(CheckpointSettings, FitCallback):
    """Callback that writes the state of a long fit to a file, from which a later fit goes on.

    Set it on an estimator of this library. Every so many seconds `fit` writes its state; a fit
    that finds the file goes on from it and ends, on a CPU, with the bits with which it would have
    ended without interruption. It does so only if the estimator, its parameters and the data are
    those of the file, and is otherwise refused by name. When a fit has ended the file is removed;
    after Ctrl-C, which keeps the best so far, or an error it stays.

    Fits by EM (rows in memory, on disk or of Dask), `MCEM` and networks go on in the middle
    of an ascent or a training, `VariationalEM` between its starts (`n_init`). `partial_fit` writes
    nothing: between batches `to_file` does.

    Parameters
    ----------
    path : path-like
        File to write: one for each fit that may run at a time. Or a folder that exists, in which
        each fit has a file of its own: for searches and cross-validation, whose fits run in turn
        or in parallel. In a folder a fit that finds no file of its own begins anew.
    every : float, default=60.0
        Seconds between two writes, at the end of an iteration or epoch; 0 writes after each.

    Notes
    -----
    The file is written at once or not at all, so that a process may be killed at any moment. It
    holds no code, and no rows. Of models, networks and functions of your own that are parameters
    the name is compared, not the content. What is read must have been written by the same version
    of skelbo; the same bits need the same machine and the same versions of NumPy and torch.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from skelbo import EMGaussianMixture
    >>> from skelbo.callbacks import Checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mixture = EMGaussianMixture(3, random_state=0)
    ...     mixture = mixture.set_callbacks(Checkpoint(f"{folder}/fit")).fit(load_iris().data)
    >>> mixture.converged_
    True
    """

    def __init__(self, path: Any, every: float = 60.0):
        super().__init__(path, every)

    def setup(self, estimator, context):
        """Check that the fit of the estimator can go on from a file.

        Parameters
        ----------
        estimator : estimator
            On which the callback was set.
        context : sklearn.callback.CallbackContext
            Of the fit or of its task.

        Raises
        ------
        TypeError
            If it cannot.
        ValueError
            If `every` is no number of seconds.
        """
        if not getattr(estimator, "_resumes_fits", False):
            raise TypeError(
                f"Checkpoint was set on {type(estimator).__name__}, whose fits do not go on from a "
                "file, expected an estimator of skelbo; set it on that estimator itself, within a "
                "pipeline or search say."
            )
        if not isinstance(self.every, (int, float)) or not self.every >= 0:
            raise ValueError(f"every={self.every!r}, expected seconds: a number of at least 0.")

    def on_fit_task_end(self, estimator, context):
        """Do nothing; see `on_fit_task_begin`.

        Parameters
        ----------
        estimator : estimator
            On which the callback was set.
        context : sklearn.callback.CallbackContext
            Of the fit or of its task.
        """
