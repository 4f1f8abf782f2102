"""Pictures of fitted estimators, by scikit-learn's Display convention."""

from skelbo.display.density import DensityDisplay
from skelbo.display.elbo_curve import ELBOCurveDisplay
from skelbo.display.elbo_decomposition import ELBODecompositionDisplay
from skelbo.display.item_curve import ItemCurveDisplay
from skelbo.display.latent_space import LatentSpaceDisplay
from skelbo.display.model_selection import ModelSelectionDisplay
from skelbo.display.sequence import SequenceDisplay
from skelbo.display.traversal import TraversalDisplay

__all__ = [
    "DensityDisplay",
    "ELBOCurveDisplay",
    "ELBODecompositionDisplay",
    "ItemCurveDisplay",
    "LatentSpaceDisplay",
    "ModelSelectionDisplay",
    "SequenceDisplay",
    "TraversalDisplay",
]
