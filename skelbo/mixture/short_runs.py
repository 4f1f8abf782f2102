"""Short runs of EM from many random starts side by side, each operation serving all.

Most runs of EM end at a poor mode, whatever their start; a few iterations show which are worth
continuing (Biernacki, Celeux and Govaert 2003). Those of all starts together cost little more than
those of one, as long as the rows are few: starts of a large table are made from a sample of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skelbo.data.rows import Block, Rows
from skelbo.gaussian.components import Components
from skelbo.gaussian.covariance import CovarianceStructure
from skelbo.gaussian.matrices import Matrices
from skelbo.gaussian.moments import Moments
from skelbo.gaussian.regularization import Regularization
from skelbo.gaussian.structures import Diag, Full, Spherical, Tied, TiedDiag, TiedSpherical
from skelbo.mixture.log_sum_exp import normalize
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.row_sample import RowSample

# Random starts for each that the user asks for; one of so many goes into the second round.
CANDIDATES, SECOND_ROUND_SHARE = 25, 5
# Iterations of the two rounds.
FIRST_ROUND, SECOND_ROUND = 10, 30
# Cells of the responsibilities or covariances of all candidates: fewer of these where rows or
# columns are many.
MAX_CELLS = 2**22
# Runs whose bounds differ by less, in nats per row, are on the way to the same mode.
SAME_MODE = 1e-4

# Structure -> the structure of the runs; shared covariances are pooled in their M-step.
RUN_STRUCTURES: dict[Any, type[Matrices]] = {
    Full: Full,
    Tied: Full,
    Diag: Diag,
    TiedDiag: Diag,
    Spherical: Spherical,
    TiedSpherical: Spherical,
}


@dataclass(frozen=True)
class BatchStatistics:
    """Result of an E-step of several mixtures over some rows; additive.

    Attributes
    ----------
    log_prob : ndarray of shape (n_mixtures,)
        Weighted sums of log p(x) in nats.
    moments : Moments or EmissionStatistics
        Expected statistics of all components, those of one mixture after another.
    """

    log_prob: np.ndarray
    moments: Any

    def __add__(self, other: BatchStatistics) -> BatchStatistics:
        return BatchStatistics(self.log_prob + other.log_prob, self.moments + other.moments)


@dataclass(frozen=True)
class MixtureBatch:
    """Mixtures of equally many components, which stand side by side as if they were those of one.

    Attributes
    ----------
    structure : CovarianceStructure or None
        A key of `RUN_STRUCTURES`; None for mixed columns, whose covariances are not shared.
    union : Mixture
        n_mixtures times n_components components, those of one mixture after another, none of which
        share a covariance; each mixture's weights sum to one.
    n_components : int
    """

    structure: Any
    union: Mixture
    n_components: int

    @classmethod
    def from_labels(
        cls, labels, sample: RowSample, structure: CovarianceStructure, K: int, regularization
    ) -> MixtureBatch:
        """Return fits to labels (n_mixtures, n_rows), covariances being shared within a mixture."""
        X = sample.values
        weights = (labels[:, None] == np.arange(K)[:, None]) * sample.weights
        weight = weights.sum(axis=2)
        mean = (weights @ X) / np.where(weight > 0, weight, 1.0)[:, :, None]
        kind = RUN_STRUCTURES[structure].scatter
        if kind.dense:
            total = (X * sample.weights[:, None]).T @ X
            within = total - np.einsum("skp,sk,skq->spq", mean, weight, mean)
        else:
            within = sample.weights @ X**2 - np.einsum("skp,sk->sp", mean**2, weight)
        scatter = np.repeat(within[:, None], K, axis=1)
        moments = Moments(kind, weight.ravel(), mean.reshape(-1, X.shape[1]), _flat(scatter))
        moments = replace(moments, scatter=_shares(moments.weight, K, moments.scatter))
        components = Components.from_moments(RUN_STRUCTURES[structure], moments, regularization)
        return cls(structure, Mixture(_shares(moments.weight, K), components), K)

    def __len__(self) -> int:
        return len(self.union.weights) // self.n_components

    def take(self, chosen: np.ndarray) -> MixtureBatch:
        """Return some of the mixtures, by number."""
        index = chosen[:, None] * self.n_components + np.arange(self.n_components)
        index = index.ravel()
        part = self.union.components.take(index)
        return replace(self, union=Mixture(self.union.weights[index], part))

    def mixture(self, number: int) -> Mixture:
        """Return one of the mixtures, with its own structure."""
        theta = self.take(np.array([number])).union
        if not self.is_shared:
            return theta
        largest = theta.components.covariance.take(np.array([theta.weights.argmax()]))
        covariance = self.structure(*vars(largest).values())
        return Mixture(theta.weights, Components(theta.components.means, covariance))

    @property
    def is_shared(self) -> bool:
        """Whether the components of a mixture share a covariance."""
        return self.structure is not None and self.structure.shared

    @property
    def are_regular(self) -> np.ndarray:
        """True if no covariance of a mixture had to be altered, (n_mixtures,)."""
        floored = np.broadcast_to(self.union.components.floored, len(self.union.weights))
        return np.logical_not(np.any(floored.reshape(len(self), -1), axis=1))

    def expected(self, block: Block) -> BatchStatistics:
        """Return the E-step's statistics of one block."""
        density = self.union.density(block)
        log_joint = density.whole_log_joint()  # components of other mixtures are no measure
        shape = len(self), self.n_components
        log_weights = self.union.log_weights.reshape(shape)
        log_prob = normalize(log_joint.reshape(*shape, -1), log_weights, block.weights)
        log_prob = log_prob @ block.weights + density.total_log_base()
        return BatchStatistics(log_prob, density.moments(log_joint))

    def m_step(self, moments: Any, regularization: Regularization) -> MixtureBatch:
        """Maximise the energy of each mixture in closed form."""
        if self.is_shared:
            within = moments.scatter.reshape(len(self), -1, *moments.scatter.shape[1:]).sum(axis=1)
            within = np.repeat(within, self.n_components, axis=0)
            share = _shares(moments.weight, self.n_components, within)
            moments = replace(moments, scatter=share)
        components = self.union.components.updated(moments, regularization)
        return replace(self, union=Mixture(_shares(moments.weight, self.n_components), components))

    def run(
        self, rows: Rows, regularization: Regularization, n_iter: int
    ) -> tuple[MixtureBatch, np.ndarray]:
        """Return the mixtures after some iterations, and their bounds one iteration before.

        Returns
        -------
        batch : MixtureBatch
            Regular ones first, then by their bounds, descending.
        bounds : ndarray of shape (n_mixtures,)
            In nats per row.
        """
        batch = self
        for _ in range(n_iter):
            statistics = rows.total(batch.expected)
            batch = batch.m_step(statistics.moments, regularization)
        bounds = statistics.log_prob / rows.total_weight
        order = np.lexsort([-bounds, ~batch.are_regular])
        return batch.take(order), bounds[order]


def _flat(array: np.ndarray) -> np.ndarray:
    """Merge the first two axes."""
    return array.reshape(-1, *array.shape[2:])


def _shares(weight: np.ndarray, K: int, of: np.ndarray | None = None) -> np.ndarray:
    """Return the shares of components in their mixtures' weights, (S * K,), times `of`."""
    by_mixture = weight.reshape(-1, K)
    share = (by_mixture / by_mixture.sum(axis=1, keepdims=True)).ravel()
    return share if of is None else share.reshape(-1, *[1] * (of.ndim - 1)) * of


def can_run_together(structure: CovarianceStructure, regularization: Regularization) -> bool:
    """Return whether short runs can share their operations: none may fail."""
    return structure in RUN_STRUCTURES and regularization.always_succeeds


def promising_starts(
    sample: RowSample,
    n_components: int,
    structure: CovarianceStructure,
    regularization: Regularization,
    rng: np.random.RandomState,
    n_starts: int,
) -> list[Mixture]:
    """Return the ends of the best short runs from random rows, on the way to different modes.

    Parameters
    ----------
    sample : RowSample
        More rows than components.
    n_components : int
    structure : CovarianceStructure
        A key of `RUN_STRUCTURES`.
    regularization : Regularization
        One that always succeeds.
    rng : RandomState
    n_starts : int
        Number of starts that the runs replace; a third of them, rounded up, are returned at most.

    Returns
    -------
    list of Mixture
        Highest bounds first.
    """
    (n_rows, p), K = sample.values.shape, n_components
    cells = max(n_rows, p * p if structure.scatter.dense else p)
    most = max(MAX_CELLS // (cells * K), 2 * n_starts)
    if sample.observed is not None:  # each pattern of missing cells has matrices of its own
        most = 2 * n_starts
    labels = nearest_of_random_rows(
        sample if structure.isotropic else sample.standardized(),
        K,
        min(CANDIDATES * n_starts, most),
        rng,
    )
    batch = MixtureBatch.from_labels(labels, sample, structure, K, regularization)
    rows = sample.rows(len(batch) * structure.row_cells(K, p)[0])
    return best_of_runs(batch, rows, regularization, n_starts)


def best_of_runs(
    batch: MixtureBatch, rows: Rows, regularization: Regularization, n_starts: int
) -> list[Mixture]:
    """Return the ends of the best short runs, in two rounds, on the way to different modes.

    Parameters
    ----------
    batch : MixtureBatch
        Where the runs begin.
    rows : Rows
    regularization : Regularization
        One that always succeeds.
    n_starts : int
        Three times the number of mixtures that are returned at most.

    Returns
    -------
    list of Mixture
        Highest bounds first.
    """
    batch, _ = batch.run(rows, regularization, FIRST_ROUND)
    second = np.arange(-(-len(batch) // SECOND_ROUND_SHARE))
    batch, bounds = batch.take(second).run(rows, regularization, SECOND_ROUND)
    chosen: list[int] = []
    for number, bound in enumerate(bounds):
        if len(chosen) < -(-n_starts // 3) and all(
            abs(bound - bounds[k]) > SAME_MODE for k in chosen
        ):
            chosen.append(number)
    return [batch.mixture(number) for number in chosen]


def nearest_of_random_rows(
    sample: RowSample, K: int, n_mixtures: int, rng: np.random.RandomState
) -> np.ndarray:
    """Return which of K random rows is nearest to each row, (n_mixtures, n_rows).

    The rows are drawn without replacement in proportion to their weights: those with the smallest
    of exponential times with the weights as rates.
    """
    values = sample.values
    times = rng.standard_exponential((n_mixtures, len(values))) / sample.weights
    centres = values[np.argpartition(times, K, axis=1)[:, :K]]
    half_squares = np.einsum("skp,skp->sk", centres, centres)[:, :, None] / 2
    return (centres @ values.T - half_squares).argmax(axis=1)
