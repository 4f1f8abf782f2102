"""The third chapter: the posterior is out of reach, and the best q of a family takes its place."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral, Real

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skelbo.acceleration import Anderson
from skelbo.elbo import Ascent, Restarts, ascend
from skelbo.estimator import LatentVariableEstimator, Progress, random_stream
from skelbo.inference.annealing import annealed_start
from skelbo.inference.built_in import NAMES, adapt, build_model, check_params
from skelbo.inference.cases import Cases
from skelbo.inference.coordinates import Coordinates
from skelbo.inference.information import standard_errors
from skelbo.inference.posterior import FittedModel, best_q
from skelbo.models.model import LatentVariableModel


class VariationalEM(LatentVariableEstimator):
    r"""Fit a latent-variable model by variational EM.

    .. math:: \mathrm{ELBO}(\theta, q) = \sum_i E_{q_i}[\log p(x_i, z_i; \theta)] + H[q_i]

    Turns between the best :math:`q_i` of a family for every row and a better theta. For the
    built-in models all expectations are exact, so that the bound never falls.

    Parameters
    ----------
    n_components : int, default=2
        Number of latents, for models given by name.
    model : {"binary", "gaussian", "bernoulli", "poisson", "decoder"} or LatentVariableModel, \
            default="binary"
        The model p(x, z; theta); see :mod:`skelbo.models`. A name builds it with `n_components`
        latents.
    posterior : {"mean_field", "full"}, default="mean_field"
        Family of q. ``"mean_field"``: independent latents, Bernoulli or Gaussian. ``"full"``: a
        Gaussian with full covariance per row; for binary latents the exact distribution over all
        states (up to 12 latents).
    params_init : dict, optional
        Parameters to begin from, with the keys of `params_`.
    max_iter : int, default=1000
        Largest number of iterations per start.
    tol : "auto" or float, default="auto"
        ``"auto"`` stops when, by extrapolation, less than 1e-7 nats per row are left to climb. A
        number stops when one iteration climbs less than it (nats per row).
    n_init : int, default=1
        Number of starts; the highest bound is kept.
    annealing : "auto" or bool, default="auto"
        Whether a start for binary latents is found by simulated annealing (stochastic EM at a
        falling temperature). ``"auto"``: yes, unless `params_init` is given.
    n_importance_samples : int, default=1000
        Draws per row for log p(x) where it has no closed form and more than two latents.
    device : str or None, default=None
        Torch device, for models written in torch.
    random_state : int, RandomState or None, default=None
        Source of randomness for starts, importance samples and `sample`.
    warm_start : bool, default=False
        Begin from the last fit.
    verbose : int, default=0
        1 prints starts and every tenth iteration, 2 also times.

    Attributes
    ----------
    model_ : LatentVariableModel
        The model that was fitted.
    params_ : dict of str to ndarray
        Its parameters on their natural scale.
    standard_errors_ : dict of str to ndarray
        Their standard errors, from the observed information of log p(X) (Louis 1982) at `params_`.
    lower_bound_ : float
        Mean ELBO per row, in nats, at `params_`.
    lower_bounds_ : list of float
        The same after each iteration of the best start.
    n_iter_ : int
        Number of iterations of the best start.
    converged_ : bool
        Whether the best start met the stopping rule.
    failed_starts_ : list of (int, str)
        Number and cause of each start that was skipped.
    n_parameters_ : int
        Number of free parameters.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    See Also
    --------
    MCEM : The same models with draws of the exact posterior instead of q.

    References
    ----------
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*, section 4. Neal and Hinton (1998).

    Examples
    --------
    Yes/no answers and a common trait behind them, every pattern weighted by its frequency:

    >>> import numpy as np
    >>> from skelbo import VariationalEM
    >>> answers = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1],
    ...                     [1, 0, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1]])
    >>> persons = [31, 12, 9, 18, 8, 15, 17, 60]
    >>> trait = VariationalEM(1, model="bernoulli").fit(answers, sample_weight=persons)
    >>> bool(trait.score(answers, sample_weight=persons) > trait.lower_bound_)
    True
    >>> trait.transform(answers)[[0, -1]].round(1)
    array([[-1. ],
           [ 0.8]])
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "model": [StrOptions(set(NAMES)), LatentVariableModel],
        "posterior": [StrOptions({"mean_field", "full"})],
        "params_init": [dict, None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "annealing": [StrOptions({"auto"}), "boolean"],
        "n_importance_samples": [Interval(Integral, 10, None, closed="left")],
        "device": [str, None],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=2,
        *,
        model="binary",
        posterior="mean_field",
        params_init=None,
        max_iter=1000,
        tol="auto",
        n_init=1,
        annealing="auto",
        n_importance_samples=1000,
        device=None,
        random_state=None,
        warm_start=False,
        verbose=0,
    ):
        self.n_components = n_components
        self.model = model
        self.posterior = posterior
        self.params_init = params_init
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.annealing = annealing
        self.n_importance_samples = n_importance_samples
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    # -------------------------------------------------------------------- fit

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the model to the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN), which drop out of the likelihood.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights: weight 2 is the row twice, weight 0 is the row absent.

        Returns
        -------
        self : VariationalEM
            The fitted estimator.

        Raises
        ------
        ValueError
            If the model or the data cannot be used, or if every start fails.
        """
        X, weights = self._validate_fit(X, sample_weight)
        model = adapt(build_model(self.model, self.n_components), self.device)
        cases = Cases.of_table(X, weights)
        model.check(cases.X)
        rng = random_stream(self.random_state)
        seed = rng.randint(2**31 - 1)
        starts = list(self._starts(model, cases, rng))
        progress = Progress(self, X, len(starts), self.max_iter)
        restarts = Restarts()
        best = restarts.run(
            self._attempt(model, cases, start, progress, number)
            for number, start in enumerate(starts)
            if not progress.stopped
        )
        rotate = model.rotation_free(cases.X, self.posterior)
        self._publish(model, best, model.identify(best.theta, rotate=rotate), seed, X.dtype)
        self.failed_starts_ = restarts.failures
        self._finish(cases)
        self._warn_if_not_converged(best, self.max_iter, self.tol)
        progress.end()
        return self

    def _starts(self, model, cases: Cases, rng):
        """Yield a function for each start that returns its first parameters."""
        if self.warm_start and hasattr(self, "params_"):
            yield lambda: self._given(self.params_, "params_", model, cases, rng)
            return
        if self.params_init is not None:
            yield lambda: self._given(self.params_init, "params_init", model, cases, rng)
            return
        anneal = self.annealing and getattr(model, "closed_form", False)
        start = partial(annealed_start, model) if anneal else model.start
        for number in range(self.n_init):
            yield partial(start, cases.X, cases.weights, rng, number)

    @staticmethod
    def _given(params, name, model, cases, rng):
        return check_params(params, model.start(cases.X, cases.weights, rng, 0), name)

    def _attempt(self, model, cases, start, progress, number):
        """Return one attempt: an ascent from a start."""

        def attempt() -> Ascent:
            progress.begin_start(number)
            ascent = self._climb(model, cases, start(), progress)
            progress.end_start()
            return ascent

        return attempt

    def _climb(self, model, cases: Cases, theta, progress) -> Ascent:
        """Run one ascent: exactly by the profile likelihood where there is one, else by turns."""
        climb = partial(
            ascend, tol=self.tol, max_iter=self.max_iter, on_iteration=progress.iteration
        )
        profile = model.profile(cases.X, cases.weights)
        if profile is not None:
            anderson = Anderson(profile.to_vector, profile.from_vector)
            ascent = climb(profile.start(), profile.e_step, profile.m_step, accelerator=anderson)
            theta = profile.theta(ascent.theta)
            return Ascent(theta, ascent.start_bound, ascent.lower_bounds, ascent.converged)
        coordinates = Coordinates(theta, model.constraints)
        last = None

        def e_step(theta):
            nonlocal last
            last = best_q(model.joint(cases.X, theta), self.posterior, last)
            return cases.mean(last.terms.elbo), last

        def m_step(q, theta):
            weights, mean = cases.weights[None], q.mean[None]
            return model.maximize(theta, cases.X, weights, mean, q.covariance, expand=True)

        anderson = Anderson(coordinates.to_vector, coordinates.from_vector)
        return climb(theta, e_step, m_step, accelerator=anderson)

    def _publish(self, model, ascent: Ascent, theta: dict, seed: int, dtype: np.dtype) -> None:
        self.model_ = getattr(model, "model", model)
        self.params_ = {k: np.asarray(v, dtype=dtype)[()] for k, v in theta.items()}
        self._seed = seed
        self._publish_ascent(ascent)

    def _finish(self, cases: Cases) -> None:
        """Publish standard errors and say what is wrong with the parameters, if anything."""
        fitted = self._fitted()
        errors = standard_errors(fitted, cases)
        self.standard_errors_ = {
            k: np.asarray(v, dtype=self.params_[k].dtype)[()] for k, v in errors.items()
        }
        for message in fitted.model.warnings(fitted.theta, cases.X):
            warnings.warn(message, UserWarning, stacklevel=3)

    # -------------------------------------------------------------- after fit

    def _fitted(self) -> FittedModel:
        theta = {k: np.asarray(v, dtype=np.float64) for k, v in self.params_.items()}
        model = adapt(self.model_, self.device)
        return FittedModel(model, theta, self.posterior, self.n_importance_samples, self._seed)

    @property
    def n_parameters_(self):
        """Number of free parameters."""
        check_is_fitted(self)
        return self._fitted().model.n_parameters(self.params_)

    @property
    def _n_features_out(self):
        return self.model_.n_latents

    def _log_prob(self, X):
        log_prob, std = self._fitted().log_prob(X)
        return log_prob.astype(X.dtype), std.astype(X.dtype)

    def _elbo_terms(self, X):
        return self._fitted().elbo_terms(X)

    def _posterior_mean(self, X):
        return self._fitted().mean(X).astype(X.dtype)

    def _reconstruct(self, Z):
        fitted = self._fitted()
        return fitted.model.mean(Z.astype(np.float64), fitted.theta).astype(Z.dtype)

    def impute(self, X):
        """Return X with missing cells replaced by their expectation given the observed ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with missing cells (NaN).

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            A complete copy; observed cells are unchanged.
        """
        X = self._validate(X)
        return np.where(np.isnan(X), self._fitted().impute(X).astype(X.dtype), X)

    def sample(self, n_samples=1, random_state=None):
        """Draw from the joint p(x, z).

        Parameters
        ----------
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState or None, default=None
            Source of randomness; None draws afresh.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows.
        Z : ndarray of shape (n_samples, n_latents)
            The latents they come from.
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        fitted = self._fitted()
        X, Z = fitted.model.sample(n_samples, fitted.theta, random_stream(random_state))
        dtype = np.result_type(*self.params_.values())
        return X.astype(dtype), Z.astype(dtype)
