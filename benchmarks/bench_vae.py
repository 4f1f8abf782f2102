"""Time of an epoch of VAE-, VQVAE- and GANEstimator beside that of a bare PyTorch loop.

Side by side in one run: a hand-written eager loop (data on the device, fused Adam, no DataLoader),
the estimator, skorch as it comes (the same networks and loss as a plain NeuralNet), and pythae
(the same networks; its own loss, of unit variance) if it is installed. Prints milliseconds per
epoch (of CPU time, or on a GPU by the clock) and ratios to the bare loop, below 1 where it is
beaten. Codes (four positions of 16, hard, a codebook of moving averages) have a bare loop of their
own; pythae's VQVAE has one codebook for all positions. A game has a loop with the same penalty at
every fourth step, without a moving average, a limit of the gradients and a check of them.

    python benchmarks/bench_vae.py [--rows 10000] [--repeats 5] [--device cpu] [--only vae]
    python benchmarks/bench_vae.py --device cuda --rows 100000
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import logging
import math
import tempfile
import time
import warnings

import numpy as np
import torch
from torch import nn

from skelbo import GANEstimator, VAEEstimator, VQVAEEstimator

warnings.simplefilter("ignore")


class NotApplicable(Exception):
    """There is nothing of this kind to be measured here."""


# (columns, hidden layers, latents, batch size)
CASES = [
    (20, (64, 64), 4, 128),
    (20, (64, 64), 4, 1000),
    (64, (128, 128), 8, 128),
    (64, (128, 128), 8, 1000),
    (784, (500,), 20, 128),
    (784, (500,), 20, 1000),
]


def perceptron(sizes):
    layers = []
    for n, m in itertools.pairwise(sizes):
        layers += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class PlainVAE(nn.Module):
    """The model of a tutorial: both networks and one learned noise variance per column."""

    def __init__(self, p, hidden, d):
        super().__init__()
        self.encoder = perceptron((p, *hidden, 2 * d))
        self.decoder = perceptron((d, *hidden[::-1], p))
        self.log_noise = nn.Parameter(torch.zeros(p))

    def forward(self, x):
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decoder(z), mean, log_variance

    def loss(self, x, outputs):
        decoded, mean, log_variance = outputs
        squares = (x - decoded) ** 2
        nll = 0.5 * (squares / self.log_noise.exp() + self.log_noise + math.log(2 * math.pi))
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
        return (nll.sum(-1) + kl.sum(-1)).mean()


def bare_loop(X, hidden, d, batch_size, device):
    data = torch.as_tensor(X, device=device)
    model = PlainVAE(X.shape[1], hidden, d).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def epoch():
        total = torch.zeros((), device=device)
        for index in torch.randperm(len(data), device=device).split(batch_size):
            x = data[index]
            loss = model.loss(x, model(x))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(x)
        return total.item()

    return epoch


def ours(X, hidden, d, batch_size, device):
    options = {"hidden_layer_sizes": hidden, "batch_size": batch_size, "device": device}
    return epoch_of(VAEEstimator(d, **options), X, batch_size, device)


def epoch_of(model, X, batch_size, device):
    """Return the epoch of an estimator of the library."""
    from skelbo.neural import Columns
    from skelbo.neural.data.batches import TableRows, as_batch

    model.set_params(max_iter=1, early_stopping=False, random_state=0).fit(X)
    net = model.net_
    columns = Columns.read(X, None, "gaussian")
    batch = as_batch(X, columns, net.module_.likelihood.offset)
    rows = TableRows(batch, None, batch_size)
    generator = torch.Generator(device).manual_seed(0)
    return lambda: net.train(rows, generator, epochs=1)


def stock_skorch(X, hidden, d, batch_size, device):
    from skorch import NeuralNet

    class Net(NeuralNet):
        def get_loss(self, y_pred, y_true, X=None, training=False):
            return self.module_.loss(X.to(self.device), y_pred)

    net = Net(
        PlainVAE(X.shape[1], hidden, d),
        criterion=nn.Identity,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        device=device,
    ).initialize()
    return lambda: net.fit_loop(X, epochs=1)


def pythae(X, hidden, d, batch_size, device):
    try:
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
    except ImportError:
        raise NotApplicable from None
    p = X.shape[1]

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = perceptron((p, *hidden, 2 * d))

        def forward(self, x):
            mean, log_variance = self.net(x).chunk(2, dim=-1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.net = perceptron((d, *hidden[::-1], p))

        def forward(self, z):
            return ModelOutput(reconstruction=self.net(z))

    model = VAE(VAEConfig(input_dim=(p,), latent_dim=d), Encoder(), Decoder())
    return pythae_epoch(model, X, batch_size, device)


def pythae_epoch(model, X, batch_size, device):
    """Return the epoch of a model of pythae."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    logging.getLogger("pythae").setLevel(logging.ERROR)
    logging.getLogger("pythae.trainers.base_trainer.base_trainer").setLevel(logging.ERROR)
    training = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(),
        num_epochs=1,
        per_device_train_batch_size=batch_size,
        learning_rate=1e-3,
        no_cuda=device == "cpu",
    )
    data = BaseDataset(torch.as_tensor(X), torch.zeros(len(X)))
    trainer = BaseTrainer(model, data, training_config=training)
    trainer.prepare_training()

    def epoch():
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar per epoch
            trainer.train_step(1)

    return epoch


# Positions, codes of each, numbers of each code.
POSITIONS, CODES, SIZE = 4, 16, 4


class PlainVQVAE(nn.Module):
    """The model of a tutorial: nearest codes, straight through, moving averages."""

    def __init__(self, p, hidden):
        super().__init__()
        width = POSITIONS * SIZE
        self.encoder = perceptron((p, *hidden, width))
        self.decoder = perceptron((width, *hidden[::-1], p))
        self.log_noise = nn.Parameter(torch.zeros(p))
        self.register_buffer("codebook", torch.randn(POSITIONS, CODES, SIZE))
        self.register_buffer("counts", torch.ones(POSITIONS, CODES))
        self.register_buffer("sums", self.codebook.clone())

    def loss(self, x):
        z = self.encoder(x).view(-1, POSITIONS, SIZE)
        products = torch.einsum("ncd,ckd->nck", z, self.codebook)
        codes = (products - 0.5 * self.codebook.square().sum(-1)).argmax(-1)
        chosen = self.codebook[torch.arange(POSITIONS, device=x.device), codes]
        straight = z + (chosen - z).detach()
        squares = (x - self.decoder(straight.flatten(1))) ** 2
        nll = 0.5 * (squares / self.log_noise.exp() + self.log_noise + math.log(2 * math.pi))
        commitment = 0.25 * (z - chosen).square().sum((1, 2))
        self.follow(z.detach(), codes)
        return (nll.sum(-1) + commitment).mean()

    @torch.no_grad()
    def follow(self, z, codes, decay=0.99):
        hot = nn.functional.one_hot(codes, CODES).to(z)
        self.counts.lerp_(hot.mean(0), 1 - decay)
        self.sums.lerp_(torch.einsum("nck,ncd->ckd", hot, z) / len(z), 1 - decay)
        self.codebook.copy_(self.sums / self.counts.clamp(min=1e-9)[..., None])


def bare_codes(X, hidden, d, batch_size, device):
    data = torch.as_tensor(X, device=device)
    model = PlainVQVAE(X.shape[1], hidden).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def epoch():
        total = torch.zeros((), device=device)
        for index in torch.randperm(len(data), device=device).split(batch_size):
            x = data[index]
            loss = model.loss(x)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(x)
        return total.item()

    return epoch


def our_codes(X, hidden, d, batch_size, device):
    options = {"hidden_layer_sizes": hidden, "batch_size": batch_size, "device": device}
    model = VQVAEEstimator(POSITIONS, n_codes=CODES, code_size=SIZE, prior="independent", **options)
    return epoch_of(model, X, batch_size, device)


def pythae_codes(X, hidden, d, batch_size, device):
    try:
        from pythae.models import VQVAE, VQVAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
    except ImportError:
        raise NotApplicable from None
    p, width = X.shape[1], POSITIONS * SIZE

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = perceptron((p, *hidden, width))

        def forward(self, x):
            return ModelOutput(embedding=self.net(x).view(-1, SIZE, 1, POSITIONS))

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.net = perceptron((width, *hidden[::-1], p))

        def forward(self, z):
            return ModelOutput(reconstruction=self.net(z.flatten(1)))

    config = VQVAEConfig(input_dim=(p,), latent_dim=width, num_embeddings=CODES, use_ema=True)
    return pythae_epoch(VQVAE(config, Encoder(), Decoder()), X, batch_size, device)


def bare_game(X, hidden, d, batch_size, device):
    """Critic and generator as a tutorial writes them, with R1 at every fourth step."""
    data = torch.as_tensor(X, device=device)
    p, softplus = X.shape[1], nn.functional.softplus
    decoder = perceptron((d, *hidden[::-1], p)).to(device)
    critic = perceptron((p, *hidden, 1)).to(device)
    log_noise = nn.Parameter(torch.zeros(p, device=device))
    options = {"lr": 1e-3, "betas": (0.5, 0.9), "fused": True}
    players = (
        torch.optim.Adam(critic.parameters(), **options),
        torch.optim.Adam([*decoder.parameters(), log_noise], **options),
    )

    def fake(n):
        mean = decoder(torch.randn(n, d, device=device))
        return mean + torch.exp(0.5 * log_noise) * torch.randn_like(mean)

    def epoch():
        for step, index in enumerate(torch.randperm(len(data), device=device).split(batch_size)):
            x = data[index]
            with torch.no_grad():
                unreal = fake(len(x))
            loss = softplus(-critic(x)).mean() + softplus(critic(unreal)).mean()
            if step % 4 == 0:
                x = x.requires_grad_()
                (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
                loss = loss + 4.0 * slope.square().sum(1).mean()
            players[0].zero_grad(set_to_none=True)
            loss.backward()
            players[0].step()
            loss = softplus(-critic(fake(len(x)))).mean()
            players[1].zero_grad(set_to_none=True)
            loss.backward()
            players[1].step()

    return epoch


def our_game(X, hidden, d, batch_size, device):
    from functools import partial

    from skelbo.neural import DIVERGENCES, Columns, GaussianFamily
    from skelbo.neural.data.batches import TableRows, as_batch
    from skelbo.neural.game import make_critic
    from skelbo.neural.training.adversarial_game import AdversarialGame, GameOptions
    from skelbo.neural.training.make_net import make_net

    sizes = {"hidden_layer_sizes": hidden, "critic_layer_sizes": hidden}
    model = GANEstimator(d, batch_size=batch_size, device=device, **sizes)
    columns = Columns.read(X, None, "gaussian")
    seeded = torch.Generator().manual_seed(0)
    net = make_net(model, columns, GaussianFamily(d), X.dtype, seeded)
    critic = make_critic(model, net.module_, seeded)
    options = GameOptions(DIVERGENCES["js_nonsaturating"], 2.0, 1, 0.998, 1e-3)
    adam = partial(torch.optim.Adam, betas=(0.5, 0.9), fused=True)
    random = torch.Generator(device).manual_seed(0)
    game = AdversarialGame(net.module_, critic, options, adam, random)
    rows = TableRows(as_batch(X, columns, net.module_.likelihood.offset), None, batch_size)
    return lambda: game.run_epoch(rows.shuffled(random), 0.0)


def interleaved(epochs, repeats, device):
    """Return the best time of each, taken in turns: a busy machine then slows all alike."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    best = dict.fromkeys(epochs, math.inf)
    for _ in range(repeats):
        for name, epoch in epochs.items():
            if device == "cuda":
                torch.cuda.synchronize()
            start = clock()
            epoch()
            if device == "cuda":
                torch.cuda.synchronize()
            best[name] = min(best[name], clock() - start)
    return best


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=["vae", "codes", "game"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {args.device}, one thread, n = {args.rows}, float32")
    if args.only in (None, "vae"):
        table(args, (bare_loop, ours, stock_skorch, pythae))
    if args.only in (None, "codes"):
        table(args, (bare_codes, our_codes, pythae_codes))
    if args.only in (None, "game"):
        table(args, (bare_game, our_game))


def table(args, makers):
    """Print the first maker's times, and those of the others over them."""
    first, *names = (make.__name__ for make in makers)
    print(f"{'net':>18} {'batch':>6} {'bare ms':>9}", *(f"{name:>12}" for name in names))
    for p, hidden, d, batch_size in CASES:
        X = np.random.default_rng(0).normal(size=(args.rows, p)).astype(np.float32)
        epochs = {}
        for make in makers:
            try:
                epochs[make.__name__] = make(X, hidden, d, batch_size, args.device)
            except NotApplicable:
                continue
        for epoch in epochs.values():
            epoch()
        best = interleaved(epochs, args.repeats, args.device)
        bare = best[first]
        ratio = {k: f"{v / bare:.2f}x" for k, v in best.items()}
        sizes = "-".join(map(str, (p, *hidden, d)))
        print(
            f"{sizes:>18} {batch_size:>6} {1e3 * bare:>9.1f}",
            *(f"{ratio.get(name, '-'):>12}" for name in names),
            flush=True,
        )


if __name__ == "__main__":
    main()
