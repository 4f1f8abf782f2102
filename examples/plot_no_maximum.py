"""
Likelihoods without a maximum
=============================

A density can be infinite at a point, and maximum likelihood finds such points: a component on one
row, a factor that is one column, a decoder that copies a column. Other likelihoods rise for ever
to a limit that no parameters reach. Fits stop at a floor in the units of the column, and a warning
names the column and the remedy. The log-likelihood of such a fit is that of the floor: do not
compare it with others.
"""

# %%
# A component on one row
# ----------------------
#
# :class:`skelbo.SingularCovarianceWarning`. The narrower the component on the row, the higher the
# likelihood of the whole table, without end.

import textwrap
import warnings
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from scipy.stats import norm
from sklearn.datasets import load_iris, load_wine

from skelbo import (
    EMGaussianMixture,
    HeywoodWarning,
    NoiseFloorWarning,
    SeparationWarning,
    SingularCovarianceWarning,
    VAEEstimator,
    VariationalEM,
)


def fit_and_report(estimator, X, category):
    """Fit; print the first warning of the category."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X)
    messages = [str(entry.message) for entry in caught if issubclass(entry.category, category)]
    text = f"{category.__name__}: {messages[0]}" if messages else f"no {category.__name__}"
    print(textwrap.fill(text, 88))
    return estimator


waiting = np.loadtxt(Path(__file__).parent / "data" / "faithful.csv", delimiter=",", skiprows=1)[
    :, 1
]
widths = np.logspace(-6, 1, 50)
broad = norm(waiting.mean(), waiting.std()).pdf(waiting)
climb = [np.log(0.99 * broad + 0.01 * norm(waiting[0], w).pdf(waiting)).sum() for w in widths]
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(widths, climb)
ax.set(xscale="log", xlabel="standard deviation of a component on one row (min)")
ax.set(ylabel="log-likelihood (nats)")

start = {"weights_init": [0.99, 0.01], "means_init": [[waiting.mean()], [waiting[0]]]}
start["precisions_init"] = np.array([[[1 / waiting.var()]], [[1e16]]])
fit_and_report(EMGaussianMixture(2, **start), waiting[:, None], SingularCovarianceWarning)
EMGaussianMixture(2, random_state=0).fit(waiting[:, None])  # the default start stays clear of it

# %%
# A factor that is one column
# ---------------------------
#
# :class:`skelbo.HeywoodWarning`. With many factors one of them becomes a column itself, whose noise
# goes to zero. Fewer factors, or one noise variance for all columns, have a maximum.

wine = load_wine().data
fit_and_report(VariationalEM(5, model="gaussian"), wine, HeywoodWarning)
fit_and_report(VariationalEM(2, model="gaussian"), wine, HeywoodWarning)

# %%
# A decoder that copies a column
# ------------------------------
#
# :class:`skelbo.NoiseFloorWarning`. A network predicts a column without error, here one that is the
# same number in all rows, and its noise goes to zero. Leave the column out, or name its likelihood
# if it holds codes or counts.

petals = load_iris().data[:, 2:]
codes = np.column_stack([petals, np.full(len(petals), 3.0)])
options = {"hidden_layer_sizes": 16, "lr": 1e-2, "max_iter": 50, "random_state": 0}
fit_and_report(VAEEstimator(1, early_stopping=False, **options), codes, NoiseFloorWarning)

# %%
# Answers that a factor decides
# -----------------------------
#
# :class:`skelbo.SeparationWarning`. Where a latent variable tells yes from no without error, here
# in two items that everybody answered alike, the likelihood rises as the loadings grow, to a limit
# that no finite loadings reach. Scores are close to those of the limit; loadings and intercepts of
# these columns are not to be read.

ability = np.random.default_rng(0).standard_normal((300, 1))
easiness = np.array([0.5, -0.5, 0.0, 0.3])
answers = np.random.default_rng(1).random((300, 4)) < 1 / (1 + np.exp(-ability - easiness))
answers = np.column_stack([answers, answers[:, 3]]).astype(float)
fit_and_report(VariationalEM(1, model="bernoulli"), answers, SeparationWarning)
fit_and_report(VariationalEM(1, model="bernoulli"), answers[:, :4], SeparationWarning)
