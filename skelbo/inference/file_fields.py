"""Declarations of files for models p(x, z; theta) and their parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from skelbo import models
from skelbo.likelihoods import LIKELIHOODS
from skelbo.models.constraints import constraint_of
from skelbo.models.model import LatentVariableModel
from skelbo.persistence import Arrays, Field, Mapping, Optional, Vocabulary

# A file may change the hyperparameters of a model of the user's own, which makes arrays by them.
MAX_OWN_LATENTS = 1000
BUILT_IN = [name for name in models.__all__ if name != "LatentVariableModel"]


def model_vocabulary() -> Vocabulary:
    """Return the built-in models and likelihoods as a file names them."""
    # The decoder needs torch: each is imported when a file or an estimator has it.
    classes = {name: lambda name=name: getattr(models, name) for name in BUILT_IN}
    return Vocabulary(classes, LIKELIHOODS)


def theta_fields(
    model: LatentVariableModel, n_features: int, errors: tuple[str, ...]
) -> dict[str, Field]:
    """Return the fields of the parameters, and of their errors, which may not be there.

    Raises
    ------
    ValueError
        If the hyperparameters of the model cannot be used for so many columns.
    """
    model.check(np.full((1, n_features), np.nan))
    shapes = model.parameter_shapes(n_features)
    if shapes is None and model.n_latents > MAX_OWN_LATENTS:
        raise ValueError(
            f"n_latents={model.n_latents} is more than a model whose parameter_shapes are not "
            f"known may have in a file, {MAX_OWN_LATENTS}"
        )
    # A parameter that the rows do not determine has an infinite error.
    error = Optional(Arrays(shapes, finite=False))
    return {"params_": Arrays(shapes), "_errors": Mapping(dict.fromkeys(errors, error))}


def check_domains(theta: dict[str, Any], model: LatentVariableModel) -> None:
    """Raise ValueError if a parameter is outside the domain that the model declares."""
    for name, value in theta.items():
        if not constraint_of(name, model.constraints).contains(np.asarray(value)):
            domain = model.constraints[name]
            raise ValueError(f"params_.{name} is outside its domain, {domain!r}")
