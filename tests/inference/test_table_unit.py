"""Unit of a table: fits and errors follow it over the range of float64."""

import numpy as np
import pytest
from sklearn.base import clone

from skelbo import MCEM, VariationalEM
from skelbo.models import BinaryFeatureModel, DecoderModel, FactorModel
from tests.tables import real

POWERS = {"loadings": 1, "intercepts": 1, "noise_variance": 2, "probabilities": 0}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("exponent", [-390, -260, -1, 465])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("model", [FactorModel(1), BinaryFeatureModel(1)])
@pytest.mark.parametrize("engine", [MCEM, VariationalEM])
def test_fits_and_errors_follow_the_unit(engine, model, missing, exponent):
    X, unit = real(60), 2.0**exponent
    X[2, 1] = np.nan if missing else X[2, 1]
    plain = engine(1, model=model, max_iter=20, random_state=0).fit(X)
    scaled = engine(1, model=model, max_iter=20, random_state=0).fit(unit * X)
    kinds = ["params_", "standard_errors_"]
    for kind in kinds + ["mc_standard_errors_"] * (engine is MCEM):
        for name, value in getattr(plain, kind).items():
            expected, actual = unit ** POWERS[name] * value, getattr(scaled, kind)[name]
            np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=0)
    shift = np.log(unit) * np.isfinite(X).sum() / len(X)
    assert scaled.lower_bound_ + shift == pytest.approx(plain.lower_bound_, abs=1e-8)
    assert scaled.n_iter_ == plain.n_iter_


@pytest.mark.parametrize("unit", [1e-118, 1e-78, 1e140])
def test_errors_of_the_closed_form_follow_the_unit(unit):
    X = real(60)
    plain = VariationalEM(1, model="gaussian").fit(X)
    scaled = VariationalEM(1, model="gaussian").fit(unit * X)
    for name, error in plain.standard_errors_.items():
        actual = scaled.standard_errors_[name] / unit ** POWERS[name]
        np.testing.assert_allclose(actual, error, rtol=1e-6)


@pytest.mark.parametrize("exponent", [-260, 465])
@pytest.mark.parametrize("engine", [MCEM, VariationalEM])
@pytest.mark.long
def test_a_decoder_follows_a_common_unit(engine, exponent):
    X, unit = real(30), 2.0**exponent
    model = DecoderModel(1, hidden_layer_sizes=(2,))
    estimator = engine(1, model=model, max_iter=2, n_importance_samples=20, random_state=0)
    plain, scaled = (clone(estimator).fit(rows) for rows in (X, unit * X))
    for name, value in plain.params_.items():
        expected = unit ** model.unit_powers.get(name, 0) * value
        np.testing.assert_allclose(scaled.params_[name], expected, rtol=1e-9, atol=0)
    shift = X.shape[1] * np.log(unit)
    assert scaled.lower_bound_ + shift == pytest.approx(plain.lower_bound_, abs=1e-8)
    assert np.all(scaled.standard_errors_["noise_variance"] > 0)


@pytest.mark.parametrize("model", [FactorModel(1), BinaryFeatureModel(1, noise="isotropic")])
def test_the_unit_of_columns_of_one_value_is_their_size(model):
    """Variances are a share of 1e-258 there, of which the square of the inverse overflows."""
    fit = MCEM(1, model=model, max_iter=1, random_state=0).fit([[np.nan, 0.0], [1e-129, np.nan]])
    assert np.isfinite(fit.score([[1e-129, 0.0]]))


@pytest.mark.parametrize("model", [FactorModel(1), BinaryFeatureModel(1), DecoderModel(1)])
def test_cells_whose_noise_has_no_inverse_are_refused(model):
    X = np.array([[np.nan], [-1.4e-152], [np.nan]])
    for engine in MCEM, VariationalEM:
        with pytest.raises(ValueError, match=r"1.4e-152 in size, whose square underflows"):
            engine(1, model=model).fit(X)
    assert np.isfinite(VariationalEM(1, model=FactorModel(1)).fit(1e15 * X).score(1e15 * X))
