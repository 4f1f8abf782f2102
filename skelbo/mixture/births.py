r"""Components born into mixtures of one less: steps of EM in the new component alone.

.. math:: \log p(x) = \log\{(1 - w) f(x) + w\, g(x)\}

The mixture f stays as it is, so that a step costs what one component costs, and hundreds of places
for g can be tried.

References
----------
Vlassis and Likas (2002), *A greedy EM algorithm for Gaussian mixture learning*; Verbeek, Vlassis
and Kröse (2003), *Efficient greedy learning of Gaussian mixture models*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skelbo.data.rows import Block, Rows, over_rows
from skelbo.gaussian.components import Components
from skelbo.gaussian.moments import Moments, Scatter, positive_or_one
from skelbo.gaussian.regularization import Regularization
from skelbo.mixture.k_means import first_nearest
from skelbo.mixture.log_sum_exp import normalize
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.mixture_batch import (
    DECIMALS,
    RUN_STRUCTURES,
    MixtureBatch,
    first_different,
)
from skelbo.mixture.row_sample import RowSample

# Steps of EM in a new component alone.
STEPS = 6
# Share of the new components that begin at a ball of rows, the others at a half of a component;
# rows of the smallest ball for each column.
BALLS, ROWS_PER_COLUMN = 0.5, 2.0
# Components that share more of their rows, of those that either has, are one.
SAME = 0.5
# Largest logarithm of a ratio of densities.
LARGEST = 700.0


@dataclass(frozen=True)
class Births:
    """New components, each with the mixture that it is born into.

    Attributes
    ----------
    base : ndarray of int, shape (n_births,)
        Number of the mixture.
    weight : ndarray of shape (n_births,)
        Probability of the new component.
    components : Components
        The new Gaussians.
    """

    base: np.ndarray
    weight: np.ndarray
    components: Components

    @classmethod
    def at(
        cls,
        members: np.ndarray,
        base: np.ndarray,
        mixtures: MixtureBatch,
        sample: RowSample,
        regularization: Regularization,
    ) -> Births:
        """Return the fits to some rows.

        Parameters
        ----------
        members : ndarray of shape (n_births, n_rows)
            Weights of the rows in each new component.
        base : ndarray of int, shape (n_births,)
        mixtures : MixtureBatch
            Those of one component less. A covariance that all share is the new one's too.
        sample : RowSample
        regularization : Regularization
            One that always succeeds.
        """
        kind = RUN_STRUCTURES[mixtures.structure]
        moments = _moments(kind.scatter, members, sample.values)
        if mixtures.is_shared:
            shared = mixtures.union.components.take(base * mixtures.n_components)
            components = replace(shared, means=moments.mean)
        else:
            components = Components.from_moments(kind, moments, regularization)
        return cls(base, _inner(moments.weight / sample.weights.sum()), components)

    def take(self, which: np.ndarray) -> Births:
        """Return some of them, by number."""
        return Births(self.base[which], self.weight[which], self.components.take(which))

    @property
    def regular(self) -> Births:
        """Those whose covariance did not have to be altered, or all if there are none."""
        floored = np.broadcast_to(self.components.floored, len(self.base))
        some = floored.any() and not floored.all()
        return self.take(np.flatnonzero(~floored)) if some else self

    def rest(self, log_prob: np.ndarray) -> np.ndarray:
        """Return log (1 - w) f(x), (n_births, n_rows), of log f(x) of each mixture."""
        return log_prob[self.base] + np.log1p(-self.weight)[:, None]

    def log_joint(self, rows: Rows) -> np.ndarray:
        """Return log w g(x), (n_births, n_rows), in nats."""
        union = Mixture(self.weight, self.components)
        return MixtureBatch(None, union, 1).log_joint(rows)[:, 0]

    def stepped(
        self, log_prob: np.ndarray, rows: Rows, regularization: Regularization, shared: bool
    ) -> Births:
        """Return the new components after a step of EM in them alone.

        Parameters
        ----------
        log_prob : ndarray of shape (n_mixtures, n_rows)
            log f(x) of each mixture.
        rows : Rows
        regularization : Regularization
            One that always succeeds.
        shared : bool
            Whether the covariance stays as it is.
        """
        rest, union = self.rest(log_prob), Mixture(self.weight, self.components)

        def expected(block: Block) -> Moments:
            density = union.density(block)
            shares = _shares(density.whole_log_joint(), rest[:, block.index], block.weights)
            return density.moments(shares)

        moments = rows.total(expected)
        weight = _inner(moments.weight / rows.total_weight)
        if shared:
            components = replace(self.components, means=moments.mean)
        else:
            components = self.components.updated(moments, regularization)
        return Births(self.base, weight, components)


def _inner(weight: np.ndarray) -> np.ndarray:
    """Return probabilities away from 0 and 1, where a component is nothing or all there is."""
    return np.clip(weight, 1e-12, 1 - 1e-12)


def _shares(log_joint: np.ndarray, rest: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weights of rows times responsibilities of the new components; in place.

    A row whose densities all underflow is the others'.
    """
    with np.errstate(invalid="ignore"):
        np.subtract(rest, log_joint, out=log_joint)
    np.fmin(log_joint, LARGEST, out=log_joint)
    np.exp(log_joint, out=log_joint)
    log_joint += 1.0
    return np.divide(weights, log_joint, out=log_joint)


def _moments(kind: Scatter, weights: np.ndarray, values: np.ndarray) -> Moments:
    """Return the moments of rows (n_rows, n_features) of which components have these weights."""
    if kind.worth_expanding(values.shape[1]):
        return Moments.of_sums(kind, over_rows(weights, kind.statistics_of(values.T)))
    mean = (weights @ values) / positive_or_one(weights.sum(axis=1))[:, None]
    return Moments.of_block(kind, values.T, weights, mean)


def random_regions(
    resp: np.ndarray, base: np.ndarray, space: RowSample, rng: np.random.RandomState
) -> np.ndarray:
    """Return the rows of new components: balls, and halves of the components of mixtures.

    Parameters
    ----------
    resp : ndarray of shape (n_mixtures, n_components, n_rows)
        Responsibilities of the components.
    base : ndarray of int, shape (n_regions,)
        Number of the mixture into which each is born.
    space : RowSample
        The rows in coordinates in which they cluster.
    rng : RandomState

    Returns
    -------
    members : ndarray of shape (n_regions, n_rows)
        Weights of the rows.
    """
    values, weights = space.values, space.weights
    share = resp[base, rng.randint(resp.shape[1], size=len(base))] * weights
    with np.errstate(divide="ignore", over="ignore"):
        times = rng.standard_exponential(share.shape) / share
    ends = values[np.argpartition(times, 1, axis=1)[:, :2]]
    half_squares = np.square(ends).sum(axis=2) / 2
    closeness = ends @ values.T - half_squares[:, :, None]
    nearest = first_nearest(closeness, half_squares, np.square(values).sum(axis=1))
    halves = np.where(nearest == 0, share, 0.0)
    lowest = ROWS_PER_COLUMN * values.shape[1]
    highest = max(weights.sum() / (2 * resp.shape[1] + 2), lowest + 1)
    sizes = np.exp(rng.uniform(np.log(lowest), np.log(highest), size=len(base)))
    is_ball = rng.random_sample(len(base)) < BALLS
    halves[is_ball] = _balls(ends[is_ball, 0], sizes[is_ball], values, weights)
    return halves


def _balls(centres, sizes, values, weights) -> np.ndarray:
    """Return the weights of the rows nearest to centres, (n_balls, n_rows), together of a size."""
    squares = np.square(values).sum(axis=1)
    distances = squares - 2 * centres @ values.T
    # Rows at equal distances in their order: rounding chooses none.
    order = np.argsort(np.round(distances / (squares.max() or 1.0), 9), axis=1, kind="stable")
    inside = np.cumsum(weights[order], axis=1) <= sizes[:, None]
    inside[:, :2] = True
    members = np.zeros(distances.shape)
    np.put_along_axis(members, order, np.where(inside, weights[order], 0.0), axis=1)
    return members


def with_births(
    mixtures: MixtureBatch,
    lost: np.ndarray,
    space: RowSample,
    sample: RowSample,
    rows: Rows,
    regularization: Regularization,
    n_births: int,
    most: int,
    rng: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best of mixtures with one component more, each at another place.

    Parameters
    ----------
    mixtures : MixtureBatch
    lost : ndarray of shape (n_mixtures, n_rows)
        Weights of the rows times responsibilities of a component that each mixture has lost: none
        is born there.
    space : RowSample
        The rows in coordinates in which they cluster.
    sample : RowSample
    rows : Rows
        Those of the sample.
    regularization : Regularization
        One that always succeeds.
    n_births, most : int
        Number of components to try, and of mixtures to return at most.
    rng : RandomState

    Returns
    -------
    log_joint : ndarray of shape (n, n_components + 1, n_rows)
        log p(x, z), in nats.
    log_weights : ndarray of shape (n, n_components + 1)
        log p(z).
    """
    log_joint = mixtures.log_joint(rows)
    log_weights = mixtures.union.log_weights.reshape(len(mixtures), -1)
    resp = log_joint.copy()
    log_prob = normalize(resp, log_weights)
    base = np.arange(n_births) % len(mixtures)
    members = random_regions(resp, base, space, rng)
    births = Births.at(members, base, mixtures, sample, regularization).regular
    for _ in range(STEPS):
        births = births.stepped(log_prob, rows, regularization, mixtures.is_shared).regular
    new, rest = births.log_joint(rows), births.rest(log_prob)
    bounds = np.logaddexp(new, rest) @ sample.weights / rows.total_weight
    chosen = _different(births.base, bounds, _shares(new.copy(), rest, sample.weights), lost, most)
    base, weight = births.base[chosen], births.weight[chosen, None]
    old = log_joint[base] + np.log1p(-weight)[:, :, None]
    old_weights = log_weights[base] + np.log1p(-weight)
    joint = np.concatenate([old, new[chosen, None]], axis=1)
    return joint, np.concatenate([old_weights, np.log(weight)], axis=1)


def _different(base, bounds, shares, lost, most: int) -> list[int]:
    """Return the numbers of the highest bounds of births at different places, descending."""
    order = np.argsort(-np.round(bounds, DECIMALS), kind="stable").tolist()
    elsewhere = (k for k in order if not _are_one(shares[k], lost[base[k]]))

    def differ(number: int, other: int) -> bool:
        return base[number] != base[other] or not _are_one(shares[number], shares[other])

    return first_different(elsewhere, most, differ)


def _are_one(left: np.ndarray, right: np.ndarray) -> bool:
    """Return whether two components (n_rows,) share most of their rows."""
    common = np.minimum(left, right).sum()
    return bool(common > SAME * (left.sum() + right.sum() - common))
