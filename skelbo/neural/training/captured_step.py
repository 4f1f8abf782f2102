"""The gradient step as one CUDA graph: launched as a whole instead of kernel by kernel."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from skelbo.neural.data.batches import Batch
from skelbo.neural.training.epoch_sums import Totals
from skelbo.neural.training.gradient_step import GradientStep

LOG = logging.getLogger("skelbo")
# Steps of each batch size before it is recorded: libraries choose their kernels in the first ones.
WARM_UP = 3
# Sizes that are recorded at most. A table in memory has two; rare ones are not worth a graph.
MAX_SIZES = 4


class CaptureError(RuntimeError):
    """A step does what cannot be recorded, such as reading a number from the device."""


class Recorder(Protocol):
    """Turns a function into something that repeats what it did on the device."""

    def warm_up(self, run: Callable[[], None], last: bool) -> None:
        """Call the function; the last time be strict, and if it fails take its draws back."""

    def record(self, run: Callable[[], None]) -> Callable[[], None]:
        """Return what repeats the function on whatever then lies in its tensors."""


class CudaGraphs:
    """Records CUDA graphs, which share their memory.

    Draws need no care: a graph goes on with the device's own generator wherever it stands.

    Parameters
    ----------
    device : torch.device
        A CUDA device.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def warm_up(self, run: Callable[[], None], last: bool) -> None:
        """Call the function on the stream that it will be recorded on."""
        mode = torch.cuda.get_sync_debug_mode()
        with torch.cuda.device(self.device), warnings.catch_warnings():
            # Adam that is ready for a graph is told off for running without one.
            warnings.filterwarnings("ignore", message=".*capturable=True")
            current, draws = torch.cuda.current_stream(), torch.cuda.get_rng_state()
            self.stream.wait_stream(current)
            try:
                with torch.cuda.stream(self.stream):
                    if last:
                        # A recording that fails leaves the device in disorder: ask beforehand.
                        torch.cuda.set_sync_debug_mode("error")
                    run()
            except RuntimeError as error:
                if not last:
                    raise
                torch.cuda.set_rng_state(draws)
                raise CaptureError(str(error)) from error
            finally:
                torch.cuda.set_sync_debug_mode(mode)
                current.wait_stream(self.stream)

    def record(self, run: Callable[[], None]) -> Callable[[], None]:
        """Record the function, which is not carried out by that."""
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(self.device),
            torch.cuda.graph(graph, pool=self.pool, stream=self.stream),
        ):
            run()
        return graph.replay


def make_recorder(device: torch.device) -> Recorder | None:
    """Return what records steps on a device; None where nothing does."""
    return CudaGraphs(device) if device.type == "cuda" else None


class Recording:
    """Steps of one batch size, whose rows are brought to one place.

    Parameters
    ----------
    step : GradientStep
        What is recorded.
    recorder : Recorder
        What records it.
    batch : Batch
        A batch of that size.
    """

    def __init__(self, step: GradientStep, recorder: Recorder, batch: Batch):
        self.step, self.recorder = step, recorder
        self.place = batch.map(torch.empty_like)
        self.n_steps = 0
        self.replay: Callable[[], None] | None = None

    def __call__(self, batch: Batch) -> None:
        """Take one step: the first ones as they are, all others as they were recorded."""
        for place, values in zip(self.place, batch, strict=True):
            if place is not None and values is not None:
                place.copy_(values)
        self.n_steps += 1
        if self.n_steps <= WARM_UP:
            self.recorder.warm_up(self._run, last=self.n_steps == WARM_UP)
            return
        if self.replay is None:
            self.replay = self.recorder.record(self._run)
        self.replay()

    def _run(self) -> None:
        self.step.run(self.place)


class CapturedStep:
    """A gradient step whose every input has a fixed place, so that it can be replayed.

    The rows of a batch, the weight of the KL and the learning rates are copied to where the
    recorded step looks for them; totals, parameters and the optimiser's state stay where they
    are. Where one of these is found elsewhere than it was, or a network in another mode, the
    recordings are thrown away and made again.

    Parameters
    ----------
    step : GradientStep
        With ``reads=False`` and no listener: whatever it does must stay on the device.
    recorder : Recorder
        What records it.

    Attributes
    ----------
    refusal : str or None
        Why steps could not be recorded, if so; they then run as they are.
    """

    def __init__(self, step: GradientStep, recorder: Recorder):
        self.step, self.recorder = step, recorder
        like = step.totals.squares
        self.kl_weight = like.new_zeros(())
        groups = step.optimizer.param_groups
        self.rates = [torch.zeros((), dtype=torch.float32, device=like.device) for _ in groups]
        self.recordings: dict[int, Recording] = {}
        self.known: tuple | None = None
        self.refusal: str | None = None

    @property
    def totals(self) -> Totals:
        """Sums over the steps of the epoch."""
        return self.step.totals

    @property
    def learned(self) -> list[nn.Parameter]:
        """What is learned."""
        return self.step.learned

    @property
    def generator(self) -> torch.Generator | None:
        """Source of draws."""
        return self.step.generator

    @contextmanager
    def epoch(self, kl_weight: float) -> Iterator[Totals]:
        """Run an epoch: inside, callbacks' numbers lie where recorded steps look for them."""
        if self.known != self._surroundings():
            self.recordings = {}
        groups = self.step.optimizer.param_groups
        names = "lr", "capturable"
        outside: list[dict[str, Any]] = [{k: g[k] for k in names if k in g} for g in groups]
        if self.refusal is None:
            for group, rate in zip(groups, self.rates, strict=True):
                group.update(lr=rate.fill_(float(group["lr"])), capturable=True)
        try:
            with self.step.epoch(self.kl_weight.fill_(kl_weight)) as totals:
                yield totals
        finally:
            for group, values in zip(groups, outside, strict=True):
                group.update(values)
            self.known = self._surroundings()

    def __call__(self, batch: Batch) -> None:
        """Take one step."""
        self.totals.steps += 1
        recording = self._recording(batch)
        try:
            if recording is not None:
                return recording(batch)
        except CaptureError as error:
            self.refusal, self.recordings = str(error), {}
            LOG.info("steps are not recorded: %s", error)
        self.recorder.warm_up(partial(self.step.run, batch), last=False)

    def _recording(self, batch: Batch) -> Recording | None:
        size = batch.n_samples
        if size not in self.recordings:
            if self.refusal is not None or len(self.recordings) == MAX_SIZES:
                return None
            self.recordings[size] = Recording(self.step, self.recorder, batch)
        return self.recordings[size]

    def _surroundings(self) -> tuple:
        """Return what a recording holds to be fixed."""
        model, optimizer = self.step.model, self.step.optimizer
        tensors = [*model.parameters(), *model.buffers()]
        state = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
        moving = ("params", "lr", "initial_lr", "capturable")
        fixed = [
            {k: v for k, v in group.items() if k not in moving} for group in optimizer.param_groups
        ]
        return (
            [t.data_ptr() for t in tensors + state],
            [t.requires_grad for t in tensors],
            [module.training for module in model.modules()],
            str(fixed),
        )
