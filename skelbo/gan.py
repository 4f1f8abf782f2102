"""Generative adversarial network on the decoder of a VAE, with the VAE's scores in nats."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions

from skelbo.autograd import gradients
from skelbo.data.random_stream import random_stream
from skelbo.em.progress import Progress
from skelbo.neural import (
    ACTIVATIONS,
    DIVERGENCES,
    Columns,
    EncoderObjective,
    GaussianFamily,
    NetworkEstimator,
    draw_seed,
    game_fields,
    make_generator,
    module_state,
    play,
    restored_critic,
)
from skelbo.transaction import fit_method

# Steps of the encoder after the game, at most this many epochs.
ENCODER_STEPS, ENCODER_EPOCHS = 4000, 200


class GANEstimator(NetworkEstimator):
    r"""Generative adversarial network with a likelihood.

    .. math:: z \sim N(0, I), \quad x \mid z \sim N(f_\theta(z), \operatorname{diag} \sigma^2),
        \quad \min_\theta \max_V \; E_p[f'(e^V)] - E_q[f^*(f'(e^V))]

    The model is that of :class:`VAEEstimator`, but it is learned by a game: a critic V learns
    log p(x) / q(x), the log-ratio of the densities of data and model, by logistic regression, and
    the generator, decoder and noise, moves down the f-divergence that the critic reports: forward
    KL, reverse KL or Jensen-Shannon (Nowozin et al. 2016; Goodfellow et al. 2014).

    After the game the decoder stays as it is. An encoder is fitted to it by the ELBO, and the noise
    by EM's closed-form step under weighted draws of q: the noise of a game is far too small for a
    likelihood. Then log p(x), `transform`, `impute` and `gap` are those of a VAE, in nats, in the
    units of the X that was passed. `sample` draws from the generator as the game left it.

    Parameters
    ----------
    n_components : int, default=2
        Number of latents.
    divergence : {"js", "kl", "reverse_kl", "js_nonsaturating"}, default="js"
        What the generator minimises: Jensen-Shannon, KL(data || model), KL(model || data), or
        Jensen-Shannon by the loss that Goodfellow et al. use.
    noise : {"diag", "isotropic", "unit"}, default="diag"
        Variance of the columns given z: one per column; one for all columns, in the units of the
        data; 1 in standardised units.
    hidden_layer_sizes : int or sequence of int, default=(128, 128)
        Of the encoder; the decoder has them in reverse. ``()`` is a linear decoder.
    critic_layer_sizes : int or sequence of int, default=(128, 128)
        Of the critic.
    activation : {"relu", "tanh", "gelu", "elu", "silu", "softplus", "leaky_relu"}, default="relu"
        Between the layers.
    decoder, critic : nn.Module, class, callable or None, default=None
        Networks of your own. The decoder maps (n, n_components) to (n, n_features), the critic
        (n, n_features) to (n, 1). A class or factory is called with these widths (n_inputs,
        n_outputs), or with nothing; an instance is copied, never trained in place.
    penalty : float, default=2.0
        Weight of the squared slope of the critic at the data (Mescheder et al. 2018), taken at
        every fourth step. The default serves tables and images; 0 leaves the divergence exact.
    n_critic : int, default=1
        Steps of the critic for each step of the generator.
    averaging : float, default=0.998
        Decay of the moving average of the generator over its steps; the average is the result.
    optimizer : {"adam", "adamw", "adagrad", "rmsprop", "sgd"} or class, default="adam"
        Of the kind of :mod:`torch.optim`; Adam has the momenta (0.5, 0.9) in the game.
    lr : float, default=1e-3
        Learning rate; over the second half of the epochs it falls to zero.
    batch_size : int, default=128
        Rows per step.
    max_iter : int, default=400
        Number of epochs of the game: a game has no loss by which it could stop earlier.
    n_importance_samples : int, default=500
        Draws behind each score; rows that few of them fit get annealed chains, as in
        :class:`VAEEstimator`.
    device : str, default="auto"
        Torch device; ``"auto"`` is CUDA if there is any.
    random_state : int, RandomState or None, default=None
        Source of randomness. The caller's generators are not touched.
    verbose : int, default=0
        1 prints every tenth epoch, 2 also times.
        For a progress bar: ``set_callbacks(ProgressBar())``, from `sklearn.callback`.

    Attributes
    ----------
    decoder_, encoder_, critic_ : nn.Module
        The networks; `decoder_` is the moving average.
    divergence_ : float
        Lower bound of the divergence of the generator from the data, in nats, on rows that the
        critic did not learn from: a tenth of them. Jensen-Shannon is at most log 2.
    divergences_ : list of float
        The same after each epoch, by fewer draws.
    adversarial_noise_variance_ : ndarray of shape (n_features,) or float
        Noise that the game ended with, in the units of the data: that of `sample`.
    noise_variance_ : ndarray of shape (n_features,) or float
        Noise of the model that is scored: its maximum given the decoder, by weighted draws of q. A
        number if ``noise="isotropic"``.
    active_units_ : ndarray of bool, shape (n_components,)
        Which latents the encoder finds used.
    lower_bound_ : float
        Mean ELBO per row of the training data, in nats, at the fitted parameters.
    lower_bounds_ : list of float
        The same of each epoch of the encoder; the last is `lower_bound_`.
    n_iter_ : int
        Number of epochs of the game.
    converged_ : bool
        Whether game and encoder came to the end of their schedules.
    n_skipped_steps_ : int
        Number of steps that were skipped as their loss or gradient was not finite.
    n_parameters_ : int
        Number of parameters of p(x, z): of the decoder and the noise.
    net_ : VAENet
        The skorch net of decoder and encoder.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    See Also
    --------
    VAEEstimator : The same model learned by the ELBO.

    Notes
    -----
    Missing cells (NaN) are hidden in the draws of the generator as they are in the data. A memory
    map of more than 256 MiB, a Dataset and a Dask collection are read as by :class:`VAEEstimator`.
    Ctrl-C in the game ends it; its encoder is still fitted.

    A game does not go on after its end, as the rates of both players fall to zero together and
    further rows have no bound to climb: there is neither `warm_start` nor `partial_fit`. A long fit
    that was killed is resumed by :class:`skelbo.callbacks.Checkpoint`.

    References
    ----------
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*, section 8.2. Goodfellow et al.
    (2014), *Generative Adversarial Nets*. Nowozin, Cseke and Tomioka (2016), *f-GAN*. Mescheder,
    Geiger and Nowozin (2018), *Which Training Methods for GANs do actually Converge?* Wu, Burda,
    Salakhutdinov and Grosse (2017), *On the Quantitative Analysis of Decoder-Based Generative
    Models*.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skelbo import GANEstimator
    >>> X = load_iris().data
    >>> model = GANEstimator(2, hidden_layer_sizes=32, max_iter=100, random_state=0).fit(X)
    >>> rows, latents = model.sample(5, random_state=0)
    >>> rows.shape, latents.shape
    ((5, 4), (5, 2))
    >>> bool(model.divergence_ < 0.6931)
    True
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "divergence": [StrOptions(set(DIVERGENCES))],
        "noise": [StrOptions({"unit", "isotropic", "diag"})],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "critic_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "decoder": [callable, None],
        "critic": [callable, None],
        "penalty": [Interval(Real, 0, None, closed="left")],
        "n_critic": [Interval(Integral, 1, None, closed="left")],
        "averaging": [Interval(Real, 0, 1, closed="left")],
        "optimizer": [StrOptions({"adam", "adamw", "adagrad", "rmsprop", "sgd"}), callable],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_importance_samples": [Interval(Integral, 2, None, closed="left")],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    # Settings of the net of the encoder that are no parameters here.
    likelihood = "gaussian"
    encoder = callbacks = net_params = None
    early_stopping, validation_fraction, n_iter_no_change = False, 0.1, 10
    own_network_names = ("decoder", "critic")
    network_parameter_names = (
        *NetworkEstimator.network_parameter_names,
        "critic",
        "critic_layer_sizes",
    )
    _resumes_fits = True

    def __init__(
        self,
        n_components=2,
        *,
        divergence="js",
        noise="diag",
        hidden_layer_sizes=(128, 128),
        critic_layer_sizes=(128, 128),
        activation="relu",
        decoder=None,
        critic=None,
        penalty=2.0,
        n_critic=1,
        averaging=0.998,
        optimizer="adam",
        lr=1e-3,
        batch_size=128,
        max_iter=400,
        n_importance_samples=500,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.divergence = divergence
        self.noise = noise
        self.hidden_layer_sizes = hidden_layer_sizes
        self.critic_layer_sizes = critic_layer_sizes
        self.activation = activation
        self.decoder = decoder
        self.critic = critic
        self.penalty = penalty
        self.n_critic = n_critic
        self.averaging = averaging
        self.optimizer = optimizer
        self.lr = lr
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.n_importance_samples = n_importance_samples
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @fit_method
    @gradients()
    def fit(self, X, y=None, sample_weight=None):
        """Play the game on the rows of X, then fit the encoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or torch.utils.data.Dataset
            Rows, possibly with missing cells (NaN), as for :class:`VAEEstimator`.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights: weight 2 is the row twice in expectation, weight 0 is the row absent.

        Returns
        -------
        self : GANEstimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data or the networks cannot be used, or if most steps of an epoch are not
            finite.
        """
        table = self._read(X, sample_weight, reset=True)
        columns = Columns.read(*table[:2], self.likelihood)
        rng = self._random_stream()
        progress = Progress(self, table.X, 2, self.max_iter, self.verbose)
        self._protect(progress, table, rng, None)
        game = play(self, table, columns, rng, progress)
        epochs = min(-(-ENCODER_STEPS // game.n_batches), ENCODER_EPOCHS, self.max_iter)
        net, training = self._train(table, columns, rng, progress, game.net, 1, epochs)
        net.module_.requires_grad_(True)
        self._publish(net, columns, table.sample(), draw_seed(rng), training)
        self._set_game(game)
        self._warn(training._replace(end=game.end) if game.end != "converged" else training)
        progress.end()
        return self

    def _set_game(self, game):
        """Set what the game leaves."""
        self.critic_ = game.critic
        self.divergence_, self.divergences_ = game.divergence, game.divergences
        self.adversarial_noise_variance_ = game.noise_variance
        self.n_iter_ = len(game.divergences)
        self.n_skipped_steps_ += game.n_skipped
        self.converged_ = self.converged_ and game.end == "converged"

    def _latent_family(self):
        return GaussianFamily(self.n_components)

    def _objective(self):
        return EncoderObjective()

    def _bound(self, draws, X):
        return draws.bound(X, "elbo")

    @torch.inference_mode()
    def _draw(self, n_samples, random_state):
        """Draw from the generator as the game left it, with the noise of the game."""
        model = self.net_.module_
        like = model.likelihood.offset
        generator = make_generator(draw_seed(random_stream(random_state)), str(like.device))
        z = model.family.sample_prior(n_samples, like, generator)
        noise = torch.empty_like(mean := model.decode(z)).normal_(generator=generator)
        x = self._columns.restore(mean.cpu().numpy())
        x += noise.cpu().numpy() * np.sqrt(self.adversarial_noise_variance_)
        return x.astype(z.cpu().numpy().dtype), z.cpu().numpy()

    # ------------------------------------------------------------------ files

    def _file_attributes(self):
        return {**super()._file_attributes(), **game_fields(self)}

    def _file_state(self):
        return {**super()._file_state(), "_critic": module_state(self.critic_.network)}

    def _set_file_state(self, state):
        weights = state.pop("_critic")
        super()._set_file_state(state)
        self.critic_ = restored_critic(self, self.net_.module_, weights)
