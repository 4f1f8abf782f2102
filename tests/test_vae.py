"""VAEEstimator: what its numbers mean, that they are right, and that it behaves as an estimator."""

import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from torch import nn

from skelbo import ELBOMonitor, NoiseFloorWarning, VAEEstimator
from tests.neural.networks import small

# A few epochs leave a poor q. That this is reported has a test of its own.
pytestmark = pytest.mark.filterwarnings("ignore::skelbo.ImportanceWarning")

RNG = np.random.default_rng(0)
IRIS = load_iris().data
BITS = (RNG.random((60, 1)) < [[0.3, 0.5, 0.8]]).astype(float)
COUNTS = RNG.poisson(RNG.gamma(2.0, 2.0, (60, 1)) * [[1.0, 2.0]]).astype(float)
CODES = np.column_stack([RNG.integers(0, 3, 60), RNG.integers(0, 2, 60)]).astype(float)
MIXED = np.column_stack([RNG.normal(5.0, 20.0, 60), BITS[:, 0], COUNTS[:, 0], CODES[:, 0]])
MIXED_KINDS = ["gaussian", "bernoulli", "poisson", "categorical"]


@pytest.fixture(scope="module")
def iris_model():
    return small(max_iter=100, lr=1e-2).fit(IRIS)


# ------------------------------------------------------------ scikit-learn


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_check_estimator_passes_whole_but_for_weights_in_minibatches(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    reason = "a minibatch draws noise per row: weights equal repetition only in expectation"
    results = estimator_checks.check_estimator(
        VAEEstimator(max_iter=5, n_importance_samples=20, random_state=0),
        expected_failed_checks={"check_sample_weight_equivalence_on_dense_data": reason},
        on_skip=None,
        on_fail=None,
    )
    failed = [r["check_name"] for r in results if r["status"] not in ("passed", "skipped")]
    assert failed == ["check_sample_weight_equivalence_on_dense_data"]
    assert len(results) >= 50


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names")
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_param_validation,
        estimator_checks.check_dataframe_column_names_consistency,
        estimator_checks.check_transformer_get_feature_names_out,
        estimator_checks.check_transformer_get_feature_names_out_pandas,
        estimator_checks.check_get_feature_names_out_error,
        estimator_checks.check_set_output_transform,
        estimator_checks.check_set_output_transform_pandas,
        estimator_checks.check_set_output_transform_polars,
        estimator_checks.check_global_output_transform_pandas,
        estimator_checks.check_inplace_ensure_writeable,
    ],
    ids=lambda check: check.__name__,
)
def test_checks_that_check_estimator_leaves_out(check):
    check("VAEEstimator", small())


@pytest.mark.slow
def test_in_pipeline_and_grid_search():
    y = load_iris().target
    pipeline = make_pipeline(small(), LogisticRegression(max_iter=1000))
    grid = {"vaeestimator__n_components": [1, 3]}
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=2).fit(IRIS, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    # Without a target the search maximises the held-out log-likelihood.
    search = GridSearchCV(small(), {"beta": [1.0, 4.0]}, cv=2).fit(IRIS)
    assert np.isfinite(search.best_score_)


def test_importing_the_library_does_not_import_torch():
    code = "import sys, skelbo; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_callers_generators_are_untouched():
    np.random.seed(0)
    torch.manual_seed(0)
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    model = small(random_state=None).fit(IRIS)
    model.score(IRIS)
    model.sample(3)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_fits_in_parallel_threads_are_those_of_their_seed():
    alone, found = [small(random_state=s).fit(IRIS).score(IRIS) for s in range(4)], {}

    def fit(seed):
        found[seed] = small(random_state=seed).fit(IRIS).score(IRIS)

    before = torch.get_rng_state()
    workers = [threading.Thread(target=fit, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [found[seed] for seed in range(4)] == alone
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("n_rows", [100, 500])
def test_a_column_is_the_same_in_float32_and_float64(n_rows):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 1)) + 0.5 * rng.standard_normal((n_rows, 3))
    X[:, 0] = 1.7e9 + 1000 * X[:, 0] / X[:, 0].std()
    X = X.astype(np.float32)
    single, double = (small(max_iter=20).fit(rows) for rows in (X, X.astype(np.float64)))
    assert single.score(X) == pytest.approx(double.score(X.astype(np.float64)), abs=0.05)


def test_random_state_is_exact_and_none_is_not():
    first, second = small().fit(IRIS), small().fit(IRIS)
    assert np.array_equal(first.score_samples(IRIS), second.score_samples(IRIS))
    assert np.array_equal(first.sample(4, 7)[0], second.sample(4, 7)[0])
    other = small(random_state=None).fit(IRIS)
    assert not np.array_equal(first.transform(IRIS), other.transform(IRIS))


def test_precision_of_the_input_is_kept():
    model = small().fit(IRIS.astype(np.float32))
    assert next(model.net_.module_.parameters()).dtype == torch.float32
    for dtype in (np.float32, np.float64):
        X = IRIS.astype(dtype)
        Z = model.transform(X)
        outputs = (Z, model.inverse_transform(Z), model.score_samples(X), model.impute(X))
        assert all(out.dtype == dtype for out in outputs)


def test_pickle_clone_and_unfitted(iris_model):
    loaded = pickle.loads(pickle.dumps(iris_model))
    assert np.array_equal(loaded.score_samples(IRIS), iris_model.score_samples(IRIS))
    loaded.set_params(warm_start=True).fit(IRIS)
    with pytest.raises(NotFittedError):
        clone(iris_model).score_samples(IRIS)


# ------------------------------------------------------------ weights


def test_rows_of_weight_zero_are_absent():
    weights = (np.arange(150) % 3 > 0).astype(float)
    one = small().fit(IRIS, sample_weight=weights)
    other = small().fit(IRIS[weights > 0])
    assert np.array_equal(one.score_samples(IRIS), other.score_samples(IRIS))


@pytest.mark.slow
def test_integer_weights_move_the_fit_as_repetition_does():
    """Equal in expectation: after a long fit of a linear model, nearly equal."""
    weights = np.where(np.arange(150) < 50, 5, 1)
    # One step per epoch for either, so that both take the same number of steps.
    params = {"hidden_layer_sizes": (), "lr": 2e-2, "max_iter": 500, "batch_size": 1000}
    weighted = small(1, **params).fit(IRIS, sample_weight=weights)
    repeated = small(1, **params).fit(np.repeat(IRIS, weights, axis=0))
    difference = weighted.score_samples(IRIS) - repeated.score_samples(IRIS)
    unweighted = small(1, **params).fit(IRIS).score_samples(IRIS)
    assert np.abs(difference).mean() < 0.15
    assert np.abs(unweighted - repeated.score_samples(IRIS)).mean() > 0.3


# ------------------------------------------------------------ bad input


class TellsWords(nn.Module):
    def forward(self, x):
        return {"mean": x, "log_variance": x}


@pytest.mark.parametrize(
    ("X", "params", "message"),
    [
        (BITS - 0.5, {"likelihood": "bernoulli"}, "column 0 of X has the value .* expected 0 or 1"),
        (COUNTS + 0.5, {"likelihood": "poisson"}, "round the column"),
        (COUNTS - 50, {"likelihood": "poisson"}, "Negative values in data"),
        (IRIS, {"likelihood": "categorical"}, "integer codes"),
        (IRIS, {"likelihood": ["gaussian"]}, "for each of the 4 columns"),
        (IRIS, {"likelihood": "gamma"}, "likelihood"),
        (np.where(IRIS > 7, np.inf, IRIS), {}, "infinity"),
        (np.where([0, 0, 1, 0], np.nan, IRIS), {}, "column 2 of X has no observed cell"),
        (IRIS * 1e300, {}, "column 0 of X has values whose squares overflow"),
        (IRIS[:1], {}, "1 sample"),
        (IRIS, {"objective": "iwae", "gradient": "score_function"}, "use gradient='dreg'"),
        (IRIS[:5], {"early_stopping": True}, "would hold out 0 of 5 rows"),
        (IRIS, {"encoder": lambda n, m: nn.Linear(n, 5)}, "encoder gave shape"),
        (IRIS, {"encoder": lambda: nn.Linear(3, 4)}, "encoder failed on one row"),
        (IRIS, {"decoder": lambda n, m: nn.Linear(n, 3)}, "decoder gave shape"),
        (IRIS, {"encoder": lambda n, m: TellsWords()}, "encoder gave a dict, expected a tensor"),
        (CODES * 1e9, {"likelihood": "categorical"}, "less than 1000; encode the column"),
        (COUNTS * 1e9, {"likelihood": "poisson"}, "less than 4.85.*use likelihood='gaussian'"),
        (IRIS, {"hidden_layer_sizes": (3.5,)}, "no integer of at least 1"),
        (IRIS, {"hidden_layer_sizes": (8, -1)}, "no integer of at least 1"),
        (IRIS, {"device": "gpu"}, "device='gpu' cannot be used here"),
        (IRIS, {"callbacks": [ELBOMonitor()]}, "go to set_callbacks"),
        (IRIS, {"optimizer": dict}, "no optimiser of torch"),
    ],
)
def test_bad_input_is_refused_by_message(X, params, message):
    with pytest.raises(ValueError, match=message):
        small(**params).fit(X)


def test_a_code_that_fit_never_saw_is_refused():
    model = small(likelihood="categorical").fit(CODES)
    with pytest.raises(ValueError, match="the code 7, expected one of the 3 codes"):
        model.score_samples(CODES + [[7.0, 0.0]] * (CODES[:, :1] == 0))


@pytest.mark.slow
def test_a_constant_column_is_reported_and_costs_nothing_else():
    X = np.column_stack([IRIS, np.full(150, 3.0)])
    with pytest.warns(NoiseFloorWarning, match=r"1 of 5 Gaussian columns .* column 4"):
        model = small(max_iter=400, lr=1e-2).fit(X)
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.filterwarnings("ignore::skelbo.ImportanceWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
def test_rows_from_anywhere_have_finite_answers(dtype, likelihood):
    X = np.round(IRIS).astype(dtype)
    model = small(likelihood=likelihood).fit(X)
    limit = np.finfo(dtype).max / 2
    rows = np.round([[limit, 0, 1, 2], [limit, limit, limit, limit], [1e9, 0, 0, 1], X[0]])
    for far in (rows, -rows) if likelihood == "gaussian" else (rows,):
        far = far.astype(dtype)
        log_prob, std = model.score_samples(far, return_std=True)
        answers = log_prob, std, model.elbo(far), model.transform(far)
        assert all(np.isfinite(answer).all() for answer in answers)
        assert log_prob[0] < log_prob[3]


@pytest.mark.slow
def test_fewer_rows_than_a_batch():
    model = small(batch_size=1000, noise="unit").fit(IRIS[:3])
    assert np.isfinite(model.score(IRIS[:3]))


def test_steps_that_are_not_finite_end_the_fit_with_the_remedy():
    with pytest.raises(ValueError, match=r"of epoch \d+ were not finite .* smaller lr"):
        small(lr=1e200, optimizer="sgd").fit(IRIS)
