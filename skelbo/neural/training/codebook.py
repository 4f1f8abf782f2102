"""Start of a codebook, and new places for codes that no row uses.

From random codes most of a codebook is never used. Here the networks first learn as an
auto-encoder whose codes are normalised over the batch; the codebook is then found by k-means of
the encodings of each position.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.cluster import KMeans
from skorch.callbacks import Callback
from torch import Tensor

from skelbo.neural.data.batches import Batch, TableRows
from skelbo.neural.data.streaming import StreamedRows
from skelbo.neural.model.codes import CodeFamily
from skelbo.neural.model.networks import AutoEncoder
from skelbo.neural.model.objectives import Objective
from skelbo.neural.training.gradient_step import GradientStep
from skelbo.neural.training.net import VAENet
from skelbo.neural.training.runaway import check_rows, check_steps, check_weights

# Steps of the auto-encoder, within these numbers of epochs.
WARM_STEPS, WARM_EPOCHS = 400, (2, 40)
# Rows that are clustered.
CLUSTERED_ROWS = 10_000
# A code with less than this share of the rows that it would have if all had equal ones is dead.
DEAD = 0.05
# Steps during which dead codes are moved, and their largest share of the epochs.
RESTART_STEPS, RESTART_EPOCHS = 1500, 0.6
# Largest weight of the past in the moving averages.
MAX_DECAY = 0.99


def warm_epochs(n_batches: int, max_iter: int) -> int:
    """Return the number of epochs of the auto-encoder before the codebook starts."""
    fewest, most = WARM_EPOCHS
    return min(max(-(-WARM_STEPS // n_batches), fewest), most, max_iter)


def start_codebook(
    net: VAENet, rows: TableRows | StreamedRows, generator: torch.Generator, seed: int
) -> None:
    """Learn as an auto-encoder, then find the codes of each position by k-means.

    Parameters
    ----------
    net : VAENet
        Initialised, with a `CodeFamily`.
    rows : TableRows or StreamedRows
        Training rows.
    generator : torch.Generator
        Source of the order of the rows.
    seed : int
        Seed of k-means.

    Raises
    ------
    AscentError
        If the networks run away.
    """
    model = net.module_
    family = model.family
    assert isinstance(family, CodeFamily)
    args, options = net.get_params_for_optimizer("optimizer", list(model.named_parameters()))
    optimizer = type(net.optimizer_)(*args, **options)
    step = GradientStep(model, Objective("reconstruction"), optimizer, net.processes, generator)
    gaussian = model.likelihood.gaussian
    n_epochs = warm_epochs(rows.n_batches, net.max_epochs)
    with family.continuous():
        model.train()
        for epoch in range(1, 1 + n_epochs):
            sums = step.run_epoch(rows.shuffled(generator), 0.0, _notify_nobody)
            check_steps(sums.skipped, sums.steps, epoch, net.lr)
            check_weights(model.parameters(), optimizer, epoch, net.lr)
            if gaussian is not None:
                gaussian.maximize(sums.variance(), 0.5)
    model.eval()
    sample = rows.sample(CLUSTERED_ROWS)
    code = _codes(model, sample)
    encodings = family.normalize(code, sample.weights)
    check_rows(encodings.flatten(1).sum(1), n_epochs, net.lr, "encoding")
    family.start(*_clustered(encodings, sample.weights, family.n_codes, seed))


def _notify_nobody(hook: str, batch: Batch, **news: object) -> None:
    """Skip skorch's hooks: these epochs are no part of the fit that callbacks listen to."""


@torch.no_grad()
def _codes(model: AutoEncoder, rows: Batch) -> Tensor:
    """Return the outputs of the encoder, shape (n_samples, n_outputs)."""
    return torch.cat([model.code(part.targets, part.mask) for part in rows.slices(CLUSTERED_ROWS)])


def _clustered(
    encodings: Tensor, weights: Tensor | None, n_codes: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return centres, shares and mean squared distances of k-means at each position.

    Positions with fewer distinct encodings than codes repeat their centres; of equal vectors the
    first one is the nearest, so that the repeated ones have no rows. Encodings that differ by less
    than the root of their rounding are equal: the squares of such distances are rounding.
    """
    grid = math.sqrt(torch.finfo(encodings.dtype).eps)
    X = grid * np.round(encodings.detach().double().cpu().numpy() / grid)
    w = None if weights is None else weights.double().cpu().numpy()
    n_positions, size = X.shape[1:]
    centers, shares = np.empty((n_positions, n_codes, size)), np.zeros((n_positions, n_codes))
    spread = np.empty(n_positions)
    for c in range(n_positions):
        n_clusters = min(n_codes, len(np.unique(X[:, c], axis=0)))
        found = KMeans(n_clusters, n_init=1, random_state=seed).fit(X[:, c], sample_weight=w)
        centers[c] = np.resize(found.cluster_centers_, (n_codes, size))
        shares[c] = np.bincount(found.labels_, w, minlength=n_codes)
        squares = (X[:, c] - found.cluster_centers_[found.labels_]) ** 2
        spread[c] = np.average(squares.mean(1), weights=w)
    shares /= shares.sum(1, keepdims=True)
    like = encodings
    return (
        torch.as_tensor(centers).to(like),
        torch.as_tensor(shares).to(like),
        torch.as_tensor(spread).to(like),
    )


class DeadCodes(Callback):
    """Restart of codes that hardly any row uses, at encodings of random rows.

    Parameters
    ----------
    n_epochs : int
        Epochs after each of which dead codes are moved.
    generator : torch.Generator
        Source of the choice of rows.

    """

    def __init__(self, n_epochs: int, generator: torch.Generator):
        self.n_epochs, self.generator = n_epochs, generator

    @classmethod
    def of_training(cls, net: VAENet, n_batches: int, generator: torch.Generator) -> DeadCodes:
        """Return the callback for a training with batches of this number per epoch."""
        epochs = min(math.ceil(RESTART_STEPS / n_batches), int(RESTART_EPOCHS * net.max_epochs))
        return cls(epochs, generator)

    @torch.no_grad()
    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Move the dead codes."""
        family = net.module_.family
        dead = family.shares < DEAD / family.n_codes
        n_dead = int(dead.sum())
        if net.n_epochs_ > self.n_epochs or n_dead == 0:
            return
        rows = dataset_train.sample(CLUSTERED_ROWS)
        device = self.generator.device
        chosen = torch.randint(
            rows.n_samples, (n_dead,), device=device, generator=self.generator
        ).to(dead.device)
        some = rows.take(chosen)
        family.restart(dead, net.module_.encode(some.targets, some.mask).encodings)


def decay_of(decay: object, n_batches: int) -> float:
    """Return the decay per step: "auto" averages over about one epoch.

    Examples
    --------
    >>> round(decay_of("auto", 9), 3)
    0.9
    """
    if decay == "auto":
        return min(1 - 1 / (n_batches + 1), MAX_DECAY)
    return float(decay)  # type: ignore[arg-type]
