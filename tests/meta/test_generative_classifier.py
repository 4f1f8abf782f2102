"""Bayes' rule: against QDA, weights as repetitions, missing cells, pipelines, messages."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.callback import ProgressBar
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris, load_wine
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline

from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.meta import GenerativeClassifier

X, y = load_iris(return_X_y=True)


def test_one_gaussian_per_class_is_quadratic_discriminant_analysis():
    wine, kinds = load_wine(return_X_y=True)
    ours = GenerativeClassifier(GaussianMLE()).fit(wine, kinds)
    # Its other solver divided by n - 1 until scikit-learn 1.9.1.
    theirs = QuadraticDiscriminantAnalysis(solver="eigen", store_covariance=True).fit(wine, kinds)
    for model, covariance in zip(ours.estimators_, theirs.covariance_, strict=True):
        assert_allclose(model.covariance_, covariance, rtol=1e-6)
    assert_allclose(ours.predict_proba(wine), theirs.predict_proba(wine), atol=1e-6)
    assert_allclose(ours.class_prior_, theirs.priors_)


def test_independent_columns_are_naive_bayes():
    ours = GenerativeClassifier(GaussianMLE("diag")).fit(X, y)
    theirs = GaussianNB(var_smoothing=0.0).fit(X, y)
    assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-8, atol=1e-8)


def test_weights_are_repetitions():
    weights = np.arange(150) % 3
    weights[y == 1] = 0  # a class of weight zero is absent
    weights[100:150] = 0
    weights[120] = 3  # a class of one row that stands for three
    estimator = GenerativeClassifier(GaussianMLE("diag", reg_covar=0.01))
    one = estimator.fit(X, y, sample_weight=weights)
    rows = np.repeat(np.arange(150), weights)
    other = GenerativeClassifier(GaussianMLE("diag", reg_covar=0.01)).fit(X[rows], y[rows])
    assert_array_equal(one.classes_, [0, 2])
    assert_allclose(one.predict_log_proba(X), other.predict_log_proba(X), rtol=1e-9, atol=1e-9)


def test_missing_cells_are_integrated_out():
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.3, np.nan, X)
    holes[0] = np.nan
    classifier = GenerativeClassifier(GaussianMLE()).fit(holes, y)
    assert classifier.score(holes, y) > 0.9
    assert_allclose(classifier.predict_proba(holes[:1])[0], classifier.class_prior_)


def test_priors_and_their_order():
    priors = [0.0, 0.5, 0.5]
    proba = GenerativeClassifier(GaussianMLE(), priors=priors).fit(X, y).predict_proba(X)
    assert np.all(proba[:, 0] == 0)
    assert_allclose(proba.sum(axis=1), 1.0)
    far = GenerativeClassifier(GaussianMLE(), priors=priors).fit(X, y)
    assert_allclose(far.predict_proba(np.full((1, 4), 1e180))[0], priors)


def test_labels_of_any_kind_pipelines_dataframes_and_search():
    table = pd.DataFrame(X, columns=list("abcd")).assign(name="iris")
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    columns = make_column_transformer(("passthrough", ["a", "d"]))
    pipeline = make_pipeline(columns, EMGaussianMixture(random_state=0))
    classifier = GenerativeClassifier(pipeline).fit(table, names)
    assert set(classifier.predict(table)) == set(names)
    assert list(classifier.feature_names_in_) == [*"abcd", "name"]
    grid = {"estimator__covariance_type": ["full", "tied_spherical"]}
    search = GridSearchCV(GenerativeClassifier(EMGaussianMixture()), grid, scoring="neg_log_loss")
    assert search.fit(X, names).best_params_["estimator__covariance_type"] == "full"


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="a type of NumPy 2")
def test_strings_of_any_length():
    names = np.array(["setosa", "versicolor", "virginica"], dtype=np.dtypes.StringDType())[y]
    classifier = GenerativeClassifier(GaussianMLE()).fit(X, names)
    assert classifier.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert classifier.score(X, names.astype(object)) > 0.9


def test_any_density_of_scikit_learn():
    assert GenerativeClassifier(KernelDensity(bandwidth=0.3)).fit(X, y).score(X, y) > 0.95


def test_metadata_is_routed():
    weights = np.arange(150.0) + 1
    with config_context(enable_metadata_routing=True):
        density = GaussianMLE().set_fit_request(sample_weight=True)
        routed = GenerativeClassifier(make_pipeline(density)).fit(X, y, sample_weight=weights)
        refused = GenerativeClassifier(GaussianMLE())
        with pytest.raises(ValueError, match="sample_weight"):
            refused.fit(X, y, sample_weight=weights)
    plain = GenerativeClassifier(GaussianMLE()).fit(X, y, sample_weight=weights)
    assert_allclose(routed.predict_proba(X), plain.predict_proba(X))


def test_callbacks_reach_the_densities(capsys):
    GenerativeClassifier(EMGaussianMixture(2, random_state=0)).set_callbacks(ProgressBar()).fit(
        X, y
    )
    assert "EMGaussianMixture" in capsys.readouterr().out


def test_a_failed_fit_leaves_the_classifier_as_it_was():
    classifier = GenerativeClassifier(GaussianMLE()).fit(X, y)
    before = classifier.predict_proba(X)
    with pytest.raises(ValueError, match="the density of class"):
        classifier.fit(X[:101], y[:101])
    assert_array_equal(classifier.predict_proba(X), before)


BAD = {
    "no density": (
        lambda: GenerativeClassifier(LogisticRegression()).fit(X, y),
        "The 'estimator' parameter of GenerativeClassifier must be an object implementing",
    ),
    "inner parameter": (
        lambda: GenerativeClassifier(GaussianMLE("round")).fit(X, y),
        "The 'covariance_type' parameter of GaussianMLE must be",
    ),
    "number of priors": (
        lambda: GenerativeClassifier(GaussianMLE(), priors=[0.5, 0.5]).fit(X, y),
        r"priors has shape \(2,\), expected \(3,\)",
    ),
    "sum of priors": (
        lambda: GenerativeClassifier(GaussianMLE(), priors=[0.5, 0.5, 0.5]).fit(X, y),
        "expected probabilities that add up to 1",
    ),
    "one row": (
        lambda: GenerativeClassifier(GaussianMLE()).fit(X[:101], y[:101]),
        "the density of class 2 could not be fitted: Found array with 1 sample",
    ),
    "labels of two types": (
        lambda: GenerativeClassifier(GaussianMLE()).fit(X[:4], np.array(["a", 1] * 2, object)),
        "y has labels of the types int, str, expected numbers or strings",
    ),
    "rows without a label": (
        lambda: GenerativeClassifier(GaussianMLE()).fit(X[:4], np.array(["a", None] * 2, object)),
        "y has labels of the types NoneType, str, .*remove rows without a label",
    ),
    "weights": (
        lambda: GenerativeClassifier(make_pipeline(GaussianMLE())).fit(X, y, np.arange(150) + 1),
        "sample_weight got weights, which the fit of Pipeline does not take",
    ),
    "features": (
        lambda: GenerativeClassifier(GaussianMLE()).fit(X, y).predict(X[:, :3]),
        "X has 3 features, but GenerativeClassifier is expecting 4",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_by_message(case):
    function, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        function()
