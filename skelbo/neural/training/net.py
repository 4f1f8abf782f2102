"""The skorch net of a variational auto-encoder, whose epoch runs at the speed of a bare loop."""

from __future__ import annotations

import logging
import math

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from torch import Tensor, nn

from skelbo.em.loop import AscentError
from skelbo.neural.data.batches import Batch, TableRows
from skelbo.neural.data.streaming import StreamedRows
from skelbo.neural.model.objectives import Objective
from skelbo.neural.training.captured_step import CapturedStep, Recorder, make_recorder
from skelbo.neural.training.distributed import Processes
from skelbo.neural.training.epoch_sums import Totals
from skelbo.neural.training.gradient_step import GradientStep

LOG = logging.getLogger("skelbo")
CAPTURABLE = (torch.optim.Adam, torch.optim.AdamW)

# Draws over which the noise variance of an epoch is averaged: a few rows make a noisy mean.
DRAWS_OF_VARIANCE = 5000
FINAL_DRAWS = 10_000
# Rows times draws that judge an epoch: enough to compare epochs, too few to be felt.
HELD_OUT_DRAWS = 1000
# An epoch that loses more than this share of its steps cannot be trusted.
MAX_SKIPPED = 0.5

DIVERGED = (
    "{skipped} of {steps} steps of epoch {epoch} were not finite and were skipped; use a smaller "
    "lr (now {lr:g}), a larger batch_size, or look for cells far outside the rest of their column."
)
BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")


class VAENet(NeuralNet):
    """A skorch net that climbs a bound instead of lowering a criterion.

    Its epoch keeps the data in memory, slices batches off a permutation, and reads nothing back
    from the device before the end. ``net.history`` has one entry per epoch, with ``train_loss``
    and ``valid_loss`` (minus the bound, in the units of the network), so that skorch's callbacks
    find what they expect; those that listen to batches are told of each one.

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
    capture : "auto" or bool
        Whether to launch each step on a GPU as one CUDA graph. ``"auto"`` does unless a network
        has modules that are not of :mod:`torch.nn`: what those do may depend on more than their
        input. What else stands against it is found in ``not_captured_because_``.
    **kwargs : dict
        As for :class:`skorch.NeuralNet`.
    """

    # What else may hold tensors of a GPU: a pickle must open on a machine without one.
    cuda_dependent_attributes_ = ["module", "callbacks"]

    def __init__(self, module, *, objective=None, beta=1.0, kl_warmup=0, capture="auto", **kwargs):
        self.objective = Objective() if objective is None else objective
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.capture = capture
        kwargs.setdefault("criterion", nn.Identity)
        super().__init__(module, **kwargs)

    # ------------------------------------------------------------ skorch's hooks

    def get_split_datasets(self, X, y=None, **fit_params):
        """Return the rows, which come split."""
        return X, X.held_out

    def get_iterator(self, dataset, training=False):
        """Return the rows themselves: the epoch slices them."""
        return dataset

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Return minus the mean bound of a batch, for code that drives skorch step by step."""
        noise = self.objective.noise(self.module_, X)
        return -X.mean(self.objective(self.module_, X, noise, self._kl_weight()).surrogate)

    def initialize_history(self):
        """Begin a history, and the counts that go with it."""
        super().initialize_history()
        self._step: GradientStep | CapturedStep | None = None
        self.held_out_bounds_: Tensor | None = None
        self.not_captured_because_: str | None = None
        self.n_epochs_, self.n_skipped_steps_, self.stopped_ = 0, 0, False
        return self

    def notify(self, method_name, **cb_kwargs):
        """Tell the callbacks; note if one of them ends the training."""
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt:
            # skorch's callbacks stop a fit as Ctrl-C does: tell the two apart.
            self.stopped_ = method_name == "on_epoch_end"
            raise

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Let go of what only the training needs."""
        self._step, self.held_out_bounds_ = None, None

    def __getstate__(self):
        """Leave out what only the training needs: from a GPU, it would not pickle."""
        return {**super().__getstate__(), "_step": None, "held_out_bounds_": None}

    @property
    def processes(self) -> Processes:
        """Those that train this net together."""
        return Processes(self.device)

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run an epoch and record it as one batch.

        Parameters
        ----------
        iterator : TableRows, StreamedRows, Batch or None
            Training rows, rows held out, or nothing.
        training : bool
            Whether to learn.
        prefix : {"train", "valid"}
            For the names in the history.
        step_fn : callable
            Not used: skorch's own step reads the loss back after each batch.
        **fit_params : dict
            Not used.
        """
        if iterator is None:
            return
        self._set_training(training)
        if training:
            bound, size, count = self._learn(iterator), len(iterator), iterator.n_batches
        else:
            bound, size, count = self._judge(iterator), iterator.n_samples, 1
        if training or not self.history[-1]["batches"]:
            self.history.new_batch()
        self.history.record_batch(f"{prefix}_loss", -bound)
        self.history.record_batch(f"{prefix}_batch_size", size)
        self.history.record(f"{prefix}_batch_count", count)

    # ------------------------------------------------------------------ the epoch

    def _learn(self, rows: TableRows | StreamedRows) -> float:
        """Run one epoch of Algorithm 2, then the theta-step of the noise; return the bound."""
        self._step = step = self._step or self._make_step()
        with step.epoch(self._kl_weight()) as totals:
            before = [p.detach().clone() for p in step.learned]
            for batch in rows.shuffled(step.generator):
                self._tell("on_batch_begin", batch)
                step(batch)
                self._tell("on_batch_end", batch)
        self.processes.add(*totals.tensors)
        self.n_epochs_ += 1
        skipped = self._repair(before, step)
        gaussian = self.module_.likelihood.gaussian
        if gaussian is not None and skipped < totals.steps:
            draws = len(rows) * self.objective.n_draws
            rate = max(min(1.0, draws / DRAWS_OF_VARIANCE), 1 / self.n_epochs_)
            gaussian.maximize(totals.variance(), rate)
        kept = len(rows) * (1 - skipped / totals.steps)
        return float(totals.bound) / kept if kept else float("nan")

    def _make_step(self) -> GradientStep | CapturedStep:
        """Return what a step is on this device, with these callbacks."""
        self._heard = self._batch_listeners()
        like = self.module_.likelihood.offset
        recorder = make_recorder(like.device)
        self.not_captured_because_ = self._obstacle(like.device, recorder)
        fused = bool(self.optimizer_.defaults.get("fused"))
        captured = self.not_captured_because_ is None
        step = GradientStep(
            self.module_,
            self.objective,
            self.optimizer_,
            self.processes,
            reads=not captured and not (fused and like.device.type == "cuda"),
            listener=self._tell_of_gradient if self._heard else None,
        )
        if recorder is not None and captured:
            return CapturedStep(step, recorder)
        LOG.info("steps are not captured: %s", self.not_captured_because_)
        return step

    def _obstacle(self, device: torch.device, recorder: Recorder | None) -> str | None:
        """Return why steps cannot be captured, if so."""
        foreign = self.module_.foreign_networks()
        if not self.capture:
            return f"capture={self.capture}"
        if recorder is None:
            return f"the device is {device}"
        if type(self.optimizer_) not in CAPTURABLE or not self.optimizer_.defaults.get("fused"):
            return f"{type(self.optimizer_).__name__} is not the fused Adam or AdamW"
        if self._heard:
            return "a callback listens to batches"
        if self.processes.size > 1:
            return "several processes share each batch"
        if foreign and self.capture == "auto":
            return (
                f"{foreign[0]} may not do the same in each step; if it does, pass "
                "net_params={'capture': True}"
            )
        return None

    def _repair(self, before: list[Tensor], step: GradientStep | CapturedStep) -> int:
        """Count the steps that were skipped; undo an epoch that broke the weights."""
        totals = step.totals
        skipped = int(totals.skipped)
        with torch.no_grad():
            # One number for all: reading one per parameter would stall a GPU as often.
            sound = math.isfinite(sum(p.sum() for p in step.learned))
            if not sound:
                for parameter, value in zip(step.learned, before, strict=True):
                    parameter.copy_(value)
                self.optimizer_.state.clear()
                skipped = totals.steps
        self.n_skipped_steps_ += skipped
        if skipped > MAX_SKIPPED * totals.steps:
            lr = self.optimizer_.param_groups[0]["lr"]
            raise AscentError(
                DIVERGED.format(
                    skipped=skipped, steps=totals.steps, epoch=self.n_epochs_, lr=float(lr)
                )
            )
        return skipped

    @torch.no_grad()
    def maximize_noise(self, table: TableRows | StreamedRows) -> None:
        """Set the noise to its closed-form maximum for the weights as they are: a theta-step.

        Parameters
        ----------
        table : TableRows or StreamedRows
            The training rows.
        """
        rows = table.sample(FINAL_DRAWS)
        likelihood = self.module_.likelihood
        if likelihood.gaussian is None:
            return
        self._set_training(False)
        totals = Totals(likelihood)
        draws = rows.n_samples * self.objective.n_draws
        generator = torch.Generator().manual_seed(rows.n_samples)
        for _ in range(-(-FINAL_DRAWS // draws)):
            for part in rows.slices(FINAL_DRAWS):
                noise = self.objective.noise(self.module_, part, generator)
                totals.add(part, self.objective(self.module_, part, noise, self.beta), True)
        likelihood.gaussian.maximize(totals.variance(), 1.0)

    @torch.no_grad()
    def _judge(self, batch: Batch) -> float:
        """Return the bound of rows held out, by draws that are the same in every epoch."""
        n = batch.n_samples
        repeats = max(1, min(16, HELD_OUT_DRAWS // n))
        copies = batch.map(lambda tensor: tensor.repeat(repeats, *[1] * (tensor.ndim - 1)))
        generator = torch.Generator().manual_seed(n)
        noise = self.objective.noise(self.module_, copies, generator)
        rows, noise = self.processes.share(copies, noise)
        bounds = self.objective(self.module_, rows, noise, self.beta).bound
        if self.beta != 1 and self.objective.name == "elbo":
            # What is climbed is what decides when to stop.
            kl = self.module_.encode(rows.targets, rows.mask).kl()
            bounds = bounds + (1 - self.beta) * kl
        bounds = self.processes.gather(bounds, copies.n_samples)
        self.held_out_bounds_ = bounds.view(repeats, n).mean(0)
        return float(batch.mean(self.held_out_bounds_))

    def _kl_weight(self) -> float:
        """Return beta of this epoch."""
        if self.n_epochs_ >= self.kl_warmup:
            return float(self.beta)
        return float(self.beta) * (self.n_epochs_ + 1) / (self.kl_warmup + 1)

    def _tell(self, hook: str, batch: Batch, **news) -> None:
        if self._heard:
            self.notify(hook, batch=batch, training=True, **news)

    def _tell_of_gradient(self, batch: Batch) -> None:
        named = list(self.module_.named_parameters())
        self._tell("on_grad_computed", batch, named_parameters=named)

    def _batch_listeners(self) -> bool:
        """Tell whether a callback of the user's listens to batches."""
        for name, callback in self.callbacks_:
            if name in ("epoch_timer", "train_loss", "valid_loss", "print_log"):
                continue
            if isinstance(callback, LRScheduler) and callback.step_every == "epoch":
                continue
            for hook in BATCH_HOOKS:
                if getattr(type(callback), hook) is not getattr(Callback, hook):
                    return True
        return False
