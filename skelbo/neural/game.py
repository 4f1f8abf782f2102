"""The whole game of a GANEstimator: players made from its parameters, epochs, and their record."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from skelbo.data.threads import threads_for
from skelbo.em.progress import Progress
from skelbo.neural.data.batches import TableRows
from skelbo.neural.data.columns import Columns
from skelbo.neural.data.streaming import StreamedRows
from skelbo.neural.data.training_table import TrainingTable
from skelbo.neural.data.validation_split import training_rows
from skelbo.neural.diagnostics import check_noise
from skelbo.neural.estimator import n_cells
from skelbo.neural.model.divergences import DIVERGENCES
from skelbo.neural.model.networks import AutoEncoder, build, perceptron
from skelbo.neural.noise_variance import noise_variance
from skelbo.neural.persistence import module_state
from skelbo.neural.training.adversarial_game import (
    BETAS,
    FINAL_DRAWS,
    JUDGED_DRAWS,
    AdversarialGame,
    Critic,
    GameOptions,
)
from skelbo.neural.training.game_checkpoint import game_state, load_arrays, resume_game
from skelbo.neural.training.generators import draw_seed, on_device
from skelbo.neural.training.make_net import (
    FUSED,
    fit_generator,
    layer_sizes,
    make_net,
    resolve_optimizer,
    seeds_globally,
)
from skelbo.neural.training.net import VAENet
from skelbo.neural.training.runaway import check_divergence, check_steps, check_weights
from skelbo.neural.training.torch_threads import use_one_thread_after_fork

# Share of the rows on which the divergence is estimated, and their largest number.
HELD_OUT_SHARE, MAX_HELD_OUT = 0.1, 5000


class FinishedGame(NamedTuple):
    """Record of a game.

    Attributes
    ----------
    net : VAENet
        Decoder and noise as the game left them, with an encoder that has learned nothing yet.
    critic : Critic
        The other player.
    divergence : float
        Lower bound of the divergence at the end, in nats, on rows held out.
    divergences : list of float
        The same after each epoch.
    n_skipped : int
        Number of steps that were not finite.
    end : {"converged", "callback", "interrupted"}
        Cause of the end: the number of epochs, a callback, or Ctrl-C.
    noise_variance : ndarray of shape (n_features,) or float
        Noise at the end, in the units of the data.
    n_batches : int
        Number of steps per epoch.
    """

    net: VAENet
    critic: Critic
    divergence: float
    divergences: list[float]
    n_skipped: int
    end: str
    noise_variance: Any
    n_batches: int


def play(
    estimator: Any,
    table: TrainingTable,
    columns: Columns,
    rng: np.random.RandomState,
    progress: Progress,
) -> FinishedGame:
    """Play all epochs of a game, or those that are left of one in a checkpoint.

    Parameters
    ----------
    estimator : GANEstimator
        Its parameters are the rules.
    table : TrainingTable
        Rows of the fit.
    columns : Columns
        Units of the columns.
    rng : RandomState
        Source of seeds.
    progress : Progress
        Report to scikit-learn's callbacks.

    Returns
    -------
    FinishedGame
        After one epoch at least.
    """
    use_one_thread_after_fork()
    with fit_generator(estimator, draw_seed(rng)) as generator:
        dtype = table.X.dtype
        net = make_net(estimator, columns, estimator._latent_family(), dtype, generator)
        critic = make_critic(estimator, net.module_, generator)
        n_held_out = number_held_out(len(table.X))
        like = net.module_.likelihood.offset
        rows = training_rows(
            *table[:2], columns, like, n_held_out, estimator.batch_size, rng, table.streamed
        )
        record = finished_record(progress)
        if record is None:
            game = _game(estimator, net, critic, on_device(generator, net.device))
            with threads_for(n_cells(net, estimator.batch_size)):
                record = _played(game, rows, estimator, progress)
            game.finish(net.module_)
            record |= {"model": module_state(net.module_), "critic": module_state(critic.network)}
        else:
            progress.skip_start()
            load_arrays(net.module_, record["model"])
            load_arrays(critic.network, record["critic"])
    keep_record(progress, record)
    # The encoder comes next; what the game learned stays.
    net.module_.decoder.requires_grad_(False)
    critic.eval()
    check_noise(net.module_.likelihood, columns, dtype, estimator.lr)
    variance = noise_variance(net.module_.likelihood, columns)
    results = {name: record[name] for name in ("divergence", "divergences", "n_skipped", "end")}
    return FinishedGame(
        net=net, critic=critic, noise_variance=variance, n_batches=rows.n_batches, **results
    )


def number_held_out(n_samples: int) -> int:
    """Return how many rows judge the divergence; ValueError if none were left to learn from."""
    if n_samples < 2:
        raise ValueError(
            f"sample_weight leaves {n_samples} row, expected at least 2: a game learns from some "
            "and judges its divergence by others; give more rows a positive weight."
        )
    return min(max(1, int(HELD_OUT_SHARE * n_samples)), MAX_HELD_OUT)


def finished_record(progress: Progress) -> dict[str, Any] | None:
    """Return the record of a game that had ended when its fit was written to a file."""
    found = None if progress.checkpoint is None else progress.checkpoint.found
    return None if found is None else found.get("game")


def keep_record(progress: Progress, record: dict[str, Any]) -> None:
    """Write the record of a game beside the state of its encoder; one cut short is resumed."""
    if progress.checkpoint is not None and record["end"] != "interrupted":
        progress.checkpoint.frame["game"] = record


def make_critic(estimator: Any, model: AutoEncoder, generator: torch.Generator) -> Critic:
    """Return a fresh critic that reads what the encoder of a model reads."""
    n_inputs = model.features.n_outputs
    network: nn.Module
    if estimator.critic is None:
        sizes = layer_sizes(estimator.critic_layer_sizes, "critic_layer_sizes")
        network = perceptron(n_inputs, 1, sizes, estimator.activation, generator)
    else:
        network = build(estimator.critic, n_inputs, 1)
    critic = Critic(model.features, network).to(model.likelihood.offset)
    rows = model.likelihood.offset.new_zeros(2, model.likelihood.n_features)
    shape = tuple(critic.network(critic.features(rows)).shape)
    if shape != (2, 1):
        raise ValueError(
            f"critic gave shape {shape} for two rows, expected (2, 1): one number per row; change "
            "the width of its last layer."
        )
    return critic


def _optimizer(optimizer: Any) -> Any:
    """Return a factory of optimisers for the players."""
    kind = resolve_optimizer(optimizer)
    options: dict[str, Any] = {"fused": True} if kind in FUSED else {}
    if kind in (torch.optim.Adam, torch.optim.AdamW):
        options["betas"] = BETAS
    return partial(kind, **options)


def _game(
    estimator: Any, net: VAENet, critic: Critic, generator: torch.Generator
) -> AdversarialGame:
    """Return the game of an estimator's parameters."""
    options = GameOptions(
        DIVERGENCES[estimator.divergence],
        estimator.penalty,
        estimator.n_critic,
        estimator.averaging,
        estimator.lr,
    )
    optimizer = _optimizer(estimator.optimizer)
    return AdversarialGame(net.module_, critic, options, optimizer, generator)


def _divergence(game: AdversarialGame, rows: TableRows | StreamedRows, n_draws: int) -> float:
    assert rows.held_out is not None
    return game.divergence(rows.held_out, n_draws)


def _played(
    game: AdversarialGame, rows: TableRows | StreamedRows, estimator: Any, progress: Progress
) -> dict[str, Any]:
    """Play the epochs; return the divergences, the number of steps skipped, and the end."""
    progress.begin_start(0)
    divergences = _resumed(game, estimator, progress)
    try:
        end = _epochs(game, rows, estimator, progress, divergences)
    except KeyboardInterrupt:
        if not divergences:
            raise
        end, progress.interrupted = "interrupted", True
    final = _divergence(game, rows, FINAL_DRAWS)
    check_divergence(final, len(divergences), estimator.lr)
    progress.end_start()
    return {
        "divergence": final,
        "divergences": divergences,
        "n_skipped": game.n_skipped,
        "end": end,
    }


def _resumed(game: AdversarialGame, estimator: Any, progress: Progress) -> list[float]:
    """Put a game where its checkpoint left it; return the divergences of the epochs before."""
    state = None if progress.checkpoint is None else progress.checkpoint.running()
    if state is None:
        return []
    resume_game(game, state["game"], seeds_globally=seeds_globally(estimator))
    return list(state["divergences"])


def _epochs(
    game: AdversarialGame,
    rows: TableRows | StreamedRows,
    estimator: Any,
    progress: Progress,
    divergences: list[float],
) -> str:
    """Play the epochs that are left, append their divergences, return the cause of the end."""
    for epoch in range(len(divergences), estimator.max_iter):
        skipped = game.n_skipped
        game.run_epoch(rows.shuffled(game.random), epoch / estimator.max_iter)
        skipped = game.n_skipped - skipped
        check_steps(skipped, rows.n_batches, epoch + 1, estimator.lr)
        for player, optimizer in zip(game.players, game.optimizers, strict=True):
            check_weights(player.parameters(), optimizer, epoch + 1, estimator.lr)
        divergences.append(_divergence(game, rows, JUDGED_DRAWS))
        check_divergence(divergences[-1], epoch + 1, estimator.lr)
        if progress.iteration(epoch + 1, divergences[-1], None):
            return "callback"
        if progress.checkpoint is not None and epoch + 1 < estimator.max_iter:
            progress.checkpoint.offer(
                lambda: {"game": game_state(game), "divergences": divergences}
            )
    return "converged"
