"""The model of an estimator: built from its name, checked, and adapted to inference."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from skelbo.models.binary_features import BinaryFeatureModel
from skelbo.models.factor_model.factor_model import FactorModel
from skelbo.models.interface import Model, Theta
from skelbo.models.model import LatentVariableModel, check_model

NAMES = ("binary", "gaussian", "bernoulli", "poisson", "decoder")
DEFAULT_N_COMPONENTS = 2
# Names that a model written by a user defines, and that closed forms of built-in models replace.
USER_NAMES = ("initialize", "log_likelihood", "log_prior", "constraints", "latent")


def build_model(model: str | LatentVariableModel, n_components: int) -> LatentVariableModel:
    """Return a model built from its name, or a clone of the user's.

    Raises
    ------
    ValueError
        If the user's model breaks the contract, or has another number of latents than a value of
        `n_components` that is not the default.
    """
    if model == "binary":
        return BinaryFeatureModel(n_components)
    if model == "decoder":
        from skelbo.models.decoder import DecoderModel

        return DecoderModel(n_components)
    if isinstance(model, str):
        return FactorModel(n_components, likelihood=model)
    check_model(model)
    if n_components not in (DEFAULT_N_COMPONENTS, model.n_latents):
        raise ValueError(
            f"n_components={n_components} disagrees with n_latents={model.n_latents} of the given "
            f"{type(model).__name__}; leave n_components out, or set n_latents of the model."
        )
    return clone(model)


def adapt(model: LatentVariableModel, device: str | None = None) -> Model:
    """Return a built-in model as it is, and one that a user wrote in torch inside its adapter.

    Raises
    ------
    TypeError
        If a subclass of a built-in model redefines what closed forms replace.
    """
    if not isinstance(model, Model):
        from skelbo.inference.user_model.adapter import TorchModel

        return TorchModel(model, device)
    built_in = next(c for c in type(model).__mro__ if c.__module__.startswith("skelbo."))
    redefined = [n for n in USER_NAMES if getattr(type(model), n) is not getattr(built_in, n)]
    if redefined:
        raise TypeError(
            f"{type(model).__name__} redefines {redefined} of {built_in.__name__}, whose fit uses "
            "closed forms and would not call them; derive the model from LatentVariableModel and "
            "write initialize and log_likelihood in torch."
        )
    return model


def check_params(given: dict[str, Any], expected: Theta, name: str) -> Theta:
    """Return given parameters as float64.

    Raises
    ------
    ValueError
        If keys or shapes are not those of `expected`, or a value is not finite.
    """
    remedy = "pass the params_ of a fit of the same model to data with the same columns."
    if name == "params_":
        remedy = "set warm_start=False to begin anew."
    if set(given) != set(expected):
        raise ValueError(
            f"{name} has the keys {sorted(given)}, expected {sorted(expected)}; {remedy}"
        )
    theta = {}
    for key, value in expected.items():
        theta[key] = np.asarray(given[key], dtype=np.float64)
        if theta[key].shape != np.shape(value):
            raise ValueError(
                f"{name}[{key!r}] has shape {theta[key].shape}, expected {np.shape(value)}; "
                f"{remedy}"
            )
        if not np.all(np.isfinite(theta[key])):
            raise ValueError(
                f"{name}[{key!r}] has values that are not finite; pass finite parameters."
            )
    return theta
