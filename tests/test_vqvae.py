"""VQVAEEstimator: its sums over codes by hand, its bound, its codebook, its life as estimator."""

import itertools
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import special, stats
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import TensorDataset

import skelbo.vqvae
from skelbo import ELBOMonitor, VQVAEEstimator
from skelbo.likelihoods import Likelihood
from skelbo.neural import CodeInference
from skelbo.neural.training.net import VAENet

IRIS = load_iris().data
RNG = np.random.default_rng(0)
BITS = (RNG.random((60, 1)) < [[0.3, 0.5, 0.8]]).astype(float)
COUNTS = RNG.poisson(RNG.gamma(2.0, 2.0, (60, 1)) * [[1.0, 2.0]]).astype(float)
MIXED = np.column_stack([RNG.normal(5.0, 20.0, 60), BITS[:, 0], COUNTS[:, 0]])
MIXED[::5, 0] = MIXED[1::6, 1] = MIXED[2::7, 2] = np.nan
MIXED_KINDS = ["gaussian", "bernoulli", "poisson"]


def small(n_components=2, **params):
    """Return a VQ-VAE that fits in a blink."""
    defaults = {
        "n_codes": 4,
        "code_size": 2,
        "hidden_layer_sizes": (8,),
        "max_iter": 10,
        "early_stopping": False,
        "random_state": 0,
        "n_importance_samples": 2000,
    }
    return VQVAEEstimator(n_components, **{**defaults, **params})


@pytest.fixture(scope="module", params=["hard", "soft"])
def model(request):
    return small(assignment=request.param, lr=1e-2, max_iter=40).fit(IRIS)


def all_codes(model):
    return np.array(list(itertools.product(range(model.n_codes), repeat=model.n_components)))


def log_joint(model, X):
    """Return log p(x, z) of all code vectors by hand, shape (n_samples, n_vectors)."""
    codes = all_codes(model)
    means = model.inverse_transform(codes.astype(float))
    found = np.zeros((len(X), len(codes)))
    for j, kind in enumerate(model.likelihood_):
        x, mean = X[:, j, None], means[:, j]
        if kind == "gaussian":
            cells = stats.norm.logpdf(x, mean, np.sqrt(model.noise_variance_[j]))
        elif kind == "bernoulli":
            cells = stats.bernoulli.logpmf(x, mean)
        else:
            cells = stats.poisson.logpmf(x, mean)
        found += np.where(np.isnan(x), 0.0, cells)
    return found + model.prior_.log_prob(codes)


# ------------------------------------------------------------ the model


@pytest.mark.parametrize("prior", ["uniform", "independent", "autoregressive"])
def test_one_position_is_a_mixture_with_common_noise(prior):
    model = small(1, n_codes=5, prior=prior).fit(IRIS)
    means = model.inverse_transform(np.arange(5.0)[:, None])
    weights = np.exp(model.prior_.log_prob(np.arange(5)[:, None]))
    noise = np.sqrt(model.noise_variance_)
    densities = stats.norm.pdf(IRIS[:, None], means, noise).prod(-1)
    np.testing.assert_allclose(model.score_samples(IRIS), np.log(densities @ weights), rtol=1e-9)
    terms = model.elbo_terms(IRIS)
    assert not terms.entropy.any()
    chosen = model.transform(IRIS)[:, 0].astype(int)
    np.testing.assert_allclose(terms.kl, -np.log(weights[chosen]), rtol=1e-6)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)


def test_log_p_is_the_sum_over_all_codes(model):
    joint = log_joint(model, IRIS)
    log_prob, std = model.score_samples(IRIS, return_std=True)
    np.testing.assert_allclose(log_prob, special.logsumexp(joint, axis=1), rtol=1e-9)
    assert not std.any()


@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_missing_cells_and_mixed_columns_by_hand(assignment):
    model = small(assignment=assignment, likelihood=MIXED_KINDS).fit(MIXED)
    joint = log_joint(model, MIXED)
    log_prob = special.logsumexp(joint, axis=1)
    np.testing.assert_allclose(model.score_samples(MIXED), log_prob, rtol=1e-9)
    posterior = np.exp(joint - log_prob[:, None])
    means = model.inverse_transform(all_codes(model).astype(float))
    filled, missing = model.impute(MIXED), np.isnan(MIXED)
    np.testing.assert_allclose(filled[missing], (posterior @ means)[missing], rtol=1e-6)
    np.testing.assert_array_equal(filled[~missing], MIXED[~missing])
    assert model.score_samples(np.full((1, 3), np.nan))[0] == 0


def test_categorical_columns_have_probabilities_that_sum_to_one():
    X = np.column_stack([RNG.integers(0, 3, 60), RNG.integers(0, 2, 60)]).astype(float)
    model = small(likelihood="categorical").fit(X)
    cells = np.array(list(itertools.product(range(3), range(2))), dtype=float)
    log_prob = model.score_samples(cells)
    assert np.exp(log_prob).sum() == pytest.approx(1, rel=1e-6)
    # A missing cell is summed out, and its imputed code is the likeliest one.
    seen = np.array([[np.nan, 1.0]])
    assert np.exp(model.score_samples(seen)[0]) == pytest.approx(np.exp(log_prob[1::2]).sum())
    assert model.impute(seen)[0, 0] == np.argmax(log_prob[1::2])


class TwoSided(Likelihood):
    """Double exponential distribution of scale 1 about its predictor: linear in no statistic."""

    name, expects = "two_sided", "a real number"

    def supports(self, values):
        return np.isfinite(values)

    def log_kernel(self, x, eta, noise=1.0):
        return -abs(x - eta) - math.log(2)

    def mean(self, eta):
        return eta

    def sample(self, eta, noise=1.0, rng=None):
        return eta

    def offset(self, level, margin=1e-3):
        return level

    def sufficient_statistics(self, x):
        raise NotImplementedError

    maximize = natural_parameters = sufficient_statistics


def test_a_likelihood_of_ones_own_is_summed_cell_by_cell():
    model = small(likelihood=TwoSided()).fit(IRIS)
    codes = all_codes(model)
    means = model.inverse_transform(codes.astype(float))
    joint = -np.abs(IRIS[:, None] - means).sum(-1) - 4 * np.log(2) + model.prior_.log_prob(codes)
    expected = special.logsumexp(joint, axis=1)
    np.testing.assert_allclose(model.score_samples(IRIS), expected, rtol=1e-9)
    assert np.all(model.gap(IRIS) >= -1e-9)


@pytest.fixture(scope="module", params=["hard", "soft"])
def spread(request):
    """Six positions of four columns: posteriors of many code vectors, and of several modes."""
    X = np.where(RNG.random(IRIS.shape) < 0.2, np.nan, IRIS)[::5]
    return small(6, assignment=request.param, lr=1e-2, max_iter=40).fit(IRIS), X


def beyond_the_limit(model, seed=0, n_draws=2000):
    """Return inference by draws, as there is beyond 2^20 code vectors, and by enumeration."""
    draws = replace(model._draws(), seed=seed, n_draws=n_draws)
    return CodeInference(draws, limit=1), CodeInference(draws)


def test_draws_beyond_the_limit_are_within_their_error_of_the_sum(spread):
    model, X = spread
    sampled, exact = beyond_the_limit(model)
    assert exact.is_exact and not sampled.is_exact
    truth, zero = exact.log_prob(X)
    assert not zero.any()
    errors = []
    for seed in range(4):
        estimate, std = beyond_the_limit(model, seed)[0].log_prob(X)
        assert std.max() > 0
        errors.append((estimate - truth) / std)
    # All rows share the noise of a seed: the mean over rows is that of four draws.
    assert np.sqrt(np.mean(np.square(errors))) < 2
    assert np.quantile(np.abs(errors), 0.99) < 6
    terms, others = sampled.elbo_terms(X), exact.elbo_terms(X)
    assert terms.elbo.mean() == pytest.approx(others.elbo.mean(), abs=0.1)
    np.testing.assert_allclose(terms.elbo, others.elbo, atol=1.0)


@pytest.mark.parametrize("n_draws", [2000, 12])
def test_the_posterior_beyond_the_limit_is_that_of_the_sum(spread, n_draws):
    """Few draws fit hardly any row: then it is that of annealed chains."""
    model, X = spread
    sampled, exact = beyond_the_limit(model, n_draws=n_draws)
    size = sampled.draws._importance(X)[2]
    assert n_draws == 2000 or (size < n_draws / 2).any()
    mean, largest = (0.03, 0.5) if n_draws == 2000 else (0.08, 0.9)
    error = np.abs(sampled.code_proba(X) - exact.code_proba(X))
    assert error.mean() < mean and error.max() < largest
    error = (sampled.expected_cells(X) - exact.expected_cells(X)) / IRIS.std(0)
    assert np.sqrt(np.mean(error**2)) < 5 * mean
    cells = sampled.draw_cells(X[:5], 500, seed=0).mean(0)
    np.testing.assert_allclose(cells, exact.expected_cells(X[:5]), atol=0.6)


def test_the_density_integrates_to_one():
    X = np.concatenate([RNG.normal(-3, 0.6, 60), RNG.normal(3, 0.6, 30)])[:, None]
    model = small().fit(X)
    grid = np.linspace(-12, 12, 4001)[:, None]
    total = np.exp(model.score_samples(grid)).sum() * (grid[1, 0] - grid[0, 0])
    assert total == pytest.approx(1, abs=1e-6)


def test_units_shift_the_scores_alone():
    scale = np.array([1e3, 1e-2, 5.0, 1.0])
    one, other = small().fit(IRIS), small().fit(IRIS * scale + 7)
    difference = one.score_samples(IRIS) - other.score_samples(IRIS * scale + 7)
    np.testing.assert_allclose(difference, np.log(scale).sum(), atol=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_equal_rows_have_equal_codes_whatever_the_offset():
    X = np.array([[1.0], [0.0], [1.0], [1.0], [1.0]])
    options = {"hidden_layer_sizes": 8, "max_iter": 1, "device": "cpu", "random_state": 0}
    one, other = (VQVAEEstimator(**options).fit(Y) for Y in (X, X + 4))
    codes = one.transform(X)
    assert (codes == codes[[0, 1, 0, 0, 0]]).all()
    np.testing.assert_array_equal(other.transform(X + 4), codes)
    np.testing.assert_allclose(other.score_samples(X + 4), one.score_samples(X), rtol=1e-9)


# ------------------------------------------------------------ the bound


def test_the_gap_of_hard_codes_is_what_the_posterior_leaves_to_other_codes():
    model = small(lr=1e-2, max_iter=40).fit(IRIS)
    joint = log_joint(model, IRIS)
    places = model.transform(IRIS).astype(int) @ [4, 1]
    posterior = joint[np.arange(150), places] - special.logsumexp(joint, axis=1)
    np.testing.assert_allclose(model.gap(IRIS), -posterior, atol=1e-6)
    assert model.gap(IRIS).min() >= 0
    terms = model.elbo_terms(IRIS)
    assert not terms.entropy.any()
    np.testing.assert_array_equal(terms.kl, -model.prior_.log_prob(model.transform(IRIS)))
    np.testing.assert_allclose(terms.energy, terms.reconstruction - terms.kl, rtol=1e-12)
    assert model.lower_bound_ == pytest.approx(terms.elbo.mean(), rel=1e-12)
    assert model.lower_bounds_[-1] == model.lower_bound_


def test_the_kl_of_hard_codes_with_a_uniform_prior_is_the_length_of_the_code():
    model = small(3, prior="uniform").fit(IRIS)
    np.testing.assert_allclose(model.elbo_terms(IRIS).kl, 3 * np.log(4), rtol=1e-6)


@pytest.mark.parametrize("prior", ["independent", "autoregressive"])
def test_the_bound_of_soft_codes_is_its_sum_by_hand(prior):
    model = small(assignment="soft", prior=prior, lr=1e-2, max_iter=30).fit(IRIS)
    codes, joint = all_codes(model), log_joint(model, IRIS)
    batch = CodeInference(model._draws()).sums.batch(IRIS)
    with torch.no_grad():
        log_q = model.net_.module_.encode(batch.targets).log_soft.numpy()
    q = np.exp(log_q[:, 0, codes[:, 0]] + log_q[:, 1, codes[:, 1]])
    terms = model.elbo_terms(IRIS)
    np.testing.assert_allclose(terms.energy, (q * joint).sum(1), rtol=1e-8)
    np.testing.assert_allclose(terms.entropy, stats.entropy(q, axis=1), rtol=1e-8, atol=1e-12)
    log_prior = model.prior_.log_prob(codes)
    np.testing.assert_allclose(terms.kl, (q * (np.log(q) - log_prior)).sum(1), rtol=1e-6)
    assert model.gap(IRIS).min() >= 0
    assert model.lower_bound_ == pytest.approx(terms.elbo.mean(), abs=0.05)


def test_posterior_probabilities_of_codes_are_marginals(model):
    joint = log_joint(model, IRIS)
    posterior = special.softmax(joint, axis=1).reshape(-1, 4, 4)
    proba = model.code_proba(IRIS)
    assert proba.shape == (150, 2, 4)
    np.testing.assert_allclose(proba[:, 0], posterior.sum(2), atol=1e-8)
    np.testing.assert_allclose(proba[:, 1], posterior.sum(1), atol=1e-8)


def test_draws_of_missing_cells_are_those_of_the_posterior(model):
    rows = IRIS[[5, 60, 120]].copy()
    rows[:, 2:] = np.nan
    draws = model.impute(rows, n_draws=3000, random_state=0)
    assert draws.shape == (3000, 3, 4)
    np.testing.assert_allclose(draws.mean(0), model.impute(rows), atol=0.1)
    codes = (
        CodeInference(model._draws())
        .sums.draw_codes(rows, 3000, torch.Generator().manual_seed(0))
        .numpy()
    )
    found = [[np.mean(codes[:, :, c] == k, axis=0) for k in range(4)] for c in range(2)]
    np.testing.assert_allclose(np.transpose(found, (2, 0, 1)), model.code_proba(rows), atol=0.04)


def test_icl_adds_the_doubt_about_the_code_vector(model):
    joint = log_joint(model, IRIS)
    doubt = joint.max(1) - special.logsumexp(joint, axis=1)
    assert model.icl(IRIS) == pytest.approx(model.bic(IRIS) - 2 * doubt.sum(), rel=1e-9)
    assert not hasattr(model, "transform_std")


# ------------------------------------------------------------ the codebook


class Identity(nn.Linear):
    def __init__(self, n_inputs, n_outputs):
        super().__init__(n_inputs, n_outputs)
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)


def test_identity_networks_and_no_memory_are_lloyds_step():
    params = {"n_codes": 5, "code_size": 4, "decay": 0.0, "noise": "unit", "lr": 1e-12}
    model = small(1, encoder=Identity, decoder=Identity, batch_size=1000, **params).fit(IRIS)
    other = IRIS[RNG.random(150) < 0.5] + 0.3
    units = (IRIS.mean(0), IRIS.std(0))
    rows = (other - units[0]) / units[1]
    before = model.codebook_[0]
    nearest = ((rows[:, None] - before) ** 2).sum(-1).argmin(1)
    model.partial_fit(other)
    for k in range(5):
        expected = rows[nearest == k].mean(0) if np.any(nearest == k) else before[k]
        np.testing.assert_allclose(model.codebook_[0, k], expected, atol=1e-6)


def test_codes_that_no_row_uses_are_moved():
    model = small(n_codes=8, max_iter=30)
    original = skelbo.vqvae.start_codebook

    def collapsed(net, rows, generator, seed):
        original(net, rows, generator, seed)
        with torch.no_grad():
            net.module_.family.codebook.fill_(100.0)
            net.module_.family.codebook[:, 0] = 0.0
            net.module_.family.shares.fill_(0.0)
            net.module_.family.shares[:, 0] = 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skelbo.vqvae, "start_codebook", collapsed)
        model.fit(IRIS)
    assert model.n_restarted_codes_ >= 14
    assert (model.code_usage_ > 0).mean() > 0.8
    np.testing.assert_allclose(model.code_usage_.sum(1), 1)
    entropy = stats.entropy(model.code_usage_, axis=1)
    np.testing.assert_allclose(model.perplexity_, np.exp(entropy))


@pytest.mark.slow
@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_almost_all_codes_are_in_use_on_digits(assignment):
    X = (load_digits().data + np.random.default_rng(0).random((1797, 64)))[:600]
    params = {"n_codes": 16, "code_size": 4, "hidden_layer_sizes": (64,), "max_iter": 30}
    model = small(4, assignment=assignment, **params).fit(X)
    assert (model.code_usage_ > 0).mean() >= 0.9
    assert model.perplexity_.min() > 8


def test_the_codes_of_a_row_decode_near_it(model):
    found = model.inverse_transform(model.transform(IRIS))
    assert np.mean((found - IRIS) ** 2) < 0.3 * IRIS.var(0).mean()
    X, Z = model.sample(2000, random_state=0)
    assert X.shape == (2000, 4) and Z.shape == (2000, 2)
    assert set(np.unique(Z)) <= {0.0, 1.0, 2.0, 3.0}
    assert np.abs(X.mean(0) - IRIS.mean(0)).max() < 0.2
    # Rows that the model draws have the codes' frequencies of its prior.
    counts = np.bincount((Z @ [4, 1]).astype(int), minlength=16)
    expected = 2000 * np.exp(model.prior_.log_prob(all_codes(model)))
    seen = expected > 1
    squares = (counts - expected)[seen] ** 2 / expected[seen]
    assert squares.sum() < stats.chi2.ppf(1 - 1e-4, seen.sum())


def test_the_number_of_parameters_is_that_of_p():
    decoder, noise, codebook = (4 * 8 + 8) + (8 * 4 + 4), 4, 2 * 4 * 2
    for prior, free in (("uniform", 0), ("independent", 6), ("autoregressive", 6 + 9)):
        model = small(prior=prior, max_iter=1).fit(IRIS)
        assert model.n_parameters_ == decoder + noise + codebook + free


# ------------------------------------------------------------ going on, and being kept


def test_warm_start_and_partial_fit_go_on():
    model = small(lr=1e-2, max_iter=30, warm_start=True).fit(IRIS)
    before = model.lower_bound_
    model.set_params(max_iter=1, lr=1e-6).fit(IRIS)
    assert model.lower_bound_ == pytest.approx(before, abs=0.3)
    stream = small(lr=1e-2)
    for _ in range(10):
        stream.partial_fit(IRIS)
    assert stream.n_iter_ == 10 == len(stream.lower_bounds_)
    assert np.mean(stream.lower_bounds_[-3:]) > stream.lower_bounds_[0]
    with pytest.raises(ValueError, match="n_codes=5 is not that of the fit"):
        model.set_params(n_codes=5).partial_fit(IRIS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "dataset"])
def test_rows_on_disk_are_streamed(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("skelbo.neural.estimator.STREAMED_BYTES", 1000)
    if kind == "file":
        X = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=IRIS.shape)
        X[:] = IRIS
    else:
        X = TensorDataset(torch.tensor(IRIS))
    weights = np.arange(1.0, 151.0)
    model = small(lr=1e-2, max_iter=6, batch_size=25).fit(X, sample_weight=weights)
    assert model.score(IRIS) > small(lr=1e-2, max_iter=1).fit(IRIS).score(IRIS)
    codes = model.transform(IRIS).astype(int)
    shares = [np.bincount(codes[:, c], weights, 4) / weights.sum() for c in range(2)]
    np.testing.assert_allclose(model.code_usage_, shares)


def test_pickles_clones_and_the_same_fit_again(model):
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.score_samples(IRIS), model.score_samples(IRIS))
    refitted = clone(model).fit(IRIS)
    np.testing.assert_array_equal(refitted.codebook_, model.codebook_)
    np.testing.assert_array_equal(refitted.score_samples(IRIS), model.score_samples(IRIS))
    with pytest.raises(NotFittedError):
        clone(model).code_proba(IRIS)


def test_a_file_holds_codebook_and_prior(model, tmp_path):
    pytest.importorskip("safetensors")
    model.to_file(tmp_path / "model")
    read = VQVAEEstimator.from_file(tmp_path / "model")
    for name in ("codebook_", "code_usage_", "perplexity_", "noise_variance_"):
        np.testing.assert_array_equal(getattr(read, name), getattr(model, name))
    np.testing.assert_array_equal(read.score_samples(IRIS), model.score_samples(IRIS))
    np.testing.assert_array_equal(read.code_proba(IRIS), model.code_proba(IRIS))
    codes = all_codes(model)
    np.testing.assert_array_equal(read.prior_.log_prob(codes), model.prior_.log_prob(codes))
    read.partial_fit(IRIS)


def test_callers_generators_are_untouched():
    np.random.seed(0)
    torch.manual_seed(0)
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    model = small(random_state=None, max_iter=2).fit(IRIS)
    model.sample(3)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert torch.equal(torch.get_rng_state(), torch_before)


class Interrupt(Callback):
    """Ctrl-C in an epoch."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 4:
            raise KeyboardInterrupt


def test_ctrl_c_keeps_what_was_learned():
    with pytest.warns(ConvergenceWarning, match="interrupted after 3 epochs"):
        model = small(max_iter=50, callbacks=[Interrupt()]).fit(IRIS)
    assert model.n_iter_ == 3 and not model.converged_
    assert np.isfinite(model.score(IRIS))


def test_callbacks_hear_of_every_epoch_and_may_stop():
    monitor = ELBOMonitor()
    model = small().set_callbacks(monitor).fit(IRIS)
    bounds = [entry["lower_bound"] for entry in monitor.log_]
    assert bounds[:-1] == pytest.approx(model.lower_bounds_[:-1])
    assert len(bounds) == model.n_iter_ == len(model.net_.history) == 10
    stopper = ELBOMonitor(patience=1, min_climb=np.inf)
    with pytest.warns(ConvergenceWarning, match="a callback ended the fit after 2 epochs"):
        small().set_callbacks(stopper).fit(IRIS)


@pytest.mark.slow
def test_held_out_rows_end_the_training():
    X = np.random.default_rng(0).normal(size=(400, 6))
    model = small(early_stopping="auto", max_iter=400, lr=1e-2, batch_size=20).fit(X)
    assert model.converged_ and model.n_iter_ < 400
    assert len(model.validation_lower_bounds_) == model.n_iter_


def test_several_processes_are_refused(monkeypatch):
    class Two:
        size = 2

    monkeypatch.setattr(VAENet, "processes", Two())
    with pytest.raises(ValueError, match="a group of 2 processes, expected one"):
        small().fit(IRIS)


def test_rows_of_weight_zero_are_absent():
    weights = (np.arange(150) % 3 > 0).astype(float)
    one = small().fit(IRIS, sample_weight=weights)
    other = small().fit(IRIS[weights > 0])
    np.testing.assert_array_equal(one.score_samples(IRIS), other.score_samples(IRIS))


def test_weights_count_rows_in_codebook_and_prior():
    X, weights = np.repeat([[0.0], [10.0]], 30, axis=0), np.repeat([1.0, 3.0], 30)
    X = X + np.random.default_rng(0).normal(size=X.shape)
    model = small(1, n_codes=2).fit(X, sample_weight=weights)
    far = int(model.transform([[10.0]])[0, 0])
    assert model.code_usage_[0, far] == pytest.approx(0.75)
    assert np.exp(model.prior_.log_prob([[far]]))[0] == pytest.approx(0.75, abs=0.01)


# ------------------------------------------------------------ bad input


SMALL_TABLES = {
    "one column": IRIS[:, :1],
    "ten rows": IRIS[:10],
    "three distinct rows": np.repeat(IRIS[:3], 4, axis=0),
    "a constant column": np.c_[IRIS, np.ones(150)],
    "all constant": np.full((10, 2), 3.0),
    "two rows": IRIS[:2],
    "scales": IRIS[:30] * [1e100, 1e-100, 1e6, 1.0],
    "an outlier": np.r_[IRIS[:30], [[1e9, 0.0, 0.0, 0.0]]],
    "float32": IRIS[:30].astype(np.float32) * np.float32(1e8),
}


@pytest.mark.filterwarnings("ignore::skelbo.NoiseFloorWarning")
@pytest.mark.parametrize("assignment", ["hard", "soft"])
@pytest.mark.parametrize("X", SMALL_TABLES.values(), ids=SMALL_TABLES)
def test_small_tables_have_finite_scores(X, assignment):
    model = small(3, n_codes=8, assignment=assignment, max_iter=1, lr=1e-2).fit(X)
    answers = model.score_samples(X), model.elbo(X), model.sample(5, 0)[0], model.codebook_
    assert all(np.isfinite(answer).all() for answer in answers)
    assert np.isfinite(model.lower_bounds_).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_from_anywhere_have_finite_answers_in_their_precision(dtype):
    model = small().fit(IRIS.astype(dtype))
    limit = np.finfo(dtype).max / 2
    far = np.array([[limit, 0, 1, 2], [-limit, limit, 0, 0], [1e9, 0, 0, 1]], dtype=dtype)
    outputs = model.score_samples(far), model.transform(far), model.code_proba(far), model.gap(far)
    assert all(np.isfinite(out).all() and out.dtype == dtype for out in outputs)
    assert np.all(model.gap(far) >= 0)


@pytest.mark.parametrize("method", ["score_samples", "transform", "elbo", "impute", "code_proba"])
def test_rows_are_answered_alike_alone_and_together(model, method):
    X = IRIS[::15].copy()
    X[::3, 1] = np.nan
    answer = getattr(model, method)
    alone = np.concatenate([answer(row[None]) for row in X])
    np.testing.assert_allclose(alone, answer(X), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("value", [0.5, -1.0, 4.0])
def test_latents_that_are_no_codes_are_refused(model, value):
    with pytest.raises(ValueError, match=f"Z contains {value:g}, expected integer codes 0 .. 3"):
        model.inverse_transform([[0.0, value]])
    with pytest.raises(ValueError, match="codes has a number that is no code"):
        model.prior_.log_prob([[0.0, value]])


@pytest.mark.parametrize(
    ("X", "params", "message"),
    [
        (IRIS[:1], {}, "1 sample"),
        (IRIS, {"n_codes": 1}, "n_codes"),
        (IRIS, {"decay": 1.0}, "decay"),
        (IRIS, {"assignment": "nearest"}, "assignment"),
        (IRIS, {"encoder": lambda n, m: nn.Linear(n, 3)}, r"expected \(1, 4\).*2 numbers per pos"),
        (IRIS, {"decoder": lambda n, m: nn.Linear(n, 3)}, "decoder gave shape"),
        (np.where(IRIS > 7, np.inf, IRIS), {}, "infinity"),
    ],
)
def test_bad_input_is_refused_by_message(X, params, message):
    with pytest.raises(ValueError, match=message):
        small(**params).fit(X)


def test_in_a_pipeline_with_names():
    model = make_pipeline(StandardScaler(), small()).fit(IRIS)
    assert model.get_feature_names_out().tolist() == ["vqvaeestimator0", "vqvaeestimator1"]
    assert np.isfinite(model.score(IRIS))


@pytest.mark.slow
def test_in_a_grid_search_with_a_progress_bar(capsys):
    grid = {"assignment": ["hard", "soft"], "n_codes": [2, 4]}
    search = GridSearchCV(small(max_iter=3), grid, cv=2).fit(IRIS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    small(max_iter=3).set_callbacks(ProgressBar()).fit(IRIS)
    assert "VQVAEEstimator" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::skelbo.NoiseFloorWarning")
def test_check_estimator_passes_whole_but_for_weights_in_minibatches(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    reason = "the order of the rows in minibatches is random"
    results = estimator_checks.check_estimator(
        VQVAEEstimator(2, max_iter=5, random_state=0),
        expected_failed_checks={"check_sample_weight_equivalence_on_dense_data": reason},
        on_skip=None,
        on_fail=None,
    )
    failed = [r["check_name"] for r in results if r["status"] not in ("passed", "skipped")]
    assert set(failed) <= {"check_sample_weight_equivalence_on_dense_data"}
    assert len(results) >= 50
