"""Base class of the estimators with networks: reading of X, methods of a fitted net, files."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback
from torch.utils.data import Dataset

from skelbo.data.dask_detection import is_dask
from skelbo.data.fingerprint import table_digest
from skelbo.data.random_stream import random_stream
from skelbo.data.threads import threads_for
from skelbo.data.weights import check_weights
from skelbo.em.progress import Progress
from skelbo.likelihoods import LIKELIHOODS
from skelbo.mixins.latent_variable_estimator import LatentVariableEstimator
from skelbo.neural.data.columns import Columns
from skelbo.neural.data.datasets import DatasetTable
from skelbo.neural.data.training_table import TrainingTable
from skelbo.neural.data.validation_split import number_held_out, training_rows
from skelbo.neural.diagnostics import (
    active_units,
    check_finite,
    check_noise,
    warn_of_end,
    warn_of_floor,
)
from skelbo.neural.latent_quadrature import LatentQuadrature
from skelbo.neural.log_marginal import DECODED_AT_ONCE, WeightedDraws
from skelbo.neural.model.latent_family import LatentFamily
from skelbo.neural.model.objectives import Objective
from skelbo.neural.noise_variance import noise_variance, set_noise_variance
from skelbo.neural.persistence import net_state, network_fields, restored_net
from skelbo.neural.training.checkpoint import check_resumable
from skelbo.neural.training.distributed import Processes
from skelbo.neural.training.early_stopping import warmup_epochs
from skelbo.neural.training.generators import draw_seed, make_generator, on_device
from skelbo.neural.training.make_net import (
    fit_generator,
    is_linear,
    make_net,
    resolve_device,
)
from skelbo.neural.training.net import VAENet
from skelbo.neural.training.torch_threads import use_one_thread_after_fork
from skelbo.neural.training.train import Training, train
from skelbo.persistence import Vocabulary
from skelbo.transaction import is_within_search

# A memory map larger than this is read while the networks learn, never whole.
STREAMED_BYTES = 2**28
# Rows times draws behind `lower_bound_`: the bound of a large table needs few draws of each row.
# A pass of `partial_fit` must not spend longer on it than on learning.
BOUND_DRAWS, PASS_DRAWS = 100_000, 10_000
# Multiply-adds that take as long as an elementary function of one cell.
ADDS_PER_CELL = 128


def is_large_file(X: Any, limit: int = STREAMED_BYTES) -> bool:
    """Return whether X is a memory map of more than `limit` bytes."""
    return isinstance(X, np.memmap) and X.nbytes > limit


class NetworkEstimator(LatentVariableEstimator):
    """An estimator whose p(x | z) and q(z | x) are networks in a skorch net.

    A subclass supplies ``fit`` and ``partial_fit`` as sequences of the steps here, and the hooks
    ``_latent_family``, ``_objective`` and ``_bound``.

    Attributes
    ----------
    network_parameter_names : tuple of str
        Parameters that determine the networks: they may not change after a fit.
    own_network_names : tuple of str
        Parameters that may be networks of the user's own.
    beta : float
        Weight of the KL, where it is no parameter of the constructor.
    """

    network_parameter_names: tuple[str, ...] = (
        "n_components",
        "likelihood",
        "noise",
        "hidden_layer_sizes",
        "activation",
        "encoder",
        "decoder",
    )
    own_network_names: tuple[str, ...] = ("encoder", "decoder")
    beta: float = 1.0

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        counts = ("bernoulli", "poisson", "categorical")
        tags.input_tags.positive_only = isinstance(self.likelihood, str) and (
            self.likelihood in counts
        )
        return tags

    _summary_attributes = ("noise_variance_", "perplexity_")

    @abstractmethod
    def _latent_family(self) -> LatentFamily:
        """Return the form of q(z | x) and of the prior p(z)."""

    @abstractmethod
    def _objective(self) -> Objective:
        """Return what a gradient step climbs."""

    def _shaping_parameters(self):
        return self.network_parameter_names

    @property
    def _kl_warmup(self) -> Any:
        """Epochs over which the weight of the KL rises, or "auto"."""
        return 0

    @property
    def _noise_kind(self) -> str:
        """Noise of the Gaussian columns: "unit", "isotropic" or "diag"."""
        return self.noise

    @abstractmethod
    def _bound(self, draws: WeightedDraws, X: np.ndarray) -> np.ndarray:
        """Return the bound that `fit` maximises, shape (n_samples,), in the units of the data."""

    # ---------------------------------------------------------------- reading

    def _read(
        self, X: Any, sample_weight: Any, *, reset: bool, min_samples: int | None = None
    ) -> TrainingTable:
        """Validate the arguments of a fit; large tables stay on disk."""
        streamed = is_large_file(X)
        least = self._min_samples if min_samples is None else min_samples
        if is_dask(X):
            from skelbo.data.dask_download import spooled

            X, sample_weight, streamed = spooled(
                self, X, sample_weight, STREAMED_BYTES, reset=reset
            )
        if isinstance(X, Dataset):
            X, streamed = DatasetTable(X), True
            self._validate_fit(X[:least], None, reset=reset, min_samples=least)
            X.check()
            weights = check_weights(sample_weight, len(X))
        else:
            X, weights = self._validate_fit(X, sample_weight, reset=reset, min_samples=least)
        if weights is not None and not weights.all() and not streamed:
            X, weights = X[weights > 0], weights[weights > 0]
        if weights is not None and weights.min() == weights.max():
            weights = None  # only ratios matter to a mean
        return TrainingTable(X, weights, streamed)

    def _validate(self, X, *, finite=True):
        X = super()._validate(X, finite=finite)
        self._columns.check(X)
        return X

    def _random_stream(self) -> np.random.RandomState:
        """Return the source of randomness, the same in all processes that train together."""
        rng = random_stream(self.random_state)
        if self.random_state is None:
            processes = Processes(resolve_device(self.device))
            rng = random_stream(processes.broadcast(draw_seed(rng)))
        return rng

    # --------------------------------------------------------------- training

    def _fit_networks(self, X: Any, sample_weight: Any) -> Training:
        """Read the rows, train the networks on them until they stop, publish, warn."""
        before = self.net_ if self.warm_start and hasattr(self, "net_") else None
        table = self._read(X, sample_weight, reset=before is None)
        columns = self._columns if before else Columns.read(*table[:2], self.likelihood)
        columns.check(table.X)
        rng = self._random_stream()
        progress = Progress(self, table.X, 1, self.max_iter, self.verbose)
        self._protect(progress, table, rng, before)
        net, training = self._train(table, columns, rng, progress, before)
        self._publish(net, columns, table.sample(), draw_seed(rng), training)
        self._warn(training)
        progress.end()
        return training

    def _fit_one_pass(self, X: Any, sample_weight: Any) -> None:
        """Read more rows, train the networks for one epoch on them, publish, warn."""
        first = not hasattr(self, "net_")
        if is_dask(X):
            from skelbo.data.dask_download import in_turn

            for part, weights in in_turn(self, X, sample_weight, reset=first):
                self.partial_fit(part, sample_weight=weights)
            return
        X = DatasetTable(X)[:] if isinstance(X, Dataset) else X
        least = self._min_samples if first else 1  # the last chunk of a stream may be one row
        table = self._read(X, sample_weight, reset=first, min_samples=least)
        columns = Columns.read(*table[:2], self.likelihood) if first else self._columns
        columns.check(table.X)
        if not hasattr(self, "_stream"):
            self._stream = self._random_stream()
        self._train_one_pass(table, columns, self._stream)
        self._warn()

    def _prepare(
        self, net: VAENet, rows: Any, generator: torch.Generator, seed: int, fresh: bool
    ) -> list[Callback]:
        """Prepare a net for its training; return callbacks that its latent family needs.

        Parameters
        ----------
        net : VAENet
            Initialised, or trained before.
        rows : TableRows or StreamedRows
            Training rows.
        generator : torch.Generator
            Of the training.
        seed : int
            Seed for what takes no such generator.
        fresh : bool
            Whether the net has never been trained, and does not go on from a file.
        """
        return []

    def _protect(
        self,
        progress: Progress,
        table: TrainingTable,
        rng: np.random.RandomState,
        before: VAENet | None,
    ) -> None:
        """Write the training to a file, and go on from it, if the user asks for that."""
        continued = None if before is None else net_state(before)
        progress.protect(lambda: table_digest(table.X, table.weights), rng, continued)
        if progress.checkpoint is not None:
            check_resumable(self)

    def _train(
        self,
        table: TrainingTable,
        columns: Columns,
        rng: np.random.RandomState,
        progress: Progress,
        before: VAENet | None,
        start: int = 0,
        max_epochs: int | None = None,
    ) -> tuple[VAENet, Training]:
        """Make a net, or a copy of one, and train it, as the start with that number.

        It is trained for `max_epochs` at most, by default for those of the net.
        """
        use_one_thread_after_fork()
        progress.verbose = self.verbose if Processes().is_rank_zero else 0
        progress.begin_start(start)
        with fit_generator(self, draw_seed(rng)) as generator:
            net = make_net(self, columns, self._latent_family(), table.X.dtype, generator, before)
            if max_epochs is not None:
                net.max_epochs = max_epochs
            n_held_out = number_held_out(
                len(table.X), self.early_stopping, self.validation_fraction, is_linear(self)
            )
            rows = training_rows(
                *table[:2],
                columns,
                net.module_.likelihood.offset,
                n_held_out,
                self.batch_size,
                rng,
                table.streamed,
            )
            warmup = 0 if before and self._kl_warmup == "auto" else self._kl_warmup
            net.kl_warmup = warmup_epochs(warmup, rows.n_batches, max_epochs or self.max_iter)
            offset = _mean_log_jacobian(columns, table.sample())
            generator = on_device(generator, net.device)
            with threads_for(n_cells(net, self.batch_size)):
                seed = generator.initial_seed()
                resumed = progress.checkpoint is not None and progress.checkpoint.is_resumed
                fresh = before is None and not resumed
                callbacks = self._prepare(net, rows, generator, seed, fresh)
                training = train(
                    net,
                    rows,
                    generator,
                    progress,
                    offset,
                    self.early_stopping,
                    self.n_iter_no_change,
                    callbacks,
                )
        progress.end_start()
        return net, training

    def _train_one_pass(
        self, table: TrainingTable, columns: Columns, rng: np.random.RandomState
    ) -> None:
        """Make a net, or take the present one, train it for one epoch and publish it."""
        use_one_thread_after_fork()
        first = not hasattr(self, "net_")
        with fit_generator(self, draw_seed(rng)) as generator:
            if first:
                net = make_net(self, columns, self._latent_family(), table.X.dtype, generator)
                training, seed = Training([], [], "max_epochs"), draw_seed(rng)
            else:
                end = "converged" if self.converged_ else "max_epochs"
                training = Training(self.lower_bounds_, self.validation_lower_bounds_, end)
                net, seed = self.net_, self._seed
            net.set_params(lr=self.lr)
            net.kl_warmup = 0 if self._kl_warmup == "auto" else self._kl_warmup
            like = net.module_.likelihood.offset
            rows = training_rows(*table[:2], columns, like, 0, self.batch_size, rng, table.streamed)
            generator = on_device(generator, net.device)
            with net.undone_on_error(), threads_for(n_cells(net, self.batch_size)):
                self._prepare(net, rows, generator, generator.initial_seed(), fresh=first)
                net.train(rows, generator, epochs=1)
                net.maximize_prior(rows)
                # The bound of this pass is that at its end, which `_publish` evaluates.
                training = training._replace(lower_bounds=[*training.lower_bounds, np.nan])
                self._publish(net, columns, table.sample(), seed, training, PASS_DRAWS)

    def _publish(
        self,
        net: VAENet,
        columns: Columns,
        sample: TrainingTable,
        seed: int,
        training: Training,
        budget: int = BOUND_DRAWS,
    ) -> None:
        """Evaluate the bound at the final weights, then set the fitted attributes."""
        net.module_.eval()
        n_draws = int(np.clip(budget // len(sample.X), 1, self.n_importance_samples))
        draws = WeightedDraws(net.module_, columns, n_draws, seed)
        with threads_for(n_cells(net, min(len(sample.X) * n_draws, DECODED_AT_ONCE))):
            mean, bound = draws.posterior(sample.X)[0], self._bound(draws, sample.X)
        check_finite(bound, mean, sample.X.dtype, net.n_epochs_, self.lr)
        check_noise(net.module_.likelihood, columns, sample.X.dtype, self.lr)
        lower_bound = float(np.average(bound, weights=sample.weights))
        self._set_net(net, columns)
        self._seed = seed
        self._publish_latents(mean, sample.weights)
        self.n_skipped_steps_ = net.n_skipped_steps_
        self.lower_bound_ = lower_bound
        self.lower_bounds_ = [*training.lower_bounds[:-1], lower_bound]
        self.validation_lower_bounds_ = training.validation_lower_bounds
        self.n_iter_ = len(training.lower_bounds)
        self.converged_ = training.converged

    def _set_net(self, net: VAENet, columns: Columns) -> None:
        """Set the net and what follows from it."""
        self.net_, self._columns = net, columns
        self.likelihood_ = columns.kinds.astype(object)

    def _publish_latents(self, mean: np.ndarray, weights: np.ndarray | None) -> None:
        """Set the fitted attributes of the latents, from the means of q of the rows."""
        self.active_units_ = active_units(mean, weights)

    def _warn(self, training: Training | None = None) -> None:
        """Warn of noise at its floor, and of a training that did not converge."""
        if not Processes().is_rank_zero:
            return
        warn_of_floor(self.net_.module_.likelihood, self._columns, stacklevel=5)
        if training is not None and training.end == "interrupted" and is_within_search():
            raise KeyboardInterrupt
        if training is not None and not training.converged:
            kl_warmup = self.net_.kl_warmup
            warn_of_end(training.end, self.n_iter_, self.max_iter, kl_warmup, stacklevel=5)

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
    def noise_variance_(self):
        """Noise of the Gaussian columns in the units of the data; what is set here scores."""
        return noise_variance(self.net_.module_.likelihood, self._columns)

    @noise_variance_.setter
    def noise_variance_(self, value):
        check_is_fitted(self)
        set_noise_variance(self.net_.module_.likelihood, self._columns, value)

    @property
    def n_parameters_(self):
        """Number of parameters of p(x, z); the encoder is no part of the model."""
        check_is_fitted(self)
        model = self.net_.module_
        groups = model.likelihood.groups.values()
        weights = sum(p.numel() for p in model.decoder.parameters())
        return weights + sum(group.n_parameters for group in groups) + model.family.n_parameters

    @property
    def _n_features_out(self):
        return self.net_.module_.n_latents

    def _draws(self, n_draws: int | None = None) -> WeightedDraws:
        n_draws = self.n_importance_samples if n_draws is None else n_draws
        return WeightedDraws(self.net_.module_, self._columns, n_draws, self._seed)

    def _threads(self, X: np.ndarray, n_draws: int = 1) -> AbstractContextManager:
        """Return the context of a prediction."""
        use_one_thread_after_fork()
        return threads_for(n_cells(self.net_, min(len(X) * n_draws, DECODED_AT_ONCE)))

    def _scorer(self) -> LatentQuadrature | WeightedDraws:
        """Return what integrates over z: exactly for one latent, else by draws."""
        if LatentQuadrature.serves(self.net_.module_):
            return LatentQuadrature(self.net_.module_, self._columns)
        return self._draws()

    def _log_prob(self, X):
        with self._threads(X, self.n_importance_samples):
            return self._scorer().log_prob(X)

    def _elbo_terms(self, X):
        with self._threads(X, self.n_importance_samples):
            return self._scorer().elbo_terms(X)

    def _posterior_mean(self, X):
        with self._threads(X):
            return self._draws().posterior(X)[0]

    @torch.inference_mode()
    def _reconstruct(self, Z):
        model = self.net_.module_
        z = torch.as_tensor(Z.copy()).to(model.likelihood.offset)
        mean = model.likelihood.mean(model.decode(z))
        return self._columns.restore(mean.cpu().numpy()).astype(Z.dtype)

    def _expected_cells(self, X):
        with self._threads(X, self.n_importance_samples):
            return self._draws().expectation(X)

    def _posterior_std(self, X):
        with self._threads(X):
            return self._draws().posterior(X)[1]

    def _draw_cells(self, X, n_draws, rng):
        with self._threads(X, self.n_importance_samples):
            return self._draws().draw_cells(X, n_draws, draw_seed(rng))

    @torch.inference_mode()
    def _draw(self, n_samples, random_state):
        model = self.net_.module_
        like = model.likelihood.offset
        generator = make_generator(draw_seed(random_stream(random_state)), str(like.device))
        z = model.family.sample_prior(n_samples, like, generator)
        x = model.likelihood.sample(model.decode(z), generator).cpu().numpy()
        return self._columns.restore(x).astype(x.dtype), z.cpu().numpy()

    # ------------------------------------------------------------------ files

    @classmethod
    def _file_vocabulary(cls):
        return Vocabulary(objects=LIKELIHOODS)

    @classmethod
    def _file_params(cls, params):
        elsewhere = str(params["device"]).startswith("cuda") and not torch.cuda.is_available()
        return {**params, "device": "auto"} if elsewhere else params

    def _file_attributes(self):
        return {**super()._file_attributes(), **network_fields(self)}

    def _file_state(self):
        return {**vars(self), "_net": net_state(self.net_)}

    def _set_file_state(self, state):
        columns = state["_columns"]
        net = restored_net(self, columns, state.pop("_net"))
        super()._set_file_state(state)
        self._set_net(net, columns)


def _mean_log_jacobian(columns: Columns, sample: TrainingTable) -> float:
    """Return the mean of log |du/dx|: a bound in the units of the data minus one in the net's."""
    return float(np.average(columns.log_jacobian(sample.X), weights=sample.weights))


def n_cells(net: VAENet, n_rows: int) -> int:
    """Return the work of the widest layer on so many rows, in elementary functions."""
    widest = max(p.numel() for p in net.module_.parameters())
    return n_rows * widest // ADDS_PER_CELL
