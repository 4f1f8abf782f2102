"""The skorch net of an auto-encoder, without overhead of skorch per batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from torch import Tensor, nn

from skelbo.neural.data.batches import Batch, TableRows
from skelbo.neural.data.streaming import StreamedRows
from skelbo.neural.model.objectives import Objective
from skelbo.neural.training.distributed import Processes
from skelbo.neural.training.epoch_sums import EpochSums
from skelbo.neural.training.gradient_step import GradientStep
from skelbo.neural.training.runaway import check_rows, check_steps, check_weights

# Draws over which the noise variance of an epoch is averaged: a few rows make a noisy mean.
DRAWS_OF_VARIANCE = 5000
FINAL_DRAWS, MAX_REPEATS = 10_000, 500
# Rows times draws behind the bound of rows held out: enough to compare epochs.
HELD_OUT_DRAWS = 1000


class VAENet(NeuralNet):
    """A skorch net that maximises a bound instead of minimising a criterion.

    Its epoch keeps the data in memory, slices batches off a permutation, and reads one number per
    step from the device. ``net.history`` has one entry per epoch, with ``train_loss`` and
    ``valid_loss`` (minus the bound, in the units of the network), so that skorch's callbacks find
    what they expect; those that override a hook for batches are called for each one. Scoring
    callbacks get the rows of the epoch as X and None as y; ``net.forward(X)`` is the bound of each
    row, ``EpochScoring(lambda net, X, y=None: net.forward(X).mean())`` its mean.

    Parameters
    ----------
    module : AutoEncoder
        Both networks.
    objective : Objective
        The bound and its gradient.
    beta : float
        Weight of the KL.
    kl_warmup : int
        Epochs over which the weight rises to `beta`.
    **kwargs : dict
        As for :class:`skorch.NeuralNet`. ``compile=True`` compiles both networks by
        :func:`torch.compile`, with ``compile__*`` as its options.

    Attributes
    ----------
    n_epochs_, n_skipped_steps_ : int
        Number of epochs, and of steps that were not finite, since the net was made.
    end_ : {"converged", "callback", "interrupted", "max_epochs"}
        Cause of the end of the last training.
    """

    callbacks_: list[tuple[str, Callback]]
    n_epochs_: int
    n_skipped_steps_: int
    end_: str | None
    held_out_bounds_: Tensor | None
    _step: GradientStep | None
    # Attributes that may hold tensors of a GPU: a pickle must open on a machine without one.
    cuda_dependent_attributes_ = ["module", "callbacks"]

    def __init__(self, module, *, objective=None, beta=1.0, kl_warmup=0, **kwargs):
        self.objective = Objective() if objective is None else objective
        self.beta = beta
        self.kl_warmup = kl_warmup
        kwargs.setdefault("criterion", nn.Identity)
        super().__init__(module, **kwargs)

    def train(
        self,
        rows: TableRows | StreamedRows,
        generator: torch.Generator,
        callbacks: Sequence[Callback] = (),
        epochs: int | None = None,
    ) -> None:
        """Run epochs until a callback, Ctrl-C or their number ends them.

        Parameters
        ----------
        rows : TableRows or StreamedRows
            Training rows, with those held out.
        generator : torch.Generator
            Source of the order of the rows and of the noise behind z, on the device of the net.
        callbacks : sequence of Callback
            More callbacks for this training; they come after the user's.
        epochs : int, optional
            Number of epochs at most; ``max_epochs`` by default.

        Raises
        ------
        KeyboardInterrupt
            By Ctrl-C in the first epoch; later it ends the training.
        """
        before, self.callbacks_ = self.callbacks_, list(self.callbacks_)
        self.callbacks_ += [(type(c).__name__, c.initialize()) for c in callbacks]
        self._step = GradientStep(
            self.module_, self.objective, self.optimizer_, self.processes, generator
        )
        n_epochs = self.n_epochs_
        try:
            self.notify("on_train_begin", X=rows, y=None)
            try:
                self.fit_loop(rows, epochs=epochs)
            except KeyboardInterrupt:
                if self.n_epochs_ == n_epochs:
                    raise
                self.end_ = "interrupted"
            self.notify("on_train_end", X=rows, y=None)
        finally:
            self.callbacks_, self._step, self.held_out_bounds_ = before, None, None

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Restore weights, optimiser and counts if a training inside raises."""
        weights = copy.deepcopy(self.module_.state_dict())
        state = copy.deepcopy(self.optimizer_.state_dict())
        counts = self.n_epochs_, self.n_skipped_steps_
        try:
            yield
        except BaseException:
            self.module_.load_state_dict(weights)
            self.optimizer_.load_state_dict(state)
            self.n_epochs_, self.n_skipped_steps_ = counts
            raise

    def stop(self, reason: str) -> None:
        """End the training after this epoch; of several reasons the first one counts."""
        self.end_ = self.end_ or reason

    # ------------------------------------------------------------ skorch's hooks

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Run epochs, until `stop` is called at most; see `train`."""
        self.end_ = None
        datasets = {"dataset_train": X, "dataset_valid": X.held_out}
        for _ in range(self.max_epochs if epochs is None else epochs):
            self.notify("on_epoch_begin", **datasets)
            self.run_single_epoch(X, training=True, prefix="train", step_fn=None)
            self.run_single_epoch(X.held_out, training=False, prefix="valid", step_fn=None)
            try:
                self.notify("on_epoch_end", **datasets)
            except KeyboardInterrupt:  # skorch's callbacks end a training by raising it
                self.stop("callback")
            if self.end_ is not None:
                return self
        self.stop("max_epochs")
        return self

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run an epoch and record it as one batch.

        Parameters
        ----------
        iterator : TableRows, StreamedRows, Batch or None
            Training rows, rows held out, or nothing.
        training : bool
            Whether to learn.
        prefix : {"train", "valid"}
            Prefix of the names in the history.
        step_fn : None
            Not used: skorch's own step reads the loss back after each batch.
        **fit_params : dict
            Not used.
        """
        if iterator is None:
            return
        self.module_.train(training)
        if training:
            bound, size, count = self._learn(iterator), len(iterator), iterator.n_batches
        else:
            bound, size, count = self._judge(iterator), iterator.n_samples, 1
        # The batch of the whole epoch comes after those that a callback listened to.
        if training or not self.history[-1]["batches"]:
            self.history.new_batch()
        self.history.record_batch(f"{prefix}_loss", -bound)
        self.history.record_batch(f"{prefix}_batch_size", size)
        self.history.record(f"{prefix}_batch_count", count)
        if not training and self._is_heard():
            news = {"loss": -bound, "y_pred": self.held_out_bounds_}
            self.notify("on_batch_end", batch=(iterator, None), training=False, **news)

    def forward_iter(self, X, training=False, device="cpu"):
        """Yield the bounds of rows, in nats, in the units of the network, batch by batch.

        Scoring callbacks call it by ``net.forward(X)``, with the rows of an epoch as X.
        """
        if not isinstance(X, (Batch, TableRows, StreamedRows)):
            yield from super().forward_iter(X, training, device)
            return
        self.module_.train(training)
        rows = X if isinstance(X, Batch) else X.sample(FINAL_DRAWS)
        generator = torch.Generator().manual_seed(rows.n_samples)
        with torch.no_grad():
            for part in rows.slices(FINAL_DRAWS):
                noise = self.objective.noise(self.module_, part, generator)
                yield self.objective(self.module_, part, noise, self.beta).bound.to(device)

    def initialize_history(self):
        """Begin a history, and the counts that go with it."""
        super().initialize_history()
        self._step, self.held_out_bounds_ = None, None
        self.n_epochs_, self.n_skipped_steps_ = 0, 0
        self.end_ = None
        return self

    def __getstate__(self):
        """Leave out the state of a training, which does not pickle."""
        return {**super().__getstate__(), "_step": None, "held_out_bounds_": None}

    def torch_compile(self, module, name):
        """Compile both networks if ``compile=True``; the objective between them runs eagerly."""
        if self.compile and name == "module":
            module.compile_networks(**self.get_params_for("compile"))
        return module

    @property
    def processes(self) -> Processes:
        """Processes that train this net together."""
        return Processes(self.device)

    # ------------------------------------------------------------------ the epoch

    def _learn(self, rows: TableRows | StreamedRows) -> float:
        """Run one epoch of Algorithm 2, then the theta-step of the noise; return the bound."""
        assert self._step is not None, "call train(rows, generator)"
        step = self._step
        notify = self._notify_of_batch if self._is_heard() else _notify_nobody
        sums = step.run_epoch(rows.shuffled(step.generator), self._kl_weight(), notify)
        self.processes.add(*sums.tensors)
        self.n_epochs_ += 1
        self._check(sums)
        gaussian = self.module_.likelihood.gaussian
        if gaussian is not None:
            draws = len(rows) * self.objective.n_draws
            rate = max(min(1.0, draws / DRAWS_OF_VARIANCE), 1 / self.n_epochs_)
            gaussian.maximize(sums.variance(), rate)
        return float(sums.bound) / (len(rows) * (1 - sums.skipped / sums.steps))

    def _check(self, sums: EpochSums) -> None:
        """Count the steps that were skipped; raise if they are too many or weights not finite."""
        self.n_skipped_steps_ += sums.skipped
        check_steps(sums.skipped, sums.steps, self.n_epochs_, self._rate())
        weights = self.module_.parameters()
        check_weights(weights, self.optimizer_, self.n_epochs_, self._rate())

    def _rate(self) -> float:
        """Return the learning rate of this epoch."""
        return float(self.optimizer_.param_groups[0]["lr"])

    @torch.no_grad()
    def maximize_noise(self, table: TableRows | StreamedRows) -> None:
        """Set the noise to its closed-form maximum at the present weights: a theta-step.

        Parameters
        ----------
        table : TableRows or StreamedRows
            The training rows.
        """
        rows = table.sample(FINAL_DRAWS)
        likelihood = self.module_.likelihood
        if likelihood.gaussian is None:
            return
        self.module_.eval()
        sums = EpochSums(likelihood)
        draws = rows.n_samples * self.objective.n_draws
        generator = torch.Generator().manual_seed(rows.n_samples)
        repeats = min(-(-FINAL_DRAWS // draws), MAX_REPEATS)
        for _ in range(repeats if self.objective.is_random(self.module_) else 1):
            for part in rows.slices(FINAL_DRAWS):
                noise = self.objective.noise(self.module_, part, generator)
                sums.add(part, self.objective(self.module_, part, noise, self.beta))
        likelihood.gaussian.maximize(sums.variance(), 1.0)

    @torch.no_grad()
    def maximize_prior(self, table: TableRows | StreamedRows) -> None:
        """Set the parameters of p(z), if there are any, to their closed-form maximum.

        Parameters
        ----------
        table : TableRows or StreamedRows
            The training rows.
        """
        family = self.module_.family
        if not family.n_parameters:
            return
        self.module_.eval()
        rows = table.sample(FINAL_DRAWS)
        parts = rows.slices(FINAL_DRAWS)
        code = torch.cat([self.module_.code(part.targets, part.mask) for part in parts])
        family.maximize_prior(code, rows.weights)

    @torch.no_grad()
    def _judge(self, batch: Batch) -> float:
        """Return the bound of rows held out, by draws that are the same in every epoch."""
        n = batch.n_samples
        repeats = max(1, min(16, HELD_OUT_DRAWS // n))
        repeats = repeats if self.objective.is_random(self.module_) else 1
        copies = batch.map(lambda tensor: tensor.repeat(repeats, *[1] * (tensor.ndim - 1)))
        generator = torch.Generator().manual_seed(n)
        noise = self.objective.noise(self.module_, copies, generator)
        rows, noise = self.processes.share(copies, noise)
        bounds = self.objective(self.module_, rows, noise, self.beta).bound
        if self.beta != 1 and self.objective.name == "elbo":
            # The objective itself decides when to stop.
            kl = self.module_.encode(rows.targets, rows.mask).kl()
            bounds = bounds + (1 - self.beta) * kl
        bounds = self.processes.gather(bounds, copies.n_samples)
        self.held_out_bounds_ = means = bounds.view(repeats, n).mean(0)
        check_rows(means, self.n_epochs_, self._rate())
        return float(batch.mean(means))

    def _kl_weight(self) -> float:
        """Return the weight of the KL in this epoch."""
        if self.n_epochs_ >= self.kl_warmup:
            return float(self.beta)
        return float(self.beta) * (self.n_epochs_ + 1) / (self.kl_warmup + 1)

    def _is_heard(self) -> bool:
        """Return whether a callback listens to batches."""
        return any(_listens_to_batches(callback) for _, callback in self.callbacks_)

    def _notify_of_batch(self, hook: str, batch: Batch, **news: Any) -> None:
        """Call a hook of skorch, for which a batch is a pair of X and y."""
        if hook == "on_grad_computed":
            news["named_parameters"] = list(self.module_.named_parameters())
        if hook == "on_batch_end":
            self.history.record_batch("train_batch_size", batch.n_samples)
        self.notify(hook, batch=(batch, None), training=True, **news)


def _notify_nobody(hook: str, batch: Batch, **news: Any) -> None:
    """Skip skorch's hooks for batches, which cost more than small batches themselves."""


def _listens_to_batches(callback: Callback) -> bool:
    """Return whether a callback overrides a hook that is called for each batch."""
    if isinstance(callback, LRScheduler) and callback.step_every == "epoch":
        return False
    kind = type(callback)
    return (
        kind.on_batch_begin is not Callback.on_batch_begin
        or kind.on_batch_end is not Callback.on_batch_end
        or kind.on_grad_computed is not Callback.on_grad_computed
    )
