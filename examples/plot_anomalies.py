"""
Anomalies: rows of low density
==============================

A density ranks rows by how improbable they are, in nats. The breast cancer data: densities are
fitted to the benign rows alone, and malignant ones should come out as improbable. Beside them
scikit-learn's isolation forest.
"""

# %%
# Ranking
# -------

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skelbo import EMGaussianMixture, GaussianMLE

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
benign, malignant = X[y == 1], X[y == 0]
train, test = train_test_split(benign, random_state=0)
rows = np.r_[np.zeros(len(test)), np.ones(len(malignant))]
detectors = {
    "IsolationForest": IsolationForest(random_state=0),
    "GaussianMLE": GaussianMLE(),
    "mixture of 2 factor analysers": EMGaussianMixture(
        2, covariance_type="factor", n_factors=5, random_state=0
    ),
}
for name, detector in detectors.items():
    detector.fit(train)
    scores = np.r_[detector.score_samples(test), detector.score_samples(malignant)]
    print(f"{name:>30}: area under the ROC curve {roc_auc_score(rows, -scores):.3f}")

# %%
# Why is a row improbable?
# ------------------------
#
# The density of one column given all others is a difference of two log-densities, one of them
# with that cell left out. It names the cells that make a row improbable.

model = detectors["GaussianMLE"]
row = malignant.iloc[[0]]
surprise = {}
for column in X.columns:
    without = row.copy()
    without[column] = np.nan
    surprise[column] = float(model.score_samples(without)[0] - model.score_samples(row)[0])
for column in sorted(surprise, key=surprise.get, reverse=True)[:5]:
    print(f"{column:>25}: {surprise[column]:8.1f} nats")

# %%
# Scores of both groups
# ---------------------

figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
bins = np.linspace(-300, 150, 60)
for label, table in {"benign, held out": test, "malignant": malignant}.items():
    ax.hist(model.score_samples(table).clip(bins[0]), bins, density=True, alpha=0.6, label=label)
ax.set(xlabel="log p(x) (nats); the leftmost bar holds all below", ylabel="density")
ax.legend()
