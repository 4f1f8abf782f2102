"""Fitted attributes of a VQ-VAE: codebook, prior, and the usage of the codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from skelbo.neural.model.code_distribution import CodeDistribution
from skelbo.neural.training.net import VAENet
from skelbo.persistence import Array, Chosen, Field


class CodeAttributes:
    """Mixin of the attributes that follow from a fitted net with a `CodeFamily`."""

    n_components: int
    n_codes: int
    net_: VAENet

    @property
    def codebook_(self) -> np.ndarray:
        """Vectors of the codes, shape (n_components, n_codes, code_size)."""
        return self._codes.codebook.detach().cpu().numpy().copy()

    @property
    def n_restarted_codes_(self) -> int:
        """Number of times that a code hardly any row used was moved to other rows."""
        return int(self._codes.n_restarted)

    @property
    def prior_(self) -> CodeDistribution:
        """The prior p(z) of code vectors."""
        return CodeDistribution(self._codes.prior)

    @property
    def _codes(self) -> Any:
        return self.net_.module_.family

    def _publish_latents(self, mean: np.ndarray, weights: np.ndarray | None) -> None:
        """Set the usage of the codes, from those of the rows."""
        codes = mean.astype(int)
        counts = np.array([np.bincount(column, weights, self.n_codes) for column in codes.T])
        usage = counts / counts.sum(axis=1, keepdims=True)  # of its own sum no share is above one
        self.code_usage_ = usage
        terms = np.where(usage > 0, usage * np.log(np.where(usage > 0, usage, 1.0)), 0.0)
        self.perplexity_ = np.exp(-terms.sum(axis=1))

    def _usage_fields(self) -> dict[str, Field | Chosen]:
        """Return the fields of the usage in a file."""
        shape = self.n_components, self.n_codes
        return {
            "code_usage_": Array(shape, ("float64",), low=0.0, high=1.0),
            "perplexity_": Array(shape[:1], ("float64",), low=1.0 - 1e-6),
        }
