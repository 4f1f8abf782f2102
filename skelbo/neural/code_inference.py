"""log p(x), posterior and missing cells of a VQ-VAE: sums over all code vectors, or draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelbo.elbo import ElboTerms
from skelbo.neural.code_sums import CodeSums
from skelbo.neural.log_marginal import WeightedDraws
from skelbo.neural.model.codes import CodeFamily

# Largest number of code vectors over which sums are exact.
MAX_ENUMERATED = 2**20


@dataclass(frozen=True)
class CodeInference:
    """Inference for the rows of a table: exact where the code vectors are few enough.

    Attributes
    ----------
    draws : WeightedDraws
        The model, its units, and the draws that are used beyond the limit.
    limit : int
        Largest number of code vectors over which sums are exact.
    """

    draws: WeightedDraws
    limit: int = MAX_ENUMERATED

    @property
    def family(self) -> CodeFamily:
        """The codes."""
        family = self.draws.model.family
        assert isinstance(family, CodeFamily)
        return family

    @property
    def n_vectors(self) -> int:
        """Number of code vectors."""
        return self.family.n_codes**self.family.n_latents

    @property
    def is_exact(self) -> bool:
        """Whether the code vectors are few enough to be summed over."""
        return self.n_vectors <= self.limit

    @property
    def sums(self) -> CodeSums:
        """Sums over all code vectors."""
        return CodeSums(self.draws.model, self.draws.columns)

    def log_prob(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(x) and its standard error, zero if it is exact, shape (n_samples,)."""
        return self.sums.log_prob(X) if self.is_exact else self.draws.log_prob(X)

    def elbo_terms(self, X: np.ndarray) -> ElboTerms:
        """Return the terms of the bound, of soft codes by draws beyond the limit."""
        if not self.family.soft:
            return self.sums.hard_terms(X)
        if self.is_exact:
            return self.sums.soft_terms(X)
        return self.sums.sampled_terms(X, self.draws.noise())

    def bound(self, X: np.ndarray) -> np.ndarray:
        """Return the bound that a fit climbs, that of soft codes by draws, shape (n_samples,)."""
        if not self.family.soft:
            return self.sums.hard_terms(X).elbo
        return self.sums.sampled_terms(X, self.draws.noise()).elbo

    def expected_cells(self, X: np.ndarray) -> np.ndarray:
        """Return E[x | observed cells], in the units of the data."""
        return self.sums.expected_cells(X) if self.is_exact else self.draws.expectation(X)

    def draw_cells(self, X: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
        """Return draws of rows given their observed cells, (n_draws, n_samples, n_features)."""
        source = self.sums if self.is_exact else self.draws
        return source.draw_cells(X, n_draws, seed)

    def code_proba(self, X: np.ndarray) -> np.ndarray:
        """Return p(z_c = k | x), shape (n_samples, n_positions, n_codes)."""
        return self.sums.code_proba(X) if self.is_exact else self.sums.sampled_proba(X, self.draws)
