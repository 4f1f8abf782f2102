"""Short runs of EM from many random starts side by side, each operation serving all.

Most runs of EM end at a poor mode, whatever their start; a few iterations show which are worth
continuing (Biernacki, Celeux and Govaert 2003). Those of all starts together cost little more than
those of one, as long as the rows are few: starts of a large table are made from a sample of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skelbo.data.rows import Rows
from skelbo.gaussian.covariance import CovarianceStructure
from skelbo.gaussian.regularization import Regularization
from skelbo.mixture.k_means import first_nearest
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.mixture_batch import (
    RUN_STRUCTURES,
    SAME_MODE,
    MixtureBatch,
    apart,
    different,
)
from skelbo.mixture.recombination import Recombination
from skelbo.mixture.row_sample import RowSample

# Random starts for each of `n_init`, iterations of the two rounds, and the share of the runs that
# goes into the second: of runs that are all there is, as on long tables.
CANDIDATES, ROUNDS, SECOND_ROUND = 25, (10, 30), 5
# The same of runs whose best are recombined.
FIRST_CANDIDATES, FIRST_ROUNDS = 15, (6, 12)
# Times that the best mixtures are recombined at most, and without a better one before this ends.
GENERATIONS, PATIENCE = 8, 3
# How many these are at most, and the rounds of the new ones, which begin near a mode.
PARENTS, LATER_ROUNDS, LATER_SECOND_ROUND = 4, (8, 12), 3
# Starts of `n_init` for each mixture that is returned at most: of runs alone, and of recombined
# ones, whose best is mostly the best there is.
STARTS_PER_RUN, STARTS_PER_RECOMBINED = 3, 5
# Cells of the responsibilities or covariances of all candidates: where rows or columns are many
# there are fewer, and no new ones.
MAX_CELLS = 2**22

Recombine = Callable[[MixtureBatch], MixtureBatch]


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
        Number of starts that the runs replace; a third of them, rounded up, are returned at most
        (a fifth of them where the best are recombined).

    Returns
    -------
    list of Mixture
        See `best_of_runs` and `best_recombined`.
    """
    (n_rows, p), K = sample.values.shape, n_components
    cells = max(n_rows, p * p if structure.scatter.dense else p)
    most = max(MAX_CELLS // (cells * K), 2 * n_starts)
    if sample.observed is not None:  # each pattern of missing cells has matrices of its own
        most = 2 * n_starts
    space = sample if structure.isotropic else sample.standardized()
    recombines = CANDIDATES * n_starts <= most
    n_runs = FIRST_CANDIDATES * n_starts if recombines else most
    labels = nearest_of_random_rows(space, K, n_runs, rng)
    batch = MixtureBatch.from_labels(labels, sample, structure, K, regularization)
    rows = sample.rows(len(batch) * structure.row_cells(K, p)[0])
    if not recombines:
        return best_of_runs(batch, rows, regularization, n_starts)
    recombine = Recombination(sample, space, rows, regularization, n_starts, rng)
    return best_recombined(batch, rows, regularization, n_starts, recombine)


def best_of_runs(
    batch: MixtureBatch, rows: Rows, regularization: Regularization, n_starts: int
) -> list[Mixture]:
    """Return the ends of the best short runs, on the way to different modes.

    All begin with a round of a few iterations, after which the best go on.

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
    batch, bounds = _two_rounds(batch, rows, regularization, ROUNDS)
    return [batch.mixture(k) for k in different(bounds, -(-n_starts // STARTS_PER_RUN)).tolist()]


def best_recombined(
    batch: MixtureBatch,
    rows: Rows,
    regularization: Regularization,
    n_starts: int,
    recombine: Recombine,
) -> list[Mixture]:
    """Return the ends of the best runs, after the best have been recombined several times.

    Parameters
    ----------
    batch : MixtureBatch
        Where the first runs begin.
    rows : Rows
    regularization : Regularization
        One that always succeeds.
    n_starts : int
        Five times the number of mixtures that are returned at most.
    recombine : callable, MixtureBatch -> MixtureBatch
        Returns new starts made from the best mixtures, and these themselves.

    Returns
    -------
    list of Mixture
        Highest bounds first.
    """
    batch, bounds = _two_rounds(batch, rows, regularization, FIRST_ROUNDS)
    best, idle = bounds[0], 0
    for _ in range(GENERATIONS):
        batch = recombine(batch.take(apart(bounds, batch.places(rows), PARENTS)))
        batch, bounds, _ = batch.run(rows, regularization, LATER_ROUNDS[0])
        most = -(-len(batch) // LATER_SECOND_ROUND)
        batch = batch.take(apart(bounds, batch.places(rows), most))
        batch, bounds, _ = batch.run(rows, regularization, LATER_ROUNDS[1])
        idle = 0 if bounds[0] > best + SAME_MODE else idle + 1
        if idle == PATIENCE:
            break
        best = max(best, bounds[0])
    chosen = different(bounds, -(-n_starts // STARTS_PER_RECOMBINED))
    return [batch.mixture(number) for number in chosen.tolist()]


def _two_rounds(batch, rows: Rows, regularization, n_iter: tuple[int, int]):
    """Return the best of a batch after iterations of all and of these, and their bounds."""
    better = np.arange(-(-len(batch) // SECOND_ROUND))
    batch, _, left = batch.run(rows, regularization, n_iter[0])
    return batch.take(better[: len(left)]).run(rows, regularization, n_iter[1])[:2]


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
    half_squares = np.einsum("skp,skp->sk", centres, centres) / 2
    closeness = centres @ values.T - half_squares[:, :, None]
    return first_nearest(closeness, half_squares, np.square(values).sum(axis=1))
