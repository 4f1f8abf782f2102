"""
Factors with standard errors
============================

Factor analysis of the wine data: thirteen columns, a few factors, noise of its own for each
column. Number of factors by BIC, the same maximum as scikit-learn's, loadings with standard
errors.
"""

# %%
# How many factors?
# -----------------

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_wine
from sklearn.decomposition import FactorAnalysis

from skelbo import VariationalEM
from skelbo.models import FactorModel

X = load_wine(as_frame=True).data
for d in (1, 2, 3):
    model = VariationalEM(model=FactorModel(d), posterior="exact").fit(X)
    print(f"{d} factors: BIC {model.bic(X):9.1f}, {model.n_parameters_} parameters")

# %%
# The same maximum as scikit-learn's
# ----------------------------------
#
# scikit-learn's FactorAnalysis maximises the same likelihood by EM; it is given the columns in
# standard units, and the logarithms of these bring its score back to those of the data.

standard = (X - X.mean()) / X.std(ddof=0)
theirs = FactorAnalysis(3, max_iter=20000, tol=1e-10).fit(standard)
score = theirs.score(standard) - np.log(X.std(ddof=0)).sum()
print(f"skelbo       {model.score(X):.6f} nats per row after {model.n_iter_} iterations")
print(f"scikit-learn {score:.6f} nats per row after {theirs.n_iter_} iterations")

# %%
# Loadings with 95 % intervals
# ----------------------------

errors = model.standard_errors_["loadings"]
scale = X.std(ddof=0).to_numpy()[:, None]
loadings, half = model.params_["loadings"] / scale, 1.96 * errors / scale
figure, axes = plt.subplots(1, 3, figsize=(9, 4), sharey=True, layout="constrained")
for k, ax in enumerate(axes):
    ax.errorbar(loadings[:, k], range(len(X.columns)), xerr=half[:, k], fmt="o", ms=4, capsize=2)
    ax.axvline(0, color="0.7", zorder=0)
    ax.set(title=f"factor {k}", xlabel="loading (sd of the column)")
axes[0].set_yticks(range(len(X.columns)), X.columns)
