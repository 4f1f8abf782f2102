"""The last chapter: p(x | z) is a network, and another network learns to guess its posterior."""

from __future__ import annotations

import copy
import warnings
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import LRScheduler
from torch.utils.data import Dataset

from skelbo.estimator import LatentVariableEstimator, random_stream
from skelbo.neural import persistence
from skelbo.neural.batches import TableRows, as_batch
from skelbo.neural.columns import KINDS, Columns
from skelbo.neural.datasets import DatasetTable
from skelbo.neural.importance import Sampler
from skelbo.neural.likelihoods import NOISE_FLOOR
from skelbo.neural.networks import ACTIVATIONS, AutoEncoder
from skelbo.neural.objective import Objective
from skelbo.neural.optimizers import optimizer_options
from skelbo.neural.refinement import Refinement, refine
from skelbo.neural.stopping import Levelling, Plateau, Report
from skelbo.neural.streaming import StreamedRows
from skelbo.neural.training import VAENet
from skelbo.progress import Progress

# `early_stopping="auto"` holds rows out where at least this many are left to judge by.
MIN_HELD_OUT = 20
# `kl_warmup="auto"`: this many steps, within a third of the epochs and a hundred of them.
WARMUP_STEPS, MAX_WARMUP = 3000, 100
# Ten epochs of a small table are few steps: at least this many must pass without a rise.
PATIENCE_STEPS = 300
# Rows times draws behind `lower_bound_`: the bound of a large table needs few draws of each row.
BOUND_DRAWS = 100_000
# A pass of `partial_fit`, or a fit to a memory map, is judged by this many of its rows.
JUDGED_ROWS = 10_000
# A memory map larger than this is read while the networks learn, never whole.
STREAMED_BYTES = 2**28
# A latent is active if the mean of q varies this much over rows (Burda et al. 2015).
ACTIVE_VARIANCE = 0.01

# What is written to a file as it is.
FACTS = (
    "lower_bound_",
    "lower_bounds_",
    "validation_lower_bounds_",
    "n_iter_",
    "converged_",
    "n_skipped_steps_",
    "n_features_in_",
    "_seed",
)

AT_FLOOR = (
    "{n} of {p} Gaussian columns (the first is column {first}) are constant, or their noise "
    "reached its floor, {floor:g} of the column's standard deviation: the likelihood of such a "
    "column has no upper bound. It may be discrete or a copy of another; drop it, or name its "
    "likelihood."
)
STILL_RISING = (
    "the bound was still rising after max_iter={max_iter} epochs; increase max_iter or lr."
)
INTERRUPTED = "the fit was interrupted after {n} epochs; the best weights so far are kept."


class NoiseFloorWarning(UserWarning):
    """The noise variance of a Gaussian column reached its floor."""


class VAEEstimator(LatentVariableEstimator):
    r"""Fit a variational auto-encoder.

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
    hidden_layer_sizes : int or sequence of int, default=(128, 128)
        Of the encoder; the decoder has them in reverse. ``()`` is a linear VAE: probabilistic PCA.
    activation : {"relu", "tanh", "gelu", "elu", "silu", "softplus", "leaky_relu"}, default="relu"
        Between the layers.
    encoder, decoder : nn.Module, class, callable or None, default=None
        Networks of your own. The encoder maps (n, n_features) to (n, 2 * n_components), mean and
        log-variance side by side, or to a tuple of the two; the decoder maps (n, n_components) to
        (n, n_features), one output per column (one per code for categorical ones). A class or
        factory is called with these widths (n_inputs, n_outputs), or with nothing; an instance is
        copied, never trained in place.
    likelihood : {"gaussian", "bernoulli", "poisson", "categorical", "auto"} or list, \
            default="gaussian"
        For all columns, or one name each. ``"auto"``: 0/1 is Bernoulli, a few integer codes from 0
        are categorical, everything else is Gaussian.
    noise : {"unit", "isotropic", "diag"}, default="diag"
        Variance of the Gaussian columns: 1 in standardised units (exactly Algorithm 2's loss); one
        for all columns, in the units of the data; one per column. It is learned in closed form
        once per epoch (Rybkin et al. 2021), and shared by all rows.
    objective : {"elbo", "iwae"}, default="elbo"
        The bound: the ELBO, or the importance-weighted one (Burda et al. 2015).
    gradient : {"reparameterized", "score_function", "dreg"}, default="reparameterized"
        Its gradient for the encoder: through the draws, by the score function (footnote 5), or
        doubly reparameterised (Tucker et al. 2018).
    beta : float, default=1.0
        Weight of the KL (Higgins et al. 2017). Scores are not weighted.
    kl_warmup : "auto" or int, default="auto"
        Epochs over which the weight rises to `beta`.
    n_samples : int, default=1
        Draws of z per row: M of Algorithm 2.
    n_importance_samples : int, default=500
        Draws behind each score.
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
        ``"auto"`` holds rows out if that gives 20 of them and the networks are not linear (which
        hardly overfit); otherwise it does the same by the training bound.
    validation_fraction : float, default=0.1
        Share of the rows held out.
    n_iter_no_change : int, default=10
        Epochs (and at least 300 steps) without a rise before the learning rate falls or, after
        two falls, the training ends.
    device : str, default="auto"
        Torch device; ``"auto"`` is CUDA if there is any. There the rows lie on the device from
        the start (a streamed X: a buffer of 64 batches at a time), steps run eagerly, with a
        fused Adam, AdamW, Adagrad or SGD, and nothing is read back before the end of an epoch
        (with another optimizer, one number per step). There is no CUDA graph and no compilation.
    callbacks : list or None, default=None
        Callbacks for skorch, beside the estimator's own.
    net_params : dict or None, default=None
        More parameters of :class:`skorch.NeuralNet`, ``optimizer__weight_decay`` say.
    warm_start : bool, default=False
        Begin from the last fit, in its units.
    random_state : int, RandomState or None, default=None
        Source of randomness. The caller's generators are not touched.
    verbose : int, default=0
        1 prints every tenth epoch, 2 also times.

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
        ``noise="isotropic"``.
    active_units_ : ndarray of bool, shape (n_components,)
        Which latents the model uses: their mean varies over rows by more than 0.01.
    lower_bound_ : float
        Mean bound per row of the training data, in nats, at the fitted parameters.
    lower_bounds_ : list of float
        The same of each epoch, as it ran; the last is `lower_bound_`.
    validation_lower_bounds_ : list of float
        Of the rows held out, after each epoch; empty if there were none. With beta other than 1
        the weighted bound.
    n_iter_ : int
        Number of epochs.
    converged_ : bool
        Whether the training came to its end rather than to that of `max_iter`.
    n_skipped_steps_ : int
        Steps that were not finite.
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

    References
    ----------
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*, Algorithm 2. Kingma and Welling
    (2014), *Auto-Encoding Variational Bayes*.

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
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "encoder": [callable, None],
        "decoder": [callable, None],
        "likelihood": [StrOptions({*KINDS, "auto"}), "array-like"],
        "noise": [StrOptions({"unit", "isotropic", "diag"})],
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
        hidden_layer_sizes=(128, 128),
        activation="relu",
        encoder=None,
        decoder=None,
        likelihood="gaussian",
        noise="diag",
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        counts = ("bernoulli", "poisson", "categorical")
        tags.input_tags.positive_only = isinstance(self.likelihood, str) and (
            self.likelihood in counts
        )
        return tags

    # -------------------------------------------------------------------- fit

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Fit both networks to the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or torch.utils.data.Dataset
            Rows, possibly with missing cells (NaN). A numpy.memmap of more than 256 MiB, or a
            map-style Dataset of any size, is read while the networks learn, never whole. Items
            of a Dataset are rows, or tuples that begin with one: tensors or arrays of shape
            (n_features,). Before the first epoch it is read a few times to check and to
            standardise it (and once for each column to find a likelihood for).
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
        TypeError
            If X is a Dataset whose items have no number, such as an IterableDataset.
        """
        # Judged, where there is no room for all rows, by some of them.
        large = isinstance(X, np.memmap) and X.nbytes > STREAMED_BYTES
        streamed = large or isinstance(X, Dataset)
        X, weights = self._read(X, sample_weight, keep_all=streamed)
        step = -(-len(X) // JUDGED_ROWS) if streamed else 1
        judged = X[::step], None if weights is None else weights[::step]
        warm = self.warm_start and hasattr(self, "net_")
        if warm:
            self._check_same_shape(X)
        rng = random_stream(self.random_state)
        columns = self._columns if warm else Columns.read(X, weights, self.likelihood)
        columns.check(X)
        progress = Progress(self, X, n_starts=1, max_iter=self.max_iter)
        progress.begin_start(0)
        with _seeded(rng, self._device()):
            net = self._make_net(columns, X.dtype, self.net_ if warm else None)
            rows = self._rows(X, weights, columns, net, rng, streamed)
            net.kl_warmup = 0 if warm and self.kl_warmup == "auto" else self._warmup(rows)
            self._train(net, rows, columns, *judged, progress)
        progress.end_start()
        self._publish(net, columns, *judged, int(rng.randint(2**31 - 1)))
        self._warn()
        progress.end()
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Update both networks by one pass over more rows.

        The first call fixes units and kinds of the columns. Nothing is held out, the learning
        rate stays `lr`, and only a numeric `kl_warmup` warms up (over that many calls).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights.

        Returns
        -------
        self : VAEEstimator
            The updated estimator; `lower_bound_` is that of these rows.
        """
        first = not hasattr(self, "net_")
        X, weights = self._read(X, sample_weight, reset=first)
        if not hasattr(self, "_stream"):
            self._stream = random_stream(self.random_state)
        columns = Columns.read(X, weights, self.likelihood) if first else self._columns
        columns.check(X)
        bounds = [] if first else self.lower_bounds_
        with _seeded(self._stream, self._device()):
            if first:
                net = self._make_net(columns, X.dtype, None)
                seed = int(self._stream.randint(2**31 - 1))
            else:
                net, seed = self.net_, self._seed
            net.set_params(lr=self.lr)
            net.kl_warmup = 0 if self.kl_warmup == "auto" else self.kl_warmup
            train = as_batch(X, columns, net.module_.likelihood.offset, weights)
            net.partial_fit(TableRows(train, None, self.batch_size), epochs=1)
        some = slice(None, None, -(-len(X) // JUDGED_ROWS))
        self._publish(net, columns, X[some], None if weights is None else weights[some], seed)
        self.lower_bounds_ = [*bounds, self.lower_bound_]
        self.n_iter_ = len(self.lower_bounds_)
        if first:
            self.validation_lower_bounds_, self.converged_ = [], False
        return self

    def _read(self, X, sample_weight, *, reset=True, keep_all=False):
        """Validate the arguments; leave out rows of weight zero unless that would copy too much."""
        if self.objective == "iwae" and self.gradient == "score_function":
            raise ValueError(
                "gradient='score_function' got objective='iwae', expected 'elbo': its score "
                "function has too much variance to be of use; use gradient='dreg'."
            )
        if isinstance(X, Dataset):
            X = DatasetTable(X)
            self._validate_fit(X[: self._min_samples], None, reset=reset)
            X.check()
            weights = self._validate_weights(X, sample_weight)
        else:
            X, weights = self._validate_fit(X, sample_weight, reset=reset)
        if weights is not None and not weights.all() and not keep_all:
            X, weights = X[weights > 0], weights[weights > 0]
        if weights is not None and weights.min() == weights.max():
            return X, None  # only ratios matter to a mean
        return X, weights

    def _check_same_shape(self, X) -> None:
        """Refuse to go on from a fit of another shape."""
        before = self._columns.n_features, self.net_.module_.n_latents
        if (X.shape[1], self.n_components) != before:
            raise ValueError(
                f"warm_start=True got {X.shape[1]} columns and n_components={self.n_components}, "
                f"expected the {before[0]} and {before[1]} of the last fit; use warm_start=False."
            )

    def _device(self) -> str:
        if self.device != "auto":
            return self.device
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def _sizes(self) -> tuple[int, ...]:
        sizes = self.hidden_layer_sizes
        return (int(sizes),) if isinstance(sizes, Integral) else tuple(int(n) for n in sizes)

    def _make_net(self, columns: Columns, dtype: np.dtype, before: VAENet | None) -> VAENet:
        """Make an initialised net, with fresh weights or those of a net before it."""
        if before is None:
            model = AutoEncoder(
                columns,
                self.n_components,
                self.noise,
                self.encoder,
                self.decoder,
                self._sizes,
                self.activation,
            )
            model.to(torch.float32 if dtype == np.float32 else torch.float64)
            model.check_shapes()
        else:
            model = before.module_
        optimizer, options = optimizer_options(self.optimizer)
        params: dict[str, Any] = {
            "optimizer": optimizer,
            "lr": self.lr,
            "max_epochs": self.max_iter,
            "batch_size": self.batch_size,
            "device": self._device(),
            "callbacks": [_copied(c) for c in self.callbacks or ()],
            "callbacks__print_log": None,
            "train_split": None,
            "verbose": 0,
            **{f"optimizer__{name}": value for name, value in options.items()},
            **(self.net_params or {}),
        }
        objective = Objective(self.objective, self.gradient, self.n_samples)
        net = VAENet(model, objective=objective, beta=self.beta, **params).initialize()
        if before is not None and type(before.optimizer_) is type(net.optimizer_):
            state = {
                **net.optimizer_.state_dict(),
                "state": before.optimizer_.state_dict()["state"],
            }
            net.optimizer_.load_state_dict(state)
        return net

    def _rows(
        self, X, weights, columns: Columns, net: VAENet, rng, streamed: bool
    ) -> TableRows | StreamedRows:
        """Bring the rows to the device, some of them held out."""
        n_held_out = int(len(X) * self.validation_fraction)
        stop = self.early_stopping
        if stop == "auto":
            linear = self.encoder is None and self.decoder is None and self._sizes == ()
            stop = n_held_out >= MIN_HELD_OUT and not linear
        like = net.module_.likelihood.offset
        if streamed:
            n_held_out = min(n_held_out, JUDGED_ROWS) if stop else 0
            held_out = np.sort(rng.permutation(len(X))[:n_held_out])
            return StreamedRows(X, weights, columns, like, held_out, self.batch_size)
        if not stop:
            return TableRows(as_batch(X, columns, like, weights), None, self.batch_size)
        if n_held_out < 1 or n_held_out == len(X):
            raise ValueError(
                f"early_stopping={self.early_stopping} with validation_fraction="
                f"{self.validation_fraction} would hold out {n_held_out} of {len(X)} rows, "
                "expected at least one on either side; use early_stopping=False or more rows."
            )
        order = rng.permutation(len(X))
        parts = [
            as_batch(X[i], columns, like, None if weights is None else weights[i])
            for i in (np.sort(order[n_held_out:]), order[:n_held_out])
        ]
        return TableRows(parts[0], parts[1], self.batch_size)

    def _train(
        self, net: VAENet, rows: TableRows | StreamedRows, columns, X, weights, progress
    ) -> None:
        """Run the epochs, with the callbacks that are the estimator's own."""
        own = [self._rule(net, rows)]
        offset = float(np.average(columns.log_jacobian(X), weights=weights))
        # Last in line: one that ends the training must not keep the others from their epoch.
        own.append(Report(progress, offset))
        theirs = net.callbacks_
        net.callbacks_ = theirs + [(type(c).__name__, c.initialize()) for c in own]
        net.partial_fit(rows)
        net.callbacks_ = theirs
        net.maximize_noise(rows)
        done = [row for row in net.history if "train_loss" in row]
        if not done:
            raise KeyboardInterrupt
        self.lower_bounds_ = [offset - row["train_loss"] for row in done]
        self.validation_lower_bounds_ = [
            offset - row["valid_loss"] for row in done if "valid_loss" in row
        ]
        self.n_iter_ = len(done)
        # Without a rule the end of the epochs is the end.
        finished = self.early_stopping is False and len(done) == net.max_epochs
        self.converged_ = net.stopped_ or finished
        self._interrupted = not self.converged_ and len(done) < net.max_epochs

    def _rule(self, net: VAENet, rows: TableRows | StreamedRows) -> Plateau | Levelling:
        """Return what ends the training and lowers the learning rate."""
        patience = max(self.n_iter_no_change, -(-PATIENCE_STEPS // rows.n_batches))
        steers = not any(isinstance(c, LRScheduler) for _, c in net.callbacks_)
        if rows.held_out is not None:
            return Plateau(patience, net.kl_warmup, steers)
        window = patience if self.early_stopping == "auto" else None
        return Levelling(window, net.max_epochs, net.kl_warmup, steers)

    def _warmup(self, rows: TableRows | StreamedRows) -> int:
        if self.kl_warmup != "auto":
            return int(self.kl_warmup)
        epochs = -(-WARMUP_STEPS // rows.n_batches)
        return min(epochs, MAX_WARMUP, self.max_iter // 3)

    def _publish(self, net: VAENet, columns: Columns, X, weights, seed: int) -> None:
        net.module_.eval()
        self.net_, self._columns, self._seed = net, columns, seed
        self.likelihood_ = columns.kinds.astype(object)
        self.noise_variance_ = self._noise_variance()
        self.n_skipped_steps_ = net.n_skipped_steps_
        mean = self._sampler().posterior(X)[0]
        spread = np.average((mean - np.average(mean, 0, weights)) ** 2, 0, weights)
        self.active_units_ = spread > ACTIVE_VARIANCE
        draws = self.n_samples
        if self.objective == "elbo":
            draws = int(np.clip(BOUND_DRAWS // len(X), 1, self.n_importance_samples))
        bound = self._sampler(draws).bound(X, self.objective)
        self.lower_bound_ = float(np.average(bound, weights=weights))
        if getattr(self, "lower_bounds_", None):
            self.lower_bounds_[-1] = self.lower_bound_

    def _noise_variance(self):
        gaussian = self.net_.module_.likelihood.gaussian
        variance = np.full(self._columns.n_features, np.nan)
        if gaussian is not None:
            chosen = self._columns.kinds == "gaussian"
            inside = gaussian.variance.cpu().numpy().astype(np.float64)
            variance[chosen] = inside * self._columns.scale[chosen] ** 2
            if self.noise == "isotropic":
                return float(variance[chosen].mean())
        return variance

    def _warn(self) -> None:
        gaussian = self.net_.module_.likelihood.gaussian
        if gaussian is not None and self.noise != "unit":
            members = np.flatnonzero(self._columns.kinds == "gaussian")
            doubtful = members[gaussian.at_floor.cpu().numpy() | self._columns.constant[members]]
            if len(doubtful):
                message = AT_FLOOR.format(
                    n=len(doubtful), p=len(members), first=doubtful[0], floor=NOISE_FLOOR
                )
                warnings.warn(message, NoiseFloorWarning, stacklevel=3)
        if self._interrupted:
            message = INTERRUPTED.format(n=self.n_iter_)
            warnings.warn(message, ConvergenceWarning, stacklevel=3)
        elif not self.converged_:
            message = STILL_RISING.format(max_iter=self.max_iter)
            warnings.warn(message, ConvergenceWarning, stacklevel=3)

    # ---------------------------------------------------------------- after fit

    @property
    def encoder_(self):
        """The encoder, an nn.Module."""
        return self.net_.module_.encoder

    @property
    def decoder_(self):
        """The decoder, an nn.Module."""
        return self.net_.module_.decoder

    @property
    def n_parameters_(self):
        """Number of parameters of p(x, z): the encoder is no part of the model."""
        check_is_fitted(self)
        model = self.net_.module_
        groups = model.likelihood.groups.values()
        weights = sum(p.numel() for p in model.decoder.parameters())
        return weights + sum(group.n_parameters for group in groups)

    @property
    def _n_features_out(self):
        return self.net_.module_.n_latents

    def _sampler(self, n_draws: int | None = None) -> Sampler:
        draws = self.n_importance_samples if n_draws is None else n_draws
        return Sampler(self.net_.module_, self._columns, draws, self._seed)

    def _validate(self, X):
        X = super()._validate(X)
        self._columns.check(X)
        return X

    def _log_prob(self, X):
        return self._sampler().log_prob(X)

    def _elbo_terms(self, X):
        return self._sampler().elbo_terms(X)

    def _posterior_mean(self, X):
        return self._sampler().posterior(X)[0]

    @torch.inference_mode()
    def _reconstruct(self, Z):
        model = self.net_.module_
        z = torch.as_tensor(Z.copy()).to(model.likelihood.offset)
        mean = model.likelihood.mean(model.decode(z))
        return self._columns.restore(mean.cpu().numpy()).astype(Z.dtype)

    def _expected_cells(self, X):
        # Over importance-weighted draws of z (Mattei and Frellsen 2019); of codes the likeliest.
        return self._sampler().expectation(X)

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
        X = self._validate(X)
        check_scalar(n_steps, "n_steps", Integral, min_val=0)
        check_scalar(lr, "lr", Real, min_val=0, include_boundaries="neither")
        return refine(self._sampler(), X, n_steps, lr)

    def to_file(self, path):
        """Write the fitted estimator to one file, without pickle.

        Weights and statistics are safetensors, parameters and results JSON in its header. What
        JSON cannot hold (networks of your own, callbacks, the state of the optimiser) is left
        out: pass it to `from_file`.

        Parameters
        ----------
        path : path-like
            File to write.
        """
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        facts = {name: getattr(self, name) for name in FACTS if hasattr(self, name)}
        facts |= {
            "params": persistence.plain_parameters(self.get_params(deep=False)),
            "active_units_": self.active_units_.tolist(),
            "feature_names_in_": None if names is None else names.tolist(),
            "dtype": str(self.net_.module_.likelihood.offset.dtype).removeprefix("torch."),
        }
        persistence.write(path, self.net_.module_, self._columns, facts)

    @classmethod
    def from_file(cls, path, **params):
        """Read what `to_file` wrote.

        Parameters
        ----------
        path : path-like
            File to read.
        **params : dict
            Constructor parameters to override, ``device`` say, or that the file could not hold,
            such as ``encoder`` and ``decoder``.

        Returns
        -------
        estimator : VAEEstimator
            Fitted: it scores as the one that was written.
        """
        weights, columns, facts = persistence.read(path)
        written = facts.pop("params")
        if isinstance(written["hidden_layer_sizes"], list):  # JSON has no tuples
            written["hidden_layer_sizes"] = tuple(written["hidden_layer_sizes"])
        estimator = cls(**{**written, **params})
        dtype = np.dtype(facts.pop("dtype"))
        with _seeded(random_stream(0), estimator._device()):
            net = estimator._make_net(columns, dtype, None)
        try:
            net.module_.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"the networks do not fit the weights in {path}; pass the encoder and decoder "
                f"that were used in fit. {error}"
            ) from None
        net.module_.eval()
        names = facts.pop("feature_names_in_")
        if names is not None:
            estimator.feature_names_in_ = np.array(names, dtype=object)
        estimator.active_units_ = np.array(facts.pop("active_units_"))
        for name, value in facts.items():
            setattr(estimator, name, value)
        estimator.net_, estimator._columns = net, columns
        estimator.likelihood_ = columns.kinds.astype(object)
        estimator.noise_variance_ = estimator._noise_variance()
        return estimator

    @torch.inference_mode()
    def _draw(self, n_samples, random_state):
        model = self.net_.module_
        like = model.likelihood.offset
        with _seeded(random_stream(random_state), str(like.device)):
            z = torch.randn(n_samples, model.n_latents, dtype=like.dtype, device=like.device)
            x = model.likelihood.sample(model.decode(z)).cpu().numpy()
        return self._columns.restore(x).astype(x.dtype), z.cpu().numpy()


@contextmanager
def _seeded(rng: np.random.RandomState, device: str):
    """Seed torch from `rng`, and give the caller's generators back untouched."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(rng.randint(2**31 - 1)))
        yield


def _copied(callback: Any) -> Any:
    """Return a copy: fit writes to callbacks, but never to a constructor parameter."""
    if isinstance(callback, tuple):
        return callback[0], _copied(callback[1])
    return callback if isinstance(callback, type) else copy.copy(callback)
