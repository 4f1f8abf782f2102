"""One decoder, three ways to infer.

The comparison of Kingma and Welling: one decoder, one data set, three forms of q.

Auto-Encoding Variational Bayes (2013), figure 3, plots what a VAE and Monte Carlo EM reach of the
marginal likelihood as they go on. Here is the table that the paper does not print: log p(x) of rows
held out, with its error, against seconds of training. All three fit the same decoder (2 latents, 20
hidden units, 64 pixels) to the same rows by maximum likelihood; only q differs:

- MCEM draws from the exact posterior of every row by Hamiltonian Monte Carlo;
- VariationalEM fits one Gaussian with full covariance to every row;
- VAEEstimator reads a diagonal Gaussian from the row by an encoder, trained along.

Each goes on from where its last point ended, so that seconds add up.

A decoder of 1404 weights soon overfits 300 rows, so that log p(x) of new rows
falls again while that of the training rows still rises (dotted in the picture). The best that each
reaches on new rows before that is highest for the exact posterior, then for one Gaussian per row,
then for the encoder: a narrower q asks for a simpler posterior and pays in likelihood. In seconds
the order is the reverse, by a factor of two or three each time. An iteration of the first two looks
for the latents of all rows anew, so that its price grows with their number; a step of the VAE costs
the same however many there are, which is why it is the one that goes to large data.

    OMP_NUM_THREADS=1 python benchmarks/bench_inference_ladder.py

Prints the table and writes inference_ladder.png beside this file.
"""

import time
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.datasets import load_digits

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

from skelbo import MCEM, VAEEstimator, VariationalEM
from skelbo.models import DecoderModel

N_LATENTS, HIDDEN = 2, (20,)
N_TRAIN, N_TEST = 300, 300
ITERATIONS, EPOCHS = (1, 1, 2, 4), (20, 60, 160, 480)


def ladders():
    """Yield the name of each way to infer and an estimator that goes on where it stopped."""
    decoder = DecoderModel(N_LATENTS, hidden_layer_sizes=HIDDEN, likelihood="bernoulli")
    common = {"model": decoder, "random_state": 0, "warm_start": True}
    yield "MCEM (HMC)", MCEM(sampler="hmc", n_samples=10, **common)
    yield "VariationalEM (per row)", VariationalEM(posterior="full", **common)
    amortised = VAEEstimator(
        N_LATENTS,
        hidden_layer_sizes=HIDDEN,
        activation="tanh",
        likelihood="bernoulli",
        lr=5e-3,
        batch_size=50,
        kl_warmup=0,
        early_stopping=False,
        warm_start=True,
        random_state=0,
    )
    yield "VAE (amortised)", amortised


def climb(estimator, train, test):
    """Return a row of the table for each time at which training stops to be looked at."""
    rows, seconds = [], 0.0
    for n_iter in EPOCHS if isinstance(estimator, VAEEstimator) else ITERATIONS:
        estimator.set_params(max_iter=n_iter)
        start = time.process_time()
        estimator.fit(train)
        seconds += time.process_time() - start
        log_prob, std = estimator.score_samples(test, return_std=True)
        # All rows share their base noise: the error of the mean is at most the mean error.
        rows.append((seconds, estimator.score(train), log_prob.mean(), std.mean(), log_prob))
    return rows


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the fits are stopped by the clock, and say so
    rng = np.random.default_rng(0)
    X = (load_digits().data / 16 > rng.random((1797, 64))).astype(float)
    train, test = X[:N_TRAIN], X[N_TRAIN : N_TRAIN + N_TEST]
    print(f"decoder {N_LATENTS}-{HIDDEN[0]}-64, {N_TRAIN} binary digits, {N_TEST} held out")
    print("nats per row; +- of the estimate of log p(x), and of the choice of the rows held out")
    print(f"{'inference':24s} {'CPU s':>7s} {'train':>9s} {'held out':>9s}  +- estimate  +- rows")
    results = {}
    for name, estimator in ladders():
        results[name] = climb(estimator, train, test)
        for seconds, fitted, held_out, error, log_prob in results[name]:
            scatter = log_prob.std() / np.sqrt(len(test))
            numbers = f"{seconds:7.1f} {fitted:9.3f} {held_out:9.3f} {error:12.3f} {scatter:8.3f}"
            print(f"{name:24s} {numbers}", flush=True)
    print("the best point of each, less that of the VAE, over the same rows held out:")
    best = {name: max(rows, key=lambda row: row[2]) for name, rows in results.items()}
    for name, (*_, error, log_prob) in best.items():
        *_, other_error, other = best["VAE (amortised)"]
        scatter = (log_prob - other).std() / np.sqrt(len(test))
        if name != "VAE (amortised)":
            noise = error + other_error
            print(f"{name:24s} {(log_prob - other).mean():6.3f} +- {noise:.3f} +- {scatter:.3f}")
    path = Path(__file__).with_name("inference_ladder.png")
    draw(results).savefig(path, dpi=120)
    print(f"wrote {path.name}")


def draw(results):
    """Draw held-out log p(x) against seconds of training."""
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, rows in results.items():
        seconds, fitted, held_out, error, _ = zip(*rows, strict=True)
        line = ax.errorbar(seconds, held_out, error, marker="o", capsize=3, label=name)
        ax.plot(seconds, fitted, ":", color=line[0].get_color())
    ax.set(xscale="log", xlabel="CPU seconds of training", ylabel="log p(x), nats per row")
    ax.set_title("held out (solid), training rows (dotted)")
    ax.legend(loc="center left")
    return figure


if __name__ == "__main__":
    main()
