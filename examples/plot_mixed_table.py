"""
A table of mixed columns
========================

Numbers, yes/no answers and categories in one table, with missing cells, under one model: a
variational auto-encoder whose columns have likelihoods of their own. The likelihoods are found
from the table, and the scores stay in nats.
"""

# %%
# The table
# ---------
#
# The diabetes data: two numbers are cut into a yes/no answer and into four classes, and a tenth
# of all cells is removed.

import warnings

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes

from skelbo import VAEEstimator
from skelbo.display import ELBOCurveDisplay, LatentSpaceDisplay

data = load_diabetes(as_frame=True, scaled=False)
X = data.data[["age", "bmi", "bp", "s1", "s3", "s5"]].copy()
X["male"] = (data.data["sex"] == 2).astype(float)
X["glucose"] = pd.qcut(data.data["s6"], 4, labels=False).astype(float)
complete = X.copy()
rng = np.random.default_rng(0)
X = X.mask(rng.random(X.shape) < 0.1)

# %%
# One model for all columns
# -------------------------

vae = VAEEstimator(2, likelihood="auto", hidden_layer_sizes=32, max_iter=150, random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # 150 epochs, so that the page is quick
    vae.fit(X)
print(dict(zip(X.columns, vae.likelihood_, strict=True)))
log_prob, error = vae.score_samples(X, return_std=True)
print(f"log p(x) {log_prob.mean():.3f} +- {error.mean():.3f}, ELBO {vae.elbo(X).mean():.3f} nats")
ELBOCurveDisplay.from_estimator(vae)

# %%
# Imputation in every kind of column
# ----------------------------------

imputed = pd.DataFrame(vae.impute(X), columns=X.columns, index=X.index)
for column in ("bmi", "s3"):
    gone = X[column].isna()
    r = np.corrcoef(imputed.loc[gone, column], complete.loc[gone, column])[0, 1]
    print(f"{column}: correlation of imputed and removed cells {r:.2f}")
for column in ("male", "glucose"):
    gone = X[column].isna()
    hits = (imputed.loc[gone, column].round() == complete.loc[gone, column]).mean()
    chance = complete[column].value_counts(normalize=True).max()
    print(f"{column}: {hits:.0%} right, {chance:.0%} by the most common value")

# %%
# Latents, coloured by what they were not told
# --------------------------------------------
#
# The progression of the disease after a year is no column of the table.

display = LatentSpaceDisplay.from_estimator(vae, X, data.target.to_numpy())
display.figure_.axes[-1].set_ylabel("progression after a year")
