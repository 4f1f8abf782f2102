"""
Counts: Poisson factors of species
==================================

Catches of caddisflies: 49 traps, 17 species (Usseglio-Polatera and Auda 1987). Counts of species
rise and fall together; a Poisson model with a few latents, the Poisson-lognormal PCA of
ecologists, describes how.
"""

# %%
# How many latents?
# -----------------
#
# BIC of one to five latents, in twice nats.

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from skelbo import VariationalEM
from skelbo.display import LatentSpaceDisplay

path = Path(__file__).parent / "data" / "trichoptera_counts.csv"
species = path.read_text().splitlines()[0].split(",")
X = np.loadtxt(path, delimiter=",", skiprows=1)
for d in (1, 2, 3, 4, 5):
    model = VariationalEM(d, model="poisson", posterior="full", tol=1e-4).fit(X)
    print(f"{d} latents: ELBO {model.lower_bound_:8.3f} nats per trap, BIC {model.bic(X):.1f}")

# %%
# Traps and species
# -----------------

model = VariationalEM(2, model="poisson", posterior="full", tol=1e-4).fit(X)
print(f"ELBO {model.lower_bound_:.3f}, log p(x) {model.score(X):.3f} nats per trap")
display = LatentSpaceDisplay.from_estimator(model, X, np.log1p(X.sum(axis=1)))
display.figure_.axes[-1].set_ylabel("log(1 + catch)")

# %%
# Loadings
# --------
#
# A species with a long arrow is common where that latent is large.

figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
loadings = model.params_["loadings"]
ax.scatter(*loadings.T, s=12)
for j in np.argsort(-np.abs(loadings).sum(axis=1))[:8]:
    ax.annotate(species[j], loadings[j], xytext=(4, 3), textcoords="offset points")
ax.axhline(0, color="0.8", zorder=0)
ax.axvline(0, color="0.8", zorder=0)
ax.set(xlabel="loading on z0 (log-rate)", ylabel="loading on z1 (log-rate)")
