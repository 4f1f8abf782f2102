"""Several mixtures side by side, as if their components were those of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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

# Decimals of a bound, in nats per row, by which runs are ranked.
DECIMALS = 7
# Runs whose bounds differ by less, in nats per row, are on the way to the same mode.
SAME_MODE = 1e-4
# Components are at one place if the cosine between their responsibilities is larger.
SAME_PLACE = 0.9
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
        shares = (labels[:, None] == np.arange(K)[:, None]) * sample.weights
        return cls.from_shares(shares, sample, structure, regularization, pooled=True)

    @classmethod
    def from_shares(
        cls,
        shares: np.ndarray,
        sample: RowSample,
        structure: CovarianceStructure,
        regularization: Regularization,
        pooled: bool = False,
    ) -> MixtureBatch:
        """Return fits to rows whose labels are known.

        Parameters
        ----------
        shares : ndarray of shape (n_mixtures, n_components, n_rows)
            Weights of the rows times responsibilities.
        sample : RowSample
        structure : CovarianceStructure
            A key of `RUN_STRUCTURES`.
        regularization : Regularization
            One that always succeeds.
        pooled : bool, default=False
            Whether the components of a mixture begin at one covariance, whatever its structure.
        """
        S, K, n_rows = shares.shape
        kind, flat = RUN_STRUCTURES[structure], shares.reshape(-1, n_rows)
        weight = flat.sum(axis=1)
        mean = (flat @ sample.values) / np.where(weight > 0, weight, 1.0)[:, None]
        if pooled or structure.shared:
            scatter = _within(kind.scatter.dense, sample, weight, mean, S)
            moments = Moments(kind.scatter, weight, mean, _shares(weight, K, scatter))
        else:
            moments = Moments.of_block(kind.scatter, sample.values.T, flat, mean)
        components = Components.from_moments(kind, moments, regularization)
        return cls(structure, Mixture(_shares(weight, K), components), K)

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
        """True if the components of a mixture share a covariance."""
        return self.structure is not None and self.structure.shared

    @property
    def are_regular(self) -> np.ndarray:
        """True if no covariance of a mixture had to be altered, (n_mixtures,)."""
        floored = np.broadcast_to(self.union.components.floored, len(self.union.weights))
        return np.logical_not(np.any(floored.reshape(len(self), -1), axis=1))

    def log_joint(self, rows: Rows) -> np.ndarray:
        """Return log p(x, z = k) of all rows, (n_mixtures, n_components, n_rows), in nats.

        Up to a constant in each row.
        """
        result = np.empty((len(self.union.weights), rows.n_samples))
        for block in rows.blocks():
            result[:, block.index] = self.union.density(block).whole_log_joint()
        return result.reshape(len(self), self.n_components, -1)

    def places(self, rows: Rows) -> np.ndarray:
        """Return the responsibilities of all rows, (n_mixtures, n_components, n_rows).

        Scaled such that the product of two components is the cosine between them, in which a row
        counts by its weight.
        """
        places = self.log_joint(rows)
        weights = 1.0 if rows.weights is None else np.sqrt(rows.weights)
        normalize(places, self.union.log_weights.reshape(len(self), -1), weights)
        length = np.sqrt(np.square(places).sum(axis=2, keepdims=True))
        places /= np.where(length > 0, length, 1.0)
        return places

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
    ) -> tuple[MixtureBatch, np.ndarray, np.ndarray]:
        """Return the mixtures after some iterations, and their bounds one iteration before.

        Mixtures that are not regular are dropped, unless all are such.

        Returns
        -------
        batch : MixtureBatch
            By their bounds, descending; in their order where these differ by less than 1e-7, so
            that rounding does not choose between runs to one mode.
        bounds : ndarray of shape (n_left,)
            In nats per row.
        numbers : ndarray of int, shape (n_left,)
            Which of the given mixtures these are.
        """
        batch, numbers = self, np.arange(len(self))
        for _ in range(n_iter):
            statistics = rows.total(batch.expected)
            batch = batch.m_step(statistics.moments, regularization)
            bounds, regular = statistics.log_prob / rows.total_weight, batch.are_regular
            if regular.any() and not regular.all():
                left = np.flatnonzero(regular)
                batch, bounds, numbers = batch.take(left), bounds[left], numbers[left]
        order = np.argsort(-np.round(bounds, DECIMALS), kind="stable")
        return batch.take(order), bounds[order], numbers[order]


def first_different(
    numbers: Iterable[int], most: int, differ: Callable[[int, int], bool]
) -> list[int]:
    """Return the first numbers that differ from all that were chosen before, at most so many."""
    chosen: list[int] = []
    for number in numbers:
        if len(chosen) == most:
            break
        if all(differ(number, other) for other in chosen):
            chosen.append(number)
    return chosen


def different(bounds: np.ndarray, most: int) -> np.ndarray:
    """Return the numbers of runs that are on the way to different modes, in their order."""

    def differ(number: int, other: int) -> bool:
        return abs(bounds[number] - bounds[other]) > SAME_MODE

    return np.array(first_different(range(len(bounds)), most, differ))


def apart(bounds: np.ndarray, places: np.ndarray, most: int) -> np.ndarray:
    """Return the numbers of runs that differ in a component too, in their order.

    Where EM is slow, the bounds of several runs to one mode differ for long: these would leave no
    place for the others.

    Parameters
    ----------
    bounds : ndarray of shape (n_mixtures,)
    places : ndarray of shape (n_mixtures, n_components, n_rows)
        See `MixtureBatch.places`.
    most : int

    Returns
    -------
    ndarray of int
    """

    def differ(number: int, other: int) -> bool:
        return abs(bounds[number] - bounds[other]) > SAME_MODE and _differ(
            places[number], places[other]
        )

    return np.array(first_different(range(len(bounds)), most, differ))


def _differ(left: np.ndarray, right: np.ndarray) -> bool:
    """Return whether a component of one mixture is at no place of another's."""
    return bool((left @ right.T).max(axis=1).min() < SAME_PLACE)


def _within(dense: bool, sample: RowSample, weight, mean, n_mixtures: int) -> np.ndarray:
    """Return the scatter within the components of each mixture, repeated for all of these."""
    X, p = sample.values, mean.shape[1]
    weight, mean = weight.reshape(n_mixtures, -1), mean.reshape(n_mixtures, -1, p)
    if dense:
        total = (X * sample.weights[:, None]).T @ X
        within = total - np.einsum("skp,sk,skq->spq", mean, weight, mean)
    else:
        within = sample.weights @ X**2 - np.einsum("skp,sk->sp", mean**2, weight)
    return np.repeat(within, weight.shape[1], axis=0)


def _shares(weight: np.ndarray, K: int, of: np.ndarray | None = None) -> np.ndarray:
    """Return the shares of components in their mixtures' weights, (S * K,), times `of`."""
    by_mixture = weight.reshape(-1, K)
    share = (by_mixture / by_mixture.sum(axis=1, keepdims=True)).ravel()
    return share if of is None else share.reshape(-1, *[1] * (of.ndim - 1)) * of
