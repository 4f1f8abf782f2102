"""State of a running game in a checkpoint, and the way back."""

from __future__ import annotations

from typing import Any

import torch

from skelbo.neural.persistence import load_optimizer, module_state, optimizer_state
from skelbo.neural.training.adversarial_game import AdversarialGame


def game_state(game: AdversarialGame) -> dict[str, Any]:
    """Return both players, their optimisers, the average and the generators of random numbers."""
    return {
        "players": {name: module_state(part) for name, part in _players(game).items()},
        "optimizers": [optimizer_state(optimizer) for optimizer in game.optimizers],
        "counts": [game.n_steps, game.n_skipped],
        "random": game.random.get_state().numpy(),
        "global": torch.get_rng_state().numpy(),
    }


def resume_game(game: AdversarialGame, state: dict[str, Any], *, seeds_globally: bool) -> None:
    """Go on from a state that `game_state` returned.

    Parameters
    ----------
    game : AdversarialGame
        Before its first step.
    state : dict
        Of `game_state`.
    seeds_globally : bool
        Whether networks of the user's own may draw from the global generator, which then is seeded.
    """
    for name, part in _players(game).items():
        load_arrays(part, state["players"][name])
    for optimizer, arrays in zip(game.optimizers, state["optimizers"], strict=True):
        load_optimizer(optimizer, arrays)
    game.n_steps, game.n_skipped = state["counts"]
    game.random.set_state(torch.as_tensor(state["random"]))
    if seeds_globally:
        torch.set_rng_state(torch.as_tensor(state["global"]))


def load_arrays(module: torch.nn.Module, arrays: dict[str, Any]) -> None:
    """Set the weights of a module to arrays that `module_state` returned."""
    module.load_state_dict({name: torch.as_tensor(array) for name, array in arrays.items()})


def _players(game: AdversarialGame) -> dict[str, torch.nn.Module]:
    return {"critic": game.critic, "generator": game.generator, "average": game.average}
