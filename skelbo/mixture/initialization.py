"""Where EM for mixtures begins: a sample of rows, a rough clustering, one M-step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.metrics import pairwise_distances_argmin

from skelbo.data.threads import one_blas_thread, one_openmp_thread
from skelbo.em.loop import AscentError
from skelbo.gaussian.covariance import Covariance
from skelbo.gaussian.regularization import Regularization
from skelbo.mixture.k_means import k_means
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.row_sample import Sample

# With three clusters or more, one run of k-means misses the better partition too often; three
# together rarely do.
KMEANS_RUNS = 3
# Rows times clusters up to which scikit-learn's k-means, which is faster per row, spends most of
# its time on preparation.
SMALL = 8192
# The same, up to which its threads wait for each other about as long as they work.
SHARED = 2**16


def _kmeans(sample: Sample, n_components: int, rng: np.random.RandomState) -> np.ndarray:
    """Return one-hot responsibilities of the best of a few runs of k-means."""
    if n_components == 1:
        return np.ones((1, len(sample.weights)))
    runs = 1 if n_components == 2 else KMEANS_RUNS
    values, weights = sample.values, sample.weights
    if len(weights) * n_components <= SMALL:
        return _one_hot(k_means(values, weights, n_components, runs, rng), n_components)
    clusters = KMeans(n_components, n_init=runs, random_state=rng)
    shared = len(weights) * n_components > SHARED
    # Its own threads and those of BLAS would wait for each other.
    with one_blas_thread(), nullcontext() if shared else one_openmp_thread():
        clusters.fit(values, sample_weight=weights)
    return _one_hot(clusters.labels_, n_components)


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
    candidates.append(lambda: moments(own=False).with_shared_scatter())
    if regularization.always_succeeds:
        candidates.append(lambda: moments(own=False).with_total_scatter())
    return _first_sound(candidates, structure, regularization)


def _first_sound(candidates, structure, regularization) -> Mixture:
    """Return the fit to the first moments that give regular covariances."""
    for candidate in candidates:
        try:
            mixture = Mixture.from_moments(structure, candidate(), regularization)
        except AscentError as error:
            failure = error
            continue
        if mixture.is_regular or candidate is candidates[-1]:
            return mixture
    raise failure


def _one_hot(labels: np.ndarray, n_components: int) -> np.ndarray:
    return (np.arange(n_components)[:, None] == labels).astype(float)


def _shared(n_rows: int, n_components: int) -> np.ndarray:
    """Deal fewer rows than components out in turn; components on the same row share it."""
    owner = np.arange(n_components) % n_rows
    resp = _one_hot(np.arange(n_rows), n_rows)[owner]
    return resp / resp.sum(axis=0)
