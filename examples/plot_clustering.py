"""
Choosing the number and the shape of clusters
=============================================

Old Faithful, 272 eruptions: a mixture of Gaussians for every number of components and every
covariance structure, judged by the Bayesian information criterion. The criterion is in twice nats,
so that a difference of 10 is a factor of exp(5) in favour of the lower one.
"""

# %%
# A grid of fits
# --------------
#
# One fit to all rows for each of 54 candidates, without cross-validation.

from pathlib import Path

import pandas as pd

from skelbo import EMGaussianMixture
from skelbo.display import DensityDisplay, ModelSelectionDisplay
from skelbo.meta import CriterionSearch

X = pd.read_csv(Path(__file__).parent / "data" / "faithful.csv")
grid = {
    "covariance_type": ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"],
    "n_components": list(range(1, 10)),
}
search = CriterionSearch(EMGaussianMixture(random_state=0), grid).fit(X)
display = ModelSelectionDisplay.from_estimator(search)

# %%
# The best five
# -------------

results = pd.DataFrame(search.results_).sort_values("rank")
columns = ["param_covariance_type", "param_n_components", "criterion", "n_parameters"]
print(results[columns].head().to_string(index=False))

# %%
# The clusters
# ------------
#
# Two of the three components overlap: BIC asks for a good density, not for separate groups. The
# integrated completed likelihood also charges for rows that lie between components, and takes two.

DensityDisplay.from_estimator(search.best_estimator_, X)
print(pd.Series(search.predict(X)).value_counts().sort_index().to_string())
separate = CriterionSearch(EMGaussianMixture(random_state=0), grid, criterion="icl").fit(X)
print("by ICL:", separate.best_params_)
