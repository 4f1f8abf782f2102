"""Variational EM: the best q of a family in the place of the exact posterior."""

from __future__ import annotations

from dataclasses import replace

from sklearn.utils._param_validation import StrOptions

from skelbo.em.loop import Ascent
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.variational_ascent import VariationalAscent
from skelbo.mixins.latent_model_estimator import MODEL_CONSTRAINTS, LatentModelEstimator


class VariationalEM(LatentModelEstimator):
    r"""Latent-variable model, fitted by variational EM.

    .. math:: \mathrm{ELBO}(\theta, q) = \sum_i E_{q_i}[\log p(x_i, z_i; \theta)] + H[q_i]

    Alternates the best :math:`q_i` of a family for every row and a better theta. For the built-in
    models all expectations are exact, so that the bound never falls.

    Parameters
    ----------
    n_components : int, default=2
        Number of latents, for models given by name.
    model : {"binary", "gaussian", "bernoulli", "poisson", "decoder"} or LatentVariableModel, \
            default="binary"
        The model p(x, z; theta); see :mod:`skelbo.models`. A name builds it with `n_components`
        latents.
    posterior : {"mean_field", "full", "exact"}, default="mean_field"
        Family of q. ``"mean_field"``: independent latents, Bernoulli or Gaussian. ``"full"``: a
        Gaussian with full covariance per row; for binary latents the exact distribution over all
        states (up to 12 latents). ``"exact"``: p(z | x) itself, so that the bound is log p(x) and
        this is EM: binary latents as above, Gaussian factor models, and Bernoulli or Poisson factor
        models with one or two latents (by quadrature; with two, a fit ends before the answers of
        separable columns are too steep for that).
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
        Draws per row for log p(x) where it has no closed form and more than two latents, rounded
        up to 16 copies of a power of two.
    device : str or None, default=None
        Torch device, for models written in torch.
    random_state : int, RandomState or None, default=None
        Source of randomness for starts, importance samples and `sample`.
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
        Their standard errors, from the observed information of log p(X) (Louis 1982) at `params_`.
        Infinite where the data do not determine a parameter, zero for a noise variance at its
        floor; absent, with an error that says so, beyond 1500 parameters (200 of a torch model).
    lower_bound_ : float
        Mean ELBO per row, in nats, at `params_`.
    lower_bounds_ : list of float
        The same after each iteration of the best start. With continuous latents of a torch model
        the bound is climbed on few fixed points of every q (41 for one latent, 121 for two, 64 from
        three on), on which q looks better than it is: the whole list is published less that
        optimism at the end, measured on 417, 2809 or 2048 other points.
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
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*, eq. 3 and 4.
    Neal and Hinton (1998).

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
    array([[-1.2],
           [ 0.8]])
    """

    _parameter_constraints: dict = {
        **MODEL_CONSTRAINTS,
        "posterior": [StrOptions({"mean_field", "full", "exact"})],
        "annealing": [StrOptions({"auto"}), "boolean"],
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

    def _ascend(self, model, data: DistinctRows, theta, report, rng, checkpoint) -> Ascent:
        """Run one ascent; one from a start that may be symmetric is led past saddle points."""
        ascent = VariationalAscent(model, data, self.posterior, self.tol, self.max_iter, report)
        continued = self.warm_start and "params_" in vars(self)
        past_saddles = self.params_init is not None or continued or model.has_gradient
        found = ascent.run_past_saddles(theta) if past_saddles else ascent.run(theta)
        return replace(found, statistics=None)  # not needed, and a checkpoint would hold them

    def _family(self, model):
        return self.posterior

    @property
    def _bound_is_exact(self):
        return self.posterior == "exact"

    def _is_annealed(self, model):
        return model.closed_form and bool(self.annealing)

    def _finish(self, fitted, data, best):
        self._warn_if_not_converged(best, self.max_iter, self.tol)
