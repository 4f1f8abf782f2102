"""VQ-VAE: the latents of an auto-encoder are codes, one of a few vectors at each position."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skelbo.autograd import gradients
from skelbo.likelihoods import LIKELIHOODS, Likelihood
from skelbo.neural import (
    ACTIVATIONS,
    CodeAttributes,
    CodeFamily,
    CodeInference,
    CodeObjective,
    DeadCodes,
    NetworkEstimator,
    decay_of,
    draw_seed,
    start_codebook,
)
from skelbo.transaction import fit_method


class VQVAEEstimator(CodeAttributes, NetworkEstimator):
    r"""Vector-quantised variational auto-encoder.

    .. math:: z = (z_1, \dots, z_C), \quad z_c \in \{0, \dots, K - 1\}, \quad z \sim p(z), \quad
        x \mid z \sim p(x \mid f_\theta(e_{1 z_1}, \dots, e_{C z_C}))

    The encoder gives one vector per position, and q is the nearest vector of the codebook (hard),
    or probabilities that fall with the squared distance (soft). As z is discrete, log p(x) is a sum
    over :math:`K^C` code vectors: `score_samples` is exact where there are at most
    :math:`2^{20}` of them. Beyond, it is estimated with its standard error, by draws about the
    modes of p(z | x) or, for rows that few of them fit, by annealed Gibbs chains. One position is a
    mixture with common noise, whose means come from the decoder.

    Networks first learn as an auto-encoder, k-means of its encodings starts the codebook, and codes
    that hardly any row uses are moved to encodings of other rows. Columns are standardised inside;
    every score is in the units of the X that was passed. Missing cells (NaN) are left out of the
    likelihood.

    Parameters
    ----------
    n_components : int, default=4
        Number of positions C.
    n_codes : int, default=16
        Number of codes K of each position.
    code_size : int, default=4
        Length of the vector of a code.
    assignment : {"hard", "soft"}, default="hard"
        Form of q. ``"hard"``: the nearest code, gradients straight through it, a codebook of moving
        averages (van den Oord et al. 2017). ``"soft"``: a distribution over the codes, drawn from
        with the gradient of a softmax, its KL in the objective and a codebook that follows the
        gradient: the better density.
    prior : {"autoregressive", "independent", "uniform"}, default="autoregressive"
        p(z), fitted to the codes of the training rows after the networks: a multinomial regression
        of each code on those before it, relative frequencies, or nothing.
    commitment : float, default=0.25
        Weight of the squared distances of encodings to their codes, in nats; of hard codes only.
    decay : "auto" or float, default="auto"
        Weight of the past in the moving averages of a step; ``"auto"``: about one epoch counts.
    hidden_layer_sizes : int or sequence of int, default=(128, 128)
        Of the encoder; the decoder has them in reverse.
    activation : {"relu", "tanh", "gelu", "elu", "silu", "softplus", "leaky_relu"}, default="relu"
        Between the layers.
    encoder, decoder : nn.Module, class, callable or None, default=None
        Networks of your own. The encoder maps (n, n_features) to (n, n_components * code_size), the
        decoder that to (n, n_features), one output per column (one per code for categorical ones).
        A class or factory is called with these widths, or with nothing; an instance is copied.
    likelihood : {"gaussian", "bernoulli", "poisson", "categorical", "auto"}, Likelihood or \
            list, default="gaussian"
        For all columns, or one for each; as in `VAEEstimator`.
    noise : {"unit", "isotropic", "diag"}, default="diag"
        Variance of the Gaussian columns; as in `VAEEstimator`.
    n_importance_samples : int, default=500
        Draws behind each score where there are too many code vectors.
    optimizer : {"adam", "adamw", "adagrad", "rmsprop", "sgd"} or class, default="adam"
        Of the kind of :mod:`torch.optim`.
    lr : float, default=1e-3
        Learning rate to begin with.
    batch_size : int, default=128
        Rows per step.
    max_iter : int, default=500
        Largest number of epochs; those of the auto-encoder at the start, 2 to 40, do not count.
    early_stopping : "auto" or bool, default="auto"
        Whether to hold rows out and to stop by their bound; as in `VAEEstimator`.
    validation_fraction : float, default=0.1
        Share of the rows held out.
    n_iter_no_change : int, default=10
        Epochs (and at least 300 steps) without a rise before the learning rate falls or, after two
        falls, the training ends.
    device : str, default="auto"
        Torch device; ``"auto"`` is CUDA if there is any.
    callbacks : list or None, default=None
        Callbacks for skorch, beside the estimator's own.
    net_params : dict or None, default=None
        More parameters of :class:`skorch.NeuralNet`.
    warm_start : bool, default=False
        Begin from the last fit, in its units.
    random_state : int, RandomState or None, default=None
        Source of randomness. The caller's generators are not touched.
    verbose : int, default=0
        1 prints every tenth epoch, 2 also times.
        For a progress bar: ``set_callbacks(ProgressBar())``, from `sklearn.callback`.

    Attributes
    ----------
    codebook_ : ndarray of shape (n_components, n_codes, code_size)
        Vectors of the codes, as the decoder reads them.
    prior_ : CodeDistribution
        p(z), with ``log_prob(codes)`` and ``sample(n_samples, random_state)``.
    code_usage_ : ndarray of shape (n_components, n_codes)
        Share of the training rows with each code.
    perplexity_ : ndarray of shape (n_components,)
        Exponential of the entropy of `code_usage_`: n_codes where all are used equally often.
    n_restarted_codes_ : int
        How often a code was moved to other rows as hardly any row used it.
    net_ : VAENet
        The skorch net, with ``history``.
    encoder_, decoder_ : nn.Module
        The networks.
    likelihood_ : ndarray of str, shape (n_features,)
        Likelihood of each column.
    noise_variance_ : ndarray of shape (n_features,) or float
        Noise in the units of the data; NaN for columns that are not Gaussian.
    lower_bound_ : float
        Mean ELBO per row of the training data, in nats, at the fitted parameters.
    lower_bounds_ : list of float
        The same of each epoch, as it ran, with independent codes as prior; the last is
        `lower_bound_`.
    validation_lower_bounds_ : list of float
        Of the rows held out, after each epoch; empty if there were none.
    n_iter_ : int
        Number of epochs.
    converged_ : bool
        Whether the training came to its own end.
    n_skipped_steps_ : int
        Number of steps that were skipped as their loss or gradient was not finite.
    n_parameters_ : int
        Number of parameters of p(x, z): of decoder, codebook, prior and noise.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    See Also
    --------
    VAEEstimator : Continuous latents instead of codes.
    EMGaussianMixture : One code, with free means instead of a decoder.

    Notes
    -----
    The moving averages are online k-means in the encoder's space, not the M-step of
    log p(x | z): the ELBO of a hard q may fall from epoch to epoch. With hard codes its terms are
    reconstruction log p(x | z*), kl -log p(z*) and entropy 0, and `gap` is -log p(z* | x).

    References
    ----------
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*, section 8.2. Van den Oord,
    Vinyals and Kavukcuoglu (2017), *Neural Discrete Representation Learning*, eq. 3. Razavi, van
    den Oord and Vinyals (2019), *Generating Diverse High-Fidelity Images with VQ-VAE-2*, appendix
    A.1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skelbo import VQVAEEstimator
    >>> X = load_iris().data
    >>> options = {"max_iter": 20, "early_stopping": False, "random_state": 0}
    >>> model = VQVAEEstimator(2, n_codes=4, hidden_layer_sizes=16, **options).fit(X)
    >>> codes = model.transform(X)
    >>> codes.shape, model.codebook_.shape
    ((150, 2), (2, 4, 4))
    >>> log_prob, std = model.score_samples(X, return_std=True)
    >>> bool((model.elbo(X) <= log_prob).all()), float(std.max())
    (True, 0.0)
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "n_codes": [Interval(Integral, 2, None, closed="left")],
        "code_size": [Interval(Integral, 1, None, closed="left")],
        "assignment": [StrOptions({"hard", "soft"})],
        "prior": [StrOptions({"autoregressive", "independent", "uniform"})],
        "commitment": [Interval(Real, 0, None, closed="left")],
        "decay": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "encoder": [callable, None],
        "decoder": [callable, None],
        "likelihood": [StrOptions({*LIKELIHOODS, "auto"}), Likelihood, "array-like"],
        "noise": [StrOptions({"unit", "isotropic", "diag"})],
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
        n_components=4,
        *,
        n_codes=16,
        code_size=4,
        assignment="hard",
        prior="autoregressive",
        commitment=0.25,
        decay="auto",
        hidden_layer_sizes=(128, 128),
        activation="relu",
        encoder=None,
        decoder=None,
        likelihood="gaussian",
        noise="diag",
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
        self.n_codes = n_codes
        self.code_size = code_size
        self.assignment = assignment
        self.prior = prior
        self.commitment = commitment
        self.decay = decay
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.noise = noise
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
    network_parameter_names = (
        *NetworkEstimator.network_parameter_names,
        "n_codes",
        "code_size",
        "assignment",
        "prior",
    )

    # -------------------------------------------------------------------- fit

    @fit_method
    @gradients()
    def fit(self, X, y=None, sample_weight=None):
        """Fit networks, codebook and prior to the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or torch.utils.data.Dataset
            Rows, possibly with missing cells (NaN); what `VAEEstimator.fit` reads from disk is
            read from there here too.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights in the loss, in k-means, in the codebook and in the prior: weight 2
            is the row twice in expectation, weight 0 is the row absent.

        Returns
        -------
        self : VQVAEEstimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data or the networks cannot be used, if most steps of an epoch are not finite, or
            if several processes are to train together.
        """
        self._fit_networks(X, sample_weight)
        return self

    @fit_method
    @gradients()
    def partial_fit(self, X, y=None, sample_weight=None):
        """Update networks, codebook and prior by one pass over more rows.

        The first call fixes units and kinds of the columns and starts the codebook by its rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or torch.utils.data.Dataset
            Rows, possibly with missing cells (NaN).
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights.

        Returns
        -------
        self : VQVAEEstimator
            The updated estimator; `lower_bound_`, `code_usage_` and `prior_` are those of these
            rows.
        """
        self._fit_one_pass(X, sample_weight)
        return self

    def _latent_family(self):
        soft = self.assignment == "soft"
        return CodeFamily(self.n_components, self.n_codes, self.code_size, soft, self.prior)

    def _objective(self):
        return CodeObjective("codes", commitment=self.commitment)

    def _prepare(self, net, rows, generator, seed, fresh):
        if net.processes.size > 1:
            raise ValueError(
                f"torch.distributed has a group of {net.processes.size} processes, expected one: "
                "the moving averages of a codebook are those of one process; fit outside the group."
            )
        net.module_.family.decay = decay_of(self.decay, rows.n_batches)
        if fresh:
            start_codebook(net, rows, generator, seed)
        return [DeadCodes.of_training(net, rows.n_batches, generator)]

    def _bound(self, draws, X):
        return CodeInference(draws).bound(X)

    # ---------------------------------------------------------------- after fit

    def _inference(self):
        return CodeInference(self._draws())

    def _code_threads(self, X):
        """Return the context of a prediction for all code vectors."""
        return self._threads(X, self.n_codes**self.n_components)

    def _log_prob(self, X):
        with self._code_threads(X):
            return self._inference().log_prob(X)

    def _elbo_terms(self, X):
        with self._code_threads(X):
            return self._inference().elbo_terms(X)

    def _expected_cells(self, X):
        with self._code_threads(X):
            return self._inference().expected_cells(X)

    def _draw_cells(self, X, n_draws, rng):
        with self._code_threads(X):
            return self._inference().draw_cells(X, n_draws, draw_seed(rng))

    @property
    def latent_kind(self):
        """Kind of the latents: "code"."""
        return "code"

    @property
    def _has_labels(self):
        return self._inference().is_exact

    def _log_max_resp(self, X):
        return self._inference().sums.log_max_resp(X)

    def _file_attributes(self):
        fields = super()._file_attributes()
        del fields["active_units_"]
        return fields | self._usage_fields()

    def _reconstruct(self, Z):
        wrong = ~np.isin(Z, np.arange(self.n_codes))
        if wrong.any():
            raise ValueError(
                f"Z contains {Z[wrong][0]:g}, expected integer codes 0 .. {self.n_codes - 1}; pass "
                "codes as transform(X) returns them."
            )
        return super()._reconstruct(Z)

    @gradients()
    def code_proba(self, X):
        """Compute the posterior probability of each code at each position.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        proba : ndarray of shape (n_samples, n_components, n_codes)
            p(z_c = k | x): exact, or estimated beyond 2^20 code vectors, as `score_samples` is.

        Raises
        ------
        ValueError
            If X has other columns than in the fit, or an infinite cell.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skelbo import VQVAEEstimator
        >>> X = load_iris().data
        >>> options = {"max_iter": 5, "early_stopping": False, "random_state": 0}
        >>> model = VQVAEEstimator(1, n_codes=3, hidden_layer_sizes=8, **options).fit(X)
        >>> model.code_proba(X).shape
        (150, 1, 3)
        """
        X = self._validate(X)
        with self._code_threads(X):
            return self._inference().code_proba(X).astype(X.dtype, copy=False)
