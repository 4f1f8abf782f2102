"""From the name of a model to the model, and from starting values to checked parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from skelbo.models.binary_features import BinaryFeatureModel
from skelbo.models.factor_model.model import FactorModel
from skelbo.models.interface import Model
from skelbo.models.model import LatentVariableModel, check_model

# What a model that a user writes defines; a built-in one replaces it by closed forms.
USER_METHODS = ("initialize", "log_likelihood", "log_prior", "constraints", "latent")
NAMES = ("binary", "gaussian", "bernoulli", "poisson", "decoder")


def build_model(model: Any, n_components: int) -> Any:
    """Return a model ready for inference: built from its name, or a clone of the user's."""
    if isinstance(model, str):
        if model == "binary":
            return BinaryFeatureModel(n_components)
        if model != "decoder":
            return FactorModel(n_components, likelihood=model)
        from skelbo.models.decoder import DecoderModel

        model = DecoderModel(n_components)
    model = clone(model)
    check_model(model)
    return model


def adapt(model: LatentVariableModel, device: str | None = None) -> Model:
    """Return a built-in model as it is, and one that a user wrote in torch inside its adapter."""
    if isinstance(model, Model):
        _refuse_overrides(model)
        return model
    from skelbo.inference.user_model.adapter import TorchModel

    return TorchModel(model, device)


def _refuse_overrides(model: Model) -> None:
    """Raise TypeError if a subclass of a built-in model redefines what closed forms replace."""
    built_in = next(c for c in type(model).__mro__ if c.__module__.startswith("skelbo."))
    redefined = [n for n in USER_METHODS if getattr(type(model), n) is not getattr(built_in, n)]
    if redefined:
        raise TypeError(
            f"{type(model).__name__} redefines {redefined} of {built_in.__name__}, whose fit uses "
            "closed forms and would not call them; derive the model from LatentVariableModel and "
            "write initialize and log_likelihood in torch."
        )


def check_params(given: dict, expected: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Return given parameters as float64, or say which one does not fit the model."""
    if set(given) != set(expected):
        raise ValueError(
            f"{name} has the keys {sorted(given)}, expected {sorted(expected)}; pass the params_ "
            "of a fit of the same model."
        )
    theta = {}
    for key, value in expected.items():
        theta[key] = np.asarray(given[key], dtype=np.float64)
        if theta[key].shape != np.shape(value):
            raise ValueError(
                f"{name}[{key!r}] has shape {theta[key].shape}, expected {np.shape(value)}; pass "
                "the params_ of a fit of the same model to data with the same columns."
            )
        if not np.all(np.isfinite(theta[key])):
            raise ValueError(f"{name}[{key!r}] has values that are not finite.")
    return theta
