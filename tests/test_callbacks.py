"""Callbacks see every start and iteration, and can stop a fit."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skelbo import ELBOMonitor, EMGaussianMixture, GaussianMLE


class Recorder:
    """Note the task tree; end each start after `limit` iterations, the fit after one start."""

    def __init__(self, limit=None, one_start=False):
        self.limit, self.one_start, self.tasks = limit, one_start, []

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, metadata=None):
        self.tasks.append(("end", context.task_name, context.task_id))
        if context.task_name == "start":
            return self.one_start
        return self.limit is not None and context.task_id + 1 >= self.limit


def test_task_tree(faithful):
    recorder = Recorder()
    model = EMGaussianMixture(2, n_init=3, random_state=0).set_callbacks(recorder).fit(faithful)
    tasks = recorder.tasks
    assert tasks[0] == "setup" and tasks[-1] == "teardown"
    assert tasks[1] == ("begin", "fit", 0) and tasks[-2] == ("end", "fit", 0)
    # Ascents are numbered; of three starts the more promising ones are continued.
    starts = [t[2] for t in tasks[1:-1] if t[:2] == ("begin", "start")]
    assert starts in ([0], [0, 1], [0, 1, 2])
    begun = [t[1:] for t in tasks[1:-1] if t[0] == "begin"]
    ended = [t[1:] for t in tasks[1:-1] if t[0] == "end"]
    assert sorted(begun) == sorted(ended)
    assert sum(name == "iteration" for name, _ in begun) >= model.n_iter_


@pytest.mark.parametrize("estimator", [EMGaussianMixture(3, random_state=0), GaussianMLE()])
def test_a_callback_stops_a_fit(estimator, iris):
    X = iris.copy()
    X[::5, 0] = np.nan
    estimator.set_callbacks(Recorder(limit=2))
    with pytest.warns(match="did not converge"):
        model = estimator.fit(X)
    assert model.n_iter_ == 2 and not model.converged_


def test_a_callback_stops_the_restarts(faithful):
    recorder = Recorder(one_start=True)
    EMGaussianMixture(2, n_init=5, random_state=0).set_callbacks(recorder).fit(faithful)
    assert sum(task[:2] == ("begin", "start") for task in recorder.tasks[1:-1]) == 1


def test_monitor_records_what_the_fit_publishes(faithful):
    monitor = ELBOMonitor()
    model = EMGaussianMixture(3, n_init=2, random_state=0, max_iter=300).set_callbacks(monitor)
    for _ in range(2):
        model.fit(faithful)
    curves = monitor.curves()
    assert list(curves) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert model.lower_bounds_ in (curves[1, 0], curves[1, 1])


def test_monitor_in_a_search_over_a_pipeline(iris):
    monitor = ELBOMonitor()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), EMGaussianMixture(random_state=0)),
        {"emgaussianmixture__n_components": [1, 2]},
        cv=2,
    )
    search.set_callbacks(monitor).fit(iris)
    assert len({entry["run"] for entry in monitor.log_}) == 5


def test_monitor_stops_a_start_that_stands_still(faithful):
    monitor = ELBOMonitor(patience=3, min_climb=1e-3)
    model = EMGaussianMixture(3, covariance_type="tied", random_state=0).set_callbacks(monitor)
    with pytest.warns(match="did not converge"):
        model.fit(faithful)
    assert model.lower_bounds_[-1] - model.lower_bounds_[-4] < 1e-3
    assert (
        model.n_iter_
        < EMGaussianMixture(3, covariance_type="tied", random_state=0).fit(faithful).n_iter_
    )


def test_monitor_can_be_plotted(faithful):
    monitor = ELBOMonitor()
    model = EMGaussianMixture(2, random_state=0).set_callbacks(monitor).fit(faithful)
    ax = monitor.plot()
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), model.lower_bounds_)
    assert monitor.plot(ax, color="black") is ax and len(ax.lines) == 2
