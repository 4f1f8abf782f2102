"""Meta-estimators x scikit-learn's checks: all of them, and those of its own test-suite."""

import os
import subprocess
import sys

import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator

from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.meta import (
    CriterionSearch,
    DensityOutlierDetector,
    GenerativeClassifier,
    ModelImputer,
)

MIXTURE = EMGaussianMixture(2, random_state=0)
GRID = {"n_components": [1, 2], "covariance_type": ["full", "tied_diag"]}
# Meta-estimators and the number of checks that scikit-learn has for each.
SETTINGS = [
    (GenerativeClassifier(GaussianMLE()), 61),
    (GenerativeClassifier(MIXTURE), 61),
    (DensityOutlierDetector(GaussianMLE()), 53),
    (DensityOutlierDetector(MIXTURE, contamination=0.05), 53),
    (ModelImputer(GaussianMLE()), 53),
    (ModelImputer(MIXTURE, sample_posterior=True, add_indicator=True, random_state=0), 53),
    (CriterionSearch(EMGaussianMixture(random_state=0), GRID), 53),
    (CriterionSearch(EMGaussianMixture(random_state=0), GRID, criterion="held_out"), 53),
]
quiet = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning"),
]
pytestmark = quiet


@pytest.mark.parametrize(("estimator", "n_checks"), SETTINGS, ids=lambda value: repr(value)[:60])
def test_check_estimator_whole(estimator, n_checks):
    """No failure, nothing excused, nothing skipped but the check that needs a variable."""
    results = check_estimator(clone(estimator), on_fail=None, on_skip=None)
    status = {result["check_name"]: result["status"] for result in results}
    assert [name for name, value in status.items() if value == "failed"] == []
    skipped = {name for name, value in status.items() if value == "skipped"}
    assert skipped <= {"check_array_api_input"}
    assert len(results) == n_checks


EXTRA_CHECKS = [
    "check_param_validation",
    "check_dataframe_column_names_consistency",
]
TRANSFORMER_CHECKS = [
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_get_feature_names_out_error",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
]


@pytest.mark.parametrize("check", EXTRA_CHECKS)
@pytest.mark.parametrize("estimator", [e for e, _ in SETTINGS], ids=lambda e: repr(e)[:60])
def test_extra_checks(estimator, check):
    getattr(estimator_checks, check)(type(estimator).__name__, clone(estimator))


@pytest.mark.parametrize("check", TRANSFORMER_CHECKS)
@pytest.mark.parametrize("estimator", [e for e, _ in SETTINGS[4:]], ids=lambda e: repr(e)[:60])
def test_extra_checks_of_transformers(estimator, check):
    getattr(estimator_checks, check)(type(estimator).__name__, clone(estimator))


@pytest.mark.long
def test_array_api_check_runs_when_enabled():
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from sklearn.utils.estimator_checks import check_estimator\n"
        "from skelbo import GaussianMLE\n"
        "from skelbo.meta import *\n"
        "inner = GaussianMLE()\n"
        "grid = {'covariance_type': ['full', 'diag']}\n"
        "for estimator in (GenerativeClassifier(inner), DensityOutlierDetector(inner),\n"
        "                  ModelImputer(inner), CriterionSearch(inner, grid)):\n"
        "    results = check_estimator(estimator, on_skip=None)\n"
        "    assert {result['status'] for result in results} == {'passed'}\n"
    )
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
