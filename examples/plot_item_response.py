"""
Item response theory with item curves
=====================================

LSAT section 6: 1000 persons, five questions, right or wrong. The two-parameter logistic model, a
yes/no factor model with one latent, by marginal maximum likelihood: the integral over the latent
is exact, by adaptive quadrature, so that the bound is the log-likelihood.
"""

# %%
# Fit
# ---
#
# There are 32 patterns of answers, and each row of the table is one pattern with its frequency as
# a weight.

from pathlib import Path

import numpy as np

from skelbo import MCEM, VariationalEM
from skelbo.display import ItemCurveDisplay

table = np.loadtxt(Path(__file__).parent / "data" / "lsat6.csv", delimiter=",", skiprows=1)
answers, persons = table[:, :5], table[:, 5]
trait = VariationalEM(1, model="bernoulli", posterior="exact").fit(answers, sample_weight=persons)
log_likelihood = trait.score(answers, sample_weight=persons) * persons.sum()
print(f"log-likelihood of the table: {log_likelihood:.3f} nats")

# %%
# Estimates and standard errors
# -----------------------------
#
# A slope is the change of the log-odds of a right answer with one standard deviation of the
# trait.

errors = trait.standard_errors_
print("question  intercept  s.e.   slope  s.e.")
for j in range(5):
    b, w = trait.params_["intercepts"][j], trait.params_["loadings"][j, 0]
    print(
        f"{j:8d} {b:10.3f} {errors['intercepts'][j]:5.3f} {w:7.3f} {errors['loadings'][j, 0]:5.3f}"
    )

# %%
# Item curves
# -----------

display = ItemCurveDisplay.from_estimator(trait)

# %%
# Persons
# -------
#
# The trait of a person is the mean of the posterior; its standard deviation is the error of
# measurement.

for pattern in ([0, 0, 0, 0, 0], [1, 1, 0, 0, 1], [1, 1, 1, 1, 1], [1, np.nan, 1, 1, 1]):
    z, sd = trait.transform([pattern])[0, 0], trait.transform_std([pattern])[0, 0]
    print(f"{pattern}: {z:6.2f} +- {sd:.2f}")

# %%
# The same by Monte Carlo
# -----------------------
#
# Draws from the exact posterior instead of quadrature; the fit ends when, at 95 % confidence,
# less than 0.01 nats of the whole table are left to climb.

mc = MCEM(1, model="bernoulli", random_state=0).fit(answers, sample_weight=persons)
difference = np.abs(mc.params_["loadings"] - trait.params_["loadings"]).max()
print(f"largest difference of a slope: {difference:.4f}; certified: {mc.converged_}")
