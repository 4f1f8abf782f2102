"""
Codes of digits
===============

A VQ-VAE writes each digit as four codes of sixteen: which codes are in use, what they decode to,
how far the bound of the encoder's code lies below log p(x), and digits drawn from the learned
prior. Pixels are whole numbers from 0 to 16; a uniform number added to each makes them real, as a
density needs.
"""

# %%
# Fit
# ---
#
# The networks first learn as an auto-encoder; k-means of its encodings starts the codebook. Without
# that start most codes are never used.

import warnings

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skelbo import VQVAEEstimator

X = load_digits().data
X = (X + np.random.default_rng(0).random(X.shape)).astype(np.float32)
train, test = train_test_split(X, test_size=0.3, random_state=0)
model = VQVAEEstimator(4, n_codes=16, max_iter=60, random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # 60 epochs, so that the page is quick
    model.fit(train)
print(f"codes in use: {(model.code_usage_ > 0).mean():.0%}")
print("perplexity of each position, at most 16:", model.perplexity_.round(1))

figure, ax = plt.subplots(figsize=(7, 2), layout="constrained")
image = ax.imshow(model.code_usage_, cmap="Blues", vmin=0)
ax.set(xlabel="code", ylabel="position", title="share of the rows", yticks=range(4))
figure.colorbar(image)

# %%
# log p(x) is an exact sum
# ------------------------
#
# There are 16^4 = 65536 code vectors, and the decoder's output at each of them serves all rows. The
# bound holds the encoder's code alone, which often is not the likeliest one: judged by its bound a
# VQ-VAE looks several nats worse than it is.

log_prob, error = model.score_samples(test, return_std=True)
print(f"log p(x) held out {log_prob.mean():.1f} nats per row, error {error.max():.0f}")
print(f"bound             {model.elbo(test).mean():.1f}")

# %%
# Rows, and what their codes decode to
# ------------------------------------

codes = model.transform(test[:8])
print(codes[:3].astype(int))
figure, axes = plt.subplots(2, 8, figsize=(7, 1.9), layout="constrained")
for ax, row in zip(axes.flat, [*test[:8], *model.inverse_transform(codes)], strict=True):
    ax.imshow(row.reshape(8, 8), cmap="gray_r", vmin=0, vmax=17)
    ax.set_axis_off()

# %%
# A row whose lower half is missing
# ---------------------------------
#
# The posterior of the codes given the upper half, exact as well, and the expected lower half.

seen = test[:8].copy()
seen[:, 32:] = np.nan
proba = model.code_proba(seen)
print("largest probability of a code of the first row:", proba[0].max(axis=1).round(2))
figure, axes = plt.subplots(2, 8, figsize=(7, 1.9), layout="constrained")
for ax, row in zip(axes.flat, [*seen, *model.impute(seen)], strict=True):
    ax.imshow(row.reshape(8, 8), cmap="gray_r", vmin=0, vmax=17)
    ax.set_axis_off()

# %%
# New digits
# ----------
#
# The prior is a multinomial regression of each code on those before it; independent codes would
# join the upper half of one digit to the lower half of another.

rows, _ = model.sample(20, random_state=1)
figure, axes = plt.subplots(2, 10, figsize=(7, 1.6), layout="constrained")
for ax, row in zip(axes.flat, rows, strict=True):
    ax.imshow(row.reshape(8, 8), cmap="gray_r", vmin=0, vmax=17)
    ax.set_axis_off()
