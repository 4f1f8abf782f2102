"""Declarations of files for statistics and parameters of Gaussians and their mixtures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.rows import Rows
from skelbo.gaussian.covariance import CovarianceStructure
from skelbo.gaussian.factor_analysis.moments import JointMoments
from skelbo.gaussian.moments import Moments
from skelbo.mixture.attributes import MATRICES
from skelbo.mixture.stepwise_em import FirstRows, StepwiseState
from skelbo.persistence import Array, Field, Nullable, Number, Optional, Record, Sequence
from skelbo.persistence import Mapping as MappingField

LARGEST = float(np.finfo(np.float64).max)
SMALLEST_WEIGHT = float(np.finfo(np.float64).tiny)


def column_moments_field(p: int) -> Record:
    """Return the field of `ColumnMoments` of p columns."""
    plain, positive = Array((p,), ("float64",)), Array((p,), ("float64",), low=0.0)
    fields = {"weight": positive, "mean": plain, "rms": positive}
    fields |= {"smallest": plain, "largest": plain}
    return Record(ColumnMoments, {**fields, "n_missing": Array((p,), ("int64",), low=0)})


def moments_field(structure: CovarianceStructure, K: int, p: int) -> Record:
    """Return the field of the moments that a covariance structure needs."""
    kind = structure.scatter
    shape = (p, p) if kind.dense else (p,)
    fields: dict[str, Field] = {
        "weight": Array((K,), ("float64",), low=0.0),
        "mean": Array((K, p), ("float64",)),
        "scatter": Array(shape if kind.shared else (K, *shape), ("float64",)),
    }
    if "loadings_" not in structure.state_names:
        return Record(partial(Moments, kind), fields)
    q = structure.n_factors  # type: ignore[attr-defined]
    fields["factor_mean"] = Array((K, q), ("float64",))
    fields["cross"] = Array((K, p, q), ("float64",))
    fields["factor_scatter"] = Array((K, q, q), ("float64",))
    return Record(partial(JointMoments, kind), fields)


def stepwise_field(statistics: Record, K: int, p: int) -> Record:
    """Return the field of the state of `partial_fit`, with the first rows of a stream."""
    # NaN is a missing cell; an infinite one is beyond the largest number.
    table = Array((None, p), finite=False, low=-LARGEST, high=LARGEST)
    weights = Nullable(Array((None,), ("float64",), low=0.0))
    batches = Sequence(Record(_batch, {"X": table, "weights": weights}), kind=tuple)
    first = Record(partial(_first_rows, K, p), {"batches": batches, "fitted": Number(low=0.0)})
    return Record(
        StepwiseState,
        {
            "moments": statistics,
            "weight": Number(low=SMALLEST_WEIGHT),
            "columns": column_moments_field(p),
            "first": Nullable(first),
        },
    )


def _batch(X: np.ndarray, weights: np.ndarray | None) -> Rows:
    if weights is not None and (len(weights) != len(X) or not weights.any()):
        raise ValueError(f"{len(X)} rows of a stream have {len(weights)} weights")
    if not len(X):
        raise ValueError("a batch of a stream has no rows")
    return Rows(X, weights)


def _first_rows(K: int, p: int, batches: tuple[Rows, ...], fitted: float) -> FirstRows:
    """Return the first rows of a stream, counted again."""
    first = FirstRows.wanted(K, p)
    for batch in batches:
        first = first.joined(batch)
    if not batches or first.enough:
        raise ValueError(f"a stream has {first.n_rows} first rows, expected 1 to {first.size}")
    return replace(first, fitted=fitted)


def covariance_fields(structure: CovarianceStructure, K: int, p: int) -> dict[str, Field]:
    """Return the fields of the public arrays of the covariances of a mixture."""
    if "loadings_" in structure.state_names:
        q = structure.n_factors  # type: ignore[attr-defined]
        noise = Array((K, p), low=0.0)
        return {"loadings_": Array((K, p, q)), "noise_variances_": noise}
    matrices = Optional(Array(structure.shape(K, p)))
    return dict.fromkeys(MATRICES, matrices)


def fingerprints_field(names: Iterable[str]) -> MappingField:
    """Return the field of the checksums of the arrays that a fit published."""
    number = Optional(Number(integer=True, low=0, high=2**32 - 1))
    return MappingField(dict.fromkeys(names, number))


def check_weights_of(state: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless the weights of a mixture sum to one, but for rounding."""
    total = float(np.sum(state["weights_"], dtype=np.float64))
    if abs(total - 1) > 1e-3:
        raise ValueError(f"weights_ sum to {total:.3g}, expected 1")
