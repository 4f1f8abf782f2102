"""
A variational auto-encoder on digits
====================================

Ten latents for 64 pixels: the climb of the bound, the terms that it is made of, the latents, what
each of them does, and new digits. Pixels are whole numbers from 0 to 16; a uniform number added
to each makes them real, as a density needs.
"""

# %%
# Fit
# ---

import warnings

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

from skelbo import VAEEstimator
from skelbo.display import (
    ELBOCurveDisplay,
    ELBODecompositionDisplay,
    LatentSpaceDisplay,
    TraversalDisplay,
)

X, y = load_digits(return_X_y=True)
X = (X + np.random.default_rng(0).random(X.shape)).astype(np.float32)
vae = VAEEstimator(10, max_iter=60, lr=2e-3, n_importance_samples=100, random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # 60 epochs, so that the page is quick
    vae.fit(X)
ELBOCurveDisplay.from_estimator(vae)
print(f"{vae.active_units_.sum()} of 10 latents are active")

# %%
# Terms of the bound
# ------------------
#
# The gap is what the encoder loses to the exact posterior, measured by importance sampling.

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # some rows need more draws
    ELBODecompositionDisplay.from_estimator(vae, X[:300])

# %%
# The two most active latents
# ---------------------------

LatentSpaceDisplay.from_estimator(vae, X, y)

# %%
# What each latent does
# ---------------------

TraversalDisplay.from_estimator(vae, X, image_shape=(8, 8))

# %%
# New digits
# ----------

rows, _ = vae.sample(20, random_state=1)
figure, axes = plt.subplots(2, 10, figsize=(7, 1.6), layout="constrained")
for ax, row in zip(axes.flat, rows, strict=True):
    ax.imshow(row.reshape(8, 8), cmap="gray_r")
    ax.set_axis_off()
