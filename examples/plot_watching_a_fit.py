"""
Watching a fit, ending it early, going on after a crash
=======================================================

Callbacks are called at every iteration of every start. :class:`skelbo.ELBOMonitor` records the
bound and can end a start; :class:`skelbo.callbacks.Checkpoint` writes the state of a long fit to a
file. scikit-learn's own ``ProgressBar`` (``from sklearn.callback import ProgressBar``) is set in
the same way, also on pipelines and searches.
"""

# %%
# The climb of every start
# ------------------------
#
# A mixture on the digits, with the starts of ``n_init=10`` that are continued after short runs.
# Each bound climbs monotonically, and they end at different maxima: hence ``n_init``.

import tempfile
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skelbo import ELBOMonitor, EMGaussianMixture
from skelbo.callbacks import Checkpoint

X = load_digits().data
X = X[:, X.std(axis=0) > 0]  # some pixels are never lit
options = {"covariance_type": "tied_diag", "n_init": 10, "random_state": 0}
monitor = ELBOMonitor()
mixture = EMGaussianMixture(12, **options).set_callbacks(monitor).fit(X)
ends = sorted((curve[-1] for curve in monitor.curves().values()), reverse=True)
print("ends of the starts, nats per row:", np.round(ends, 2))
ax = monitor.plot()
ax.set_ylim(ends[-1] - 1.0, ends[0] + 0.2)
ax.figure.set_size_inches(8, 4)

# %%
# Ending starts early
# -------------------
#
# ``patience`` ends a start whose bound has climbed by less than ``min_climb`` in so many
# iterations: cheaper, and further from the maximum.

patient = ELBOMonitor(patience=3, min_climb=0.01)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # as asked for
    early = EMGaussianMixture(12, **options).set_callbacks(patient).fit(X)
for name, log, model in (("to the end", monitor, mixture), ("patience=3", patient, early)):
    print(f"{name:11s} {len(log.log_):4d} iterations, log p(x) {model.score(X):.3f}")

# %%
# A crash, and what is left of it
# -------------------------------
#
# A callback that fails stands in for a machine that does. The file holds the parameters, the
# accelerator, the stopping rule, earlier starts and the states of all generators: the second fit
# goes on from it, and ends with the bits with which the first would have ended.


class PowerCut(ELBOMonitor):
    def on_fit_task_end(self, estimator, context, *, metadata=None):
        super().on_fit_task_end(estimator, context, metadata=metadata)
        if len(self.log_) == 50:
            raise RuntimeError("the power is gone")


with tempfile.TemporaryDirectory() as folder:
    keep = Checkpoint(Path(folder) / "fit.skelbo", every=0.0)  # seconds; a minute by default
    fit = EMGaussianMixture(12, **options).set_callbacks(keep, PowerCut())
    try:
        fit.fit(X)
    except RuntimeError as error:
        print(
            f"{error} after 50 iterations; left: {[file.name for file in Path(folder).iterdir()]}"
        )
    rest = ELBOMonitor()
    again = EMGaussianMixture(12, **options).set_callbacks(keep, rest).fit(X)
same = np.array_equal(again.means_, mixture.means_)
print(f"{len(rest.log_)} iterations were left; the same bits: {same}")
