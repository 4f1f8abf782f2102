"""A likelihood that one file adds serves factor models, decoders, the VAE and mixtures."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, optimize, special, stats
from sklearn.base import clone

from skelbo import MCEM, EMHiddenMarkovModel, EMMixture, VAEEstimator, VariationalEM
from skelbo.likelihoods import Likelihood
from skelbo.likelihoods.arrays import namespace, softplus, torch_of
from skelbo.models import DecoderModel, FactorModel


class Geometric(Likelihood):
    """Number of failures before the first success, with log-odds -eta of a success."""

    name, linear, domain = "geometric", True, "positive"
    expects = "0, 1, 2, ...; round the column"

    def supports(self, values):
        return (values >= 0) & (values == np.floor(values))

    def log_kernel(self, x, eta, noise=1.0):
        return -x * softplus(-eta) - softplus(eta)

    def mean(self, eta):
        return namespace(eta).exp(eta)

    def sample(self, eta, noise=1.0, rng=None):
        torch = torch_of(eta)
        if torch is None:
            return rng.geometric(1 / (1 + np.exp(eta))) - 1.0
        uniform = torch.rand(eta.shape, dtype=eta.dtype, generator=rng)
        return torch.floor(-torch.log(uniform) / softplus(-eta))

    def offset(self, level, margin=1e-3):
        return namespace(level).log(level + margin)

    def sufficient_statistics(self, x):
        missing = np.isnan(x)
        return np.stack([~missing, np.where(missing, 0.0, x)])

    def maximize(self, statistics):
        return statistics[1:] / statistics[:1]

    def natural_parameters(self, parameters):
        (mean,) = parameters
        return np.stack([-np.log1p(mean), np.log(mean) - np.log1p(mean)])


def failures(n=150):
    rng = np.random.default_rng(0)
    eta = 0.5 + rng.standard_normal((n, 1)) * [0.8, -0.6, 0.7, 0.5]
    return rng.geometric(1 / (1 + np.exp(eta))) - 1.0


def test_density_and_maximum():
    x, kind = failures(), Geometric()
    log_prob = kind.log_prob(np.arange(400.0), np.full(400, 0.3))
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1, rtol=1e-10)
    found = kind.maximize(kind.statistics(x, np.ones((len(x), 1))))
    got = kind.component_log_prob(x, found)[:, 0]
    success = 1 / (1 + x.mean(0))
    np.testing.assert_allclose(got, stats.geom.logpmf(x + 1, success).sum(1), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("posterior", ["mean_field", "full", "exact"])
def test_factor_model(posterior):
    X = failures()
    model = FactorModel(1, likelihood=Geometric())
    fit = VariationalEM(1, model=model, posterior=posterior).fit(X)
    assert fit.converged_ and np.diff(fit.lower_bounds_).min() > -1e-9
    score = fit.score(X)
    assert fit.lower_bound_ < score + 1e-9
    if posterior == "exact":
        assert np.isclose(fit.lower_bound_, score, rtol=0, atol=1e-7)
    W, b = fit.params_["loadings"][:, 0], fit.params_["intercepts"]

    def density(z):
        return np.exp(model.column_likelihood.log_prob(X[0], b + W * z).sum()) * stats.norm.pdf(z)

    exact = np.log(integrate.quad(density, -12, 12, epsabs=1e-14)[0])
    assert np.isclose(fit.score_samples(X[:1])[0], exact, atol=1e-6)
    independent = stats.geom.logpmf(X + 1, 1 / (1 + X.mean(0))).sum(1).mean()
    assert score > independent + 0.02
    assert np.all(fit.standard_errors_["loadings"] > 0)
    assert fit.sample(5, random_state=0)[0].shape == (5, 4)


@pytest.mark.slow
def test_monte_carlo_agrees_with_quadrature():
    X = failures(80)
    model = FactorModel(1, likelihood=Geometric())
    exact = VariationalEM(1, model=model, posterior="exact").fit(X)
    drawn = MCEM(1, model=model, random_state=0).fit(X)
    assert np.isclose(drawn.score(X), exact.score(X), atol=1e-3)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_decoder_model():
    X = failures(30)
    model = DecoderModel(1, hidden_layer_sizes=(3,), likelihood=Geometric())
    fit = VariationalEM(1, model=model, max_iter=3, random_state=0).fit(X)
    assert np.diff(fit.lower_bounds_).min() > -1e-9
    assert fit.sample(5, random_state=0)[0].shape == (5, 4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_vae_with_other_columns():
    X = np.column_stack([failures(), np.random.default_rng(1).standard_normal(150)])
    X[3, 0] = np.nan
    kinds = [Geometric()] * 4 + ["gaussian"]
    fit = clone(VAEEstimator(1, likelihood=kinds, max_iter=60, random_state=0)).fit(X)
    assert fit.likelihood_.tolist() == ["geometric"] * 4 + ["gaussian"]
    assert fit.lower_bounds_[-1] > fit.lower_bounds_[0]
    assert fit.elbo(X).mean() < fit.score(X) + 0.02
    rows, _ = fit.sample(50, random_state=0)
    assert np.all(rows[:, :4] == np.floor(rows[:, :4])) and rows[:, :4].min() >= 0
    with pytest.raises(ValueError, match=r"column 1 of X has the value .*5 .* round the column"):
        fit.score(X + np.array([0, 0.5, 0, 0, 0]))
    whole = VAEEstimator(1, likelihood=Geometric(), max_iter=2, random_state=0).fit(X[:, 1:4])
    assert set(whole.likelihood_) == {"geometric"}


def test_mixture():
    """Components by their maxima, draws and imputed cells by their means, beside other columns."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1], [400, 200]))
    means = np.array([[1.0, 8.0], [9.0, 2.0]])[labels]
    X = np.column_stack([rng.geometric(1 / (1 + means)) - 1.0, labels == 1])
    X[::9, 0] = np.nan
    kind = Geometric()
    fit = EMMixture(2, likelihood=[kind, kind, "bernoulli"], random_state=0).fit(X)
    assert fit.converged_ and fit.likelihood_.tolist() == ["geometric"] * 2 + ["bernoulli"]
    assert fit.n_parameters_ == 1 + 2 * 3
    (parameters,) = fit.other_parameters_
    assert_array_equal(parameters[0], fit.means_[:, :2])
    for k in (0, 1):  # the labels are a column, so that the classes are known
        assert_allclose(fit.means_[k, :2], np.nanmean(X[labels == k, :2], axis=0), rtol=1e-6)
    success = 1 / (1 + fit.means_[:, :2])
    cells = stats.geom.logpmf(X[:, None, :2] + 1, success)
    expected = np.nansum(cells, axis=2) + np.log(fit.weights_)
    expected = expected[np.arange(len(X)), labels]
    assert_allclose(fit.score_samples(X), expected, rtol=1e-6)
    assert_allclose(fit.impute(X)[::9, 0], fit.means_[labels[::9], 0], rtol=1e-6)
    drawn, groups = fit.sample(20_000, random_state=0)
    assert_allclose([drawn[groups == k].mean(0) for k in (0, 1)], fit.means_, rtol=0.05, atol=1e-9)
    errors = (
        fit.standard_errors_
    )  # known classes: a mean of n counts has the variance m (1 + m) / n
    n_rows = np.array([(~np.isnan(X[labels == k, :2])).sum(axis=0) for k in (0, 1)])
    expected = np.sqrt(fit.means_[:, :2] * (1 + fit.means_[:, :2]) / n_rows)
    assert_allclose(errors["other_parameters"][0][0], expected, rtol=1e-5)
    assert_array_equal(errors["means"][:, :2], errors["other_parameters"][0][0])
    table = fit.summary().to_frame().set_index("parameter")
    row = table.loc["other_parameters[geometric][0, 1, 0]"]
    assert_allclose([row["estimate"], row["std_error"]], [fit.means_[1, 0], expected[1, 0]], 1e-5)
    assert 0 < row["low"] < row["estimate"] < row["high"]  # in logarithms, as of a positive number
    assert_allclose(np.log(row["low"] * row["high"]), 2 * np.log(row["estimate"]), rtol=1e-9)
    with pytest.raises(ValueError, match=r"column 0 of X has the value 0.5, .* round the column"):
        fit.score(np.array([[0.5, 1.0, 1.0]]))


def test_hidden_markov_model(tmp_path):
    """States that switch between two levels of failures; a file and a summary of the fit."""
    rng = np.random.default_rng(0)
    states = np.repeat(rng.permutation(np.tile([0, 1], 10)), 20)
    X = rng.geometric(1 / (1 + np.array([1.0, 20.0])[states]))[:, None] - 1.0
    X[::11] = np.nan
    kind = Geometric()
    fit = EMHiddenMarkovModel(2, likelihood=kind, random_state=0).fit(X)
    assert fit.converged_ and fit.likelihood_.tolist() == ["geometric"]
    assert np.diff(fit.lower_bounds_).min() > -1e-9
    assert np.mean(fit.predict(X) == states) > 0.95
    assert_allclose(fit.score(X), fit.lower_bound_, rtol=1e-9)
    assert_allclose(fit.n_parameters_, 1 + 2 + 2)
    assert_allclose(fit.means_.ravel(), [1, 20], rtol=0.2)
    table = fit.summary().to_frame()["parameter"].tolist()
    assert table[-2:] == [f"other_parameters[geometric][0, {k}, 0]" for k in (0, 1)]
    drawn, path = fit.sample(5000, random_state=0)
    assert_allclose([drawn[path == k].mean() for k in (0, 1)], fit.means_.ravel(), rtol=0.1)
    fit.to_file(tmp_path / "model")
    loaded = EMHiddenMarkovModel.from_file(tmp_path / "model", likelihood=kind)
    assert_array_equal(loaded.score_samples(X), fit.score_samples(X))


class Gamma(Likelihood):
    """Positive number with a mean and a shape, which have no separate derivatives."""

    name, expects, domain = "gamma", "a positive number; shift the column", "positive"

    def supports(self, values):
        return values > 0

    def log_kernel(self, x, eta, noise=1.0):
        return -eta - x * namespace(eta).exp(-eta)

    def mean(self, eta):
        return namespace(eta).exp(eta)

    def sample(self, eta, noise=1.0, rng=None):
        return rng.exponential(np.exp(eta))

    def offset(self, level, margin=1e-3):
        return namespace(level).log(level + margin)

    def sufficient_statistics(self, x):
        missing = np.isnan(x)
        known = np.where(missing, 1.0, x)
        return np.stack([~missing, np.where(missing, 0.0, x), np.log(known)])

    def maximize(self, statistics):
        weight, total, logs = statistics
        mean, log_ratio = total / weight, np.log(total / weight) - logs / weight
        shape = [self._shape(value) for value in log_ratio.ravel()]
        return np.stack([mean, np.reshape(shape, mean.shape)])

    @staticmethod
    def _shape(log_ratio):
        return optimize.brentq(
            lambda a: np.log(a) - special.digamma(a) - log_ratio, 1e-3, 1e6, xtol=1e-13
        )

    def natural_parameters(self, parameters):
        mean, shape = parameters
        rate = shape / mean
        constant = shape * np.log(rate) - special.gammaln(shape)
        return np.stack([constant, -rate, shape - 1])


@pytest.mark.parametrize("unit", [1.0, 1e6])
def test_errors_of_two_parameters_of_a_column(unit):
    """Mean and shape of a gamma distribution: orthogonal parameters, with closed information."""
    rng = np.random.default_rng(0)
    X = unit * rng.gamma([2.0, 5.0], size=(300, 2))
    X[::10, 1] = np.nan
    fit = EMMixture(1, likelihood=Gamma(), random_state=0).fit(X)
    ((mean, shape),) = fit.other_parameters_
    (errors,) = fit.standard_errors_["other_parameters"]
    n = np.array([300, 270])
    assert_allclose(errors[0], mean / np.sqrt(shape * n), rtol=1e-5)
    information = special.polygamma(1, shape) - 1 / shape
    assert_allclose(errors[1], 1 / np.sqrt(information * n), rtol=1e-5)
    far = 1.3 * fit.other_parameters_[0][:, 0]  # at any other point the two are not orthogonal
    scores, found = Gamma().component_derivatives(X, far, np.ones(300))
    observed = ~np.isnan(X)
    cross = np.where(observed, X, 0).sum(axis=0) / far[0] ** 2 - n / far[0]
    assert_allclose(found[0, 1], -cross, rtol=1e-6)
    assert_allclose(found, np.swapaxes(found, 0, 1), rtol=1e-6)
    slope = far[1] * (X / far[0] ** 2 - 1 / far[0])
    assert_allclose(scores[:, 0], np.where(observed, slope, 0.0), rtol=1e-8, atol=1e-10 / unit)
