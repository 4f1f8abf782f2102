"""Monte Carlo EM: expectations over the exact posterior by draws, with a certified end."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions

from skelbo.em.loop import Ascent, ascend
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.monte_carlo_step import WHY, AveragedStep, MonteCarloStep, StepRecord
from skelbo.inference.posteriors.bernoulli_posterior import MAX_ENUMERATED
from skelbo.inference.posteriors.best import best_q
from skelbo.inference.sampling.draws import Draws
from skelbo.inference.sampling.samplers import SAMPLERS, make_sampler
from skelbo.inference.standard_errors import monte_carlo_errors
from skelbo.mixins.latent_model_estimator import MODEL_CONSTRAINTS, LatentModelEstimator
from skelbo.persistence import Array, Number, Sequence

NOT_CERTIFIED = (
    "The fit was not certified to be at a maximum of log p(X) (less than tol={tol:.3g} nats per "
    "row below it at 95 % confidence, Monte Carlo errors small): {why}."
)


# tol="auto": nats in total, and per parameter where there are many.
CLIMB, CLIMB_PER_PARAMETER = 0.01, 2e-4


@dataclass(frozen=True)
class MonteCarloAscent(Ascent):
    """An ascent with the evidence for its end."""

    step: StepRecord | None = None


class MCEM(LatentModelEstimator):
    r"""Latent-variable model, fitted by Monte Carlo EM.

    .. math:: Q(\theta' \mid \theta) \approx \sum_i \sum_s \omega_{is} \log p(x_i, z_{is}; \theta'),
        \quad z_{is} \sim p(z \mid x_i; \theta)

    The E-step draws from the exact posterior of every row, so that there is no variational bias.
    The number of draws grows by itself: a step is accepted only if it surely climbs, else draws
    are appended, and the fit ends when surely nothing is left to climb (Caffo, Jank and Jones
    2005). Near the maximum the step is Newton's on log p(X).

    Parameters
    ----------
    n_components : int, default=2
        Number of latents, for models given by name.
    model : {"binary", "gaussian", "bernoulli", "poisson", "decoder"} or LatentVariableModel, \
            default="binary"
        The model p(x, z; theta); see :mod:`skelbo.models`. A name builds it with `n_components`
        latents.
    sampler : {"auto", "gibbs", "hmc", "importance"}, default="auto"
        ``"importance"``: randomised quasi-Monte Carlo draws from the Gaussian that fits the row,
        with a defensive part; of binary latents, from the list of their states (at most 12
        latents). ``"gibbs"``: sweeps over binary latents. ``"hmc"``: Hamiltonian Monte Carlo.
        ``"auto"``: the first up to 12 binary or 10 continuous latents, then one of the others; and
        no draws where p(z | x) is a Gaussian, whose moments are exact (Gaussian factor models).
    n_samples : "auto" or int, default="auto"
        Draws per row and iteration, rounded up to whole sets (64 for ``"importance"``, moves of 10
        chains for the others); ``"auto"`` is the ascent rule.
    averaging : {None, "saem"}, default=None
        ``"saem"``: stochastic approximation EM, few draws at a time and the average of all Q since
        a burn-in of 20 iterations (Delyon, Lavielle and Moulines 1999). It is judged, and polished,
        every tenth iteration by draws of its own.
    params_init : dict, optional
        Parameters to begin from, with the keys of `params_`: those of a VariationalEM, say.
    max_iter : int, default=200
        Largest number of iterations per start.
    tol : "auto" or float, default="auto"
        The certificate: the fit has converged if, at 95 % confidence, log p(X) at `params_` is less
        than this below its (local) maximum, in nats per row. ``"auto"``: 0.01 nats in total, or
        0.0002 per parameter if that is more. See Notes.
    n_init : int, default=1
        Number of starts; the highest bound is kept.
    n_importance_samples : int, default=1000
        Draws per row for log p(x) where it has no closed form and more than two latents, rounded
        up to 16 copies of a power of two.
    device : str or None, default=None
        Torch device, for models written in torch.
    random_state : int, RandomState or None, default=None
        Source of randomness.
    warm_start : bool, default=False
        Begin from the last fit.
    verbose : int, default=0
        1 prints starts and every tenth iteration, 2 also times.
        For a progress bar: ``set_callbacks(ProgressBar())``, from `sklearn.callback`.

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
        Monte Carlo errors that the finite number of draws adds to them; zero without draws.
    remaining_climb_ : float
        Upper limit, at 95 % confidence, of the climb of log p(X) from `params_` to its (local)
        maximum, in nats per row. Infinite where it is not known.
    n_samples_history_ : list of int
        Draws per row in each iteration.
    effective_sample_sizes_ : ndarray of shape (n_samples,)
        Effective number of draws of each row in the last iteration; infinite where moments were
        exact, NaN where the weight of the row is zero.
    lower_bound_ : float
        Mean ELBO per row, in nats, at `params_`: of the best Gaussian q with full covariance, or
        (binary latents) of the exact posterior up to 12 latents and mean field beyond.
    lower_bounds_ : list of float
        The same after each iteration of the best start. It is not what MCEM climbs, and may fall.
    n_iter_ : int
        Number of iterations of the best start.
    converged_ : bool
        Whether the certificate was met: `remaining_climb_` is below `tol`, and no Monte Carlo
        error exceeds 0.3 standard errors in any direction.
    failed_starts_ : list of (int, str)
        Number and cause of each start that was skipped.
    n_parameters_ : int
        Number of free parameters.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    Notes
    -----
    With the gradient g of log p(X) from the draws (Fisher's identity), its Monte Carlo covariance V
    and the observed information I (Louis 1982), log p(X) is :math:`\tfrac12 g^T I^{-1} g` below
    its maximum; after Newton's step :math:`\tfrac12 e^T I^{-1} e, e \sim N(0, V)`, is left. Its
    95 % quantile, plus what the step itself climbed, is what `tol` is compared with, provided that
    log p(X), measured on the draws, climbed as promised. Positive parameters are seen in
    logarithms and probabilities in log-odds; rotations of factors do not count, and a noise
    variance at its floor is held there. Errors come from independent copies (shifts of one
    quasi-random sequence, or chains), after regression on functions whose posterior mean is zero.

    Where no information matrix can be formed (more than 1500 parameters, 200 of a model in torch)
    what is left is extrapolated from the rate at which the climbs of EM shrink, and the noise of
    these climbs. `standard_errors_` and `mc_standard_errors_` are then absent: asking for them
    raises an AttributeError that says so. A standard error is infinite where the data do not
    determine a parameter, and zero for a noise variance at its floor.

    See Also
    --------
    VariationalEM : The same models with a simpler q: faster, slightly biased.

    References
    ----------
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*, eq. 3 and 4. Wei and
    Tanner (1990).
    Caffo, Jank and Jones (2005), *Ascent-based Monte Carlo expectation-maximization*. Mira, Solgi
    and Imparato (2013) and L'Ecuyer and Lemieux (2002) for how errors are made small.

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

    def _ascend(self, model, data: DistinctRows, theta, report, rng, checkpoint) -> Ascent:
        """Run one ascent, which the step ends when its stopping rule is met."""
        sampler = make_sampler(self.sampler, model, rng)
        kind = MonteCarloStep if self.averaging is None else AveragedStep
        tol = self._total_tol(model, data, theta)
        data = data.repeated(sampler.n_repeated)
        step = kind(model, data, sampler, self.n_samples, self._family(model), tol)

        def is_over(n_iter, bound, theta) -> bool:
            return step.is_over(theta, report(n_iter, bound, theta))

        ascent = ascend(
            theta,
            step.e_step,
            step.m_step,
            tol=0.0,
            max_iter=self.max_iter,
            on_iteration=is_over,
            checkpoint=checkpoint,
            stateful=[step],
        )
        return MonteCarloAscent(
            ascent.theta,
            ascent.start_bound,
            ascent.lower_bounds,
            step.certified,
            interrupted=ascent.interrupted,
            step=step.record(),
        )

    def _total_tol(self, model, data, theta) -> float:
        """Return the tolerance in nats in total."""
        if self.tol == "auto":
            return max(CLIMB, CLIMB_PER_PARAMETER * model.n_parameters(theta))
        return self.tol * data.total

    def _family(self, model):
        few = model.latent == "continuous" or model.n_latents <= MAX_ENUMERATED
        return "full" if few else "mean_field"

    def _finish(self, fitted, data, best):
        step = best.step
        self.n_samples_history_ = step.history
        self.remaining_climb_ = float(step.left / data.total)
        self._n_last = step.n_last
        data, draws = self._drawn(fitted, data)
        self.effective_sample_sizes_ = np.append(draws.effective_sizes(), np.nan)[data.index]
        if not (step.certified or best.interrupted):
            why = WHY[step.stopped or "max_iter"].format(max_iter=self.max_iter, limit=step.n_last)
            tol = step.tol / data.total
            warnings.warn(NOT_CERTIFIED.format(tol=tol, why=why), ConvergenceWarning, stacklevel=3)

    def _drawn(self, fitted, data: DistinctRows) -> tuple[DistinctRows, Draws]:
        """Return as many draws as the last step had, at the published parameters, and their rows.

        The same ones each time.
        """
        sampler = make_sampler(self.sampler, fitted.model, np.random.RandomState(fitted.seed))
        data = data.repeated(sampler.n_repeated)
        joint = fitted.model.joint(data.X, fitted.theta)
        sampler.restart(joint, best_q(joint, self._family(fitted.model)))
        return data, sampler.more(self._n_last)

    def _further_errors(self, fitted, data, root):
        data, draws = self._drawn(fitted, data)
        return {"mc_standard_errors_": monte_carlo_errors(fitted, data, draws, root)}

    _error_names = ("standard_errors_", "mc_standard_errors_")

    def _file_attributes(self):
        count = Number(integer=True, low=0)
        return {
            **super()._file_attributes(),
            "n_samples_history_": Sequence(count),
            "remaining_climb_": Number(finite=False),
            "effective_sample_sizes_": Array((None,), finite=False, low=0.0),
            "_n_last": count,
        }

    @property
    def mc_standard_errors_(self):
        """Monte Carlo errors of `params_` from the number of draws of the last iteration."""
        return self._error("mc_standard_errors_")
