"""Declarations of files for emissions: attributes whose shapes follow from the likelihoods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.likelihoods import LIKELIHOODS
from skelbo.mixture.attributes import COVARIANCE_ARRAYS, MATRICES
from skelbo.mixture.emission_attributes import CODES, OTHERS
from skelbo.mixture.emission_density import EmissionStatistics
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.file_fields import (
    covariance_fields,
    fingerprints_field,
    moments_field,
    stepwise_field,
)
from skelbo.persistence import Array, Chosen, Field, Names, Optional, Record, Sequence

State = Mapping[str, Any]


@dataclass
class Means(Array):
    """Means by component and column, which codes have none of.

    Parameters
    ----------
    kinds : tuple of str
        Likelihood of each column; those of the user's own may have means that are not finite.
    """

    kinds: tuple[str, ...] = ()

    def _check_cells(self, array: Any, name: str) -> None:
        plain = [kind in LIKELIHOODS and kind != "categorical" for kind in self.kinds]
        super()._check_cells(array[:, plain], name)


def emission_fields(
    K: int, p: int, layout_of: Callable[[State], EmissionLayout]
) -> dict[str, Field | Chosen]:
    """Return the fields of the attributes of emissions, in the order in which they are read.

    Parameters
    ----------
    K, p : int
        Numbers of components and columns.
    layout_of : callable, attributes -> EmissionLayout
        Reads ``likelihood_`` and ``category_probabilities_``.
    """

    def scalars(name: str, high: float = np.inf) -> Chosen:
        def chosen(state: State) -> Field:
            n_columns = _count(layout_of(state), name)
            field = Array((K, n_columns), low=0.0, high=high)
            return field if n_columns else Optional(field)

        return Chosen(chosen)

    def others(state: State) -> Field:
        parameters = Sequence(Array((None, K, None)))
        return parameters if _count(layout_of(state), OTHERS) else Optional(parameters)

    def matrices(name: str) -> Chosen:
        def chosen(state: State) -> Field:
            layout = layout_of(state)
            if layout.structure is None:
                return Optional(Array((0,)))
            n = len(layout.gaussian_columns)
            return covariance_fields(layout.structure, K, n)[name]

        return Chosen(chosen)

    return {
        "likelihood_": Names(p),
        "means_": Chosen(lambda state: Means((K, p), kinds=tuple(state["likelihood_"]))),
        CODES: Chosen(lambda state: _codes(state, K)),  # with the names, they determine the layout
        "rates_": scalars("rates_"),
        "probabilities_": scalars("probabilities_", high=1.0),
        OTHERS: Chosen(others),
        **{name: matrices(name) for name in MATRICES},
        "_fingerprints": Optional(fingerprints_field(sorted(COVARIANCE_ARRAYS))),
        "_stepwise": Chosen(
            lambda state: Optional(stepwise_field(_statistics(layout_of(state), K), K, p))
        ),
    }


def _count(layout: EmissionLayout, name: str) -> int:
    """Return the number of columns whose parameters an attribute holds."""
    kinds = (kind for kind in layout.likelihoods if not kind.is_block)
    return sum(kind.attribute == name for kind in kinds)


def _codes(state: State, K: int) -> Field:
    """Return the field of the probabilities of codes."""
    n_columns = list(state["likelihood_"]).count("categorical")
    field = Sequence(Array((K, None), low=0.0, high=1.0), n_columns)
    return field if n_columns else Optional(field)


def _statistics(layout: EmissionLayout, K: int) -> Record:
    """Return the field of the statistics of `partial_fit`."""
    moments: Field = Optional(Array((0,)))
    if layout.structure is not None:
        moments = moments_field(layout.structure, K, len(layout.gaussian_columns))
    if layout.table is None:
        assert isinstance(moments, Record)
        return moments
    fields: dict[str, Field | Chosen] = {
        "weight": Array((K,), ("float64",), low=0.0),
        "sums": Array((K, layout.table.n_statistics), ("float64",)),
    }
    if layout.structure is None:
        return Record(lambda weight, sums: EmissionStatistics(weight, None, sums), fields)
    return Record(EmissionStatistics, {**fields, "moments": moments})
