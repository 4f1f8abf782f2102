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
from skelbo.mixture.mixture_batch import RUN_STRUCTURES, MixtureBatch
from skelbo.mixture.recombination import recombined
from skelbo.mixture.row_sample import RowSample

# Random starts for each of `n_init`, and iterations of the two rounds: of runs that are
# all there is, as on long tables, and of those whose best are recombined. New ones, near a mode
# already, need fewer.
CANDIDATES, ROUNDS = 25, (10, 30)
FIRST_CANDIDATES, FIRST_ROUNDS, LATER_ROUNDS = 15, (10, 30), (8, 15)
# One of so many goes into the second round.
SECOND_ROUND = 5
# Times that the best mixtures are recombined, how many these are at most, and the number of new
# ones for each start of `n_init`.
GENERATIONS, PARENTS, CHILDREN = 2, 5, 5
# Cells of the responsibilities or covariances of all candidates: where rows or columns are many
# there are fewer, and no new ones.
MAX_CELLS = 2**22
# Runs whose bounds differ by less, in nats per row, are on the way to the same mode.
SAME_MODE = 1e-4

Recombination = Callable[[MixtureBatch], MixtureBatch]


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
        See `best_of_runs`.
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

    def recombine(batch: MixtureBatch) -> MixtureBatch:
        shares = recombined(
            batch.log_joint(rows),
            batch.union.log_weights.reshape(len(batch), K),
            sample.weights,
            space.values,
            CHILDREN * n_starts,
            rng,
        )
        return MixtureBatch.from_shares(shares, sample, structure, regularization)

    return best_of_runs(batch, rows, regularization, n_starts, recombine if recombines else None)


def best_of_runs(
    batch: MixtureBatch,
    rows: Rows,
    regularization: Regularization,
    n_starts: int,
    recombine: Recombination | None = None,
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
    recombine : callable, MixtureBatch -> MixtureBatch, optional
        Returns new starts made from the best mixtures, and these themselves.

    Returns
    -------
    list of Mixture
        Ends of recombined runs first, highest bounds first, then those of the others.
    """
    most = -(-n_starts // 3)
    if recombine is None:
        batch, bounds = _two_rounds(batch, rows, regularization, ROUNDS)
        return [batch.mixture(number) for number in _different(bounds, most)]
    batch, bounds = _two_rounds(batch, rows, regularization, FIRST_ROUNDS)
    # Near a high mode after some iterations, or on a slow way to a higher one.
    found = [(bounds[k], batch.mixture(k)) for k in _different(bounds, most // 2).tolist()]
    for _ in range(GENERATIONS):
        batch = recombine(batch.take(_different(bounds, PARENTS)))
        batch, bounds = _two_rounds(batch, rows, regularization, LATER_ROUNDS)
    chosen = _different(bounds, most - len(found)).tolist()
    found = [(bounds[k], batch.mixture(k)) for k in chosen] + found
    bounds = np.array([bound for bound, _ in found])
    return [found[k][1] for k in _different(bounds, most).tolist()]


def _two_rounds(batch, rows: Rows, regularization, n_iter: tuple[int, int]):
    """Return the best of a batch after iterations of all and of these, and their bounds."""
    batch, _ = batch.run(rows, regularization, n_iter[0])
    better = np.arange(-(-len(batch) // SECOND_ROUND))
    return batch.take(better).run(rows, regularization, n_iter[1])


def _different(bounds: np.ndarray, most: int) -> np.ndarray:
    """Return the numbers of runs that are on the way to different modes, in their order."""
    chosen: list[int] = []
    for number, bound in enumerate(bounds):
        if len(chosen) < most and all(abs(bound - bounds[k]) > SAME_MODE for k in chosen):
            chosen.append(number)
    return np.array(chosen)


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
