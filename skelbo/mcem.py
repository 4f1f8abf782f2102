"""The fourth chapter: expectations over the exact posterior, by draws, with a certificate."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions

from skelbo.elbo import Ascent, ascend
from skelbo.inference.ascent_rule import CLIMB_PER_PARAMETER, WHY, MonteCarloStep
from skelbo.inference.cases import Cases
from skelbo.inference.information import standard_errors
from skelbo.inference.mean_field import MAX_ENUMERATED
from skelbo.inference.posterior import best_q
from skelbo.inference.sampling import SAMPLERS, make_sampler
from skelbo.model_estimator import MODEL_CONSTRAINTS, ModelEstimator

# Merged rows are given out again up to this number, so that draws go where the weight is.
SPREAD_ROWS = 1000
NOT_CERTIFIED = (
    "The fit was not certified to be at a maximum of log p(X) (no step climbs more than "
    "tol={tol:.3g} nats per row, at 95 % confidence): {why}."
)


@dataclass(frozen=True)
class MonteCarloAscent(Ascent):
    """An ascent and the step that decided when it was over."""

    step: Any = None


class MCEM(ModelEstimator):
    r"""Fit a latent-variable model by Monte Carlo EM.

    .. math:: Q(\theta' \mid \theta) \approx \sum_i \sum_s \omega_{is} \log p(x_i, z_{is}; \theta'),
        \quad z_{is} \sim p(z \mid x_i; \theta)

    The E-step draws from the exact posterior of every row, so that there is no variational bias.
    The number of draws grows by itself: a step is accepted only if it surely climbs, and the fit
    ends when surely no step climbs any more (Caffo, Jank and Jones 2005).

    Parameters
    ----------
    n_components : int, default=2
        Number of latents, for models given by name.
    model : {"binary", "gaussian", "bernoulli", "poisson", "decoder"} or LatentVariableModel, \
            default="binary"
        The model p(x, z; theta); see :mod:`skelbo.models`. A name builds it with `n_components`
        latents.
    sampler : {"auto", "gibbs", "hmc", "importance"}, default="auto"
        ``"gibbs"``: binary latents. ``"importance"``: from the Gaussian that fits the row, with a
        defensive part. ``"hmc"``: Hamiltonian Monte Carlo. ``"auto"``: the first for binary
        latents, the second up to 10 continuous ones, then the third.
    n_samples : "auto" or int, default="auto"
        Draws per row and iteration; ``"auto"`` is the ascent rule.
    averaging : {None, "saem"}, default=None
        ``"saem"``: stochastic approximation EM, few draws at a time and the average of all Q since
        a burn-in of 20 iterations (Delyon, Lavielle and Moulines 1999).
    params_init : dict, optional
        Parameters to begin from, with the keys of `params_`: those of a VariationalEM, say.
    max_iter : int, default=200
        Largest number of iterations per start.
    tol : "auto" or float, default="auto"
        The certificate: the fit has converged if, at 95 % confidence, the next step would climb
        less than this, in nats per row. ``"auto"``: 0.005 nats per parameter in total.
    n_init : int, default=1
        Number of starts; the highest bound is kept.
    n_importance_samples : int, default=1000
        Draws per row for log p(x) where it has no closed form and more than two latents.
    device : str or None, default=None
        Torch device, for models written in torch.
    random_state : int, RandomState or None, default=None
        Source of randomness.
    warm_start : bool, default=False
        Begin from the last fit.
    verbose : int, default=0
        1 prints starts and every tenth iteration, 2 also times.

    Attributes
    ----------
    model_ : LatentVariableModel
        The model that was fitted.
    params_ : dict of str to ndarray
        Its parameters on their natural scale, in a form that is unique: order, signs and rotation
        of factors, and order of binary features, are settled as the model's Notes say.
    standard_errors_ : dict of str to ndarray
        Their standard errors, from the observed information of log p(X) (Louis 1982).
    mc_standard_errors_ : dict of str to ndarray
        What the finite number of draws adds to them.
    n_samples_history_ : list of int
        Draws per row in each iteration.
    effective_sample_sizes_ : ndarray of shape (n_samples,)
        Effective number of draws of each row in the last iteration; NaN where its weight is zero.
    lower_bound_ : float
        Mean ELBO per row, in nats, at `params_`: of the best Gaussian q with full covariance, or
        (binary latents) of the exact posterior up to 12 latents and mean field beyond.
    lower_bounds_ : list of float
        The same after each iteration of the best start. It is not what MCEM climbs, and may fall.
    n_iter_ : int
        Number of iterations of the best start.
    converged_ : bool
        Whether the certificate was met.
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
    VariationalEM : The same models with a simpler q: faster, slightly biased.

    References
    ----------
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*, eq. 3 and 4. Wei and
    Tanner (1990).
    Caffo, Jank and Jones (2005), *Ascent-based Monte Carlo expectation-maximization*.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import MCEM
    >>> answers = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1],
    ...                     [1, 0, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1]])
    >>> persons = [31, 12, 9, 18, 8, 15, 17, 60]
    >>> trait = MCEM(1, model="bernoulli", random_state=0).fit(answers, sample_weight=persons)
    >>> trait.converged_
    True
    >>> small = trait.mc_standard_errors_["loadings"] < 0.3 * trait.standard_errors_["loadings"]
    >>> bool(small.all())
    True
    """

    _parameter_constraints: dict = {
        **MODEL_CONSTRAINTS,
        "sampler": [StrOptions({"auto", *SAMPLERS})],
        "n_samples": [StrOptions({"auto"}), Interval(Integral, 2, None, closed="left")],
        "averaging": [StrOptions({"saem"}), None],
    }

    def __init__(
        self,
        n_components=2,
        *,
        model="binary",
        sampler="auto",
        n_samples="auto",
        averaging=None,
        params_init=None,
        max_iter=200,
        tol="auto",
        n_init=1,
        n_importance_samples=1000,
        device=None,
        random_state=None,
        warm_start=False,
        verbose=0,
    ):
        self.n_components = n_components
        self.model = model
        self.sampler = sampler
        self.n_samples = n_samples
        self.averaging = averaging
        self.params_init = params_init
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.n_importance_samples = n_importance_samples
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def _climb(self, model, cases: Cases, theta, progress, rng) -> Ascent:
        """Run one ascent; its theta carries the step that led there, and the step the evidence."""
        tol, cases = self.tol, cases.spread(SPREAD_ROWS)
        if tol == "auto":
            tol = CLIMB_PER_PARAMETER * model.n_parameters(theta) / cases.total
        sampler = make_sampler(self.sampler, model, rng)
        step = MonteCarloStep(model, cases, sampler, self.n_samples, self.averaging, tol)
        last = None

        def e_step(theta):
            nonlocal last
            last = best_q(model.joint(cases.X, theta), self._family(model), last)
            return cases.mean(last.terms.elbo), last

        def over(n_iter, bound, theta) -> bool:
            if progress.iteration(n_iter, bound, theta) and not step.certified:
                step.stopped = "callback"
            return bool(step.certified or step.stopped)

        # The bound of q is reported, not climbed: the step alone decides when the ascent is over.
        ascent = ascend(theta, e_step, step, tol=0.0, max_iter=self.max_iter, on_iteration=over)
        return MonteCarloAscent(
            ascent.theta, ascent.start_bound, ascent.lower_bounds, step.certified, step=step
        )

    def _family(self, model):
        few = model.latent == "continuous" or model.n_latents <= MAX_ENUMERATED
        return "full" if few else "mean_field"

    def _finish(self, fitted, cases, best):
        step, cases = best.step, cases.spread(SPREAD_ROWS)
        self.n_samples_history_ = step.history
        # Draws at the published parameters, as many as the last step had, say how precise it was.
        joint = fitted.model.joint(cases.X, fitted.theta)
        sampler = make_sampler(self.sampler, fitted.model, np.random.RandomState(fitted.seed))
        sampler.restart(joint, best_q(joint, self._family(fitted.model)))
        draws = sampler.more(step.n_last)
        errors = standard_errors(fitted, cases, draws)
        self.standard_errors_, self.mc_standard_errors_ = map(self._named, errors)
        self.effective_sample_sizes_ = np.append(draws.effective_sizes(), np.nan)[cases.index]
        if not step.certified:
            why = WHY[step.stopped or "max_iter"].format(max_iter=self.max_iter, limit=step.n_last)
            message = NOT_CERTIFIED.format(tol=step.tol, why=why)
            warnings.warn(message, ConvergenceWarning, stacklevel=3)
