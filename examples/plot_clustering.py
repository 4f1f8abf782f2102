"""
Choosing the number and the shape of clusters
=============================================

Old Faithful, 272 eruptions: a mixture of Gaussians for every number of components and every
covariance structure, judged by the Bayesian information criterion. The criterion is twice nats,
so that a difference of 10 is a factor of exp(5) in favour of the lower one.
"""

# %%
# A grid of fits
# --------------
#
# 54 fits take about a second. All of them have the same unit, so that one column holds them all.

from pathlib import Path

import numpy as np
import pandas as pd

from skelbo import EMGaussianMixture
from skelbo.display import DensityDisplay, ModelSelectionDisplay

X = pd.read_csv(Path(__file__).parent / "data" / "faithful.csv")
grid = [
    (kind, k)
    for kind in ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical")
    for k in range(1, 10)
]
fits = [
    EMGaussianMixture(k, covariance_type=kind, n_init=3, random_state=0).fit(X) for kind, k in grid
]
bic = np.array([fit.bic(X) for fit in fits])
results = {
    "param_covariance_type": [kind for kind, _ in grid],
    "param_n_components": [k for _, k in grid],
    "criterion": bic,
}
display = ModelSelectionDisplay(results=results, best_index=int(bic.argmin())).plot()

# %%
# The best five
# -------------

for index in np.argsort(bic)[:5]:
    print(f"{grid[index][0]:>14}, {grid[index][1]} components: BIC {bic[index]:.1f}")

# %%
# The clusters
# ------------
#
# Two of the three components overlap: BIC asks for a good density, not for separate groups. The
# integrated completed likelihood also charges for rows that lie between components, and prefers
# two.

best = fits[bic.argmin()]
DensityDisplay.from_estimator(best, X)
print(pd.Series(best.predict(X)).value_counts().sort_index().to_string())
icl = {grid[index]: fits[index].icl(X) for index in np.argsort(bic)[:10]}
print("lowest ICL among the best ten:", min(icl, key=icl.get))
