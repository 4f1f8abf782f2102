"""Latent class models of the literature: every published maximum to every digit published."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special
from sklearn.base import clone

from skelbo import EMHiddenMarkovModel, EMMixture
from tests.latent_class_tables import (
    CARCINOMA,
    CHEATING,
    DEATHS,
    LEADING_CROWD,
    ROLE_CONFLICT,
    SURVEY,
)


def fitted(table, n_classes, likelihood="categorical"):
    patterns, counts = table
    model = EMMixture(n_classes, likelihood=likelihood, random_state=0)
    model.fit(patterns, sample_weight=counts)
    assert model.converged_
    return model


def fit_statistics(model, table):
    """Return log-likelihood, AIC, BIC, G^2, X^2 and degrees of freedom, as poLCA prints them."""
    patterns, counts = table
    total = counts.sum()
    codes = [range(int(column.max()) + 1) for column in patterns.T]
    cells = np.array(list(itertools.product(*codes)), dtype=float)
    expected = total * np.exp(model.score_samples(cells))
    seen = {tuple(row): count for row, count in zip(patterns, counts, strict=True)}
    found = np.array([seen.get(tuple(cell), 0.0) for cell in cells])
    some, possible = found > 0, expected > 0
    return (
        model.score(patterns, sample_weight=counts) * total,
        model.aic(patterns, counts),
        model.bic(patterns, counts),
        2 * (found[some] * np.log(found[some] / expected[some])).sum(),
        ((found - expected)[possible] ** 2 / expected[possible]).sum(),
        len(cells) - 1 - model.n_parameters_,
    )


# Goodman (1974), *Biometrika* 61, gives G^2 and X^2 of his two tables. poLCA is the R package of
# Linzer and Lewis (2011), *J. Stat. Softw.* 42(10), with its manual: of `gss82` the best of the
# local maxima that they list.
PUBLISHED = [
    (ROLE_CONFLICT, 2, (-504.4677, 1026.935, 1057.313, 2.719922, None, 6), "poLCA values"),
    (ROLE_CONFLICT, 2, (None, None, None, 2.72, 2.72, 6), "Goodman role conflict"),
    (LEADING_CROWD, 2, (None, None, None, 249.50, 251.17, 6), "Goodman leading crowd"),
    (CHEATING, 2, (-440.0271, None, None, 7.764242, None, 6), "poLCA cheating"),
    (CARCINOMA, 2, (-317.2568, None, None, None, None, None), "poLCA carcinoma 2"),
    (CARCINOMA, 3, (-293.705, 633.41, 697.1357, 15.26171, 20.50336, None), "poLCA carcinoma 3"),
    (CARCINOMA, 4, (-289.2858, None, None, None, None, None), "poLCA carcinoma 4"),
    (SURVEY, 3, (-2754.545, None, None, None, None, None), "poLCA gss82"),
]


@pytest.mark.parametrize(
    ("table", "n_classes", "published"),
    [case[:3] for case in PUBLISHED],
    ids=[case[3] for case in PUBLISHED],
)
def test_published_fit_statistics(table, n_classes, published):
    found = fit_statistics(fitted(table, n_classes), table)
    for value, expected in zip(found, published, strict=True):
        if expected is not None:
            n_digits = len(f"{expected}".partition(".")[2])
            assert abs(value - expected) <= 0.5 * 10.0**-n_digits + 2e-6


def test_classes_of_role_conflict():
    """Goodman (1974), table 2: class sizes and probabilities of the universalistic answer."""
    model = fitted(ROLE_CONFLICT, 2)
    assert_allclose(model.weights_, [0.721, 0.279], atol=5e-4)
    universalistic = np.array([table[:, 0] for table in model.category_probabilities_])
    expected = [[0.714, 0.993], [0.330, 0.940], [0.354, 0.927], [0.132, 0.769]]
    assert_allclose(universalistic, expected, atol=5e-4)


def test_classes_of_the_pathologists_are_on_the_boundary():
    """Linzer and Lewis (2011), section 5: probabilities of 0 and 1 are answers."""
    model = fitted(CARCINOMA, 3)
    assert_allclose(model.weights_, [0.4447, 0.3736, 0.1817], atol=5.1e-5)
    carcinoma = np.array([table[:, 1] for table in model.category_probabilities_])
    expected = [
        [1.0000, 0.0573, 0.5128],
        [0.9809, 0.1379, 1.0000],
        [0.8575, 0.0000, 0.0000],
        [0.5862, 0.0000, 0.0576],
        [1.0000, 0.0551, 0.7506],
        [0.4764, 0.0000, 0.0000],
        [1.0000, 0.0000, 0.6307],
    ]
    assert_allclose(carcinoma, expected, atol=1.01e-4)  # the last digit is not of a converged fit
    yes_no = fitted(CARCINOMA, 3, "bernoulli")
    assert_allclose(yes_no.probabilities_.T, carcinoma, atol=1e-4)
    assert yes_no.n_parameters_ == model.n_parameters_ == 23


def test_deaths_are_two_poisson_distributions():
    """Titterington, Smith and Makov (1985), p. 89: 0.3599, 1.2561, 2.6634; -1989.946."""
    model = fitted(DEATHS, 2, "poisson")
    patterns, counts = DEATHS
    total = model.score(patterns, sample_weight=counts) * counts.sum()
    assert total == pytest.approx(-1989.946, abs=5e-4)
    assert_allclose(model.weights_, [0.6401, 0.3599], atol=2e-4)
    assert_allclose(model.rates_.ravel(), [2.6634, 1.2561], atol=5e-4)


@pytest.mark.parametrize("table", [ROLE_CONFLICT, SURVEY, DEATHS], ids=["role", "survey", "deaths"])
def test_counts_are_rows(table):
    """A table of patterns with counts, and the rows that it counts in any order, are one table."""
    patterns, counts = table
    likelihood = "poisson" if table is DEATHS else "categorical"
    rows = np.repeat(patterns, counts.astype(int), axis=0)
    rows = np.random.default_rng(0).permutation(rows)
    whole = EMMixture(2, likelihood=likelihood, random_state=0).fit(rows)
    grouped = fitted(table, 2, likelihood)
    assert whole.lower_bounds_ == grouped.lower_bounds_
    assert_array_equal(whole.weights_, grouped.weights_)
    assert_array_equal(whole.predict_proba(patterns), grouped.predict_proba(patterns))
    assert whole.bic(rows) == pytest.approx(grouped.bic(patterns, counts), rel=1e-13)
    assert whole.entropy_r2_ == pytest.approx(grouped.entropy_r2_, rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical"])
@pytest.mark.parametrize("model", [EMMixture(1), EMMixture(2), EMHiddenMarkovModel(2)])
def test_every_answer_of_the_fit_has_a_probability(model, likelihood, dtype):
    """However small its share of the weight: 1 - p of a probability near 1 is no zero."""
    X = np.array([[1, 0, 1], [1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=dtype)
    weights = np.array([1e-10, 10.0, 1e8, 1e-10])
    given = {"groups": np.arange(4)} if isinstance(model, EMHiddenMarkovModel) else {}
    model = clone(model).set_params(likelihood=likelihood, random_state=0)
    model.fit(X, sample_weight=weights, **given)
    scores = model.score_samples(X, **given)
    assert np.isfinite(scores).all() and scores[0] < -15
    assert model.lower_bound_ == pytest.approx(
        np.average(scores.astype(float), weights=weights), abs=1e-6
    )
    assert np.isfinite(np.asarray(model.elbo(X, **given))).all()


def test_probabilities_of_all_patterns_add_up_to_one_and_classes_are_bayes_rule():
    model = fitted(SURVEY, 3)
    patterns = SURVEY[0]
    tables = model.category_probabilities_
    joint = np.array(
        [
            [w * np.prod([t[k, int(c)] for t, c in zip(tables, x, strict=True)]) for x in patterns]
            for k, w in enumerate(model.weights_)
        ]
    )
    assert joint.sum() == pytest.approx(1, abs=1e-12)
    assert_allclose(model.score_samples(patterns), np.log(joint.sum(0)), rtol=1e-11)
    assert_allclose(model.predict_proba(patterns), (joint / joint.sum(0)).T, rtol=1e-10, atol=1e-14)
    entropy = special.entr(joint / joint.sum(0)).sum(0)
    share = SURVEY[1] / SURVEY[1].sum()
    assert model.entropy_r2_ == pytest.approx(1 - share @ entropy / np.log(3), abs=1e-10)
    missing = patterns.copy()
    missing[:, 1] = np.nan
    for row, log_prob in zip(missing, model.score_samples(missing), strict=True):
        both = [np.r_[row[0], code, row[2:]] for code in (0, 1)]
        assert log_prob == pytest.approx(np.logaddexp(*model.score_samples(both)), abs=1e-12)
