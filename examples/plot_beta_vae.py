"""
What beta does to the latents of a VAE
======================================

beta weighs the KL in the bound (Higgins et al. 2017). The larger it is, the fewer latents are worth
their price: the others fall back to the prior and the decoder ignores them. One row of pictures per
beta walks along the latents that are left, from -2 to 2, the others at 0.

    python examples/plot_beta_vae.py

Prints a table and writes beta_vae.png beside this file.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skelbo import VAEEstimator

BETAS = (1.0, 4.0, 16.0)
N_LATENTS, N_TRAVERSED, STEPS = 10, 2, np.linspace(-2, 2, 7)


def main():
    rng = np.random.default_rng(0)
    digits = load_digits().data
    # Whole numbers have no density: spread each over its unit interval.
    X = digits + rng.random(digits.shape)
    models = {}
    model = VAEEstimator(
        N_LATENTS,
        lr=2e-3,
        max_iter=100,
        early_stopping=False,
        n_importance_samples=50,
        random_state=0,
    )
    print("  beta   active     ELBO       KL   reconstruction   (nats per row)")
    for beta in BETAS:
        model = VAEEstimator(**{**model.get_params(), "beta": beta}).fit(X)
        terms = model.elbo_terms(X)
        print(
            f"{beta:6.2f} {model.active_units_.sum():5d}/{N_LATENTS} "
            f"{terms.elbo.mean():8.2f} {terms.kl.mean():8.2f} {terms.reconstruction.mean():12.2f}"
        )
        models[beta] = model
    figure = draw(models, X)
    path = Path(__file__).with_name("beta_vae.png")
    figure.savefig(path, dpi=120)
    print(f"wrote {path.name}")


def draw(models, X):
    """Draw a row of traversals for each beta."""
    figure, axes = plt.subplots(
        len(models), N_TRAVERSED, figsize=(8, 1.2 * len(models)), squeeze=False
    )
    for row, (beta, model) in zip(axes, models.items(), strict=True):
        spread = model.transform(X).std(axis=0)
        for ax, latent in zip(row, np.argsort(-spread), strict=False):
            Z = np.zeros((len(STEPS), N_LATENTS))
            Z[:, latent] = STEPS
            images = model.inverse_transform(Z).reshape(-1, 8, 8)
            ax.imshow(np.hstack(images), cmap="gray_r")
            ax.set(xticks=[], yticks=[])
            ax.set_title(f"latent {latent}, sd of its mean {spread[latent]:.2f}", fontsize=7)
        row[0].set_ylabel(f"beta {beta:g}\n{model.active_units_.sum()} active", fontsize=7)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()
