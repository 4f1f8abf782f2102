"""Conversion between emissions and the public arrays of an estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skelbo.data.precision import cast, cast_within_bounds
from skelbo.gaussian.published_matrices import fingerprint
from skelbo.likelihoods import Likelihood
from skelbo.likelihoods.table import Group
from skelbo.mixture.attributes import (
    COVARIANCE_ARRAYS,
    density_arrays,
    differs,
    mixture_of,
    public_arrays,
)
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.emissions import Emissions
from skelbo.mixture.mixture import Mixture

# Public names of parameters that are one number per column and component.
SCALARS = ("rates_", "probabilities_")
CODES, OTHERS = "category_probabilities_", "other_parameters_"
# Those of columns that are not Gaussian, in the order of a summary.
PARAMETERS = ("probabilities_", "rates_", CODES, OTHERS)
# All attributes that describe emissions, of every table.
EMISSION_ARRAYS = COVARIANCE_ARRAYS | {"means_", *SCALARS, CODES, OTHERS}
# Distance from one within which a sum of probabilities is rounding.
ROUNDED = 1e-4


def emission_arrays(
    emissions: Emissions, weights: np.ndarray, origin: np.ndarray, dtype: np.dtype
) -> dict[str, Any]:
    """Return the fitted attributes of emissions about `origin`, by name.

    Parameters
    ----------
    emissions : Emissions
    weights : ndarray of shape (n_components,)
        Probabilities of the components, or of the states of a chain.
    origin : ndarray of shape (n_features,)
    dtype : dtype
        Precision of the data.

    Returns
    -------
    dict
        ``means_``; of Gaussian columns the covariances and what goes with them; ``rates_`` and
        ``probabilities_`` (n_components, n_columns), ``category_probabilities_``, a list of arrays
        (n_components, n_codes), and ``other_parameters_``, a list of arrays (n_parameters,
        n_components, n_columns), one for each other likelihood; only where there are such columns.
    """
    layout = emissions.layout
    arrays: dict[str, Any] = {}
    if emissions.gaussian is not None:
        theta = Mixture(weights, emissions.gaussian)
        arrays |= public_arrays(theta, origin[layout.gaussian_columns], dtype)
        del arrays["weights_"]
    arrays["means_"] = cast(emissions.mean() + origin, dtype)
    if layout.table is None:
        return arrays
    for name, values in parameter_arrays(layout.table.groups, emissions.parameters).items():
        if isinstance(values, list):
            arrays[name] = [cast_within_bounds(table, dtype) for table in values]
        else:
            arrays[name] = cast_within_bounds(values, dtype)
    return arrays


def parameter_arrays(
    groups: Sequence[Group], parameters: Sequence[np.ndarray]
) -> dict[str, np.ndarray | list[np.ndarray]]:
    """Return parameters, or their errors, in the shapes of the fitted attributes, by name.

    Parameters
    ----------
    groups : sequence of Group
        Of the columns that are not Gaussian.
    parameters : sequence of ndarray of shape (n_parameters, n_components, n_columns)
        One for each group.
    """
    columns: dict[str, dict[int, np.ndarray]] = {name: {} for name in (*SCALARS, CODES)}
    others = []
    for (kind, places), values in zip(groups, parameters, strict=True):
        if kind.attribute == OTHERS:
            others.append(values)
        else:
            parts = values[0].T if kind.attribute in SCALARS else np.moveaxis(values, 2, 0)
            columns[kind.attribute] |= dict(zip(places.tolist(), parts, strict=True))
    arrays: dict[str, np.ndarray | list[np.ndarray]] = {}
    for name, found in columns.items():
        if found:
            ordered = [found[j].T for j in sorted(found)]
            arrays[name] = ordered if name == CODES else np.stack(ordered, axis=1)
    return arrays | ({OTHERS: others} if others else {})


def emissions_of(
    layout: EmissionLayout,
    kind: str,
    attributes: Mapping[str, Any],
    published: Mapping[str, int],
) -> Emissions:
    """Return the emissions about zero of public arrays, edited ones included.

    Parameters
    ----------
    layout : EmissionLayout
    kind : str
        Covariance type of the fit.
    attributes : mapping
        As `emission_arrays` returns them.
    published : mapping
        Fingerprints of the arrays of the Gaussian columns that the fit published.

    Raises
    ------
    ValueError
        If an array was set to one that is no parameter.
    """
    gaussian = None
    if layout.structure is not None:
        means = np.asarray(attributes["means_"])[:, layout.gaussian_columns]
        weights = np.full(len(means), 1 / len(means))
        kind, arrays = density_arrays(
            kind, {**attributes, "weights_": weights, "means_": means}, published
        )
        gaussian = mixture_of(kind, *arrays).components
    if layout.table is None:
        return Emissions(layout, gaussian)
    groups, others, parameters = layout.table.groups, iter(attributes.get(OTHERS, ())), []
    for likelihood, columns in groups:
        name = likelihood.attribute
        if name == OTHERS:
            parameters.append(np.asarray(next(others), dtype=np.float64))
            continue
        same = sorted(j for kind, places in groups if kind.attribute == name for j in places)
        index = [same.index(j) for j in columns]
        if name == CODES:
            tables = [_simplex(attributes[CODES][place]) for place in index]
            parameters.append(np.stack(tables, axis=2).swapaxes(0, 1))
        else:
            parameters.append(_scalars(attributes[name], name, likelihood)[None, :, index])
    return Emissions(layout, gaussian, tuple(parameters))


def _scalars(values: Any, name: str, likelihood: Likelihood) -> np.ndarray:
    """Return parameters (n_components, n_columns); ValueError outside of their domain."""
    values = np.asarray(values, dtype=np.float64)
    largest = 1.0 if likelihood.domain == "unit_interval" else np.inf
    if not np.all((values >= 0) & (values <= largest)):
        raise ValueError(
            f"{name} has a value outside of [0, {largest:g}]; set it to valid numbers, or call "
            "fit again."
        )
    return values


def emissions_differ(rounded: Emissions, emissions: Emissions) -> bool:
    """Return whether rounding has moved emissions so far that their bound is another."""
    if emissions.gaussian is not None and rounded.gaussian is not None:
        ones = np.ones(emissions.n_components)
        if differs(Mixture(ones, rounded.gaussian), Mixture(ones, emissions.gaussian)):
            return True
    pairs = zip(rounded.parameters, emissions.parameters, strict=True)
    return not all(np.allclose(one, other, rtol=1e-12, atol=0) for one, other in pairs)


def fingerprints(arrays: Mapping[str, Any]) -> dict[str, int]:
    """Return checksums of the arrays of the Gaussian columns."""
    return {name: fingerprint(arrays[name]) for name in COVARIANCE_ARRAYS & set(arrays)}


def _simplex(table: Any) -> np.ndarray:
    """Return probabilities of codes (n_components, n_codes), whose sums may be rounded."""
    table = np.asarray(table, dtype=np.float64)
    total = table.sum(axis=1, keepdims=True)
    if np.any(table < 0) or not np.all(np.abs(total - 1) < ROUNDED):
        raise ValueError(
            f"{CODES} has a row that is no distribution (sum {float(total.max()):g}); set rows of "
            "nonnegative numbers that sum to one, or call fit again."
        )
    return table / total
