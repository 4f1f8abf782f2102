"""Starts of EM for a hidden Markov model: clustered rows, and the transitions of the clusters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from skelbo.data.rows import Rows
from skelbo.em.engine import Start
from skelbo.gaussian.regularization import Regularization
from skelbo.mixture.chain.hidden_markov_theta import HiddenMarkov
from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.chain.numpy_pass import half_log
from skelbo.mixture.chain.sequence_rows import SequenceRows
from skelbo.mixture.chain.user_parameters import UserModel
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.emission_starts import clustering_space, emissions_of_labels
from skelbo.mixture.emissions import Emissions
from skelbo.mixture.initialization import STARTS
from skelbo.mixture.row_sample import RowSample, sample_rows

# Share of the uniform distribution in first probabilities: what begins at 0 stays there.
UNIFORM = 0.1


def hidden_markov_starts(
    rows: SequenceRows,
    layout: EmissionLayout,
    user: UserModel,
    regularization: Regularization,
    *,
    n_starts: int,
    init_params: str,
    rng: np.random.RandomState,
    units: np.ndarray,
) -> Iterator[Start]:
    """Yield the starts of a fit: the user's parameters, the others from a clustering of rows.

    Parameters
    ----------
    rows : SequenceRows
        About their centre.
    layout : EmissionLayout
    user : UserModel
    regularization : Regularization
    n_starts : int
    init_params : str
        A key of `skelbo.mixture.initialization.STARTS`: of the first start. With ``"kmeans"``,
        which mostly ends in one clustering, the others come from random rows.
    rng : RandomState
    units : ndarray of shape (n_features,)
        Scales of the columns.
    """
    if user.is_complete(layout):
        yield from [user.whole(layout, rows.origin)] * n_starts
        return
    weights = None if rows.weights is None else rows.runs.repeated(rows.weights)
    sample = sample_rows(Rows(rows.X, weights, rows.origin), rows.n_states, units)

    def start(name: str) -> HiddenMarkov:
        emissions = _emissions(name, sample, layout, rows.n_states, regularization, rng)
        return user.override(HiddenMarkov(_chain(rows, emissions), emissions), rows.origin)

    yield partial(start, init_params)
    for _ in range(n_starts - 1):
        yield partial(start, "random_from_data" if init_params == "kmeans" else init_params)


def _emissions(
    name: str,
    sample: RowSample,
    layout: EmissionLayout,
    K: int,
    regularization: Regularization,
    rng: np.random.RandomState,
) -> Emissions:
    """Return the emissions of clusters of rows."""
    responsibilities, own = STARTS[name]
    values = sample.values
    if sample.observed is not None:
        values = np.where(sample.observed, values, np.nan)
    if len(values) < K:
        resp = np.eye(K)[np.arange(len(values)) % K].T
    else:
        space = clustering_space(layout, values, sample.weights)
        resp = responsibilities(RowSample(space, sample.weights), K, rng)
    labels = (resp * sample.weights).T
    return emissions_of_labels(layout, values, labels, regularization, own=own)


def _chain(rows: SequenceRows, emissions: Emissions) -> MarkovChain:
    """Return the transitions between the clusters of the rows, drawn towards uniform ones."""
    K = rows.n_states
    first, pairs, previous = np.zeros(K), np.zeros((K, K)), np.zeros(K)
    weights = np.ones(rows.runs.n_runs) if rows.weights is None else rows.weights
    for block in rows.blocks:
        resp, _ = half_log(rows.log_prob(emissions.weighted(), block.rows))
        total = resp.sum(axis=1, keepdims=True)
        resp = np.where(total > 0, resp / np.where(total > 0, total, 1.0), 1 / K)
        weight = np.repeat(weights[block.runs], np.diff(block.bounds))
        before = np.vstack([previous, resp[:-1]])
        before[block.fresh] = 0.0
        pairs += before.T @ (weight[:, None] * resp)
        first += weight[block.fresh] @ resp[block.fresh]
        previous = resp[-1]
    return MarkovChain(_smoothed(first), _smoothed(pairs))


def _smoothed(counts: np.ndarray) -> np.ndarray:
    """Return shares along the last axis with a part of the uniform distribution."""
    total = counts.sum(axis=-1, keepdims=True)
    n = counts.shape[-1]
    shares = np.where(total > 0, counts / np.where(total > 0, total, 1.0), 1 / n)
    return (1 - UNIFORM) * shares + UNIFORM / n
