r"""New mixtures made of the components of others.

Different modes mostly share some components: one that takes a component from another mode, or that
gives up one component for another elsewhere, may lie higher than any that random rows lead to.

References
----------
Ueda, Nakano, Ghahramani and Hinton (2000), *SMEM algorithm for mixture models*; Pernkopf and
Bouchaffra (2005), *Genetic-based EM algorithm for learning Gaussian mixture models*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelbo.data.rows import Rows
from skelbo.gaussian.regularization import Regularization
from skelbo.mixture.births import with_births
from skelbo.mixture.log_sum_exp import normalize
from skelbo.mixture.mixture_batch import MixtureBatch, different
from skelbo.mixture.row_sample import RowSample

# Iterations of the mixtures that have lost a component, and how many of these go on.
REST_ITERATIONS, RESTS = 5, 4
# New components that are tried for each start of `n_init`, those of them that are kept, and new
# mixtures with a component from another one.
BIRTHS, KEPT_BIRTHS, EXCHANGES = 6, 1, 3


@dataclass(frozen=True)
class Recombination:
    """Makes new mixtures of others.

    Attributes
    ----------
    sample : RowSample
        Without missing cells.
    space : RowSample
        Its rows in coordinates in which they cluster.
    rows : Rows
        Those of the sample.
    regularization : Regularization
        One that always succeeds.
    n_starts : int
        The number of new mixtures is in proportion to it.
    rng : RandomState
    """

    sample: RowSample
    space: RowSample
    rows: Rows
    regularization: Regularization
    n_starts: int
    rng: np.random.RandomState

    def __call__(self, parents: MixtureBatch) -> MixtureBatch:
        """Return the given mixtures, each after a step of EM, and behind them new ones."""
        log_joint = parents.log_joint(self.rows)
        log_weights = parents.union.log_weights.reshape(len(parents), -1)
        shares = log_joint.copy()
        normalize(shares, log_weights, self.sample.weights)
        rests, parent, lost = self._rests(parents, log_joint, log_weights)
        born, born_weights = with_births(
            rests,
            shares[parent, lost],
            self.space,
            self.sample,
            self.rows,
            self.regularization,
            BIRTHS * self.n_starts,
            KEPT_BIRTHS * self.n_starts,
            self.rng,
        )
        n_exchanges = EXCHANGES * self.n_starts if len(parents) > 1 else 0
        mixed, by = exchanged(log_joint, n_exchanges, self.rng)
        new = np.concatenate([born, mixed])
        normalize(new, np.concatenate([born_weights, log_weights[by]]), self.sample.weights)
        return self._fitted(np.concatenate([shares, new]), parents)

    def _rests(self, parents: MixtureBatch, log_joint, log_weights):
        """Return the best mixtures that have lost a component, their parents, and which it was."""
        P, K, n_rows = log_joint.shape
        kept = np.array([np.delete(np.arange(K), lost) for lost in range(K)])
        shares = log_joint[:, kept].reshape(P * K, K - 1, n_rows)
        normalize(shares, log_weights[:, kept].reshape(P * K, K - 1), self.sample.weights)
        rests = self._fitted(shares, parents)
        rests, bounds, numbers = rests.run(self.rows, self.regularization, REST_ITERATIONS)
        chosen = different(bounds, RESTS)
        return rests.take(chosen), *np.divmod(numbers[chosen], K)

    def _fitted(self, shares: np.ndarray, parents: MixtureBatch) -> MixtureBatch:
        return MixtureBatch.from_shares(shares, self.sample, parents.structure, self.regularization)


def exchanged(
    log_joint: np.ndarray, n_mixtures: int, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Return mixtures that have taken a component from another one in place of their own.

    Parameters
    ----------
    log_joint : ndarray of shape (n_given, n_components, n_rows)
        log p(x, z = k) of the given mixtures, in nats.
    n_mixtures : int
        Number of new ones; 0 if one is given.
    rng : RandomState

    Returns
    -------
    log_joint : ndarray of shape (n_mixtures, n_components, n_rows)
    parent : ndarray of int, shape (n_mixtures,)
        Which of the given ones each was.
    """
    n_given, K, _ = log_joint.shape
    parent, lost, gained = (rng.randint(most, size=n_mixtures) for most in (n_given, K, K))
    other = (parent + rng.randint(1, max(n_given, 2), size=n_mixtures)) % n_given
    children = log_joint[parent]
    children[np.arange(n_mixtures), lost] = log_joint[other, gained]
    return children, parent
