"""Variational auto-encoder: p(x | z) is a network, and an encoder approximates its posterior."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from numbers import Integral, Real

from sklearn.utils import check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from skelbo.autograd import gradients
from skelbo.data.dask_dispatch import in_memory
from skelbo.likelihoods import LIKELIHOODS, Likelihood
from skelbo.neural import (
    ACTIVATIONS,
    GaussianFamily,
    NetworkEstimator,
    Objective,
    PointFamily,
    Refinement,
    refine,
    start_at_factors,
)
from skelbo.transaction import fit_method

# Rows behind the factor analysis at which a training begins.
FACTOR_ROWS = 10_000


def _has_density(estimator) -> bool:
    """Raise if q is a point: it has no density, and so no bound."""
    if estimator.posterior == "point":
        raise AttributeError(
            "elbo, elbo_terms, gap and refine need a density q(z | x), which posterior='point' has "
            "not; see score_samples, or use posterior='gaussian'."
        )
    return True


class VAEEstimator(NetworkEstimator):
    r"""Variational auto-encoder.

    .. math:: z \sim N(0, I), \quad x \mid z \sim p(x \mid f_\theta(z)), \quad
        q_\phi(z \mid x) = N(\mu_\phi(x), \operatorname{diag} \sigma^2_\phi(x))

    One stochastic gradient step for both networks climbs
    :math:`E_q[\log p(x \mid z)] - \mathrm{KL}(q \,\|\, p(z))` (Ding 2020, eq. 4, Algorithm 2).
    Columns are standardised inside; every score is in the units of the X that was passed. Missing
    cells (NaN) are left out of the likelihood: the bound is that of the observed cells.

    Parameters
    ----------
    n_components : int, default=2
        Number of latents.
    posterior : {"gaussian", "point"}, default="gaussian"
        Form of q: a Gaussian, or a point, which makes it an auto-encoder (Hinton and Salakhutdinov
        2006): no noise behind z and no KL while it learns. Afterwards p(z) is the Gaussian fitted
        to the codes, and log p(x) that of x = f(z) + noise. A point has no density: there is no
        `elbo`, `elbo_terms`, `gap` and `refine`, and `objective`, `gradient`, `beta`, `kl_warmup`
        and `n_samples` stay at their defaults.
    hidden_layer_sizes : int or sequence of int, default=(128, 128)
        Of the encoder; the decoder has them in reverse. ``()`` is a linear VAE: probabilistic PCA.
    activation : {"relu", "tanh", "gelu", "elu", "silu", "softplus", "leaky_relu"}, default="relu"
        Between the layers.
    encoder, decoder : nn.Module, class, callable or None, default=None
        Networks of your own. The encoder maps (n, n_features) to (n, 2 * n_components), mean and
        log-variance side by side, or to a tuple of the two (to a point: (n, n_components)); the
        decoder maps (n, n_components) to
        (n, n_features), one output per column (one per code for categorical ones). A class or
        factory is called with these widths (n_inputs, n_outputs), or with nothing; an instance is
        copied, never trained in place.
    likelihood : {"gaussian", "bernoulli", "poisson", "categorical", "auto"}, Likelihood or \
            list, default="gaussian"
        For all columns, or one for each. ``"auto"``: 0/1 is Bernoulli, a few integer codes from 0
        are categorical, everything else is Gaussian.
    noise : {"auto", "unit", "isotropic", "diag"}, default="auto"
        Variance of the Gaussian columns: 1 in standardised units (exactly Algorithm 2's loss); one
        for all columns, in the units of the data; one per column. It is learned in closed form
        once per epoch (Rybkin et al. 2021), and shared by all rows. ``"auto"`` is ``"diag"``, for
        a point ``"isotropic"``: with one variance per column the likelihood of a point has no
        maximum, as a latent may copy a column.
    objective : {"elbo", "iwae"}, default="elbo"
        The bound: the ELBO, or the importance-weighted one (Burda et al. 2015).
    gradient : {"reparameterized", "score_function", "dreg"}, default="reparameterized"
        Its gradient for the encoder: through the draws, by the score function (footnote 5), or
        doubly reparameterised (Tucker et al. 2018).
    beta : float, default=1.0
        Weight of the KL (Higgins et al. 2017). Scores are not weighted.
    kl_warmup : "auto" or int, default="auto"
        Epochs over which the weight rises to `beta`; 0 by ``"auto"`` if the networks begin at a
        factor analysis (see Notes).
    n_samples : int, default=1
        Draws of z per row: M of Algorithm 2.
    n_importance_samples : int, default=500
        Draws behind each score; with one latent, scores and bounds are found by quadrature and take
        none. A row with fewer than ten effective draws gets its log p(x) by annealed importance
        sampling from q (Neal 2001), at about 25 times the time, or 125 if it is still uncertain; if
        its error exceeds half a nat then, an `ImportanceWarning` follows.
    optimizer : {"adam", "adamw", "adagrad", "rmsprop", "sgd"} or class, default="adam"
        Of the kind of :mod:`torch.optim`.
    lr : float, default=1e-3
        Learning rate to begin with: see `early_stopping`, `n_iter_no_change`. An LRScheduler in
        `callbacks` has it to itself.
    batch_size : int, default=128
        Rows per step.
    max_iter : int, default=500
        Largest number of epochs.
    early_stopping : "auto" or bool, default="auto"
        True holds rows out, stops when their bound rises no more, and restores the best weights.
        False runs `max_iter` epochs; over their second half `lr` falls along a cosine.
        ``"auto"`` holds rows out, 20 at least, if these are no more than a quarter and the networks
        are not linear (which hardly overfit); otherwise it does the same by the training bound.
    validation_fraction : float, default=0.1
        Share of the rows held out.
    n_iter_no_change : int, default=10
        Epochs (and at least 300 steps) without a rise before the learning rate falls or, after
        two falls, the training ends.
    device : str, default="auto"
        Torch device; ``"auto"`` is CUDA if there is any. There the rows lie on the device from
        the start (a streamed X: a buffer of 64 batches at a time), and one number per step is
        read back.
    callbacks : list or None, default=None
        Callbacks for skorch, beside the estimator's own.
    net_params : dict or None, default=None
        More parameters of :class:`skorch.NeuralNet`, ``optimizer__weight_decay`` say.
        ``{"compile": True}`` compiles both networks by :func:`torch.compile` (which takes a
        compiler, and seconds at the start), with ``compile__backend`` and so on as its options.
    warm_start : bool, default=False
        Begin from the last fit, in its units.
    random_state : int, RandomState or None, default=None
        Source of randomness. The caller's generators are not touched.
    verbose : int, default=0
        1 prints every tenth epoch, 2 also times.
        For a progress bar: ``set_callbacks(ProgressBar())``, from `sklearn.callback`.

    Attributes
    ----------
    net_ : VAENet
        The skorch net, with ``history`` (losses per row, in standardised units).
    encoder_, decoder_ : nn.Module
        The networks.
    likelihood_ : ndarray of str, shape (n_features,)
        Likelihood of each column.
    noise_variance_ : ndarray of shape (n_features,) or float
        Noise in the units of the data; NaN for columns that are not Gaussian. A number if
        ``noise="isotropic"``. The one attribute that may be set: scores and draws follow.
    active_units_ : ndarray of bool, shape (n_components,)
        Which latents the model uses: their mean varies over rows by more than 0.01.
    lower_bound_ : float
        Mean bound per row of the training data, in nats, at the fitted parameters; for a point
        the mean of log p(x).
    lower_bounds_ : list of float
        The same of each epoch, as it ran; the last is `lower_bound_`. For a point the
        reconstruction log p(x | z) of each epoch, shifted so that it ends at `lower_bound_`.
    validation_lower_bounds_ : list of float
        Of the rows held out, after each epoch; empty if there were none. With beta other than 1
        the weighted bound; for a point the reconstruction, shifted alike.
    n_iter_ : int
        Number of epochs.
    converged_ : bool
        Whether the training came to its own end: by the stopping rule or, without one, by the
        last epoch. False where `max_iter`, a callback or Ctrl-C ended it earlier.
    n_skipped_steps_ : int
        Number of steps that were skipped as their loss or gradient was not finite.
    n_parameters_ : int
        Number of parameters of p(x, z): of the decoder and the noise.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    See Also
    --------
    GaussianMLE : The beginning of the road.
    EMGaussianMixture : A hidden label instead of a hidden point.

    Notes
    -----
    Where `n_components` factors explain four fifths of the variance of complete Gaussian columns,
    the networks begin at that factor analysis, whose posterior the encoder then has exactly; else
    at random. It takes perceptrons with hidden layers of at least ``4 * n_components`` units, an
    activation other than tanh and elu, two rows per column, and factors that restrict the
    covariance.

    Several processes train one model where ``torch.distributed`` has a process group, as under
    ``torchrun``: `batch_size` is the batch of all together, each takes its share of every batch,
    and all end with the model that one process would have found, to rounding (with
    ``gradient="score_function"`` and one draw, up to its baseline, which is that of a share).
    Every process needs all of X; the first one prints and warns.

    Small networks train and score on one of torch's threads; the caller's number of threads is
    left as it was. A forked process uses one thread: those of OpenMP do not survive a fork.

    Cells are taken to lie at most 1e9 (float32) or 1e100 (float64) standard deviations from the
    mean of their column.

    References
    ----------
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*, Algorithm 2, section 8.1.
    Kingma and Welling (2014), *Auto-Encoding Variational Bayes*. Hinton and Salakhutdinov (2006),
    *Reducing the Dimensionality of Data with Neural Networks*.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skelbo import VAEEstimator
    >>> X = load_iris().data
    >>> model = VAEEstimator(2, max_iter=50, early_stopping=False, random_state=0).fit(X)
    >>> model.transform(X).shape
    (150, 2)
    >>> log_prob, std = model.score_samples(X, return_std=True)
    >>> bool((model.elbo(X) <= log_prob).all())
    True
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "posterior": [StrOptions({"gaussian", "point"})],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "encoder": [callable, None],
        "decoder": [callable, None],
        "likelihood": [StrOptions({*LIKELIHOODS, "auto"}), Likelihood, "array-like"],
        "noise": [StrOptions({"auto", "unit", "isotropic", "diag"})],
        "objective": [StrOptions({"elbo", "iwae"})],
        "gradient": [StrOptions({"reparameterized", "score_function", "dreg"})],
        "beta": [Interval(Real, 0, None, closed="left")],
        "kl_warmup": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_importance_samples": [Interval(Integral, 2, None, closed="left")],
        "optimizer": [StrOptions({"adam", "adamw", "adagrad", "rmsprop", "sgd"}), callable],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": [StrOptions({"auto"}), "boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "callbacks": [list, tuple, None],
        "net_params": [dict, None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=2,
        *,
        posterior="gaussian",
        hidden_layer_sizes=(128, 128),
        activation="relu",
        encoder=None,
        decoder=None,
        likelihood="gaussian",
        noise="auto",
        objective="elbo",
        gradient="reparameterized",
        beta=1.0,
        kl_warmup="auto",
        n_samples=1,
        n_importance_samples=500,
        optimizer="adam",
        lr=1e-3,
        batch_size=128,
        max_iter=500,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=10,
        device="auto",
        callbacks=None,
        net_params=None,
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.posterior = posterior
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.noise = noise
        self.objective = objective
        self.gradient = gradient
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.n_samples = n_samples
        self.n_importance_samples = n_importance_samples
        self.optimizer = optimizer
        self.lr = lr
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.callbacks = callbacks
        self.net_params = net_params
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    _resumes_fits = True
    network_parameter_names = (*NetworkEstimator.network_parameter_names, "posterior")

    # -------------------------------------------------------------------- fit

    @fit_method
    @gradients()
    def fit(self, X, y=None, sample_weight=None):
        """Fit both networks to the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or torch.utils.data.Dataset
            Rows, possibly with missing cells (NaN). A numpy.memmap of more than 256 MiB, or a
            map-style Dataset of any size, is read while the networks learn, never whole. Items
            of a Dataset are rows, or tuples that begin with one: tensors or arrays of shape
            (n_features,). Before the first epoch it is read a few times to check and to
            standardise it (and once for each column to find a likelihood for). A Dask array or
            dataframe is read once: one of more than 256 MiB into a temporary file of this machine
            (see `tempfile.gettempdir`), which then is such a memmap.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights in the loss: weight 2 is the row twice in expectation, weight 0 is
            the row absent.

        Returns
        -------
        self : VAEEstimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data or the networks cannot be used, or if most steps of an epoch are not
            finite.
        OSError
            If X is a Dask collection for which the disk has no room.
        TypeError
            If X is a Dataset whose items have no number, such as an IterableDataset.
        """
        self._check_objective()
        training = self._fit_networks(X, sample_weight)
        if self.posterior == "point":
            self._shift_bounds(self.lower_bound_ - training.lower_bounds[-1])
        return self

    @fit_method
    @gradients()
    def partial_fit(self, X, y=None, sample_weight=None):
        """Update both networks by one pass over more rows.

        The first call fixes units and kinds of the columns. Nothing is held out, the learning
        rate stays `lr`, and only a numeric `kl_warmup` warms up (over that many calls).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or torch.utils.data.Dataset
            Rows, possibly with missing cells (NaN); those of a Dataset are read at once, the
            blocks of a Dask collection one after another, each being a pass of its own. At least
            two at first, later any number.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights.

        Returns
        -------
        self : VAEEstimator
            The updated estimator; `lower_bound_` is that of these rows.
        """
        self._check_objective()
        self._fit_one_pass(X, sample_weight)
        return self

    def _check_objective(self):
        if self.posterior == "point":
            self._check_point()
        if self.objective == "iwae" and self.gradient == "score_function":
            raise ValueError(
                "gradient='score_function' got objective='iwae', expected 'elbo': its score "
                "function has too much variance to be of use; use gradient='dreg'."
            )

    def _shift_bounds(self, shift):
        """Shift the bounds of the epochs, which were those of the reconstruction alone."""
        self.lower_bounds_ = [
            *(bound + shift for bound in self.lower_bounds_[:-1]),
            self.lower_bound_,
        ]
        self.validation_lower_bounds_ = [b + shift for b in self.validation_lower_bounds_]

    def _check_point(self):
        """Refuse parameters that have no meaning for a point."""
        defaults = signature(type(self)).parameters
        for name in ("objective", "gradient", "beta", "kl_warmup", "n_samples"):
            value, default = getattr(self, name), defaults[name].default
            if value != default:
                raise ValueError(
                    f"{name}={value!r} has no meaning with posterior='point', which has no KL and "
                    f"no draws; expected {name}={default!r}, or use posterior='gaussian'."
                )

    @property
    def _kl_warmup(self):
        return 0 if self.posterior == "point" else self.kl_warmup

    @property
    def _noise_kind(self):
        if self.noise != "auto":
            return self.noise
        return "isotropic" if self.posterior == "point" else "diag"

    @property
    def _bound_is_exact(self):
        return self.posterior == "point"

    def _latent_family(self):
        if self.posterior == "point":
            return PointFamily(self.n_components)
        return GaussianFamily(self.n_components)

    def _prepare(self, net, rows, generator, seed, fresh):
        begun = start_at_factors(net.module_, rows.sample(FACTOR_ROWS), fresh)
        if begun and self.kl_warmup == "auto":  # no latent is idle, and so none collapses
            net.kl_warmup = 0
        return []

    def _objective(self):
        if self.posterior == "point":
            return Objective("reconstruction")
        return Objective(self.objective, self.gradient, self.n_samples)

    elbo_terms = available_if(_has_density)(NetworkEstimator.elbo_terms)
    elbo = available_if(_has_density)(NetworkEstimator.elbo)
    gap = available_if(_has_density)(NetworkEstimator.gap)

    def _bound(self, draws, X):
        if self.posterior == "point":
            return draws.bound(X, "iwae")
        # The importance-weighted bound is one of n_samples draws; the ELBO is a mean over any.
        draws = replace(draws, n_draws=self.n_samples) if self.objective == "iwae" else draws
        return draws.bound(X, self.objective)

    @available_if(_has_density)
    @gradients()
    def refine(self, X, n_steps=200, lr=0.05) -> Refinement:
        r"""Improve q of each row, and split the gap of the encoder's q into its two parts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        n_steps : int, default=200
            Steps of Adam on each row's mean and log-variance, from where the encoder puts them.
        lr : float, default=0.05
            Their size, in standard deviations of the encoder's q.

        Returns
        -------
        refinement : Refinement
            ``mean``, ``std``, ``elbo``, ``log_prob``, ``log_prob_std`` with the refined q;
            ``amortization_gap``, what the encoder loses, and ``approximation_gap``, what a
            diagonal Gaussian loses (Cremer et al. 2018). They add up to the gap.
        """
        X = self._validate(in_memory(self, X, reset=False)[0])
        check_scalar(n_steps, "n_steps", Integral, min_val=0)
        check_scalar(lr, "lr", Real, min_val=0, include_boundaries="neither")
        with self._threads(X, self.n_importance_samples):
            return refine(self._draws(), X, n_steps, lr)
