"""One neural decoder, one data set, several ways to infer: the comparison of Kingma and Welling.

Auto-Encoding Variational Bayes (2013), figure 3, compares the marginal likelihood that a VAE and
Monte Carlo EM reach in the same time. Here the table: held-out log p(x), with its error bar,
against seconds of training. MCEM draws from the exact posterior by Hamiltonian Monte Carlo;
VariationalEM fits one Gaussian for every row; the VAE reads it from the row by an encoder.

    python examples/plot_inference_ladder.py
"""

import time
import warnings

import numpy as np
from sklearn.datasets import load_digits

from skelbo import MCEM, VariationalEM
from skelbo.models import DecoderModel

warnings.simplefilter("ignore")  # the fits are stopped by the clock, and say so

rng = np.random.default_rng(0)
X = (load_digits().data / 16 > rng.random((1797, 64))).astype(float)
train, test = X[:250], X[250:350]
LATENTS, HIDDEN = 2, (20,)


def decoder():
    return DecoderModel(LATENTS, hidden_layer_sizes=HIDDEN, likelihood="bernoulli")


def entries():
    """Yield the name of each way to infer and estimators of growing effort."""
    common = {"model": decoder(), "random_state": 0, "n_importance_samples": 500}
    yield (
        "MCEM (HMC)",
        [MCEM(sampler="hmc", n_samples=10, max_iter=n, **common) for n in (2, 6, 20)],
    )
    yield (
        "VariationalEM (per row)",
        [VariationalEM(posterior="full", max_iter=n, **common) for n in (2, 6, 20)],
    )
    try:
        from skelbo import VAEEstimator
    except ImportError:
        return
    yield (
        "VAE (amortised)",
        [
            VAEEstimator(
                LATENTS,
                hidden_layer_sizes=HIDDEN,
                activation="tanh",
                likelihood="bernoulli",
                max_iter=n,
                early_stopping=False,
                random_state=0,
            )
            for n in (20, 100, 400)
        ],
    )


def main():
    print(f"decoder {LATENTS}-{HIDDEN[0]}-64, {len(train)} binary digits, {len(test)} held out")
    print(f"{'inference':26s} {'seconds':>8s} {'train nats':>11s} {'test nats':>11s}  +- error")
    for name, ladder in entries():
        for estimator in ladder:
            start = time.perf_counter()
            estimator.fit(train)
            seconds = time.perf_counter() - start
            log_prob, std = estimator.score_samples(test, return_std=True)
            error = np.hypot(std.mean(), log_prob.std() / np.sqrt(len(test)))
            score = estimator.score(train)
            print(
                f"{name:26s} {seconds:8.1f} {score:11.3f} {log_prob.mean():11.3f}  +- {error:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
