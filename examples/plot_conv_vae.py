"""
A convolutional VAE on handwritten digits
=========================================

Networks of your own, through `encoder=` and `decoder=`.

The estimator hands rows to the encoder and expects rows from the decoder; what lies between is the
user's: here the rows become pictures again. Beside it the default networks, on the same rows.

    python examples/plot_conv_vae.py --output conv_vae.png

Prints the mean log p(x) of held-out digits with its standard error over them, and writes a picture
of digits drawn from both models. The encoder is a poor guess for digits it has not seen: a warning
says that log p(x) is too low (by half a nat for the default networks; `refine` removes most of it,
but takes longer than this script).
"""

import argparse
import time

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from skelbo import VAEEstimator

N_LATENTS, SIDE = 8, 8


class ConvEncoder(nn.Sequential):
    """Rows to pictures to mean and log-variance: 8x8, 4x4, 2x2, 2 * N_LATENTS."""

    def __init__(self, channels=16):
        super().__init__(
            nn.Unflatten(1, (1, SIDE, SIDE)),
            nn.Conv2d(1, channels, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(8 * channels, 2 * N_LATENTS),
        )


class ConvDecoder(nn.Sequential):
    """Latents to pictures to rows: N_LATENTS, 2x2, 4x4, 8x8."""

    def __init__(self, channels=16):
        super().__init__(
            nn.Linear(N_LATENTS, 8 * channels),
            nn.SiLU(),
            nn.Unflatten(1, (2 * channels, 2, 2)),
            nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(channels, 1, 4, stride=2, padding=1),
            nn.Flatten(),
        )


def main(output):
    rng = np.random.default_rng(0)
    digits = load_digits().data
    # Whole numbers have no density: spread each over its unit interval.
    X = (digits + rng.random(digits.shape)).astype(np.float32)
    train, test = train_test_split(X, test_size=0.25, random_state=0)
    networks = {
        "default MLP": {},
        "convolutional": {"encoder": ConvEncoder, "decoder": ConvDecoder},
    }
    models = {}
    print(f"{'networks':<15} {'weights':>8} {'epochs':>7} {'fit [s]':>8}  held-out log p(x)")
    for name, chosen in networks.items():
        # 60 epochs for both, chosen so that the script is quick: neither has come to its end.
        model = VAEEstimator(
            N_LATENTS,
            lr=2e-3,
            max_iter=60,
            early_stopping=False,
            n_importance_samples=200,
            random_state=0,
            **chosen,
        )
        start = time.perf_counter()
        model.fit(train)
        seconds = time.perf_counter() - start
        log_prob = model.score_samples(test)
        error = log_prob.std() / np.sqrt(len(test))
        n_weights = sum(p.numel() for p in model.net_.module_.parameters())
        print(
            f"{name:<15} {n_weights:8d} {model.n_iter_:7d} {seconds:8.1f}  "
            f"{log_prob.mean():.2f} ± {error:.2f} nats"
        )
        models[name] = model
    draw(models).savefig(output, dpi=120)
    print(f"wrote {output}")


def draw(models, n=12):
    """Draw the mean pictures of latents from the prior, a row per model."""
    Z = np.random.default_rng(1).normal(size=(n, N_LATENTS)).astype(np.float32)
    figure, axes = plt.subplots(len(models), 1, figsize=(8, 1.7), layout="constrained")
    for ax, (name, model) in zip(axes, models.items(), strict=True):
        images = model.inverse_transform(Z).reshape(n, SIDE, SIDE)
        ax.imshow(np.hstack(images), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
        ax.set_title(name, fontsize=7)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A convolutional VAE on digits.")
    parser.add_argument("--output", default="conv_vae.png", help="picture to write")
    main(parser.parse_args().output)
