"""Likelihood of a whole row as a module: the product over its columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from skelbo.likelihoods.gaussian import Gaussian
from skelbo.neural.data.columns import Columns
from skelbo.neural.model.column_likelihoods import (
    CodeColumns,
    ColumnGroup,
    Evaluation,
    GaussianColumns,
)


class TableLikelihood(nn.Module):
    """Likelihood of a row: the product over its columns.

    Parameters
    ----------
    columns : Columns
        Likelihoods and moments of the columns.
    noise : {"unit", "isotropic", "diag"}
        Noise of the Gaussian columns.

    Attributes
    ----------
    n_outputs : int
        Width of the decoder's output.
    offset : Tensor of shape (n_outputs,)
        The outputs at the data mean: a decoder starts there, which is worth about one nat on
        binarised images (Burda et al. 2015).
    """

    offset: Tensor

    def __init__(self, columns: Columns, noise: str):
        super().__init__()
        self.n_features = columns.n_features
        groups: dict[str, ColumnGroup] = {}
        for likelihood, chosen in columns.table.groups:
            if isinstance(likelihood, Gaussian):
                group: ColumnGroup = GaussianColumns(likelihood, columns.scale[chosen], noise)
            elif likelihood.has_codes:
                group = CodeColumns(likelihood, columns.frequencies)
            else:
                group = ColumnGroup(likelihood, columns.mean[chosen])
            groups[likelihood.name] = group
            # A tensor on the device: a list would be copied there at each step. It is derived, so
            # that it is no part of what is stored.
            index = torch.as_tensor(chosen)
            self.register_buffer(f"{likelihood.name}_index", index, persistent=False)
        self.groups = nn.ModuleDict(groups)
        self.n_outputs = sum(group.n_outputs for group in groups.values())
        self.register_buffer("offset", torch.cat([g.offset for g in groups.values()]))

    @property
    def gaussian(self) -> GaussianColumns | None:
        """The Gaussian columns, if any."""
        for group in self.groups.values():
            if isinstance(group, GaussianColumns):
                return group
        return None

    def index(self, kind: str) -> Tensor:
        """Return the positions of the columns of one likelihood."""
        return getattr(self, f"{kind}_index")

    def parts(self, outputs: Tensor) -> Iterator[tuple[Any, Tensor, Tensor]]:
        """Yield each group with its columns and its part of the outputs."""
        start = 0
        group: Any
        for kind, group in self.groups.items():
            yield group, self.index(kind), outputs[..., start : start + group.n_outputs]
            start += group.n_outputs

    def evaluate(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Evaluation:
        """Return log p(x | z) over the observed cells.

        Parameters
        ----------
        outputs : Tensor of shape (n_draws, n_samples, n_outputs)
            Outputs of the decoder.
        targets : Tensor of shape (n_samples, n_features)
            Rows, missing cells as 0.
        mask : Tensor of shape (n_samples, n_features), optional
            1 where observed, 0 where missing.

        Returns
        -------
        Evaluation
            In nats, in the units of the network.
        """
        if len(self.groups) == 1:
            group: Any = next(iter(self.groups.values()))
            return group.evaluate(outputs, targets, mask)
        log_prob, squares = outputs.new_zeros(()), None
        for kind, members, part in self.parts(outputs):
            chosen = None if mask is None else mask.index_select(1, members)
            evaluation = kind.evaluate(part, targets.index_select(1, members), chosen)
            log_prob = log_prob + evaluation.log_prob
            squares = evaluation.squares if evaluation.squares is not None else squares
        return Evaluation(log_prob, squares)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return E[x | z], shape (..., n_features); of codes the most probable one."""
        result = outputs.new_empty((*outputs.shape[:-1], self.n_features))
        for group, members, part in self.parts(outputs):
            result[..., members] = group.mean(part)
        return result

    def average(self, outputs: Tensor, share: Tensor) -> Tensor:
        """Return the mean of x under weighted draws of z.

        Parameters
        ----------
        outputs : Tensor of shape (n_draws, n_samples, n_outputs)
            Outputs of the decoder.
        share : Tensor of shape (n_draws, n_samples)
            Weights, which add up to one over the draws.

        Returns
        -------
        Tensor of shape (n_samples, n_features)
            Of codes the most probable one.
        """
        result = outputs.new_empty((outputs.shape[1], self.n_features))
        for group, members, part in self.parts(outputs):
            result[:, members] = group.average(part, share)
        return result

    def sample(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x given z, shape (..., n_features)."""
        result = outputs.new_empty((*outputs.shape[:-1], self.n_features))
        for group, members, part in self.parts(outputs):
            result[..., members] = group.sample(part, generator)
        return result
