"""
Which estimator? Held-out nats side by side
===========================================

Every estimator answers in nats per row, in the units of the table, so that one Gaussian, a mixture,
a factor model and overlapping features can be compared in one column. :func:`skelbo.compare`
cross-validates them all on the same folds and returns a :class:`skelbo.Comparison`, with the
differences taken row by row.
"""

# %%
# Six densities of one table
# --------------------------
#
# The wines: 13 measurements of 178 bottles, in units from 0.1 to 1000. A tenth of the cells is
# removed; all estimators take the table as it is.

import warnings

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_wine

import skelbo
from skelbo import EMGaussianMixture, GaussianMLE, HeywoodWarning, VariationalEM

X = load_wine(as_frame=True).data
X = X.mask(np.random.default_rng(0).random(X.shape) < 0.1)
estimators = {
    "independent columns": GaussianMLE("diag"),
    "one Gaussian": GaussianMLE(),
    "2 factors": VariationalEM(2, model="gaussian"),
    "3 clusters, one shape": EMGaussianMixture(3, covariance_type="tied", random_state=0),
    "3 clusters, axes": EMGaussianMixture(3, covariance_type="diag", random_state=0),
    "3 binary features": VariationalEM(3, random_state=0),
}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", HeywoodWarning)  # see the page on likelihoods without maximum
    table = skelbo.compare(estimators, X, progress=False)
print(table)

# %%
# What to conclude
# ----------------
#
# Two columns answer two questions. ``se`` is the error of a mean over 178 bottles, and is about the
# same for all: some bottles are odd under every density. ``difference_se`` is the error of a paired
# difference, in which odd bottles cancel; it is the one to judge by. An ``elbo`` below ``log_prob``
# is what a q that is not exact gives away.

results = table.results
names, difference = results["estimator"], np.array(results["difference"])
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
order = np.argsort(difference)
error = 2 * np.array(results["difference_se"])[order]
ax.errorbar(difference[order], np.arange(len(names)), xerr=error, fmt="o", capsize=3)
ax.set_yticks(np.arange(len(names)), [names[i] for i in order])
ax.set_xlabel(f"nats per row, less those of {table.best} (2 standard errors)")

# %%
# The rows behind a difference
# ----------------------------
#
# ``row_log_prob`` keeps log p(x) of every row when it was held out: a difference can rest on a few
# rows, or on all.

best, other = (names.index(name) for name in (table.best, "one Gaussian"))
gain = table.row_log_prob[best] - table.row_log_prob[other]
print(f"{table.best} is ahead of one Gaussian in {np.mean(gain > 0):.0%} of the rows")
