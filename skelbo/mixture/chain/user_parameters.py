"""Parameters of a hidden Markov model that the user gives, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.gaussian.components import Components
from skelbo.gaussian.covariance import Covariance
from skelbo.likelihoods import Likelihood
from skelbo.mixture.chain.hidden_markov_theta import HiddenMarkov
from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.emissions import Emissions

# How far probabilities may be from adding up to one: those in float32 are accepted.
ROUNDING = 1e-5


@dataclass(frozen=True)
class UserModel:
    """Parameters of a start that the user gives; each is None if not given.

    Attributes
    ----------
    startprob : ndarray of shape (n_components,) or None
    transmat : ndarray of shape (n_components, n_components) or None
    means : ndarray of shape (n_components, n_gaussian_columns) or None
        In the units of the data.
    covariance : Covariance or None
    parameters : dict of int to ndarray of shape (n_parameters, n_components)
        Of other columns, by their position.
    """

    startprob: np.ndarray | None
    transmat: np.ndarray | None
    means: np.ndarray | None
    covariance: Covariance | None
    parameters: dict[int, np.ndarray]

    @classmethod
    def checked(cls, K: int, layout: EmissionLayout, given: dict[str, Any]) -> UserModel:
        """Validate the parameters of the estimator whose names end in ``_init``.

        Parameters
        ----------
        K : int
        layout : EmissionLayout
        given : dict of str to object
            ``startprob_init transmat_init means_init precisions_init rates_init
            probabilities_init``.

        Raises
        ------
        ValueError
            If one has another shape, values that it cannot have, or no column.
        """
        columns = layout.gaussian_columns
        start, means = given["startprob_init"], given["means_init"]
        startprob = transmat = None
        if start is not None:
            startprob = probabilities(start, (K,), "startprob_init")
        if given["transmat_init"] is not None:
            transmat = probabilities(given["transmat_init"], (K, K), "transmat_init")
        if means is not None:
            means = _numbers(means, (K, len(columns)), "means_init", "Gaussian columns")
        covariance = _covariance(given["precisions_init"], K, layout)
        parameters = {
            **_rates(given["rates_init"], K, layout),
            **_probabilities_by_column(given["probabilities_init"], K, layout),
        }
        return cls(startprob, transmat, means, covariance, parameters)

    def is_complete(self, layout: EmissionLayout) -> bool:
        """Return whether every parameter is given."""
        chain = self.startprob is not None and self.transmat is not None
        gaussian = self.means is not None and self.covariance is not None
        others = all(column in self.parameters for column in layout.other_columns.tolist())
        return chain and (gaussian or layout.structure is None) and others

    def whole(self, layout: EmissionLayout, origin: np.ndarray) -> HiddenMarkov:
        """Return the model about `origin` of parameters all of which are given."""
        assert self.startprob is not None
        assert self.transmat is not None
        gaussian: Components | None = None
        parameters: tuple[np.ndarray, ...] = ()
        if layout.structure is not None:
            assert self.means is not None
            assert self.covariance is not None
            means = self.means - origin[layout.gaussian_columns]
            gaussian = Components(means, self.covariance)
        if layout.table is not None:
            others = layout.other_columns
            parameters = tuple(
                np.stack([self.parameters[int(others[j])] for j in group.columns], axis=-1)
                for group in layout.table.groups
            )
        chain = MarkovChain(self.startprob, self.transmat)
        return HiddenMarkov(chain, Emissions(layout, gaussian, parameters))

    def override(self, theta: HiddenMarkov, origin: np.ndarray) -> HiddenMarkov:
        """Return theta, about `origin`, with the given parameters in place of its own."""
        emissions = theta.emissions
        layout, gaussian = emissions.layout, emissions.gaussian
        if gaussian is not None:
            means = gaussian.means
            if self.means is not None:
                means = self.means - origin[layout.gaussian_columns]
            gaussian = Components(means, self.covariance or gaussian.covariance)
        parameters = tuple(values.copy() for values in emissions.parameters)
        if layout.table is not None:
            for values, group in zip(parameters, layout.table.groups, strict=True):
                for place, column in enumerate(layout.other_columns[group.columns].tolist()):
                    if column in self.parameters:
                        values[:, :, place] = self.parameters[column]
        startprob = theta.chain.startprob if self.startprob is None else self.startprob
        transmat = theta.chain.transmat if self.transmat is None else self.transmat
        chain = MarkovChain(startprob, transmat)
        return HiddenMarkov(chain, Emissions(layout, gaussian, parameters))


def probabilities(
    values: Any, shape: tuple[int, ...], name: str, what: str = "states"
) -> np.ndarray:
    """Return probabilities that add up to one along the last axis; ValueError otherwise."""
    array = _numbers(values, shape, name, what)
    totals = array.sum(axis=-1)
    if np.any(array < 0) or np.any(np.abs(totals - 1) > ROUNDING):
        what = "probabilities that add up to 1" if len(shape) == 1 else (
            "rows of probabilities that add up to 1"
        )  # fmt: skip
        worst = float(totals.flat[np.abs(totals - 1).argmax()]) if totals.size else 0.0
        raise ValueError(
            f"{name} has a smallest entry of {array.min():g} and a sum of {worst:g}, expected "
            f"{what}; divide by the sums."
        )
    return array / totals[..., None]


def _numbers(values: Any, shape: tuple[int, ...], name: str, what: str) -> np.ndarray:
    """Return finite numbers of a shape; ValueError otherwise."""
    array = _array(values, shape, name)
    if array.shape != shape:
        raise ValueError(
            f"{name} has shape {array.shape}, expected {shape}; give one entry for each of the "
            f"{shape[0]} states" + (f" and {shape[1]} {what}." if len(shape) == 2 else ".")
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity, expected finite numbers.")
    return array


def _array(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return an array of numbers of any shape; ValueError otherwise."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is no array of numbers, expected one of shape {shape}.") from None


def _covariance(precisions: Any, K: int, layout: EmissionLayout) -> Covariance | None:
    """Return the covariances of given precisions."""
    if precisions is None:
        return None
    if layout.structure is None:
        raise ValueError(_no_column("precisions_init", "gaussian"))
    p = len(layout.gaussian_columns)
    shape = layout.structure.shape(K, p)
    array = _array(precisions, shape, "precisions_init")
    if array.shape != shape:
        raise ValueError(
            f"precisions_init has shape {array.shape}, expected {shape}, that of precisions_."
        )
    try:
        return layout.structure.from_precisions(array, K, p)
    except ValueError as error:
        raise ValueError(f"precisions_init {error}") from None


def _rates(rates: Any, K: int, layout: EmissionLayout) -> dict[int, np.ndarray]:
    """Return the rates of the columns of counts."""
    if rates is None:
        return {}
    columns = _columns_of(layout, "poisson")
    if not columns:
        raise ValueError(_no_column("rates_init", "poisson"))
    array = _numbers(_as_columns(rates, K), (K, len(columns)), "rates_init", "columns of counts")
    if np.any(array < 0):
        raise ValueError(f"rates_init has the rate {array.min():g}, expected at least 0.")
    return {column: array[None, :, place] for place, column in enumerate(columns)}


def _probabilities_by_column(given: Any, K: int, layout: EmissionLayout) -> dict[int, np.ndarray]:
    """Return the probabilities of yes/no columns and of codes."""
    if given is None:
        return {}
    binary, codes = _columns_of(layout, "bernoulli"), _columns_of(layout, "categorical")
    if not binary and not codes:
        raise ValueError(_no_column("probabilities_init", "bernoulli' or 'categorical"))
    if not codes:
        array = _numbers(
            _as_columns(given, K), (K, len(binary)), "probabilities_init", "yes/no columns"
        )
        columns: Sequence[Any] = list(array.T)
    else:
        columns = list(given)
    names = sorted(binary + codes)
    if len(columns) != len(names):
        raise ValueError(
            f"probabilities_init has {len(columns)} entries, expected one for each of the columns "
            f"{names}: (K,) for yes/no and (K, n_codes) for codes."
        )
    result = {}
    for column, values in zip(names, columns, strict=True):
        name = f"probabilities_init of column {column}"
        if column in codes:
            n_codes = _n_codes(layout.likelihoods[column])
            result[column] = probabilities(values, (K, n_codes), name, "codes").T
        else:
            array = _numbers(values, (K,), name, "states")
            if np.any(array < 0) or np.any(array > 1):
                raise ValueError(f"{name} is {array.tolist()}, expected numbers from 0 to 1.")
            result[column] = array[None]
    return result


def _n_codes(kind: Likelihood) -> int:
    return len(kind.sufficient_statistics(np.full((1, 1), np.nan)))


def _as_columns(values: Any, K: int) -> Any:
    """Return a vector of one number per state as one column."""
    array = np.asarray(values)
    return array[:, None] if array.shape == (K,) else values


def _columns_of(layout: EmissionLayout, name: str) -> list[int]:
    return [j for j, kind in enumerate(layout.likelihoods) if kind.name == name]


def _no_column(parameter: str, likelihood: str) -> str:
    return (
        f"{parameter} is given, but no column of X has the likelihood '{likelihood}'; leave it "
        "None, or change likelihood."
    )
