"""Starts of EM for a Gaussian mixture: a sample of rows, a clustering of it, one M-step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.utils import assert_all_finite

from skelbo.data.row_source import RowSource
from skelbo.data.sharing import is_sharing, shared
from skelbo.data.threads import one_blas_thread, one_openmp_thread
from skelbo.em.engine import Start
from skelbo.em.loop import AscentError
from skelbo.gaussian.components import Components
from skelbo.gaussian.covariance import Covariance, CovarianceStructure
from skelbo.gaussian.regularization import Regularization
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.k_means import k_means, nearest_rows
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.row_sample import RowSample, sample_rows
from skelbo.mixture.short_runs import can_run_together, promising_starts

# With three clusters or more, one run of k-means often misses the better partition; the best of
# three rarely does.
KMEANS_RUNS = 3
# Rows times clusters up to which scikit-learn's k-means, faster per row, spends most of its time on
# preparation.
SMALL = 8192
# The same, up to which its threads save no time.
SHARED = 2**16


def _kmeans(sample: RowSample, n_components: int, rng: np.random.RandomState) -> np.ndarray:
    """Return one-hot responsibilities of the best of a few runs of k-means."""
    if n_components == 1:
        return np.ones((1, len(sample.weights)))
    runs = 1 if n_components == 2 else KMEANS_RUNS
    values, weights = sample.values, sample.weights
    if len(weights) * n_components <= SMALL:
        return _one_hot(k_means(values, weights, n_components, runs, rng), n_components)
    clusters = KMeans(n_components, n_init=runs, random_state=rng)
    shared = len(weights) * n_components > SHARED
    # Its threads and those of BLAS would compete for the cores.
    with one_blas_thread(), nullcontext() if shared else one_openmp_thread():
        clusters.fit(values, sample_weight=weights)
    return _one_hot(clusters.labels_, n_components)


def _kmeans_plusplus(sample, n_components, rng):
    """Return one-hot responsibilities of the nearest of the seeds of k-means++."""
    seeds, _ = kmeans_plusplus(
        sample.values, n_components, sample_weight=sample.weights, random_state=rng
    )
    return _one_hot(nearest_rows(sample.values, seeds), n_components)


def _random_from_data(sample, n_components, rng):
    """Return one-hot responsibilities of the nearest of rows drawn at random."""
    share = sample.weights / sample.weights.sum()
    index = rng.choice(len(share), n_components, replace=False, p=share)
    seeds = sample.values[index]
    return _one_hot(nearest_rows(sample.values, seeds), n_components)


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


@dataclass(frozen=True)
class UserParameters:
    """Parameters of a start that the user gives; each is None if not given.

    Attributes
    ----------
    weights : ndarray of shape (n_components,) or None
    means : ndarray of shape (n_components, n_features) or None
        In the units of the data.
    covariance : Covariance or None
    """

    weights: np.ndarray | None
    means: np.ndarray | None
    covariance: Covariance | None

    @classmethod
    def checked(cls, kind: str, K: int, p: int, weights, means, precisions) -> UserParameters:
        """Validate ``weights_init``, ``means_init`` and ``precisions_init``."""
        return cls(
            None if weights is None else _checked_weights(weights, K),
            None if means is None else _checked_array(means, (K, p), "means"),
            None if precisions is None else _checked_covariance(precisions, kind, K, p),
        )

    @property
    def is_empty(self) -> bool:
        """True if nothing is given."""
        return self.weights is None and self.means is None and self.covariance is None

    def whole(self, origin: np.ndarray) -> Mixture | None:
        """Return the parameters about `origin` if all were given, else None."""
        if self.weights is None or self.means is None or self.covariance is None:
            return None
        return Mixture(self.weights, Components(self.means - origin, self.covariance))

    def override(self, theta: Mixture, origin: np.ndarray) -> Mixture:
        """Return theta, about `origin`, with the given parameters in place of its own."""
        weights = theta.weights if self.weights is None else self.weights
        means = theta.components.means if self.means is None else self.means - origin
        covariance = self.covariance or theta.components.covariance
        return Mixture(weights, Components(means, covariance))


def mixture_starts(
    rows: RowSource,
    structure: CovarianceStructure,
    n_components: int,
    user: UserParameters,
    regularization: Regularization,
    *,
    n_starts: int,
    init_params: str,
    rng: np.random.RandomState,
    units: np.ndarray | None = None,
) -> Iterator[Start]:
    """Yield the starts of a fit: the user's parameters, the others from a clustering of rows.

    With ``"kmeans"`` only the first start is made by k-means, all runs of which tend to end in one
    clustering; the others are the most promising of many from random rows.

    Parameters
    ----------
    rows : RowSource
        About their centre.
    structure : CovarianceStructure
    n_components : int
    user : UserParameters
    regularization : Regularization
    n_starts : int
    init_params : str
        A key of `STARTS`.
    rng : RandomState
    units : ndarray of shape (n_features,), optional
        Scales of the columns; see `sample_rows`.
    """
    whole = user.whole(rows.origin)
    if whole is not None:
        yield from [whole] * n_starts
        return
    sample = sample_rows(rows, n_components, units)
    options = n_components, structure, regularization, rng

    def start(name: str) -> Mixture:
        return user.override(start_mixture(name, sample, *options), rows.origin)

    yield partial(start, init_params)
    diverse = init_params == "kmeans" and user.is_empty and len(sample.weights) > n_components > 1
    if n_starts > 1 and diverse and can_run_together(structure, regularization):
        yield from promising_starts(sample, *options, n_starts)
        return
    for _ in range(n_starts - 1):
        yield partial(start, "random_from_data" if diverse else init_params)


def start_mixture(
    name: str,
    sample: RowSample,
    n_components: int,
    structure: CovarianceStructure,
    regularization: Regularization,
    rng: np.random.RandomState,
) -> Mixture:
    """Return the parameters from which an ascent begins.

    Where the clusters of the start are too small for covariances of their own, all components get
    the pooled one, so that no start fails for a cluster that holds a single row.
    """
    clustered = sample if structure.isotropic else sample.standardized()
    resp, own = first_labels(name, clustered, n_components, rng)
    return mixture_of_labels(sample.values, resp * sample.weights, structure, regularization, own)


def first_labels(
    name: str, clustered: RowSample, n_components: int, rng: np.random.RandomState
) -> tuple[np.ndarray, bool]:
    """Return the first responsibilities of rows, in a space in which clusters are sought.

    Parameters
    ----------
    name : str
        A key of `STARTS`.
    clustered : RowSample
    n_components : int
    rng : RandomState

    Returns
    -------
    resp : ndarray of shape (n_components, n_rows)
    own : bool
        Whether each component keeps its own covariance.
    """
    own = STARTS[name][1]
    if len(clustered.weights) < n_components:
        return _dealt_out(len(clustered.weights), n_components), own
    return _responsibilities(name, clustered, n_components, rng), own


def _responsibilities(name: str, sample: RowSample, K: int, rng: np.random.RandomState):
    """Return the responsibilities of a start; fits of one search to the same rows share them."""
    responsibilities = STARTS[name][0]
    if not is_sharing():
        return responsibilities(sample, K, rng)

    def compute() -> tuple[np.ndarray, Any]:
        return responsibilities(sample, K, rng), rng.get_state(legacy=True)

    # A fit by itself begins at the same labels, and leaves its generator in the same state.
    before: Any = rng.get_state(legacy=True)
    _, words, *rest = before
    arrays = (sample.values, sample.weights, words)
    digests = tuple(blake2b(array.tobytes()).digest() for array in arrays)
    resp, state = shared((name, K, sample.values.shape, digests, *rest), compute)
    rng.set_state(state)
    return resp


def mixture_of_labels(
    values: np.ndarray,
    weights: np.ndarray,
    structure: CovarianceStructure,
    regularization: Regularization,
    own: bool = True,
) -> Mixture:
    """Return the maximum likelihood fit to complete rows whose labels are known.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_features)
        About the origin.
    weights : ndarray of shape (n_components, n_rows)
        Frequency times responsibility.
    structure : CovarianceStructure
    regularization : Regularization
    own : bool, default=True
        Whether each component keeps its own covariance; the pooled one where that is singular.

    Raises
    ------
    AscentError
        If all covariances are singular and may not be altered.
    """
    safe = np.where(weights.sum(axis=1) > 0, weights.sum(axis=1), 1.0)
    reference = (weights @ values) / safe[:, None]
    moments = partial(structure.label_moments, values.T, weights, reference)
    candidates = [lambda: moments(own=True)] if own else []
    candidates.append(lambda: moments(own=False).with_shared_scatter())
    if regularization.always_succeeds:
        candidates.append(lambda: moments(own=False).with_total_scatter())
        if structure.scatter.dense and len(values) <= values.shape[1]:
            candidates = candidates[-1:]  # every matrix of so few rows is singular
    return _first_regular(candidates, structure, regularization)


def _first_regular(candidates, structure, regularization) -> Mixture:
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


def _dealt_out(n_rows: int, n_components: int) -> np.ndarray:
    """Assign components to fewer rows in turn; components of the same row share it equally."""
    owner = np.arange(n_components) % n_rows
    resp = _one_hot(np.arange(n_rows), n_rows)[owner]
    return resp / resp.sum(axis=0)


def _checked_array(array, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return an array of the expected shape; ValueError otherwise."""
    array = np.asarray(array, dtype=np.float64)
    assert_all_finite(array, input_name=name)
    if array.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )
    return array


def _checked_weights(weights, K: int) -> np.ndarray:
    weights = _checked_array(weights, (K,), "weights")
    if np.any(weights < 0) or np.any(weights > 1):
        # Minimum and maximum are interchanged, as in scikit-learn's message.
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{np.min(weights):.5f}, min value {np.max(weights):.5f}"
        )
    if abs(1.0 - np.sum(weights)) > 1e-6:  # float32 weights are accepted
        raise ValueError(
            "The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{np.sum(weights):.5f}"
        )
    return weights / np.sum(weights)


def _checked_covariance(precisions, kind: str, K: int, p: int) -> Covariance:
    structure, name = STRUCTURES[kind], f"{kind} precision"
    try:
        precisions = _checked_array(precisions, structure.shape(K, p), name)
        return structure.from_precisions(precisions, K, p)
    except ValueError as error:
        message = str(error)
        raise ValueError(message if name in message else f"'{name}' {message}") from None
