"""The two networks of a variational auto-encoder, and the module that holds them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skelbo.neural.data.columns import Columns
from skelbo.neural.model.diagonal_gaussian import Posterior
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
# q's standard deviation stays within exp(-8) .. exp(4) of the prior's.
LOG_VARIANCE_RANGE = (-16.0, 8.0)


def perceptron(
    n_inputs: int, n_outputs: int, hidden_layer_sizes: Sequence[int], activation: str
) -> nn.Sequential:
    """Return a multilayer perceptron.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Width of input and output.
    hidden_layer_sizes : sequence of int
        Widths in between; none gives a linear map.
    activation : str
        A key of `ACTIVATIONS`.

    Returns
    -------
    nn.Sequential
        With fresh weights.
    """
    layers: list[nn.Module] = []
    for width in hidden_layer_sizes:
        layers += [nn.Linear(n_inputs, width), ACTIVATIONS[activation]()]
        n_inputs = width
    return nn.Sequential(*layers, nn.Linear(n_inputs, n_outputs))


def build(network: Any, n_inputs: int, n_outputs: int) -> nn.Module:
    """Make a network of the user's own.

    Parameters
    ----------
    network : nn.Module, class or callable
        An instance is copied, never trained in place. A class or factory is called with
        (n_inputs, n_outputs) or, if it takes no two arguments, with none.
    n_inputs, n_outputs : int
        The widths that are asked for.

    Returns
    -------
    nn.Module
        Not shared with anyone.
    """
    if isinstance(network, nn.Module):
        return copy.deepcopy(network)
    try:
        inspect.signature(network).bind(n_inputs, n_outputs)
    except TypeError:
        return network()
    return network(n_inputs, n_outputs)


class Features(nn.Module):
    """What an encoder sees of a row: each column about its mean, codes as indicators.

    Parameters
    ----------
    columns : Columns
        What the columns are.
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
    r"""The pair q(z | x) and p(x | z), with z ~ N(0, I).

    Parameters
    ----------
    columns : Columns
        What the columns are.
    n_latents : int
        Dimension of z.
    noise : {"unit", "isotropic", "diag"}
        Noise of the Gaussian columns.
    encoder, decoder : nn.Module, class, callable or None
        The user's own networks; None gives perceptrons.
    hidden_layer_sizes : sequence of int
        Of the encoder; the decoder has them in reverse.
    activation : str
        A key of `ACTIVATIONS`.
    """

    def __init__(
        self,
        columns: Columns,
        n_latents: int,
        noise: str,
        encoder: Any = None,
        decoder: Any = None,
        hidden_layer_sizes: Sequence[int] = (),
        activation: str = "relu",
    ):
        super().__init__()
        self.n_latents = n_latents
        self.likelihood = TableLikelihood(columns, noise)
        # A network of the user's own expects the columns, no flags beside them.
        self.features = Features(columns, columns.has_missing and encoder is None)
        widths = self.features.n_outputs, 2 * n_latents
        self.encoder: nn.Module = _network(encoder, widths, hidden_layer_sizes, activation)
        widths = n_latents, self.likelihood.n_outputs
        self.decoder: nn.Module = _network(decoder, widths, hidden_layer_sizes[::-1], activation)
        # Only a likelihood with a link function starts off zero.
        self.centred = not bool(self.likelihood.offset.any())

    def encode(self, targets: Tensor, mask: Tensor | None = None) -> Posterior:
        """Return q(z | x) of each row.

        Parameters
        ----------
        targets : Tensor of shape (n_samples, n_features)
            Rows in the units of the network, missing cells as 0.
        mask : Tensor of shape (n_samples, n_features), optional
            1 where observed, 0 where missing.

        Returns
        -------
        Posterior
            Mean and log-variance, shape (n_samples, n_latents).
        """
        code = self.encoder(self.features(targets, mask))
        mean, log_variance = code if isinstance(code, tuple) else code.chunk(2, dim=-1)
        return Posterior(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def decode(self, z: Tensor) -> Tensor:
        """Return the outputs at z (..., n_latents), shape (..., n_outputs)."""
        if z.ndim == 2:
            outputs = self.decoder(z)
        else:
            outputs = self.decoder(z.reshape(-1, self.n_latents))
            outputs = outputs.view(*z.shape[:-1], self.likelihood.n_outputs)
        return outputs if self.centred else outputs + self.likelihood.offset

    def forward(self, targets: Tensor, mask: Tensor | None = None) -> Posterior:
        """Return q(z | x) of each row: see `encode`."""
        return self.encode(targets, mask)

    def foreign_networks(self) -> list[str]:
        """Return the names of classes in encoder and decoder that are not of torch.nn."""
        modules = (*self.encoder.modules(), *self.decoder.modules())
        kinds = dict.fromkeys(type(module) for module in modules)
        return [kind.__name__ for kind in kinds if not kind.__module__.startswith("torch.nn.")]

    @torch.no_grad()
    def check_shapes(self) -> None:
        """Refuse networks of the user's own whose outputs have the wrong width."""
        training = self.training
        self.eval()
        targets = self.likelihood.offset.new_zeros(1, self.likelihood.n_features)
        code = _tried(self.encoder, self.features(targets), "encoder")
        if not isinstance(code, (Tensor, tuple)):
            raise ValueError(
                f"encoder gave a {type(code).__name__}, expected a tensor of shape "
                f"(n_samples, {2 * self.n_latents}), or a tuple of mean and log-variance; change "
                "what it returns."
            )
        parts = code if isinstance(code, tuple) else (code[..., ::2], code[..., 1::2])
        wrong = [p for p in parts if tuple(p.shape) != (1, self.n_latents)]
        if wrong or len(parts) != 2:
            got = tuple(code.shape) if isinstance(code, Tensor) else [tuple(p.shape) for p in code]
            raise ValueError(
                f"encoder gave shape {got} for one row, expected (1, {2 * self.n_latents}): mean "
                f"and log-variance of n_components={self.n_latents} latents side by side, or a "
                "tuple of the two; change the width of its last layer."
            )
        outputs = _tried(self.decoder, targets.new_zeros(1, self.n_latents), "decoder")
        expected = (1, self.likelihood.n_outputs)
        if tuple(outputs.shape) != expected:
            raise ValueError(
                f"decoder gave shape {tuple(outputs.shape)} for one row, expected {expected}: "
                "one output per column (one per code for categorical columns); change the width "
                "of its last layer."
            )
        self.train(training)


def _network(
    given: Any | Callable | None,
    widths: tuple[int, int],
    hidden_layer_sizes: Sequence[int],
    activation: str,
) -> nn.Module:
    if given is not None:
        return build(given, *widths)
    return perceptron(*widths, hidden_layer_sizes, activation)


def _tried(network: nn.Module, row: Tensor, name: str) -> Any:
    """Run one row through a network; say which one fails, and on what."""
    try:
        return network(row)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{name} failed on one row of shape {tuple(row.shape)}: {error}; make a network that "
            f"takes (n_samples, {row.shape[1]})."
        ) from error
