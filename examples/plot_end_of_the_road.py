"""
The end of the road
===================

Auto-encoder, VAE, beta-VAE, VQ-VAE and GAN on one scale.

The last section of Ding (2020) sets the VAE beside what came before and after it. Here all of them
have the same decoder on handwritten digits, and each is asked three things: how plausible are
digits that it has not seen (log p(x) in nats, with the error of its estimate), how plausible are
its own draws to a density that has nothing to do with it (a mixture fitted to the same digits), and
how clearly a classifier reads a digit in them (entropy of its class probabilities; nats).

    python examples/plot_end_of_the_road.py

Prints the table, and writes end_of_the_road.png: four digits held out beside their reconstructions,
and draws. The draws of the GAN are the most plausible ones and the clearest, yet its likelihood is
far below that of the VAE: a critic judges what the generator draws, a likelihood also what it fails
to draw.
"""

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skelbo import (
    EMGaussianMixture,
    GANEstimator,
    ImportanceWarning,
    VAEEstimator,
    VQVAEEstimator,
)

N_LATENTS, N_DRAWS, N_SCORED = 8, 2000, 150
MODELS = {
    "auto-encoder": VAEEstimator(N_LATENTS, posterior="point", max_iter=100, early_stopping=False),
    "VAE": VAEEstimator(N_LATENTS, max_iter=100, early_stopping=False),
    "beta-VAE, beta=4": VAEEstimator(N_LATENTS, beta=4.0, max_iter=100, early_stopping=False),
    "VQ-VAE, 4 of 16": VQVAEEstimator(4, n_codes=16),
    "GAN": GANEstimator(N_LATENTS, max_iter=300),
}


def entropy(classifier, X):
    """Return the mean entropy of the classes of some rows."""
    proba = classifier.predict_proba(X)
    return -(proba * np.log(np.maximum(proba, 1e-300))).sum(axis=1).mean()


def draw(models, test):
    """Draw four digits held out with their reconstructions, and eight draws, of each model."""
    figure, axes = plt.subplots(
        len(models), 2, figsize=(11, 0.8 * len(models) + 0.4), layout="constrained"
    )
    shown = test[[0, 1, 2, 7]]
    for (left, right), (name, model) in zip(axes, models.items(), strict=True):
        again = model.inverse_transform(model.transform(shown))
        both = np.stack([images(shown), images(again)], axis=1).reshape(-1, 8, 8)
        left.imshow(np.hstack(both), cmap="gray_r", vmin=0, vmax=17)
        left.set_ylabel(name, rotation=0, ha="right", va="center")
        rows = images(model.sample(8, random_state=0)[0])
        right.imshow(np.hstack(rows), cmap="gray_r", vmin=0, vmax=17)
    axes[0, 0].set_title("held out, each beside its reconstruction")
    axes[0, 1].set_title("draws")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    return figure


def images(rows):
    return rows.reshape(-1, 8, 8)


def main():
    digits, labels = load_digits(return_X_y=True)
    # Whole numbers have no density: spread each over its unit interval.
    X = (digits + np.random.default_rng(0).random(digits.shape)).astype(np.float32)
    train, test, train_labels, _ = train_test_split(X, labels, test_size=0.3, random_state=0)
    judge = EMGaussianMixture(20, covariance_type="diag", random_state=0).fit(train)
    classifier = LogisticRegression(C=0.01, max_iter=3000).fit(train, train_labels)
    warnings.simplefilter("ignore", ImportanceWarning)  # the table has the errors
    print(f"{len(train)} digits to fit, {N_SCORED} held out; nats per row")
    print(
        f"{'':<18}{'log p(x)':>10} {'+-':>6} {'draws by the mixture':>22} {'entropy of class':>18}"
    )
    for name, model in MODELS.items():
        model.set_params(random_state=0).fit(train)
        log_prob, std = model.score_samples(test[:N_SCORED], return_std=True)
        rows, _ = model.sample(N_DRAWS, random_state=0)
        print(
            f"{name:<18}{log_prob.mean():>10.2f} {std.mean():>6.2f} {judge.score(rows):>22.2f} "
            f"{entropy(classifier, rows):>18.2f}",
            flush=True,
        )
    print(
        f"{'the digits':<18}{'':>10} {'':>6} {judge.score(test):>22.2f} "
        f"{entropy(classifier, test):>18.2f}"
    )
    path = Path(__file__).with_name("end_of_the_road.png")
    draw(MODELS, test).savefig(path, dpi=110)
    print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
