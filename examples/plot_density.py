"""
Densities of real columns, by pairs
===================================

A mixture is a density: it gives every row log p(x), and every subset of columns its own, because
cells that are left out (NaN) are integrated out. Here are all pairs of four columns of the wine
data, and the held-out score of several densities of all thirteen.
"""

# %%
# Which density predicts new rows best?
# -------------------------------------
#
# Log-probabilities of rows that were not fitted, in nats per row. The columns have very different
# units, and the scores need no scaling: multiplying a column by c changes every score by -log c.

import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import cross_val_score

from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.display import DensityDisplay

X = load_wine(as_frame=True).data
candidates = {
    "one Gaussian": GaussianMLE(),
    "3 tied": EMGaussianMixture(3, covariance_type="tied", random_state=0),
    "3 diag": EMGaussianMixture(3, covariance_type="diag", random_state=0),
    "3 with 2 factors": EMGaussianMixture(3, covariance_type="factor", n_init=5, random_state=0),
}
for name, estimator in candidates.items():
    scores = cross_val_score(estimator, X.sample(frac=1, random_state=0), cv=5)
    error = scores.std(ddof=1) / np.sqrt(len(scores))
    print(f"{name:>17}: {scores.mean():8.2f} +- {error:.2f} nats per row")

# %%
# Contours of pairs
# -----------------
#
# Each panel is the exact marginal of the mixture of all thirteen columns. Crosses and dashed
# ellipses are its components.

model = candidates["3 tied"].fit(X)
columns = ["alcohol", "flavanoids", "color_intensity", "proline"]
display = DensityDisplay.from_estimator(model, X, features=columns)
