r"""Predictive distributions of the rows that follow a run.

.. math:: p(z_{T+h} \mid x_{1:T}) = p(z_T \mid x_{1:T})\, A^h, \qquad
    p(x_{T+h} \mid x_{1:T}) = \sum_k p(z_{T+h} = k \mid x_{1:T})\, p(x \mid k)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.emissions import Emissions


class Forecast(NamedTuple):
    """Predictive distribution of the next rows of each run.

    Attributes
    ----------
    mean : ndarray of shape (n_runs, steps, n_features)
        E[x | run], in the units of X; NaN in columns of codes.
    std : ndarray of shape (n_runs, steps, n_features)
        Standard deviation of a row about `mean`, given the parameters: that of the emissions and
        that of the means between states. NaN in columns of codes, and of likelihoods of one's own
        without a `component_variance`.
    state_proba : ndarray of shape (n_runs, steps, n_components)
        Probabilities of the states.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import EMHiddenMarkovModel
    >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
    >>> forecast = EMHiddenMarkovModel(2, random_state=0).fit(X).forecast(X, 3)
    >>> forecast.mean.shape, forecast.state_proba.shape
    ((1, 3, 1), (1, 3, 2))
    """

    mean: np.ndarray
    std: np.ndarray
    state_proba: np.ndarray


def forecast(chain: MarkovChain, emissions: Emissions, ends: np.ndarray, steps: int) -> Forecast:
    """Return the forecast from p(last state | run), (n_runs, n_components).

    Means are about the origin of the emissions.
    """
    proba = np.empty((len(ends), steps, chain.n_states))
    for step in range(steps):
        ends = ends @ chain.transmat
        ends = ends / ends.sum(axis=1, keepdims=True)
        proba[:, step] = ends
    means = emissions.mean()
    mean = proba @ means
    # The variance between states by two passes: means may lie far from the origin.
    spread = (means - mean[:, :, None, :]) ** 2 + state_variances(emissions)
    variance = np.einsum("rsk,rskp->rsp", proba, spread)
    return Forecast(mean, np.sqrt(variance), proba)


def state_variances(emissions: Emissions) -> np.ndarray:
    """Return the variance of each column in each state, (K, n_features), NaN where unknown."""
    layout, K = emissions.layout, emissions.n_components
    variances = np.full((K, layout.n_features), np.nan)
    if emissions.gaussian is not None:
        p = len(layout.gaussian_columns)
        dense = emissions.gaussian.covariance.dense(K, p)
        variances[:, layout.gaussian_columns] = np.einsum("kpp->kp", dense)
    if layout.table is not None:
        for (kind, columns), values in zip(layout.table.groups, emissions.parameters, strict=True):
            variances[:, layout.other_columns[columns]] = kind.component_variance(values)
    return variances
