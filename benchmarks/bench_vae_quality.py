"""Is what VAEEstimator learns as good as it should be?

1. A linear VAE against probabilistic PCA (closed form).
2. Held-out log-likelihood on digits (dequantised) and, with --wine, red wine: GaussianMLE,
   EMGaussianMixture, VAEEstimator, in nats per row, in the units of the data.
3. breast_cancer with half its cells missing: imputation error (MIWAE: 0.287).
4. The default VAE beside the mixture that BIC chooses, on five tables (one is --wine).
5. Codes on digits, README's split: VQVAEEstimator on three seeds beside the mixture that one
   position is, an auto-encoder and a VAE.
6. Games on digits, README's split: GANEstimator by each divergence beside a VAE with the same
   decoder: held-out log p(x), and draws as a mixture and a classifier of the same rows see them.
7. With --mnist FILE (an .npz with uint8 images): MNIST binarised afresh each time it is read,
   against Burda et al. (2015), whose runs took 3280 epochs (a GPU, and --minutes to match). On a
   CPU the same run stops after --minutes, beside a hand-written loop of the same length.

All of it takes about ten CPU minutes with the defaults, four of them for MNIST.

    python benchmarks/bench_vae_quality.py [--wine FILE] [--mnist FILE] [--minutes 1] [--only codes]
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from itertools import pairwise

import numpy as np
import torch
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import nn

from skelbo import EMGaussianMixture, GANEstimator, GaussianMLE, VAEEstimator, VQVAEEstimator
from skelbo.meta import CriterionSearch

# Of CPU time, which others on the machine do not shorten; on a GPU by the clock.
CLOCK = time.perf_counter if torch.cuda.is_available() else time.process_time
BURDA = {1: -86.76, 5: -85.54, 50: -84.78}


def linear_vae():
    X = load_iris().data
    print("\nLinear VAE on iris, nats per row (isotropic noise, two latents)")
    print(f"  PPCA, PCA.score           {PCA(2).fit(X).score(X):9.4f}")
    print(f"  PPCA, maximum likelihood  {maximum_likelihood(X, 2):9.4f}")
    for gradient in ("reparameterized", "dreg"):
        options = {"hidden_layer_sizes": (), "noise": "isotropic", "lr": 1e-2, "max_iter": 3000}
        start = CLOCK()
        model = VAEEstimator(2, gradient=gradient, random_state=0, **options).fit(X)
        seconds = CLOCK() - start
        print(
            f"  VAE, {gradient:<20} {model.score(X):9.4f}   ELBO {model.elbo(X).mean():9.4f}"
            f"   {seconds:.1f} CPU s"
        )


def maximum_likelihood(X, d):
    p = X.shape[1]
    values = np.linalg.eigvalsh(np.cov(X.T, ddof=0))[::-1]
    noise = values[d:].mean()
    constants = p * math.log(2 * math.pi) + p
    return -0.5 * (constants + np.log(values[:d]).sum() + (p - d) * math.log(noise))


def held_out(name, X, components, latents):
    X = X[np.random.default_rng(1).permutation(len(X))]
    train, test = np.split(X, [int(0.8 * len(X))])
    print(f"\n{name}, {X.shape}: held-out log-likelihood, nats per row")
    print(f"  GaussianMLE               {GaussianMLE().fit(train).score(test):9.3f}")
    for kind, k in components:
        model = EMGaussianMixture(k, covariance_type=kind, max_iter=500, random_state=0)
        label = f"EMGaussianMixture({k}, {kind})"
        print(f"  {label:<25} {model.fit(train).score(test):9.3f}")
    weighted = {"objective": "iwae", "gradient": "dreg", "n_samples": 8}
    for d, options in [*((d, {}) for d in latents), (8, weighted)]:
        start = CLOCK()
        model = VAEEstimator(d, random_state=0, **options).fit(train)
        seconds = CLOCK() - start
        log_prob, std = model.score_samples(test, return_std=True)
        label = f"VAEEstimator({d}{', iwae of 8' if options else ''})"
        print(
            f"  {label:<25} {log_prob.mean():9.3f}   se <= {std.mean():.3f}, ELBO "
            f"{model.elbo(test).mean():.3f}, {model.n_iter_} epochs, {seconds:.0f} CPU s",
            flush=True,
        )


def red_wine(path):
    header = np.genfromtxt(path, delimiter="\n", dtype=str, max_rows=1)
    delimiter = ";" if ";" in str(header) else ","
    return np.genfromtxt(path, delimiter=delimiter, skip_header=1)[:, :11]


def imputation():
    X = load_breast_cancer().data
    X = (X - X.mean(0)) / X.std(0)
    missing = np.zeros(X.size, dtype=bool)
    chosen = np.random.RandomState(1234).choice(X.size, X.size // 2, replace=False)
    missing[chosen] = True
    missing = missing.reshape(X.shape)
    holes = np.where(missing, np.nan, X)
    mean = np.broadcast_to(np.nanmean(holes, 0), X.shape)
    print("\nbreast_cancer, half the cells missing: mean squared error of imputation")
    print(f"  column mean               {np.mean((mean - X)[missing] ** 2):9.4f}")
    print(f"  MIWAE (published)         {0.287:9.4f}")
    configurations = {
        "defaults": {},
        "500 epochs": {"max_iter": 500, "early_stopping": False},
        "500 epochs, iwae of 20": {
            "max_iter": 500,
            "early_stopping": False,
            "objective": "iwae",
            "n_samples": 20,
        },
    }
    for label, options in configurations.items():
        start = CLOCK()
        model = VAEEstimator(10, random_state=0, **options).fit(holes)
        error = np.mean((model.impute(holes) - X)[missing] ** 2)
        seconds = CLOCK() - start
        print(f"  {label:<25} {error:9.4f}   {seconds:.0f} CPU s", flush=True)


def tables(wine):
    """Return small tables of continuous columns, digits dequantised."""
    found = {
        "breast_cancer": load_breast_cancer().data,
        "wine": load_wine().data,
        "diabetes": load_diabetes().data,
        "digits": load_digits().data + np.random.default_rng(0).random((1797, 64)),
    }
    return found if wine is None else {"red wine": red_wine(wine), **found}


def densities(wine, names=None, latents=()):
    """Print the default VAE beside the mixture that BIC chooses, on rows held out."""
    print("\nDensities: held-out log-likelihood, nats per row; VAE with half as many latents as")
    print(
        "columns, at most 8, and a factor analysis with as many factors; the mixture is the best by"
    )
    print("BIC of four structures and five sizes")
    grid = {
        "covariance_type": ["full", "tied", "diag", "tied_diag"],
        "n_components": [1, 2, 3, 5, 8],
    }
    for name, X in tables(wine).items():
        if names and name not in names:
            continue
        X = X[np.random.default_rng(1).permutation(len(X))]
        train, test = np.split(X, [int(0.8 * len(X))])
        search = CriterionSearch(EMGaussianMixture(random_state=0), grid).fit(train)
        kind, k = (search.best_params_[key] for key in grid)
        mixture = search.best_estimator_.score(test)
        line = f"  {name:<14} {X.shape[0]:>4} x {X.shape[1]:<3} {mixture:9.3f} {k:>2} {kind:<10}"
        for d in (min(8, X.shape[1] // 2), *latents):
            print(f"{line}{against_factors(train, test, d, mixture)}", flush=True)


def against_factors(train, test, d, mixture):
    """Return a line about a factor analysis and a VAE with d latents."""
    factors = EMGaussianMixture(covariance_type="factor", n_factors=d).fit(train).score(test)
    start = CLOCK()
    model = VAEEstimator(d, random_state=0).fit(train)
    seconds = CLOCK() - start
    log_prob, std = model.score_samples(test, return_std=True)
    score = log_prob.mean()
    line = f"{d:>2} factors {factors:9.3f}   VAE {score:9.3f}   ahead by {score - mixture:7.3f}, "
    return f"{line}se <= {std.mean():.3f}, {model.n_iter_} epochs, {seconds:.0f} CPU s"


def codes():
    X = load_digits().data
    X = X + np.random.default_rng(0).random(X.shape)
    train, test = train_test_split(X, test_size=0.3, random_state=0)
    print(f"\nCodes on digits, {len(train)} rows to fit, {len(test)} held out, nats per row")
    models = {
        f"{kind}, 4 of 16, seed {seed}": VQVAEEstimator(assignment=kind, random_state=seed)
        for kind in ("hard", "soft")
        for seed in range(3)
    }
    models["hard, 1 of 64"] = VQVAEEstimator(1, n_codes=64, random_state=0)
    models["mixture of 64, tied_diag"] = EMGaussianMixture(
        64, covariance_type="tied_diag", random_state=0
    )
    models["auto-encoder, 8 latents"] = VAEEstimator(8, posterior="point", random_state=0)
    models["VAE, 8 latents"] = VAEEstimator(8, random_state=0)
    for label, model in models.items():
        start = CLOCK()
        model.fit(train)
        seconds = CLOCK() - start
        line = f"  {label:<25} {model.score(test):9.2f}"
        if hasattr(model, "elbo"):
            line += f"   ELBO {model.elbo(test).mean():8.2f}"
        if hasattr(model, "code_usage_"):
            line += f"   codes in use {(model.code_usage_ > 0).mean():4.0%}"
        print(f"{line}   {seconds:.0f} CPU s", flush=True)


GAMES = ("js", "kl", "reverse_kl", "js_nonsaturating")


def games(n_scored, divergences=GAMES):
    digits, labels = load_digits(return_X_y=True)
    X = (digits + np.random.default_rng(0).random(digits.shape)).astype(np.float32)
    train, test, known, _ = train_test_split(X, labels, test_size=0.3, random_state=0)
    judge = EMGaussianMixture(20, covariance_type="diag", random_state=0).fit(train)
    classifier = LogisticRegression(C=0.01, max_iter=3000).fit(train, known)
    print(f"\nGames on digits, {len(train)} rows to fit, {n_scored} held out, nats per row")
    print(
        f"  {'':<22}{'log p(x)':>9} {'+-':>5} {'with the game noise*':>20} {'its draws':>10} "
        f"{'class entropy':>14} {'least class':>12} {'divergence':>11} {'CPU s':>6}"
    )
    models = {"VAE": VAEEstimator(8, random_state=0)}
    models |= {f"GAN, {d}": GANEstimator(8, divergence=d, random_state=0) for d in divergences}
    for label, model in models.items():
        start = CLOCK()
        model.fit(train)
        seconds = CLOCK() - start
        log_prob, std = model.score_samples(test[:n_scored], return_std=True)
        rows, _ = model.sample(2000, random_state=0)
        proba = classifier.predict_proba(rows)
        entropy = -(proba * np.log(np.maximum(proba, 1e-300))).sum(1).mean()
        least = np.bincount(proba.argmax(1), minlength=10).min() / len(rows)
        with_game, divergence = math.nan, getattr(model, "divergence_", math.nan)
        if hasattr(model, "adversarial_noise_variance_"):
            with_game = score_with_noise(model, test[:30])
        print(
            f"  {label:<22}{log_prob.mean():>9.2f} {std.mean():>5.2f} {with_game:>20.1f} "
            f"{judge.score(rows):>10.2f} {entropy:>14.3f} {least:>12.3f} {divergence:>11.3f} "
            f"{seconds:>6.0f}",
            flush=True,
        )
    print(f"  {'the digits held out':<22}{'':>36} {judge.score(test):>10.2f}   (*: of 30 rows)")


def score_with_noise(model, X):
    """Return log p(x) of a GAN with the noise of its game, by the encoder fitted to the other."""
    kept = model.noise_variance_
    model.noise_variance_ = model.adversarial_noise_variance_
    score = model.score(X)
    model.noise_variance_ = kept
    return score


class HandWritten(nn.Module):
    """784-200-200-50, tanh, Bernoulli: the loop that a paper's appendix shows."""

    def __init__(self, d=50):
        super().__init__()
        widths = (784, 200, 200)
        self.encoder = nn.Sequential(*self.layers(widths), nn.Linear(200, 2 * d))
        self.decoder = nn.Sequential(*self.layers((d, 200, 200)), nn.Linear(200, 784))

    @staticmethod
    def layers(widths):
        for n, m in pairwise(widths):
            yield from (nn.Linear(n, m), nn.Tanh())

    def log_w(self, x, k):
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        noise = torch.randn(k, *mean.shape)
        z = mean + torch.exp(0.5 * log_variance) * noise
        logits = self.decoder(z)
        log_prob = (x * logits - nn.functional.softplus(logits)).sum(-1)
        ratio = 0.5 * (noise**2 + log_variance - z**2).sum(-1)
        return log_prob + ratio

    def score(self, X, k=500):
        scores = []
        with torch.no_grad():
            for x in torch.as_tensor(X).split(20):
                scores.append(torch.logsumexp(self.log_w(x, k), 0) - math.log(k))
        return float(torch.cat(scores).mean())


def mnist(path, k, minutes, n_test, device):
    with np.load(path) as file:
        names = set(file.files)
        train = file["x_train" if "x_train" in names else "train_images"].reshape(-1, 784)
        test = file["x_test" if "x_test" in names else "test_images"].reshape(-1, 784)
    rng = np.random.default_rng(0)
    binary = (rng.random((n_test, 784)) < test[:n_test] / 255).astype(np.float32)

    def fresh():
        return (rng.random(train.shape, dtype=np.float32) < train / np.float32(255)).astype("f4")

    print(f"\nMNIST, binarised afresh, k = {k}, {minutes:g} minutes each, {n_test} test images")
    model = VAEEstimator(
        50,
        hidden_layer_sizes=(200, 200),
        activation="tanh",
        likelihood="bernoulli",
        objective="elbo" if k == 1 else "iwae",
        n_samples=k,
        gradient="reparameterized" if k == 1 else "dreg",
        batch_size=100,
        device=device,
        random_state=0,
    )
    seconds = train_for(minutes, lambda lr: model.set_params(lr=lr).partial_fit(fresh()))
    report("VAEEstimator", model.score(binary), seconds)
    torch.manual_seed(0)
    plain = HandWritten()
    optimizer = torch.optim.Adam(plain.parameters(), fused=True)

    def epoch(lr):
        optimizer.param_groups[0]["lr"] = lr
        X = torch.as_tensor(fresh())
        for index in torch.randperm(len(X)).split(100):
            log_w = plain.log_w(X[index], k)
            share = torch.softmax(log_w.detach(), 0)
            optimizer.zero_grad()
            (-(share * log_w).sum(0).mean()).backward()
            optimizer.step()

    seconds = train_for(minutes, epoch)
    report("hand-written loop", plain.score(binary), seconds)
    if k in BURDA:
        print(f"  Burda et al., full length {BURDA[k]:9.2f}")


def train_for(minutes, epoch):
    """Run epochs until time is up; the last third of it at a tenth of the learning rate."""
    start, n_epochs = CLOCK(), 0
    while (elapsed := CLOCK() - start) < 60 * minutes:
        epoch(1e-3 if elapsed < 40 * minutes else 1e-4)
        n_epochs += 1
    return elapsed, n_epochs


def report(label, score, timing):
    seconds, n_epochs = timing
    print(f"  {label:<25} {score:9.2f}   {n_epochs} epochs, {seconds:.0f} CPU s", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wine", help="winequality-red.csv, may be gzipped")
    parser.add_argument("--mnist", help=".npz with x_train and x_test")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--k", type=int, nargs="*", default=[1, 5])
    parser.add_argument("--test-images", type=int, default=500)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--scored", type=int, default=540, help="held-out digits of the games")
    parser.add_argument("--tables", nargs="*", help="of the densities, all by default")
    parser.add_argument("--latents", type=int, nargs="*", default=[], help="more VAEs of densities")
    parser.add_argument("--only", choices=["mnist", "codes", "games", "densities"])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if args.only is None:
        linear_vae()
        digits = load_digits().data
        digits = digits + np.random.default_rng(0).random(digits.shape)
        held_out("digits, dequantised", digits, [("diag", 10), ("tied", 10)], [2, 8, 16])
        if args.wine:
            held_out(
                "red wine", red_wine(args.wine), [("full", 2), ("full", 4), ("full", 8)], [2, 5, 8]
            )
        imputation()
    if args.only in (None, "densities"):
        densities(args.wine, args.tables, args.latents)
    if args.only in (None, "codes"):
        codes()
    if args.only in (None, "games"):
        games(args.scored)
    if args.mnist and args.only in (None, "mnist"):
        for k in args.k:
            mnist(args.mnist, k, args.minutes, args.test_images, args.device)


if __name__ == "__main__":
    main()
