"""
A game and its likelihood
=========================

The same decoder learned by a game and by the bound of a VAE: what the critic reports while the game
goes on, the draws of both, and log p(x) of rows held out, in nats.
"""

# %%
# A game on two moons
# -------------------
#
# `divergences_` is a lower bound of the Jensen-Shannon divergence of the generator from the data,
# on rows that the critic did not learn from: at most log 2, and near zero once the critic cannot
# separate draws from data.

import warnings

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import make_moons

from skelbo import GANEstimator, VAEEstimator

X = make_moons(1200, noise=0.08, random_state=0)[0].astype(np.float32)
train, test = X[:1000], X[1000:]
options = {
    "hidden_layer_sizes": (64, 64),
    "lr": 3e-3,
    "n_importance_samples": 100,
    "random_state": 0,
}
game = GANEstimator(2, penalty=0.1, critic_layer_sizes=(64, 64), max_iter=80, **options)
game.fit(train)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # 80 epochs, so that the page is quick
    vae = VAEEstimator(2, max_iter=80, **options).fit(train)

figure, ax = plt.subplots(figsize=(6, 2.5), layout="constrained")
ax.plot(game.divergences_)
ax.axhline(np.log(2), color="0.5", ls=":", label="log 2")
ax.set(xlabel="epoch", ylabel="divergence, nats", ylim=(-0.02, 0.72))
ax.legend()
print(f"at the end {game.divergence_:.3f} nats")

# %%
# Draws
# -----

drawn = {
    "data": train,
    "draws of the game": game.sample(1000, random_state=0)[0],
    "draws of the VAE": vae.sample(1000, random_state=0)[0],
}
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), sharex=True, sharey=True, layout="constrained")
for ax, (name, rows) in zip(axes, drawn.items(), strict=True):
    ax.plot(*rows.T, ".", ms=2, alpha=0.5)
    ax.set_title(name)

# %%
# The likelihood of both
# ----------------------
#
# A game is not judged by rows that it fails to draw, a likelihood is. After the game an encoder is
# fitted to the decoder, and the noise set to its maximum; with the noise that the game ended with,
# rows beside the generator's curve are all but impossible. `noise_variance_` may be set, so that
# both can be compared.


def held_out(model):
    """Return the mean of log p(x) held out and its standard error over rows."""
    log_prob = model.score_samples(test)
    return f"{log_prob.mean():8.2f} +- {log_prob.std() / np.sqrt(len(log_prob)):.2f}"


fitted = game.noise_variance_
print("VAE                            ", held_out(vae))
print("game                           ", held_out(game))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the encoder was fitted with the other noise
    game.noise_variance_ = game.adversarial_noise_variance_
    print("game, with the noise of its own", held_out(game))
game.noise_variance_ = fitted
