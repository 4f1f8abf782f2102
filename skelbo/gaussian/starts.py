"""Where EM for mixtures begins: a sample of rows, a rough clustering, one M-step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.metrics import pairwise_distances_argmin

from skelbo.elbo import AscentError
from skelbo.gaussian.k_means import k_means
from skelbo.gaussian.mixture import Mixture
from skelbo.gaussian.regularization import Regularization
from skelbo.gaussian.structure import Covariance
from skelbo.pages import give_back, take
from skelbo.rows import Question, RowSource

# Rows that a start looks at: enough for k-means to see every cluster worth starting from.
SAMPLE_ROWS = 4096
SAMPLE_ROWS_PER_COMPONENT = 64
# With three clusters or more, one run of k-means misses the better partition too often; three
# together rarely do.
KMEANS_RUNS = 3
# Rows times clusters up to which scikit-learn's k-means, which is faster per row, spends most of
# its time on preparation.
SMALL = 8192


@dataclass(frozen=True)
class Sample:
    """Distinct rows about the origin, with missing cells at the column means.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_features)
    weights : ndarray of shape (n_rows,)
        How many rows of the table each one stands for.
    """

    values: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Drawn:
    """Those distinct rows of a table whose hashes are smallest, in their order; additive.

    Attributes
    ----------
    keys : ndarray of uint64, shape (n_rows,)
        Hashes of the rows' content.
    values : ndarray of shape (n_rows, n_features)
    weights : ndarray of shape (n_rows,)
        How many rows of the table each one stands for.
    n_present : int
        Number of rows of positive weight in the table.
    size : int
        Number of rows to keep at most.
    """

    keys: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    n_present: int
    size: int

    @classmethod
    def of_table(cls, X: np.ndarray, weights: np.ndarray | None, size: int) -> Drawn:
        """Draw from a table, which may be a memory map of any size."""
        if weights is None and len(X) <= size:
            keys = content_hash(X)
            if _distinct(keys):
                return cls(keys, np.asarray(X), np.ones(len(X)), len(X), size)
        return cls._of_parts(X, weights, size)

    @classmethod
    def _of_parts(cls, X: np.ndarray, weights: np.ndarray | None, size: int) -> Drawn:
        """Merge repeated rows, and keep the smallest part by part."""
        keys: np.ndarray = np.empty(0, np.uint64)
        found: np.ndarray = np.empty(0)
        where: np.ndarray = np.empty(0, np.intp)
        n_present = 0
        for start in range(0, len(X), SAMPLE_ROWS):
            part = slice(start, min(start + SAMPLE_ROWS, len(X)))
            here = np.arange(part.start, part.stop)
            new = np.ones(len(here)) if weights is None else weights[part]
            hashed, present = content_hash(X[part]), new > 0
            n_present += int(present.sum())
            if len(keys) == size:
                present &= hashed <= keys[-1]
            keys = np.concatenate([keys, hashed[present]])
            found = np.concatenate([found, new[present]])
            where = np.concatenate([where, here[present]])
            keys, found, first = _smallest(keys, found, size)
            where = where[first]
            give_back(X, part.start, part.stop)
        order = np.argsort(where)  # a memory map is read in its order
        return cls(keys[order], take(X, where[order]), found[order], n_present, size)

    def __add__(self, other: Drawn) -> Drawn:
        keys, weights, first = _smallest(
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.weights, other.weights]),
            self.size,
        )
        order = np.argsort(first)
        values = np.concatenate([self.values, other.values])[first[order]]
        n_present = self.n_present + other.n_present
        return Drawn(keys[order], values, weights[order], n_present, self.size)


def _distinct(keys: np.ndarray) -> bool:
    keys = np.sort(keys)
    return not (keys[1:] == keys[:-1]).any()


def _smallest(keys: np.ndarray, weights: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """Merge equal keys and keep the smallest; return also where they stood."""
    keys, first, copies = np.unique(keys, return_index=True, return_inverse=True)
    weights = np.bincount(copies, weights)
    return keys[:size], weights[:size], first[:size]


def sample_question(n_components: int) -> Question:
    """Return what `sample_rows` asks for."""
    size = max(SAMPLE_ROWS, SAMPLE_ROWS_PER_COMPONENT * n_components)
    return Question(Drawn.of_table, (size,), of_blocks=False)


def sample_rows(rows: RowSource, n_components: int) -> Sample:
    """Draw the rows for a start so that weights and repetitions mean the same.

    Rows are chosen by a hash of their content, repeated rows are merged into weighted ones, and
    the result is sorted: neither the order of the rows nor the blocks matter. A table of distinct
    rows without weights that needs no thinning stays in its own order, which makes k-means label
    the clusters as it would outside.
    """
    drawn = sample_question(n_components).put_to(rows)
    values = drawn.values - rows.origin
    values[np.isnan(values)] = 0.0
    weights = drawn.weights
    if len(values) < drawn.n_present or np.any(weights != 1):
        order = _lexicographic(values)
        values, weights = values[order], weights[order]
    return Sample(values, weights)


def _lexicographic(values: np.ndarray) -> np.ndarray:
    """Return the order of rows by the last column, ties by the one before it, and so on."""
    last = values[:, -1]
    order = np.argsort(last)
    tied = np.any(np.diff(last[order]) == 0)
    return np.lexsort(values.T) if tied else order


def content_hash(X: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash of the content of each row.

    The words of a row, their halves mixed (as those of small integers end in zeros), are summed,
    times powers of an odd number, modulo 2^64; the sum is mixed by the finalizer of SplitMix64.
    """
    values = np.add(X, 0.0, dtype=np.float64, order="C")  # -0.0 becomes 0.0
    values[np.isnan(values)] = np.nan
    bits = values.view(np.uint64)
    bits ^= bits >> np.uint64(32)
    powers = np.cumprod(np.full(bits.shape[1], 0x9E3779B97F4A7C15, dtype=np.uint64))
    key = np.einsum("np,p->n", bits, powers)
    key ^= key >> np.uint64(30)
    key *= np.uint64(0xBF58476D1CE4E5B9)
    key ^= key >> np.uint64(27)
    key *= np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def _kmeans(sample: Sample, n_components: int, rng: np.random.RandomState) -> np.ndarray:
    """Return one-hot responsibilities of the best of a few runs of k-means."""
    if n_components == 1:
        return np.ones((1, len(sample.weights)))
    runs = 1 if n_components == 2 else KMEANS_RUNS
    values, weights = sample.values, sample.weights
    if len(weights) * n_components <= SMALL:
        return _one_hot(k_means(values, weights, n_components, runs, rng), n_components)
    clusters = KMeans(n_components, n_init=runs, random_state=rng)
    return _one_hot(clusters.fit(values, sample_weight=weights).labels_, n_components)


def _kmeans_plusplus(sample, n_components, rng):
    """Return responsibilities of the nearest of spread-out rows (Arthur and Vassilvitskii 2007)."""
    seeds, _ = kmeans_plusplus(
        sample.values, n_components, sample_weight=sample.weights, random_state=rng
    )
    return _one_hot(pairwise_distances_argmin(sample.values, seeds), n_components)


def _random_from_data(sample, n_components, rng):
    """Return responsibilities of the nearest of rows drawn at random."""
    share = sample.weights / sample.weights.sum()
    index = rng.choice(len(share), n_components, replace=False, p=share)
    seeds = sample.values[index]
    return _one_hot(pairwise_distances_argmin(sample.values, seeds), n_components)


def _random(sample, n_components, rng):
    """Return random responsibilities."""
    resp = rng.uniform(size=(len(sample.weights), n_components)).T
    return resp / resp.sum(axis=0)


# name -> (responsibilities of the sampled rows, whether each component keeps its own covariance)
STARTS: dict[str, tuple[Callable[..., np.ndarray], bool]] = {
    "kmeans": (_kmeans, True),
    "k-means++": (_kmeans_plusplus, False),
    "random": (_random, True),
    "random_from_data": (_random_from_data, False),
}


def start_mixture(
    name: str,
    sample: Sample,
    n_components: int,
    structure: type[Covariance],
    regularization: Regularization,
    rng: np.random.RandomState,
    n_factors: int = 0,
) -> Mixture:
    """Return the parameters from which an ascent begins.

    Where the clusters of the start are too small for covariances of their own, all components get
    the pooled one, so that no start dies of a cluster that holds a single row.
    """
    responsibilities, own = STARTS[name]
    if len(sample.weights) < n_components:
        resp = _shared(len(sample.weights), n_components)
    else:
        resp = responsibilities(sample, n_components, rng)
    weights = resp * sample.weights
    safe = np.where(weights.sum(axis=1) > 0, weights.sum(axis=1), 1.0)
    reference = (weights @ sample.values) / safe[:, None]
    moments = partial(
        structure.first_moments, sample.values.T, weights, reference, n_factors=n_factors
    )
    candidates = [lambda: moments(own=True)] if own else []
    candidates.append(lambda: moments(own=False).shared())
    if regularization.always_succeeds:
        candidates.append(lambda: moments(own=False).overall())
    return _first_sound(candidates, structure, regularization)


def _first_sound(candidates, structure, regularization) -> Mixture:
    """Return the fit to the first moments that give regular covariances."""
    for candidate in candidates:
        try:
            mixture = Mixture.from_moments(structure, candidate(), regularization)
        except AscentError as error:
            failure = error
            continue
        if mixture.sound or candidate is candidates[-1]:
            return mixture
    raise failure


def _one_hot(labels: np.ndarray, n_components: int) -> np.ndarray:
    return (np.arange(n_components)[:, None] == labels).astype(float)


def _shared(n_rows: int, n_components: int) -> np.ndarray:
    """Deal fewer rows than components out in turn; components on the same row share it."""
    owner = np.arange(n_components) % n_rows
    resp = _one_hot(np.arange(n_rows), n_rows)[owner]
    return resp / resp.sum(axis=0)
