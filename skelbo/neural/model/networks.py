"""Encoder and decoder of an auto-encoder, and the module that holds them."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skelbo.neural.data.batches import Batch
from skelbo.neural.data.columns import Columns
from skelbo.neural.model.latent_family import LatentFamily, LatentPosterior, LatentProposal
from skelbo.neural.model.table_likelihood import TableLikelihood

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "leaky_relu": nn.LeakyReLU,
}


def perceptron(
    n_inputs: int,
    n_outputs: int,
    hidden_layer_sizes: Sequence[int],
    activation: str,
    generator: torch.Generator,
) -> nn.Sequential:
    """Return a multilayer perceptron; without hidden layers it is a linear map."""
    layers: list[nn.Module] = []
    for width in hidden_layer_sizes:
        layers += [_linear(n_inputs, width, generator), ACTIVATIONS[activation]()]
        n_inputs = width
    return nn.Sequential(*layers, _linear(n_inputs, n_outputs, generator))


def _linear(n_inputs: int, n_outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer initialised as PyTorch does, by draws of `generator`."""
    layer = nn.utils.skip_init(nn.Linear, n_inputs, n_outputs)
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(n_inputs)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer


def build(network: Any, n_inputs: int, n_outputs: int) -> nn.Module:
    """Return a user's network: a copy of an instance, or what a class or factory makes.

    A class or factory is called with (n_inputs, n_outputs) or, if it does not take two
    arguments, with none.
    """
    if isinstance(network, nn.Module):
        return copy.deepcopy(network)
    try:
        inspect.signature(network).bind(n_inputs, n_outputs)
    except TypeError:
        return network()
    return network(n_inputs, n_outputs)


class Features(nn.Module):
    """Input of an encoder: each column about its mean, codes as indicators.

    Parameters
    ----------
    columns : Columns
        Likelihood, centre and scale of each column.
    with_mask : bool
        Whether to append which cells are observed, one 0 or 1 per column.
    """

    shift: Tensor
    counts: Tensor
    rest: Tensor

    def __init__(self, columns: Columns, with_mask: bool):
        super().__init__()
        self.with_mask = with_mask
        kinds = columns.kinds
        self.plain = bool((kinds == "gaussian").all())
        counts, rest = np.flatnonzero(kinds == "poisson"), np.flatnonzero(kinds != "categorical")
        self.register_buffer("counts", torch.as_tensor(counts), persistent=False)
        self.register_buffer("rest", torch.as_tensor(rest), persistent=False)
        self.codes = np.flatnonzero(kinds == "categorical").tolist()
        self.sizes = columns.categories.tolist()
        shift = np.where(kinds == "gaussian", 0.0, columns.mean)
        shift[counts] = np.log1p(shift[counts])
        self.register_buffer("shift", torch.as_tensor(shift[rest]))
        width = len(rest) + sum(self.sizes)
        self.n_outputs = width + (columns.n_features if with_mask else 0)

    def forward(self, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the features, shape (n_samples, n_outputs); zero where nothing is known."""
        features = targets if self.plain else self._encode(targets, mask)
        if not self.with_mask:
            return features
        mask = torch.ones_like(targets) if mask is None else mask
        return torch.cat([features, mask], dim=1)

    def _encode(self, targets: Tensor, mask: Tensor | None) -> Tensor:
        values = targets
        if len(self.counts):
            logs = torch.log1p(targets.index_select(1, self.counts))
            values = targets.index_copy(1, self.counts, logs)
        parts = [values.index_select(1, self.rest) - self.shift]
        observed = [] if mask is None else [mask.index_select(1, self.rest)]
        for j, size in zip(self.codes, self.sizes, strict=True):
            # As one_hot, which reads the smallest and the largest code back.
            codes = torch.arange(size, dtype=targets.dtype, device=targets.device)
            parts.append((targets[:, j : j + 1] == codes).to(targets.dtype))
            if mask is not None:
                observed.append(mask[:, j : j + 1].expand(-1, size))
        features = torch.cat(parts, dim=1)
        return features if mask is None else features * torch.cat(observed, dim=1)


class AutoEncoder(nn.Module):
    r"""The pair q(z | x) and p(x | z), with the prior p(z) of a latent family.

    Parameters
    ----------
    columns : Columns
        Kind and units of each column.
    family : LatentFamily
        Form of q and of the prior.
    noise : {"unit", "isotropic", "diag"}
        Noise of the Gaussian columns.
    generator : torch.Generator
        Source of the initial weights of perceptrons, on the CPU.
    encoder, decoder : nn.Module, class, callable or None
        Networks of the user; None gives perceptrons.
    hidden_layer_sizes : sequence of int
        Widths of the encoder; the decoder has them in reverse.
    activation : str
        A key of `ACTIVATIONS`.
    """

    def __init__(
        self,
        columns: Columns,
        family: LatentFamily,
        noise: str,
        generator: torch.Generator,
        encoder: Any = None,
        decoder: Any = None,
        hidden_layer_sizes: Sequence[int] = (),
        activation: str = "relu",
    ):
        super().__init__()
        self.family = family
        self.likelihood = TableLikelihood(columns, noise)
        # A network of the user's own expects the columns, no flags beside them.
        self.features = Features(columns, columns.has_missing and encoder is None)

        def network(own: Any, n_inputs: int, n_outputs: int, sizes: Sequence[int]) -> nn.Module:
            if own is not None:
                return build(own, n_inputs, n_outputs)
            return perceptron(n_inputs, n_outputs, sizes, activation, generator)

        widths = self.features.n_outputs, family.n_outputs
        self.encoder = network(encoder, *widths, hidden_layer_sizes)
        widths = family.n_embedded, self.likelihood.n_outputs
        self.decoder = network(decoder, *widths, hidden_layer_sizes[::-1])
        self._run: Callable[[nn.Module, Tensor], Any] = _run
        self.has_custom_networks = encoder is not None or decoder is not None
        # Only a likelihood with a link function has offsets other than zero.
        self.centred = not bool(self.likelihood.offset.any())

    @property
    def n_latents(self) -> int:
        """Dimension of z."""
        return self.family.n_latents

    def encode(self, targets: Tensor, mask: Tensor | None = None) -> LatentPosterior:
        """Return q(z | x) of each row.

        `targets` (n_samples, n_features) are in the units of the network, missing cells as 0;
        `mask` is 1 where a cell is observed, 0 where it is missing.
        """
        return self.family.q(self.code(targets, mask))

    def code(self, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the encoder's output, the parameters of q, shape (n_samples, n_outputs)."""
        code = self._run(self.encoder, self.features(targets, mask))
        return torch.cat(code, dim=-1) if isinstance(code, tuple) else code

    def decode(self, z: Tensor) -> Tensor:
        """Return the outputs at z (..., n_latents), shape (..., n_outputs)."""
        return self.decode_embedded(self.family.embed(z))

    def decode_embedded(self, inputs: Tensor) -> Tensor:
        """Return the outputs at inputs of the decoder (..., n_embedded)."""
        if inputs.ndim == 2:
            outputs = self._run(self.decoder, inputs)
        else:
            outputs = self._run(self.decoder, inputs.reshape(-1, self.family.n_embedded))
            outputs = outputs.view(*inputs.shape[:-1], self.likelihood.n_outputs)
        return outputs if self.centred else outputs + self.likelihood.offset

    def proposal(self, batch: Batch) -> LatentProposal:
        """Return the distribution of each row from which its log p(x) is estimated."""
        return self.family.proposal(self, batch)

    def forward(self, targets: Tensor, mask: Tensor | None = None) -> LatentPosterior:
        """Return q(z | x) of each row: see `encode`."""
        return self.encode(targets, mask)

    def compile_networks(self, **options: Any) -> None:
        """Run both networks by :func:`torch.compile` from now on; copies of self run eagerly."""
        self._run = torch.compile(_run, **options)

    def __getstate__(self):
        """Leave out compiled code, which does not pickle."""
        return {**super().__getstate__(), "_run": _run}

    @torch.no_grad()
    def check_shapes(self) -> None:
        """Refuse networks of the user whose outputs have the wrong width."""
        training = self.training
        self.eval()
        targets = self.likelihood.offset.new_zeros(1, self.likelihood.n_features)
        self._check_code(_tried(self.encoder, self.features(targets), "encoder"))
        outputs = _tried(self.decoder, targets.new_zeros(1, self.family.n_embedded), "decoder")
        expected = (1, self.likelihood.n_outputs)
        if tuple(outputs.shape) != expected:
            raise ValueError(
                f"decoder gave shape {tuple(outputs.shape)} for one row, expected {expected}: "
                "one output per column (one per code for categorical columns); change the width "
                "of its last layer."
            )
        self.train(training)

    def _check_code(self, code: Any) -> None:
        width = self.family.n_outputs
        parts = code if isinstance(code, tuple) else (code,)
        if not all(isinstance(part, Tensor) for part in parts):
            raise ValueError(
                f"encoder gave a {type(code).__name__}, expected a tensor of shape "
                f"(n_samples, {width}), or a tuple of its equal parts; change what it returns."
            )
        if any(tuple(part.shape) != (1, width / len(parts)) for part in parts):
            got = tuple(code.shape) if isinstance(code, Tensor) else [tuple(p.shape) for p in code]
            raise ValueError(
                f"encoder gave shape {got} for one row, expected (1, {width}): the parameters of "
                f"q(z | x) for n_components={self.n_latents} latents side by side "
                f"({self.family.parameter_names}), or a tuple of them; change the width of its "
                "last layer."
            )


def _run(network: nn.Module, inputs: Tensor) -> Any:
    """Apply a network; a function, so that torch.compile finds a frame of ours to compile."""
    return network(inputs)


def _tried(network: nn.Module, row: Tensor, name: str) -> Any:
    """Run one row through a network; an error names the network and the shape."""
    try:
        return network(row)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{name} failed on one row of shape {tuple(row.shape)}: {error}; make a network that "
            f"takes (n_samples, {row.shape[1]})."
        ) from error
