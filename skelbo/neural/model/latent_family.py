"""Protocols of a latent family: the form of q(z | x) and of the prior p(z)."""

from __future__ import annotations

from typing import Any, Protocol, Self

import torch
from torch import Tensor

from skelbo.neural.data.batches import Batch


class LatentProposal(Protocol):
    """A distribution over z for each of some rows, of which draws and their densities are known."""

    def draw(self, noise: Tensor) -> Tensor:
        """Return draws as a function of the parameters and of `LatentFamily.noise`.

        Parameters
        ----------
        noise : Tensor of shape (n_draws, n_samples or 1, ...) or (n_samples, ...)
            As `LatentFamily.noise` draws it; without its first axis, for one draw per row.

        Returns
        -------
        Tensor of shape (n_draws, n_samples, n_latents) or (n_samples, n_latents)
            Latents.
        """

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z | x).

        Parameters
        ----------
        z : Tensor of shape (n_draws, n_samples, n_latents)
            Latents.

        Returns
        -------
        Tensor of shape (n_draws, n_samples)
            In nats.
        """


class LatentPosterior(LatentProposal, Protocol):
    """q(z | x) of some rows, one distribution each."""

    @property
    def mean(self) -> Tensor:
        """Mean of q, shape (n_samples, n_latents)."""

    @property
    def std(self) -> Tensor:
        """Standard deviation of q, shape (n_samples, n_latents)."""

    def kl(self) -> Tensor:
        """Return the divergence of q from the prior.

        Returns
        -------
        Tensor of shape (n_samples,)
            KL(q || p(z)) in nats.
        """

    def entropy(self) -> Tensor:
        """Return the entropy of q.

        Returns
        -------
        Tensor of shape (n_samples,)
            H[q] in nats.
        """

    def detached(self) -> Self:
        """Return the same q without gradients to its parameters.

        Returns
        -------
        LatentPosterior
            Equal to this one.
        """

    def displaced(self, step: Tensor) -> Self:
        """Return q with its parameters moved.

        Parameters
        ----------
        step : Tensor of shape (n_samples, n_outputs)
            Zero leaves q as it is; one is of the order of q's own width.

        Returns
        -------
        LatentPosterior
            The moved q.
        """


class LatentDecoder(Protocol):
    """The networks about a latent family: p(x | z) and q(z | x), as a proposal needs them."""

    # Of the columns of x: a `TableLikelihood`.
    likelihood: Any

    def code(self, targets: Tensor, mask: Tensor | None) -> Tensor:
        """Return the encoder's output.

        Parameters
        ----------
        targets : Tensor of shape (n_samples, n_features)
            Rows.
        mask : Tensor of shape (n_samples, n_features) or None
            Which cells are observed.

        Returns
        -------
        Tensor of shape (n_samples, n_outputs)
            Parameters of q.
        """

    def encode(self, targets: Tensor, mask: Tensor | None) -> LatentPosterior:
        """Return q(z | x).

        Parameters
        ----------
        targets : Tensor of shape (n_samples, n_features)
            Rows.
        mask : Tensor of shape (n_samples, n_features) or None
            Which cells are observed.

        Returns
        -------
        LatentPosterior
            Of the rows.
        """

    def decode(self, z: Tensor) -> Tensor:
        """Return the decoder's output.

        Parameters
        ----------
        z : Tensor of shape (..., n_latents)
            Latents.

        Returns
        -------
        Tensor of shape (..., n_outputs of the decoder)
            Parameters of p(x | z).
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
        """Return the decoder's input; by default z itself.

        Parameters
        ----------
        z : Tensor of shape (..., n_latents)
            Latents.

        Returns
        -------
        Tensor of shape (..., n_embedded)
            Input of the decoder.
        """
        return z

    def prior_interval(self) -> tuple[float, float]:
        """Return an interval that holds nearly all of p(z), if z is one continuous number.

        Returns
        -------
        lower, upper : float
            By default of a standard normal prior, beyond which its mass is below 1e-22.
        """
        return -10.0, 10.0

    def proposal(self, model: LatentDecoder, batch: Batch) -> LatentProposal:
        """Return the distribution from which log p(x) is estimated; by default q itself.

        Parameters
        ----------
        model : LatentDecoder
            Both networks.
        batch : Batch
            Rows.

        Returns
        -------
        LatentProposal
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
        """Return q(z | x) from the encoder's output.

        Parameters
        ----------
        code : Tensor of shape (n_samples, n_outputs)
            Output of the encoder.

        Returns
        -------
        LatentPosterior
            One distribution per row.
        """

    def noise(
        self, n_draws: int, n_samples: int, like: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Draw the noise behind z.

        Parameters
        ----------
        n_draws, n_samples : int
            Number of draws of each row, and of rows.
        like : Tensor of any shape
            The result has its dtype and its device.
        generator : torch.Generator
            The numbers come from its device.

        Returns
        -------
        Tensor of shape (n_draws, n_samples, ...)
            Independent of all parameters.
        """

    def log_prior(self, z: Tensor) -> Tensor:
        """Return log p(z).

        Parameters
        ----------
        z : Tensor of shape (n_draws, n_samples, n_latents)
            Latents.

        Returns
        -------
        Tensor of shape (n_draws, n_samples)
            In nats.
        """

    def sample_prior(self, n_samples: int, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw from p(z).

        Parameters
        ----------
        n_samples : int
            Number of draws.
        like : Tensor of any shape
            The result has its dtype and its device.
        generator : torch.Generator
            The numbers come from its device.

        Returns
        -------
        Tensor of shape (n_samples, n_latents)
            Latents.
        """
