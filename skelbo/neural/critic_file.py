"""Fields of a file for a game: the critic's weights, divergences and the noise at the end."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from skelbo.neural.game import make_critic
from skelbo.neural.model.networks import AutoEncoder, Features
from skelbo.neural.persistence import MAX_LAYERS, NUMBERS
from skelbo.neural.training.adversarial_game import Critic
from skelbo.neural.training.make_net import fit_generator, layer_sizes
from skelbo.persistence import Array, Arrays, Chosen, Field, Number, Sequence


def game_fields(estimator: Any) -> dict[str, Field | Chosen]:
    """Return the fields of what a game leaves."""
    one = estimator.noise == "isotropic"
    noise = Array((estimator.n_features_in_,), ("float64",), low=0.0)
    return {
        "divergence_": Number(),
        "divergences_": Sequence(Number()),
        "adversarial_noise_variance_": Number(low=0) if one else noise,
        "_critic": Chosen(lambda state: _critic_field(estimator, state["_columns"])),
    }


def _critic_field(estimator: Any, columns: Any) -> Arrays:
    """Return the field of the critic's weights; those of a perceptron have known shapes."""
    if estimator.critic is not None:
        return Arrays(None, NUMBERS, c_order=True)
    widths = layer_sizes(estimator.critic_layer_sizes, "critic_layer_sizes")
    if len(widths) > MAX_LAYERS:
        raise ValueError(f"{len(widths)} layers of the critic are more than a file may have")
    chain = [Features(columns, columns.has_missing).n_outputs, *widths, 1]
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (inner, outer) in enumerate(pairwise(chain)):
        # An activation stands between two layers.
        shapes |= {f"{2 * i}.weight": (outer, inner), f"{2 * i}.bias": (outer,)}
    return Arrays(shapes, NUMBERS, finite=True, c_order=True)


def restored_critic(estimator: Any, model: AutoEncoder, weights: dict[str, Any]) -> Critic:
    """Return the critic of weights that `module_state` gave; ValueError if they do not fit."""
    with fit_generator(estimator, 0) as generator:
        critic = make_critic(estimator, model, generator)
    try:
        critic.network.load_state_dict({k: torch.as_tensor(v) for k, v in weights.items()})
    except RuntimeError as error:
        raise ValueError(
            f"the critic does not fit the weights; pass the critic that was used in fit ({error})"
        ) from None
    return critic.eval()
