r"""
The road from MLE to EM to VAE
==============================

The sections of Ding, *The Road from MLE to EM to VAE: A Brief Tutorial* (2020): for each its
formula, the code that is it, a picture and the numbers. One identity carries all of it,

.. math::
    \log p(x; \theta) = \underbrace{E_q[\log p(x, z; \theta)] + H[q]}_{\mathrm{ELBO}(\theta, q)}
    + \underbrace{\mathrm{KL}(q \,\|\, p(z \mid x; \theta))}_{\mathrm{gap}},

and an algorithm is a choice of the model, of the family of q, and of the step for
:math:`\theta`. Three levels of difficulty follow from the model (figure 1 of the tutorial): nothing
is hidden, and the maximum has a closed form (section 1 here); something is hidden, but its
posterior is tractable (2 to 4); the posterior is out of reach (5 to 7).
"""

# %%
# 1. Maximum likelihood: nothing is hidden
# ----------------------------------------
#
# .. math:: \hat\theta = \arg\max_\theta \textstyle\sum_i \log p(x_i; \theta), \qquad
#     \hat\mu = \bar x, \quad \hat\Sigma = \tfrac1n \sum_i (x_i - \bar x)(x_i - \bar x)^\top
#
# Old Faithful, the length of an eruption and the wait for the next one, in minutes. There is no z,
# hence no bound to climb: the maximum is a formula.

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.display import (
    DensityDisplay,
    ELBOCurveDisplay,
    ELBODecompositionDisplay,
    SequenceDisplay,
)

DATA = Path(__file__).parent / "data"
X = pd.read_csv(DATA / "faithful.csv")
one = GaussianMLE().fit(X)
print(f"log p(x) {one.score(X):.4f} nats per row, {one.n_parameters_} parameters")

# %%
# 2. EM: a hidden label with a tractable posterior
# ------------------------------------------------
#
# .. math::
#     \text{E-step:} &\quad q_i(k) = p(z_i = k \mid x_i; \theta)
#     \propto \pi_k N(x_i; \mu_k, \Sigma_k) \\
#     \text{M-step:} &\quad \theta \leftarrow \arg\max_\theta \textstyle\sum_i
#     E_{q_i}[\log p(x_i, z_i; \theta)]
#
# With the exact posterior as q the gap is zero: the bound touches log p(x) and each M-step, which
# raises the bound, raises log p(x) with it. The sequence of bounds never falls.

mixture = EMGaussianMixture(3, covariance_type="tied", random_state=0).fit(X)
print(f"log p(x) {mixture.score(X):.4f} nats per row, {mixture.n_parameters_} parameters")
print(f"largest gap {np.abs(mixture.gap(X)).max():.1e}, the bound never falls:", end=" ")
print(bool(np.diff(mixture.lower_bounds_).min() > -1e-12))

figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for ax, model in zip(axes, (one, mixture), strict=True):
    DensityDisplay.from_estimator(model, X, ax=ax)
    ax.set_title(type(model).__name__)

# %%
# 3. Generalized EM and gradient ascent
# -------------------------------------
#
# .. math::
#     \text{GEM:} &\quad \mathrm{ELBO}(\theta', q) \ge \mathrm{ELBO}(\theta, q) \\
#     \text{gradient:} &\quad \nabla_\theta \log p(x; \theta) = E_{p(z \mid x; \theta)}
#     [\nabla_\theta \log p(x, z; \theta)]
#
# Any step uphill is enough, and the gradient of the bound at the exact posterior is that of log
# p(x). All three reach the same maximum, by steps of different price.

solvers = {
    solver: EMGaussianMixture(3, covariance_type="tied", solver=solver, random_state=0).fit(X)
    for solver in ("em", "gem", "gradient")
}
for solver, model in solvers.items():
    print(f"{solver:8s} {model.score(X):.6f} nats per row after {model.n_iter_} iterations")
display = ELBOCurveDisplay.from_estimator(solvers)

# %%
# 4. A hidden chain
# -----------------
#
# .. math:: p(x, z) = p(z_1)\, p(x_1 \mid z_1) \textstyle\prod_t p(z_t \mid z_{t-1})\,
#     p(x_t \mid z_t)
#
# The labels form a Markov chain. There are K to the power of T paths, and forward-backward sums
# over them, so that the posterior is still exact. Counts of large earthquakes in a year.

from skelbo import EMHiddenMarkovModel

quakes = pd.read_csv(DATA / "earthquakes.csv")
counts = quakes[[quakes.columns[-1]]].astype(float)
chain = EMHiddenMarkovModel(3, likelihood="poisson", random_state=0).fit(counts)
print("rates:", chain.rates_.ravel().round(2))
print(f"log-likelihood of the series {len(counts) * chain.score(counts):.4f} nats")
display = SequenceDisplay.from_estimator(chain, counts, steps=10)

# %%
# 5. Variational EM: the posterior is out of reach
# ------------------------------------------------
#
# .. math:: q_i = \arg\min_{q \in \mathcal{Q}} \mathrm{KL}(q \,\|\, p(z \mid x_i; \theta)), \qquad
#     \mathcal{Q}: \textstyle\prod_k q_k(z_k), \; N(m_i, S_i), \dots
#
# Counts of 17 species in 49 traps, whose log-rates are a few latents: the posterior of the latents
# has no form. A Gaussian stands in for it, and the gap is what that costs.

from skelbo import MCEM, VariationalEM

species = np.loadtxt(DATA / "trichoptera_counts.csv", delimiter=",", skiprows=1)
families = {
    posterior: VariationalEM(2, model="poisson", posterior=posterior, tol=1e-4).fit(species)
    for posterior in ("mean_field", "full")
}
for posterior, model in families.items():
    bound, gap = model.elbo(species).mean(), model.gap(species).mean()
    print(f"{posterior:10s} log p(x) {model.score(species):.4f}, ELBO {bound:.4f}, gap {gap:.4f}")
display = ELBODecompositionDisplay.from_estimator(families, species)

# %%
# 6. Monte Carlo EM: draws in the place of expectations
# -----------------------------------------------------
#
# .. math:: E_{p(z \mid x; \theta)}[\log p(x, z; \theta')] \approx
#     \textstyle\sum_s \omega_s \log p(x, z_s; \theta'), \quad z_s \sim p(z \mid x; \theta)
#
# No family, no bias; noise instead, which more draws make small. The fit ends with a certificate:
# log p(X) is at most so much below its maximum, at 95 % confidence.

drawn = MCEM(2, model="poisson", params_init=families["full"].params_, random_state=0).fit(species)
print(f"log p(x) {drawn.score(species):.4f} nats per row, converged: {drawn.converged_}")
print(f"at most {len(species) * drawn.remaining_climb_:.4f} nats of the table below the maximum")
print("draws per row and iteration:", drawn.n_samples_history_)

# %%
# 7. The variational auto-encoder
# -------------------------------
#
# .. math:: \mathrm{ELBO} = E_{q_\phi(z \mid x)}[\log p_\theta(x \mid z)]
#     - \mathrm{KL}(q_\phi(z \mid x) \,\|\, p(z)), \qquad
#     z = \mu_\phi(x) + \sigma_\phi(x)\, \varepsilon
#
# Algorithm 2: a network reads q from the row, so that a new row costs one pass, and both networks
# climb the bound by the reparameterised gradient. log p(x) is estimated by importance sampling. The
# same decoder with a q of its own for each row is ``VariationalEM`` with a
# :class:`skelbo.models.DecoderModel`.

from skelbo import VAEEstimator

vae = VAEEstimator(1, hidden_layer_sizes=32, lr=5e-3, max_iter=100, random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # 100 epochs, so that the page is quick
    vae.fit(X)
log_prob, error = vae.score_samples(X, return_std=True)
print(f"log p(x) {log_prob.mean():.3f} +- {error.mean():.3f}, ELBO {vae.elbo(X).mean():.3f} nats")

# %%
# 8. All of them in one column
# ----------------------------
#
# One unit, nats per row in the units of the data: the same rows under every level of the road.
# ``elbo_terms(X)`` is a :class:`skelbo.ElboTerms`, the two ways to write the bound, row by row.

table = {"MLE": one, "EM, 3 tied": mixture, "variational EM, 2 binary": None, "VAE": vae}
table["variational EM, 2 binary"] = VariationalEM(2, random_state=0).fit(X)
display = ELBODecompositionDisplay.from_estimator(table, X)

# %%
# 9. What stands beside them
# --------------------------
#
# An auto-encoder is the VAE whose q is a point (``VAEEstimator(posterior="point")``), the beta-VAE
# one whose KL has another weight (``beta=4.0``), a VQ-VAE one whose latent is a code
# (``VQVAEEstimator``), and a GAN one that learns its decoder by a game in the place of a bound
# (``GANEstimator``). They have pages of their own in the guide.
