"""Protocols of a latent family: the form of q(z | x) and of the prior p(z)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from skelbo.neural.data.batches import Batch
    from skelbo.neural.model.networks import AutoEncoder


class LatentProposal(Protocol):
    """A distribution over z for each of some rows, of which draws and their densities are known."""

    def draw(self, noise: Tensor) -> Tensor:
        """Return draws as a function of the parameters and of `LatentFamily.noise`.

        Noise of shape (n_draws, n_samples or 1, ...) gives latents of shape
        (n_draws, n_samples, n_latents); without its first axis it gives one draw per row.
        """

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z | x) in nats, shape (n_draws, n_samples)."""


class LatentPosterior(LatentProposal, Protocol):
    """q(z | x) of some rows, one distribution each."""

    @property
    def mean(self) -> Tensor:
        """Mean of q, shape (n_samples, n_latents)."""

    @property
    def std(self) -> Tensor:
        """Standard deviation of q, shape (n_samples, n_latents)."""

    def kl(self) -> Tensor:
        """Return KL(q || p(z)) in nats, shape (n_samples,)."""

    def entropy(self) -> Tensor:
        """Return H[q] in nats, shape (n_samples,)."""

    def detached(self) -> Self:
        """Return the same q without gradients to its parameters."""

    def displaced(self, step: Tensor) -> Self:
        """Return q with its parameters moved by `step`, shape (n_samples, n_outputs).

        A step of zero is q itself; a step of one is of the order of q's own width.
        """


class LatentFamily(Protocol):
    """The distributions that an auto-encoder has for its latents.

    A family that learns parameters of its own (a codebook, say) is an ``nn.Module``. Methods with
    a body here are defaults for families that inherit from this class.

    Attributes
    ----------
    n_latents : int
        Dimension of z.
    n_outputs : int
        Width of the encoder's output: parameters of q per row.
    n_embedded : int
        Width of the decoder's input.
    n_parameters : int
        Number of free parameters of p(z).
    parameter_names : str
        The encoder's outputs in words, for error messages.
    is_discrete : bool
        Whether z is discrete: log p(x, z) has no gradient in z then.
    has_density : bool
        Whether q has a density, and so a bound.
    """

    n_latents: int
    n_parameters: int = 0
    parameter_names: str = "one number per latent"
    is_discrete: bool = False
    has_density: bool = True

    @property
    def n_embedded(self) -> int:
        """Width of the decoder's input; by default it reads z itself."""
        return self.n_latents

    def embed(self, z: Tensor) -> Tensor:
        """Return the decoder's input at z (..., n_latents), shape (..., n_embedded)."""
        return z

    def prior_interval(self) -> tuple[float, float]:
        """Return an interval that holds nearly all of p(z), if z is one continuous number."""
        return -10.0, 10.0

    def proposal(self, model: AutoEncoder, batch: Batch) -> LatentProposal:
        """Return the distribution from which log p(x) is estimated; by default q itself.

        Its draws are functions of `noise`, and it has a density.
        """
        return model.encode(batch.targets, batch.mask)

    def maximize_prior(self, code: Tensor, weights: Tensor | None) -> None:
        """Set the parameters of p(z), if there are any, to their maximum: a theta-step.

        Parameters
        ----------
        code : Tensor of shape (n_samples, n_outputs)
            The encoder's output for the training rows.
        weights : Tensor of shape (n_samples,) or None
            Frequency weights.
        """
        return

    @property
    def n_outputs(self) -> int:
        """Number of parameters of q per row."""

    def q(self, code: Tensor) -> LatentPosterior:
        """Return q(z | x) from the encoder's output, shape (n_samples, n_outputs)."""

    def noise(
        self, n_draws: int, n_samples: int, like: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Draw the noise behind z, shape (n_draws, n_samples, ...).

        The numbers come from the device of `generator`; the result has the dtype and the device
        of `like`.
        """

    def log_prior(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, shape (n_draws, n_samples)."""

    def sample_prior(self, n_samples: int, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw from p(z), shape (n_samples, n_latents); dtype and device as for `noise`."""
