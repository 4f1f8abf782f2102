"""The skorch net of a variational auto-encoder, whose epoch runs at the speed of a bare loop."""

from __future__ import annotations

import math
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor, nn

from skelbo.elbo import AscentError
from skelbo.neural.batches import Batch, TableRows
from skelbo.neural.likelihoods import TableLikelihood
from skelbo.neural.objective import Estimate, Objective
from skelbo.neural.streaming import StreamedRows

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


class Totals:
    """Sums over an epoch, kept on the device: reading one per batch would stall a GPU."""

    def __init__(self, like: Tensor, likelihood: TableLikelihood):
        gaussian = likelihood.members.get("gaussian", [])
        n_gaussian = len(gaussian)
        # Which columns of the mask belong to the squares; none are picked where all do.
        self.picked = gaussian if n_gaussian < likelihood.n_features else None
        self.bound = like.new_zeros((), dtype=torch.float64)
        self.skipped = like.new_zeros((), dtype=torch.float32)
        self.squares = like.new_zeros(n_gaussian)
        self.counts = like.new_zeros(n_gaussian)
        self.steps = 0

    def add(self, batch: Batch, estimate: Estimate, finite: Tensor | bool) -> None:
        """Add a step, or only count it as skipped."""
        self.steps += 1
        if isinstance(finite, bool) and not finite:
            self.skipped += 1
            return
        if isinstance(finite, Tensor):
            self.skipped += ~finite

        def keep(value: Tensor) -> Tensor:
            return torch.where(finite, value, 0.0) if isinstance(finite, Tensor) else value

        self.bound += keep(batch.total(estimate.bound))
        if estimate.squares is not None:
            mask = batch.mask
            if mask is not None and self.picked is not None:
                mask = mask[:, self.picked]
            squares, counts = _pooled(estimate.squares, estimate.share, batch.weights, mask)
            self.squares += keep(squares)
            self.counts += keep(counts) if isinstance(counts, Tensor) else counts

    def variance(self) -> Tensor:
        """Return the mean squared residual of each Gaussian column."""
        return self.squares / self.counts.clamp(min=1e-12)


def _pooled(
    squares: Tensor, share: Tensor | None, weights: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor | int]:
    """Return weighted sums of squares, and of cells, per Gaussian column."""
    if share is not None:
        squares = (share[..., None] * squares).sum(0)
    else:
        squares = squares[0] if len(squares) == 1 else squares.mean(0)
    if weights is None:
        return squares.sum(0), len(squares) if mask is None else mask.sum(0)
    return weights @ squares, weights.sum() if mask is None else weights @ mask


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
    **kwargs : dict
        As for :class:`skorch.NeuralNet`.
    """

    def __init__(self, module, *, objective=None, beta=1.0, kl_warmup=0, **kwargs):
        self.objective = Objective() if objective is None else objective
        self.beta = beta
        self.kl_warmup = kl_warmup
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
        return -X.mean(self._estimate(X, self._kl_weight()).surrogate)

    def initialize_history(self):
        """Begin a history, and the counts that go with it."""
        super().initialize_history()
        self._learned: list[Tensor] = []
        self.held_out_bounds_: Tensor | None = None
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
        """Let go of what only the training needs: what is left must pickle, from a GPU too."""
        self._learned, self.held_out_bounds_ = [], None

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
        like = rows.like
        likelihood = self.module_.likelihood
        gaussian = likelihood.gaussian
        totals = Totals(like, likelihood)
        kl_weight = self._kl_weight()
        self._learned = [p for p in self.module_.parameters() if p.requires_grad]
        before = [p.detach().clone() for p in self._learned]
        heard = self._batch_listeners()
        for batch in rows.shuffled():
            if heard:
                self.notify("on_batch_begin", batch=batch, training=True)
            estimate, finite = self._step(batch, kl_weight, heard)
            totals.add(batch, estimate, finite)
            if heard:
                self.notify("on_batch_end", batch=batch, training=True)
        self.n_epochs_ += 1
        skipped = self._repair(before, totals)
        if gaussian is not None and skipped < totals.steps:
            draws = len(rows) * self.objective.n_draws
            rate = max(min(1.0, draws / DRAWS_OF_VARIANCE), 1 / self.n_epochs_)
            gaussian.maximize(totals.variance(), rate)
        kept = len(rows) * (1 - skipped / totals.steps)
        return float(totals.bound) / kept if kept else float("nan")

    def _step(self, batch: Batch, kl_weight: float, heard: bool):
        """Take one gradient step on theta and phi, unless it is not finite."""
        estimate = self._estimate(batch, kl_weight)
        loss = -batch.mean(estimate.surrogate)
        for parameter in self._learned:
            parameter.grad = None
        loss.backward()
        if heard:
            self.notify(
                "on_grad_computed",
                named_parameters=list(self.module_.named_parameters()),
                batch=batch,
                training=True,
            )
        probe = self._probe(loss)
        if probe.device.type == "cuda" and self.optimizer_.defaults.get("fused"):
            # The fused kernels skip the update by themselves where this is 1: nothing is read.
            finite = torch.isfinite(probe)
            self.optimizer_.found_inf = (~finite).float()
            self.optimizer_.step()
            return estimate, finite
        sound = math.isfinite(probe)
        if sound:
            self.optimizer_.step()
        return estimate, sound

    def _probe(self, loss: Tensor) -> Tensor:
        """Return a number that is finite if the step is.

        Whatever goes wrong in the backward pass ends in the first gradients of the encoder, which
        is the last to be reached.
        """
        probe = loss.detach()
        for parameter in self._learned:
            # The smallest of a layer's gradients says as much as the largest: take the bias.
            if parameter.grad is not None and parameter.ndim == 1:
                return probe + parameter.grad.sum()
        return probe

    def _repair(self, before: list[Tensor], totals: Totals) -> int:
        """Count the steps that were skipped; undo an epoch that broke the weights."""
        skipped = int(totals.skipped)
        sound = all(math.isfinite(p.detach().sum()) for p in self._learned)
        if not sound:
            with torch.no_grad():
                for parameter, value in zip(self._learned, before, strict=True):
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
        self._learned = []
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
        totals = Totals(rows.targets, likelihood)
        draws = rows.n_samples * self.objective.n_draws
        for _ in range(-(-FINAL_DRAWS // draws)):
            for part in rows.slices(FINAL_DRAWS):
                totals.add(part, self._estimate(part, self.beta), True)
        likelihood.gaussian.maximize(totals.variance(), 1.0)

    @torch.no_grad()
    def _judge(self, batch: Batch) -> float:
        """Return the bound of rows held out, by draws that are the same in every epoch."""
        n, d = batch.n_samples, self.module_.n_latents
        repeats = max(1, min(16, HELD_OUT_DRAWS // n))
        generator = torch.Generator().manual_seed(n)
        copies = batch.map(lambda tensor: tensor.repeat(repeats, *[1] * (tensor.ndim - 1)))
        noise = torch.randn(self.objective.n_draws, copies.n_samples, d, generator=generator)
        estimate = self.objective(self.module_, copies, noise.to(batch.targets), self.beta)
        self.held_out_bounds_ = estimate.bound.view(repeats, n).mean(0)
        if self.beta != 1 and self.objective.name == "elbo":
            # What is climbed is what decides when to stop.
            kl = self.module_.encode(batch.targets, batch.mask).kl()
            self.held_out_bounds_ += (1 - self.beta) * kl
        return float(batch.mean(self.held_out_bounds_))

    def _estimate(self, batch: Batch, kl_weight: float):
        shape = self.objective.n_draws, batch.n_samples, self.module_.n_latents
        noise = torch.randn(shape, dtype=batch.targets.dtype, device=batch.targets.device)
        return self.objective(self.module_, batch, noise, kl_weight)

    def _kl_weight(self) -> float:
        """Return beta of this epoch."""
        if self.n_epochs_ >= self.kl_warmup:
            return float(self.beta)
        return float(self.beta) * (self.n_epochs_ + 1) / (self.kl_warmup + 1)

    def _batch_listeners(self) -> bool:
        """Tell whether a callback of the user's listens to batches."""
        for name, callback in self.callbacks_:
            if name in ("epoch_timer", "train_loss", "valid_loss", "print_log"):
                continue
            for hook in BATCH_HOOKS:
                if getattr(type(callback), hook) is not getattr(Callback, hook):
                    return True
        return False


def optimizer_options(name: Any) -> tuple[type, dict]:
    """Return the class of an optimiser and the options that make it fast.

    Parameters
    ----------
    name : str or type
        One of ``"adam" "adamw" "adagrad" "rmsprop" "sgd"``, or a class of torch.optim's kind.

    Returns
    -------
    optimizer : type
        The class.
    options : dict
        ``fused=True`` where there is a fused kernel: a fifth of a small net's step.
    """
    classes = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adagrad": torch.optim.Adagrad,
        "rmsprop": torch.optim.RMSprop,
        "sgd": torch.optim.SGD,
    }
    optimizer = classes[name] if isinstance(name, str) else name
    fusible = (torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad, torch.optim.SGD)
    return optimizer, {"fused": True} if optimizer in fusible else {}
