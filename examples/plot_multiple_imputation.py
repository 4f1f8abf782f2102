"""
Imputation by a density
=======================

Missing cells are replaced by their expectation given the observed ones, under a model that was
fitted to incomplete rows by maximum likelihood. Several draws of the missing cells, instead of
one expectation, carry what is not known about them into later steps.
"""

# %%
# Error of the imputed cells
# --------------------------
#
# A fifth of the cells of the wine data are removed at random, and imputed. Errors are in standard
# deviations of their column.

import warnings

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_wine
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from skelbo import EMGaussianMixture, GaussianMLE

complete = load_wine().data
rng = np.random.default_rng(0)
missing = rng.random(complete.shape) < 0.2
X = np.where(missing, np.nan, complete)
scale = complete.std(axis=0)


def error(imputed):
    """Return the root mean square of the errors, in standard deviations of the columns."""
    return np.sqrt(np.mean((((imputed - complete) / scale)[missing]) ** 2))


imputers = {
    "SimpleImputer": SimpleImputer(),
    "KNNImputer": KNNImputer(),
    "IterativeImputer": IterativeImputer(random_state=0),
}
for name, imputer in imputers.items():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # IterativeImputer ends at max_iter
        print(f"{name:>28}: {error(imputer.fit_transform(X)):.3f}")
models = {
    "GaussianMLE": GaussianMLE(),
    "EMGaussianMixture, 3 tied": EMGaussianMixture(3, covariance_type="tied", random_state=0),
}
for name, model in models.items():
    print(f"{name:>28}: {error(model.fit(X).impute(X)):.3f}")

# %%
# Several draws
# -------------
#
# The mean of a column and its standard error, by Rubin's rules over twenty completed tables: the
# spread between the tables is what the missing cells add.

model = models["EMGaussianMixture, 3 tied"]
draws = model.impute(X, n_draws=20, random_state=0)
print("shape of the draws:", draws.shape)
within = (draws.std(axis=1, ddof=1) ** 2 / len(X)).mean(axis=0)
between = draws.mean(axis=1).var(axis=0, ddof=1)
errors = np.sqrt(within + (1 + 1 / 20) * between)
inside = np.abs(draws.mean(axis=(0, 1)) - complete.mean(axis=0)) < 2 * errors
print(f"means within two standard errors of those of the complete table: {inside.sum()} of 13")

# %%
# Expectations lie on a curve, draws around it
# --------------------------------------------

figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharex=True, sharey=True, layout="constrained")
tables = {"complete": complete, "expectations": model.impute(X), "one draw": draws[0]}
rows = missing[:, 6] | missing[:, 11]
for ax, (title, table) in zip(axes, tables.items(), strict=True):
    ax.scatter(table[~rows, 6], table[~rows, 11], s=8, color="0.7")
    ax.scatter(table[rows, 6], table[rows, 11], s=14, color="#D55E00")
    ax.set(title=title, xlabel="flavanoids")
axes[0].set_ylabel("od280/od315 of diluted wines")
