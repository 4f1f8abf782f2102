"""Starts of EM for mixed columns: emissions from labels, and the space in which rows cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from skelbo.em.engine import EMEngine, Start
from skelbo.gaussian.regularization import Regularization
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.emissions import Emissions
from skelbo.mixture.initialization import first_labels, mixture_of_labels
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.mixture_batch import MixtureBatch
from skelbo.mixture.row_sample import RowSample, sample_rows
from skelbo.mixture.short_runs import CANDIDATES, best_of_runs, nearest_of_random_rows

# Cells of the responsibilities of all short runs, and the fewest of these for each start that the
# user sets. Long tables have fewer false modes: more runs would find nothing else.
RUN_CELLS, FEWEST = 2**20, 2
# Share of all rows in the start of each component's columns that are not Gaussian: a probability
# that begins at 0 stays there.
POOLED = 0.1


def emissions_of_labels(
    layout: EmissionLayout,
    X: np.ndarray,
    weights: np.ndarray,
    regularization: Regularization,
    *,
    own: bool = True,
    pooled: float = POOLED,
) -> Emissions:
    """Return emissions fitted to rows whose components are known, away from the boundary.

    Parameters
    ----------
    layout : EmissionLayout
    X : ndarray of shape (n_samples, n_features)
        Rows about the origin, NaN where missing; in Gaussian columns the origin stands for NaN.
    weights : ndarray of shape (n_samples, n_components)
        Responsibilities times frequency weights.
    regularization : Regularization
        ``layout.regularization(...)``.
    own : bool, default=True
        Whether each component keeps its own covariance, where it is regular.
    pooled : float, default=0.1
        Share of all rows in the estimates of columns that are not Gaussian.

    Raises
    ------
    AscentError
        If all covariances are singular and may not be altered.
    """
    gaussian = None
    parameters: tuple[np.ndarray, ...] = ()
    if layout.structure is not None:
        block = X[:, layout.gaussian_columns]
        block = np.where(np.isnan(block), 0.0, block)
        found = mixture_of_labels(block, weights.T, layout.structure, regularization, own)
        gaussian = found.components
    if layout.table is not None:
        statistics = layout.table.stacked(X[:, layout.other_columns])
        weight = weights.sum(axis=0)[:, None]
        share = weight / weight.sum()
        all_rows = statistics @ weights.sum(axis=1)
        sums = (1 - pooled) * (weights.T @ statistics.T)
        sums += np.where(weight > 0, pooled * share, 1.0) * all_rows
        parameters = layout.table.maxima(sums)
    return Emissions(layout, gaussian, parameters)


def clustering_space(layout: EmissionLayout, X: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return rows in coordinates in which clusters are sought, each column of variance one.

    Codes become indicators, missing cells the mean. Gaussian columns under one variance for all
    keep their relative scales.

    Parameters
    ----------
    layout : EmissionLayout
    X : ndarray of shape (n_samples, n_features)
        NaN where missing.
    weights : ndarray of shape (n_samples,)
        Frequency weights.

    Returns
    -------
    ndarray of shape (n_samples, n_coordinates)
        Centred.
    """
    parts = []
    isotropic = layout.structure is not None and layout.structure.isotropic
    if isotropic:
        block = _standardized(X[:, layout.gaussian_columns], weights, common=True)
        parts.append(np.sqrt(block.shape[1]) * block)
    for j, kind in enumerate(layout.likelihoods):
        if kind.has_codes:
            codes = kind.sufficient_statistics(X[:, [j]])[:, :, 0].T
            codes[np.isnan(X[:, j])] = np.nan
            parts.append(_standardized(codes, weights, common=True))
        elif not (isotropic and j in layout.gaussian_columns):
            parts.append(_standardized(X[:, [j]], weights))
    return np.concatenate(parts, axis=1)


def _standardized(columns: np.ndarray, weights: np.ndarray, common: bool = False) -> np.ndarray:
    """Return centred columns of variance one, or of total variance one if `common`."""
    observed = ~np.isnan(columns)
    share = observed * weights[:, None]
    total = np.where(share.sum(axis=0) > 0, share.sum(axis=0), 1.0)
    cells = np.where(observed, columns, 0.0)
    steps = np.where(observed, cells - (share * cells).sum(axis=0) / total, 0.0)
    variance = (share * steps**2).sum(axis=0) / total
    variance = variance.sum(keepdims=True) if common else variance
    return steps / np.sqrt(np.where(variance > 0, variance, 1.0))


def emission_starts(
    engine: EMEngine,
    layout: EmissionLayout,
    n_components: int,
    *,
    n_starts: int,
    init_params: str,
    rng: np.random.RandomState,
) -> Iterator[Start]:
    """Yield the starts of a fit: the first from a clustering, the others after short runs.

    Parameters
    ----------
    engine : EMEngine
        Of the fit; its rows are about ``layout.origin(...)``.
    layout : EmissionLayout
        With columns that are not Gaussian.
    n_components : int
    n_starts : int
        Number of starts. With ``"kmeans"`` the second and later ones are replaced by many short
        runs from random rows, of which the best third of `n_starts` at most are continued.
    init_params : str
        A key of `STARTS`.
    rng : RandomState
    """
    rule = engine.regularization
    sample = sample_rows(engine.rows, n_components, engine.units)
    space = _without_gaps(sample, layout)

    def start(name: str) -> Mixture:
        resp, own = first_labels(name, space, n_components, rng)
        return _mixture(layout, sample, resp * sample.weights, rule, own)

    yield partial(start, init_params)
    diverse = init_params == "kmeans" and len(sample.weights) > n_components > 1
    others = [partial(start, "random_from_data" if diverse else init_params)] * (n_starts - 1)
    structure = layout.structure
    together = structure is None or (rule.always_succeeds and not structure.shared)
    if others and diverse and together:
        yield from _promising(sample, space, layout, n_components, rule, rng, n_starts)
    elif others and diverse:
        yield engine.best_after_short_runs([partial(start, "random_from_data") for _ in others])
    else:
        yield from others


def _mixture(layout, sample: RowSample, weights: np.ndarray, rule, own: bool) -> Mixture:
    """Return the mixture of a sample with weights (n_components, n_rows) of its rows."""
    found = emissions_of_labels(layout, _with_gaps(sample), weights.T, rule, own=own)
    weight = weights.sum(axis=1)
    return Mixture(weight / weight.sum(), found)


def _with_gaps(sample: RowSample) -> np.ndarray:
    """Return the rows of a sample with NaN in missing cells."""
    if sample.observed is None:
        return sample.values
    return np.where(sample.observed, sample.values, np.nan)


def _without_gaps(sample: RowSample, layout: EmissionLayout) -> RowSample:
    """Return the sample in the space in which clusters are sought."""
    space = clustering_space(layout, _with_gaps(sample), sample.weights)
    return replace(sample, values=space, observed=None)


def _promising(
    sample: RowSample, space: RowSample, layout: EmissionLayout, K: int, rule, rng, n_starts: int
) -> list[Mixture]:
    """Return the ends of the best short runs from random rows, side by side."""
    n_rows, p = sample.values.shape
    most = max(RUN_CELLS // (max(n_rows, p * p) * K), FEWEST * n_starts)
    if sample.observed is not None and layout.structure is not None:
        most = FEWEST * n_starts  # each pattern of missing cells has matrices of its own
    labels = nearest_of_random_rows(space, K, min(CANDIDATES * n_starts, most), rng)
    weights = (labels[:, None] == np.arange(K)[:, None]) * sample.weights
    union = _mixture(layout, sample, weights.reshape(-1, n_rows), rule, own=False)
    batch = MixtureBatch(None, Mixture(union.weights * len(labels), union.components), K)
    return best_of_runs(batch, sample.rows(layout.cells(len(labels) * K)[0]), rule, n_starts)
