"""A likelihood that one file adds serves factor models, decoders, the VAE and mixtures."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats
from sklearn.base import clone

from skelbo import MCEM, EMMixture, VAEEstimator, VariationalEM
from skelbo.likelihoods import Likelihood
from skelbo.likelihoods.arrays import namespace, softplus, torch_of
from skelbo.models import DecoderModel, FactorModel


class Geometric(Likelihood):
    """Number of failures before the first success, with log-odds -eta of a success."""

    name, linear = "geometric", True
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
    with pytest.raises(AttributeError, match="derivatives of the likelihood Geometric"):
        fit.standard_errors_  # noqa: B018
    with pytest.raises(ValueError, match=r"column 0 of X has the value 0.5, .* round the column"):
        fit.score(np.array([[0.5, 1.0, 1.0]]))
