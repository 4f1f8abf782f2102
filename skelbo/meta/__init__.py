"""Meta-estimators: densities as classifiers, outlier detectors and imputers; model selection."""

from skelbo.meta.criterion_search import CriterionSearch
from skelbo.meta.generative_classifier import GenerativeClassifier
from skelbo.meta.model_imputer import ModelImputer
from skelbo.meta.outlier_detector import DensityOutlierDetector

__all__ = ["CriterionSearch", "DensityOutlierDetector", "GenerativeClassifier", "ModelImputer"]
