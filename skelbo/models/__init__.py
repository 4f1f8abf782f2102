"""Models p(x, z; theta) for VariationalEM and MCEM."""

from importlib import import_module
from typing import TYPE_CHECKING

# Name -> module; the decoder needs torch, the others do not.
_MODULES = {
    "BinaryFeatureModel": "skelbo.models.binary_features",
    "DecoderModel": "skelbo.models.decoder",
    "FactorModel": "skelbo.models.factor_model.factor_model",
    "LatentVariableModel": "skelbo.models.model",
}

__all__ = ["BinaryFeatureModel", "DecoderModel", "FactorModel", "LatentVariableModel"]

if TYPE_CHECKING:
    from skelbo.models.binary_features import BinaryFeatureModel
    from skelbo.models.decoder import DecoderModel
    from skelbo.models.factor_model.factor_model import FactorModel
    from skelbo.models.model import LatentVariableModel


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'skelbo.models' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
