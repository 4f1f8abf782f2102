"""GANEstimator: each divergence ends at its optimum, and the scores are those of the model."""

import signal
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.callback import ProgressBar
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from torch import nn
from torch.utils.data import TensorDataset

from skelbo import ELBOMonitor, GANEstimator, NoiseFloorWarning
from skelbo.callbacks import Checkpoint
from skelbo.em.checkpoint import FitCheckpoint

IRIS = load_iris().data
# A short game leaves a poor q. That this is reported is tested with the VAE.
pytestmark = pytest.mark.filterwarnings("ignore::skelbo.ImportanceWarning")


def small(n_components=2, **params):
    """Return a GAN that fits in a blink."""
    defaults = {
        "hidden_layer_sizes": (8,),
        "critic_layer_sizes": (8,),
        "max_iter": 5,
        "n_importance_samples": 100,
        "random_state": 0,
    }
    return GANEstimator(n_components, **{**defaults, **params})


# ------------------------------------------------------- what the game finds

MIXTURES = {
    # The density of section 2.5 of Nowozin et al. (2016); see examples/plot_divergences.py.
    "overlapping": ((0.32972, 0.67028), (-1.00041, 1.99938), (0.25466, 1.41496)),
    "separated": ((0.3, 0.7), (-3.0, 3.0), (0.6, 0.6)),
}


def draws(name, n):
    weights, means, stds = map(np.array, MIXTURES[name])
    rng = np.random.default_rng(0)
    labels = (rng.random(n) < weights[1]).astype(int)
    X = means[labels] + stds[labels] * rng.standard_normal(n)
    return X[:, None].astype(np.float32)


def one_gaussian(name, divergence, seed, lr=2e-3, max_iter=75, n=8000):
    """Return mean and standard deviation of one Gaussian learned by a game, and the fit."""
    model = GANEstimator(
        1,
        divergence=divergence,
        hidden_layer_sizes=(),
        critic_layer_sizes=(32, 32),
        penalty=0,
        lr=lr,
        batch_size=500,
        max_iter=max_iter,
        n_importance_samples=50,
        random_state=seed,
    ).fit(draws(name, n))
    origin, unit = model.inverse_transform([[0.0], [1.0]])[:, 0]
    return origin, np.hypot(unit - origin, model.adversarial_noise_variance_[0] ** 0.5), model


# Optimum and value by quadrature: those of examples/plot_divergences.py.
OPTIMA = {
    "kl": (1.0103, 1.8309, 0.2830),
    "reverse_kl": (1.5780, 1.6316, 0.2480),
    "js": (1.3072, 1.7541, 0.0640),
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("divergence", OPTIMA)
@pytest.mark.long
def test_a_gaussian_ends_at_the_optimum_of_its_divergence(divergence, seed):
    """An ELBO behind the name GAN would give the moments of the data, 1.01 and 1.83, for all."""
    mean, std, model = one_gaussian("overlapping", divergence, seed)
    expected = OPTIMA[divergence]
    assert mean == pytest.approx(expected[0], abs=0.1)
    assert std == pytest.approx(expected[1], abs=0.1)
    # A lower bound on rows held out: 800 of them, and 10000 draws of the model.
    assert 0.6 * expected[2] < model.divergence_ < expected[2] + 0.06
    assert len(model.divergences_) == model.n_iter_ == 75
    assert model.converged_


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_of_two_separated_modes_reverse_kl_takes_the_larger_and_forward_kl_both(seed):
    mean, std, model = one_gaussian("separated", "reverse_kl", seed, lr=5e-3, max_iter=250, n=4000)
    assert mean == pytest.approx(3.0, abs=0.1) and std == pytest.approx(0.6, abs=0.1)
    # On a mode of weight 0.7 the ratio q / p is 1 / 0.7.
    assert model.divergence_ == pytest.approx(-np.log(0.7), abs=0.06)
    mean, std, _ = one_gaussian("separated", "kl", seed)
    assert mean == pytest.approx(1.2, abs=0.3) and std == pytest.approx(2.814, abs=0.3)


def test_jensen_shannon_is_at_most_log_2():
    X = np.random.default_rng(0).normal(size=(200, 5)) * [1, 2, 3, 4, 5]
    model = small(lr=1e-9).fit(X)
    assert max(model.divergences_) <= np.log(2)


# ------------------------------------------------------------- the likelihood


def linear_gaussian(model, noise):
    """Return mean and covariance of x under a linear decoder."""
    d = model.n_components
    mean, *images = model.inverse_transform(np.eye(d + 1, d, -1))
    loadings = np.array(images).T - mean[:, None]
    return mean, loadings @ loadings.T + np.diag(np.broadcast_to(noise, len(mean)))


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["unit", "isotropic", "diag"])
def test_scores_of_a_linear_gan_are_the_closed_form(noise):
    """The noise is the published one, that of the closed-form step."""
    model = small(hidden_layer_sizes=(), noise=noise, max_iter=60, n_importance_samples=1000)
    model.fit(IRIS)
    gaussian = multivariate_normal(*linear_gaussian(model, model.noise_variance_))
    log_prob, std = model.score_samples(IRIS, return_std=True)
    assert np.abs((log_prob - gaussian.logpdf(IRIS)) / std).max() < 6
    assert np.all(model.gap(IRIS) >= 0)
    assert model.lower_bound_ == pytest.approx(model.elbo(IRIS).mean(), abs=0.3)
    assert np.ndim(model.noise_variance_) == (0 if noise == "isotropic" else 1)


@pytest.mark.slow
def test_the_noise_step_raises_the_likelihood():
    model = small(max_iter=100, lr=2e-3).fit(IRIS)
    kept = model.net_.module_.likelihood.gaussian.variance.clone()
    after = model.score(IRIS)
    scale = torch.as_tensor(model.adversarial_noise_variance_ / model._columns.scale**2)
    model.net_.module_.likelihood.gaussian.variance.copy_(scale)
    before = model.score(IRIS)
    model.net_.module_.likelihood.gaussian.variance.copy_(kept)
    assert after > before
    assert model.score(IRIS) == after


def test_density_integrates_to_one():
    X = IRIS[:, :1]
    model = small(1, max_iter=30).fit(X)
    grid = np.linspace(0, 12, 300)[:, None]
    mass = np.exp(model.score_samples(grid)).sum() * (grid[1, 0] - grid[0, 0])
    assert mass == pytest.approx(1, abs=0.03)


def test_draws_are_those_of_the_generator_with_the_noise_of_the_game():
    model = small(hidden_layer_sizes=(), max_iter=20).fit(IRIS)
    X, Z = model.sample(20_000, random_state=0)
    mean, covariance = linear_gaussian(model, model.adversarial_noise_variance_)
    np.testing.assert_allclose(X.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(X.T), covariance, atol=0.05 * covariance.max())
    assert Z.shape == (20_000, 2)


@pytest.mark.slow
def test_change_of_units():
    """log p(c x + b) = log p(x) - p log c, and the divergence stays."""
    model = small(max_iter=10).fit(IRIS)
    for c, b in [(1e-6, 0.0), (1e6, 0.0), (1.0, 1e6)]:
        other = small(max_iter=10).fit(c * IRIS + b)
        expected = model.score_samples(IRIS) - 4 * np.log(c)
        np.testing.assert_allclose(other.score_samples(c * IRIS + b), expected, atol=1e-3)
        assert other.divergence_ == pytest.approx(model.divergence_, abs=1e-4)
        noise = c**2 * np.asarray(model.adversarial_noise_variance_)
        np.testing.assert_allclose(other.adversarial_noise_variance_, noise, rtol=1e-3)


# ------------------------------------------------------------ missing cells


@pytest.mark.slow
@pytest.mark.long
def test_missing_cells_are_hidden_from_the_critic():
    """Cells missing at random leave the game's target as it was: the correlation is found."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 1)) * [[1.0, 2.0]] + 0.3 * rng.normal(size=(2000, 2))
    holes = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    params = {"hidden_layer_sizes": (16,), "critic_layer_sizes": (32,), "penalty": 0.1, "lr": 2e-3}
    model = small(1, max_iter=60, **params).fit(holes)
    rows, _ = model.sample(5000, random_state=0)
    assert np.corrcoef(rows.T)[0, 1] > 0.8
    filled = model.impute(holes)
    missing = np.isnan(holes)
    assert np.array_equal(filled[~missing], X[~missing])
    # The conditional means of the Gaussian that made X: no answer has a smaller expected error.
    ideal, slopes = np.zeros_like(X), (2 / 4.09, 2 / 1.09)
    for j in range(2):
        ideal[:, j] = slopes[j] * np.nan_to_num(holes[:, 1 - j])
    error, least = (np.mean((values - X)[missing] ** 2) for values in (filled, ideal))
    assert error < 1.25 * least  # 1.03 and 1.19 on two seeds


# ------------------------------------------------------------ scikit-learn


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skelbo.NoiseFloorWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_check_estimator_passes_whole_but_for_weights_in_minibatches(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    reason = "a minibatch draws noise per row: weights equal repetition only in expectation"
    results = estimator_checks.check_estimator(
        GANEstimator(max_iter=5, n_importance_samples=20, random_state=0),
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
        estimator_checks.check_set_output_transform_pandas,
        estimator_checks.check_set_output_transform_polars,
        estimator_checks.check_inplace_ensure_writeable,
    ],
    ids=lambda check: check.__name__,
)
def test_checks_that_check_estimator_leaves_out(check):
    check("GANEstimator", small())


@pytest.mark.slow
def test_in_pipeline_and_grid_search():
    y = load_iris().target
    pipeline = make_pipeline(small(), LogisticRegression(max_iter=1000))
    grid = {"ganestimator__n_components": [1, 3]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(IRIS, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    search = GridSearchCV(small(), {"divergence": ["js", "kl"]}, cv=2).fit(IRIS)
    assert np.isfinite(search.best_score_)


def test_random_state_is_exact_and_the_callers_generators_are_untouched():
    np.random.seed(0)
    torch.manual_seed(0)
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    first, second = small().fit(IRIS), small().fit(IRIS)
    assert np.array_equal(first.score_samples(IRIS), second.score_samples(IRIS))
    assert np.array_equal(first.sample(4, 7)[0], second.sample(4, 7)[0])
    assert first.divergences_ == second.divergences_
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_weight_zero_is_absent_and_float32_stays():
    weights = np.r_[np.ones(100), np.zeros(50)]
    first = small().fit(IRIS, sample_weight=weights)
    assert first.divergences_ == small().fit(IRIS[:100]).divergences_
    X = IRIS.astype(np.float32)
    model = small().fit(X)
    outputs = model.score_samples(X), model.transform(X), model.sample(3)[0], model.elbo(X)
    assert {output.dtype for output in outputs} == {np.dtype(np.float32)}


def test_heavier_rows_pull_the_generator():
    X = np.r_[np.full((200, 1), -1.0), np.full((200, 1), 1.0)]
    X += 0.1 * np.random.default_rng(0).normal(size=X.shape)
    weights = np.r_[np.ones(200), np.full(200, 9.0)]
    model = small(1, max_iter=60, lr=5e-3).fit(X, sample_weight=weights)
    assert model.sample(2000, random_state=0)[0].mean() > 0.3


def test_own_networks_are_copied_and_their_shapes_checked():
    decoder, critic = nn.Linear(2, 4), nn.Sequential(nn.Linear(4, 1))
    before = decoder.weight.detach().clone()
    model = small(decoder=decoder, critic=critic).fit(IRIS.astype(np.float32))
    assert torch.equal(decoder.weight, before)
    assert not torch.equal(model.decoder_.weight, before)
    assert isinstance(model.critic_.network, nn.Sequential)
    with pytest.raises(ValueError, match=r"critic gave shape \(2, 3\) for two rows, expected"):
        small(critic=lambda n, m: nn.Linear(n, 3)).fit(IRIS)
    with pytest.raises(ValueError, match="decoder gave shape"):
        small(decoder=lambda n, m: nn.Linear(n, 3)).fit(IRIS)
    with pytest.raises(ValueError, match="critic_layer_sizes=.* has a width"):
        small(critic_layer_sizes=(0,)).fit(IRIS)


def test_own_networks_that_draw_are_seeded_and_leave_the_callers_generator_alone():
    networks = {
        "critic": lambda n, m: nn.Sequential(nn.Linear(n, 8), nn.Dropout(0.5), nn.Linear(8, m))
    }
    before = torch.get_rng_state()
    first = small(**networks).fit(IRIS)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert first.divergences_ == small(**networks).fit(IRIS).divergences_


# ----------------------------------------------------------------- lifecycle


def test_progress_bar_and_monitor(capsys):
    monitor = ELBOMonitor()
    model = small().set_callbacks(ProgressBar(), monitor).fit(IRIS)
    curves = monitor.curves()
    assert curves[0, 0] == pytest.approx(model.divergences_)
    assert curves[0, 1][:-1] == pytest.approx(model.lower_bounds_[:-1])
    assert "GANEstimator" in capsys.readouterr().out


def test_ctrl_c_ends_the_game_and_the_encoder_is_fitted(monkeypatch):
    from skelbo.neural.training.adversarial_game import AdversarialGame

    run, epochs = AdversarialGame.run_epoch, []

    def interrupted(game, batches, progress):
        run(game, batches, progress)
        epochs.append(progress)
        if len(epochs) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(AdversarialGame, "run_epoch", interrupted)
    with pytest.warns(ConvergenceWarning, match="interrupted after 2 epochs"):
        model = small().fit(IRIS)
    assert not model.converged_ and model.n_iter_ == 2
    assert np.isfinite(model.score(IRIS))


def test_a_game_that_ctrl_c_ended_is_resumed_from_its_checkpoint(monkeypatch, tmp_path):
    expected = small().fit(IRIS)
    offer, counts = FitCheckpoint.offer, [0]

    def interrupting(self, running=None):
        offer(self, running)
        counts[0] += 1
        if counts[0] == 2:
            raise KeyboardInterrupt

    path = tmp_path / "fit"
    monkeypatch.setattr(FitCheckpoint, "offer", interrupting)
    with pytest.warns(ConvergenceWarning, match="after 2 epochs"):
        model = small().set_callbacks(Checkpoint(path, every=0)).fit(IRIS)
    assert model.n_iter_ == 2 and path.exists()
    resumed = small().set_callbacks(Checkpoint(path, every=0)).fit(IRIS)
    assert resumed.divergences_ == expected.divergences_ and not path.exists()
    np.testing.assert_array_equal(resumed.score_samples(IRIS), expected.score_samples(IRIS))


@pytest.mark.parametrize("kind", ["file", "dataset", "dask"])
def test_rows_from_disk_are_those_of_memory(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("skelbo.neural.estimator.STREAMED_BYTES", 1000)
    X = IRIS
    if kind == "file":
        X = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=IRIS.shape)
        X[:] = IRIS
    elif kind == "dataset":
        X = TensorDataset(torch.tensor(IRIS))
    else:
        X = pytest.importorskip("dask.array").from_array(IRIS, chunks=(40, 4))
    model = small(max_iter=20, lr=3e-3).fit(X)
    rows = model.sample(1000, random_state=0)[0]
    assert np.abs((rows.mean(0) - IRIS.mean(0)) / IRIS.std(0)).max() < 0.7
    assert np.isfinite(model.score(IRIS)) and model.n_features_in_ == 4


def test_a_refused_fit_leaves_the_estimator_as_it_was():
    model = small().fit(IRIS)
    before = model.score(IRIS)
    with pytest.raises(ValueError, match="infinity"):
        model.fit(np.full((10, 2), np.inf))
    assert model.n_features_in_ == 4 and model.score(IRIS) == before


RNG = np.random.default_rng(0)
HOSTILE = {
    "one column": RNG.normal(size=(30, 1)),
    "ten rows": RNG.normal(size=(10, 3)),
    "two rows": np.array([[0.0, 1.0], [1.0, 3.0]]),
    "constant column": np.c_[RNG.normal(size=(30, 2)), np.full(30, 5.0)],
    "all constant": np.full((10, 2), 3.0),
    "duplicated columns": np.repeat(RNG.normal(size=(30, 1)), 3, axis=1),
    "scales": RNG.normal(size=(50, 2)) * [1e6, 1e-6],
    "far": RNG.normal(size=(50, 2)) + 1e6,
    "outlier": np.r_[RNG.normal(size=(50, 2)), [[1e6, 0.0]]],
    "holes": np.where(RNG.random((40, 3)) < 0.5, np.nan, RNG.normal(size=(40, 3))),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_tables_give_finite_answers(case):
    X, number = HOSTILE[case], list(HOSTILE).index(case)
    divergence = ["js", "kl", "reverse_kl", "js_nonsaturating"][number % 4]
    max_iter = 1 + 4 * (number % 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", NoiseFloorWarning)
        model = small(
            divergence=divergence, max_iter=max_iter, lr=0.01, n_importance_samples=20
        ).fit(X)
        assert np.isfinite(model.divergences_).all() and np.isfinite(model.divergence_)
        warnings.simplefilter("ignore")
        for output in (model.score_samples(X), model.transform(X), model.sample(5)[0]):
            assert np.isfinite(output).all()
    assert np.all(model.adversarial_noise_variance_ > 0)
    assert np.all(model.noise_variance_ > 0)


def test_one_row_is_refused():
    with pytest.raises(ValueError, match="1 sample"):
        small().fit(np.ones((1, 3)))
    with pytest.raises(ValueError, match="sample_weight leaves 1 row, expected at least 2"):
        small().fit(IRIS, sample_weight=np.eye(150)[0])
