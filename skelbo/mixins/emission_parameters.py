"""Fitted attributes of columns of any likelihood, of mixtures and of hidden Markov models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from skelbo.likelihoods import LIKELIHOODS, Likelihood
from skelbo.mixins.summary import Summarized, feature_names
from skelbo.mixture.emission_attributes import (
    EMISSION_ARRAYS,
    OTHERS,
    PARAMETERS,
    emissions_of,
    fingerprints,
)
from skelbo.mixture.emission_file_fields import emission_fields
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.emissions import Emissions
from skelbo.persistence import FileMethods, Vocabulary


class EmissionParameters(FileMethods, Summarized):
    """Fitted attributes of an estimator whose components are :class:`Emissions`."""

    n_components: int
    likelihood: Any
    covariance_type: str
    likelihood_: np.ndarray
    n_features_in_: int

    _fingerprints: Mapping[str, int] = MappingProxyType({})  # of the arrays that a fit published
    _layout: EmissionLayout  # of the published arrays

    def _publish_emissions(self, arrays: Mapping[str, Any], layout: EmissionLayout) -> None:
        """Set the fitted attributes of the columns."""
        for name in EMISSION_ARRAYS:
            self.__dict__.pop(name, None)  # of a fit to other columns
        self.__dict__.update(arrays)
        self._layout, self.likelihood_ = layout, layout.names
        self._fingerprints = fingerprints(arrays)

    def _published_emissions(self, layout: EmissionLayout) -> Emissions:
        """Return the emissions about zero of the public arrays as they are now."""
        return emissions_of(layout, self.covariance_type, vars(self), self._fingerprints)

    def _column_kinds(self) -> Sequence[Likelihood]:
        """Return the likelihood of each column."""
        return self._layout.likelihoods

    def _column_parameters(self) -> Sequence[str]:
        """Return the names of the parameters besides weights and means, without underscore."""
        present = {kind.attribute for kind in self._layout.likelihoods if not kind.is_block}
        names = ["covariances"] if self._layout.structure is not None else []
        return names + [name.removesuffix("_") for name in PARAMETERS if name in present]

    def _summary_tables(self, name, n_tables):
        table, names = self._layout.table, feature_names(self)
        if name != "other_parameters" or table is None:
            return super()._summary_tables(name, n_tables)
        places = self._layout.other_columns
        own = [group for group in table.groups if group.likelihood.attribute == OTHERS]
        return [(kind.name, (-1, [names[j] for j in places[columns]])) for kind, columns in own]

    def _summary_domain(self, name):
        """Return the domain of a parameter, of a user's likelihood its own."""
        kinds = {f"other_parameters[{kind.name}]": kind for kind in self._layout.likelihoods}
        return kinds[name].domain if name in kinds else super()._summary_domain(name)

    @classmethod
    def _file_vocabulary(cls):
        return Vocabulary(objects=LIKELIHOODS)

    def _file_attributes(self):
        fields = emission_fields(self.n_components, self.n_features_in_, self._layout_of)
        return {**super()._file_attributes(), **fields}

    def _set_file_state(self, state):
        super()._set_file_state({**state, "_layout": self._layout_of(state)})

    def _layout_of(self, state: Mapping[str, Any]) -> EmissionLayout:
        """Return the layout of fitted attributes."""
        n_codes = [table.shape[1] for table in state.get("category_probabilities_", ())]
        names = state["likelihood_"]
        return EmissionLayout.of_names(names, n_codes, self.covariance_type, self.likelihood)
