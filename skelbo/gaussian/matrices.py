"""Covariances that are stored, with the triangular factors of their inverses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from skelbo.data.rows import Block
from skelbo.gaussian.block_density import CompletedDensity
from skelbo.gaussian.covariance import Covariance, CovarianceStructure
from skelbo.gaussian.mahalanobis import mahalanobis_cells
from skelbo.gaussian.missing_cells import Completion
from skelbo.gaussian.moments import Moments, Scatter
from skelbo.gaussian.regularization import Regularization


@dataclass(frozen=True)
class Matrices(Covariance):
    """Covariances with their precisions; each subclass is a `CovarianceStructure` by itself.

    Attributes
    ----------
    covariances : ndarray
        Shape (K or 1, p, p) if dense, (K or 1, p or 1) if diagonal.
    precision_cholesky : ndarray
        U with precision = U U^T, of the same shape (elementwise for diagonal structures). The
        rest can be rebuilt from it, and in float32 it keeps the digits that the variances of a
        singular matrix lose.
    floored : ndarray of bool
        Which covariances were singular and had to be altered.
    """

    covariances: np.ndarray
    precision_cholesky: np.ndarray
    floored: np.ndarray

    scatter: ClassVar[Scatter]
    shared: ClassVar[bool] = False
    isotropic: ClassVar[bool] = False
    state_names: ClassVar[tuple[str, ...]] = ("precisions_cholesky_",)
    solvers: ClassVar[frozenset[str]] = frozenset({"em", "gem", "gradient"})
    has_bolder_step: ClassVar[bool] = False

    # -------------------------------------------------------------- structure

    @property
    def structure(self) -> CovarianceStructure:
        """The class."""
        return type(self)

    @classmethod
    def configured(cls, p: int, n_factors: int) -> CovarianceStructure:
        """Return the class: there is nothing to configure."""
        return cls

    @classmethod
    @abstractmethod
    def from_moments(cls, moments: Moments, regularization: Regularization) -> Matrices:
        """Maximise the expected log-density: the M-step."""

    @classmethod
    @abstractmethod
    def from_precisions(cls, precisions: np.ndarray, K: int, p: int) -> Matrices:
        """Invert precisions."""

    @classmethod
    @abstractmethod
    def from_vector(cls, vector: np.ndarray, K: int, units: np.ndarray) -> Matrices | None:
        """Invert `to_vector`."""

    @classmethod
    @abstractmethod
    def from_public_arrays(cls, arrays: Sequence[np.ndarray], K: int, p: int) -> Matrices:
        """Rebuild from `precisions_cholesky_`."""

    @classmethod
    def label_moments(cls, values, weights, means, own) -> Moments:
        """Return the moments of the rows: nothing but the label is hidden."""
        return Moments.of_block(cls.scatter, values, weights, means)

    @classmethod
    def n_parameters(cls, K: int, p: int) -> int:
        """Return the number of free parameters."""
        each = p * (p + 1) // 2 if cls.scatter.dense else 1 if cls.isotropic else p
        return each if cls.shared else K * each

    @classmethod
    def shape(cls, K: int, p: int) -> tuple[int, ...]:
        """Return the public shape of the covariances."""
        each = (p, p) if cls.scatter.dense else () if cls.isotropic else (p,)
        return each if cls.shared else (K, *each)

    @classmethod
    def row_cells(cls, K: int, p: int) -> tuple[int, int | None]:
        """Return the sizes of the temporaries of a row in an E-step."""
        n_statistics = cls.scatter.n_statistics(p)
        if not cls.scatter.worth_expanding(p):
            n_statistics = mahalanobis_cells(K, p)
        return 2 * K + p + n_statistics, None if cls.scatter.dense else 2 * K * p

    # ------------------------------------------------------------------- rows

    @property
    def reach(self) -> float:
        """Largest cell whose square can be whitened without overflow."""
        return 1e150 / max(1.0, float(np.maximum.reduce(self.precision_cholesky, axis=None)))

    def density(self, means: np.ndarray, block: Block, log_weights: np.ndarray) -> MatrixDensity:
        """Return the densities and moments of a block."""
        if block.observed is None:
            return MatrixDensity(self, means, log_weights, block.values)
        completion = self.complete(means, block)
        return MatrixDensity(self, means, log_weights, completion.values, completion)

    @abstractmethod
    def complete(self, means: np.ndarray, block: Block) -> Completion:
        """Condition on the observed cells of a block of incomplete rows."""

    # --------------------------------------------------------- generalized EM

    @abstractmethod
    def stepped(self, moments: Moments, regularization: Regularization, size: float) -> Matrices:
        """Move by `size` along the natural gradient of the expected log-density."""

    @abstractmethod
    def expected_log_prob(
        self, moments: Moments, regularization: Regularization | None = None
    ) -> float:
        """Return the expected log-density, in nats, of rows with these moments about our means.

        With a regularization, that of the regularized moments, which its M-step maximises.
        """

    # ----------------------------------------------------------------- public

    def _public(self, array: np.ndarray) -> np.ndarray:
        array = array[0] if self.shared else array
        return array[..., 0] if self.isotropic else array

    def public_arrays(self) -> dict[str, np.ndarray]:
        """Return covariances, precisions and their factors in public shapes."""
        U = self.precision_cholesky
        precisions = U @ U.swapaxes(-1, -2) if self.scatter.dense else U**2
        return {
            "covariances_": self._public(self.covariances),
            "precisions_": self._public(precisions),
            "precisions_cholesky_": self._public(U),
        }


@dataclass(frozen=True)
class MatrixDensity(CompletedDensity):
    """Densities of a block; its moments are those of the rows, gaps being at their expectation."""

    covariance: Matrices
    means: np.ndarray
    log_weights: np.ndarray
    values: np.ndarray
    completion: Completion | None = None

    @cached_property
    def log_prob(self) -> np.ndarray:  # type: ignore[override]
        """Log-density of the observed cells of each row under each component, in nats."""
        if self.completion is not None:
            return self.completion.log_prob
        return self.covariance.log_prob(self.values, self.means)

    def log_joint(self) -> np.ndarray:
        """Return log p(x, z = k), (K, n), in nats; -inf where no sum over k would show it."""
        if self.completion is not None:
            return super().log_joint()
        return self.covariance.log_joint(self.values, self.means, self.log_weights)

    def moments(self, weights: np.ndarray) -> Moments:
        """Return the expected moments of the rows, weighted (n_components, n_rows)."""
        kind = self.covariance.scatter
        moments = Moments.of_block(kind, self.values, weights, self.means)
        if self.completion is None:
            return moments
        uncertain = self.completion.scatter(weights)
        uncertain = uncertain.sum(axis=0) if kind.shared else uncertain
        return replace(moments, scatter=moments.scatter + uncertain)
