"""A step that is replayed, as a CUDA graph does it, is the step that it was recorded from.

Without a GPU a tape stands in for the graph: it notes every operation and the tensors it worked on,
and replays just those. Whatever Python decided while recording is then as frozen as in a graph.
"""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from skorch.callbacks import Callback, LRScheduler
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from skelbo import VAEEstimator
from skelbo.neural.training.captured_step import MAX_SIZES, WARM_UP, CaptureError

IRIS = load_iris().data
HOLES = np.where(np.random.default_rng(0).random(IRIS.shape) < 0.2, np.nan, IRIS)
MIXED = np.column_stack([HOLES, np.arange(150) % 2, np.arange(150) % 3])
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def views(values):
    """The same memory, seen as it is seen now: an operation may reshape a tensor in place."""
    return tree_map(lambda v: v.detach() if isinstance(v, torch.Tensor) else v, values)


class Tape(TorchDispatchMode):
    """Notes operations; reading a number is refused, as it is while a graph is recorded."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            raise CaptureError("a number was read")
        inputs = views((args, kwargs or {}))
        result = function(*args, **(kwargs or {}))
        self.operations.append((function, inputs, views(result)))
        return result

    @torch.no_grad()
    def replay(self):
        for function, inputs, noted in self.operations:
            args, kwargs = views(inputs)
            result = function(*args, **kwargs)
            for old, new in zip(tree_leaves(noted), tree_leaves(result), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Tapes:
    """Records tapes on the CPU, and counts."""

    def __init__(self):
        self.n_recorded = self.n_replayed = 0

    def warm_up(self, run, last):
        if not last:
            return run()
        draws = torch.get_rng_state()
        try:
            with Tape():
                run()
        except CaptureError:
            torch.set_rng_state(draws)
            raise

    def record(self, run):
        tape = Tape()
        with tape:
            run()
        self.n_recorded += 1
        recording_was_a_step = True

        def replay():
            nonlocal recording_was_a_step
            self.n_replayed += 1
            if not recording_was_a_step:
                tape.replay()
            recording_was_a_step = False

        return replay


@pytest.fixture
def tapes(monkeypatch):
    made = Tapes()
    monkeypatch.setattr("skelbo.neural.training.net.make_recorder", lambda device: made)
    return made


def small(**params):
    defaults = {
        "hidden_layer_sizes": (8,),
        "max_iter": 6,
        "early_stopping": False,
        "batch_size": 20,
        "kl_warmup": 3,
        "lr": 1e-2,
        "random_state": 0,
    }
    return VAEEstimator(2, **{**defaults, **params})


def parameters(model):
    return torch.cat([p.detach().ravel() for p in model.net_.module_.parameters()])


def assert_same(one, other):
    # A rate in float32, as a graph wants it, is all that differs.
    torch.testing.assert_close(parameters(one), parameters(other), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one.lower_bounds_, other.lower_bounds_, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("X", "params"),
    [
        (IRIS, {}),
        (IRIS, {"objective": "iwae", "gradient": "dreg", "n_samples": 3, "beta": 2.0}),
        (IRIS, {"gradient": "score_function", "optimizer": "adamw"}),
        (HOLES, {"early_stopping": True, "n_iter_no_change": 1, "max_iter": 12}),
        (MIXED, {"likelihood": "auto", "noise": "isotropic"}),
        (np.round(IRIS), {"likelihood": "poisson", "activation": "tanh"}),
        (IRIS, {"callbacks": [LRScheduler("StepLR", step_size=2, gamma=0.1)]}),
        (IRIS, {"encoder": lambda n, m: nn.Sequential(nn.Linear(n, 9), nn.ELU(), nn.Linear(9, m))}),
    ],
    ids=["plain", "dreg", "score", "held-out", "mixed", "poisson", "schedule", "own"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_replayed_steps_are_eager_steps(monkeypatch, tapes, X, params, weighted):
    weights = np.arange(150) % 3 if weighted else None
    replayed = small(**params).fit(X, sample_weight=weights)
    assert replayed.net_.not_captured_because_ is None
    monkeypatch.undo()
    eager = small(**params).fit(X, sample_weight=weights)
    assert "device" in eager.net_.not_captured_because_
    assert_same(replayed, eager)
    # One recording per batch size; all steps but the first of each size are replays.
    assert 1 <= tapes.n_recorded <= 2
    steps = replayed.n_iter_ * -(-len(X) // 20)
    assert tapes.n_replayed > 0.5 * steps


def test_the_optimizer_is_left_as_it_was(tapes):
    model = small().fit(IRIS)
    assert tapes.n_replayed > 0
    (group,) = model.net_.optimizer_.param_groups
    assert type(group["lr"]) is float
    assert group["capturable"] is False
    pickle.loads(pickle.dumps(model)).partial_fit(IRIS)


class Spoil(Callback):
    """Makes one row infinite once the steps are being replayed, and mends it an epoch later."""

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        epoch = len(net.history)
        if epoch == 3:
            self.cell = float(dataset_train.train.targets[0, 0])
        if epoch in (3, 4):
            dataset_train.train.targets[0, 0] = np.inf if epoch == 3 else self.cell


def test_a_replayed_step_that_is_not_finite_is_skipped_and_counted(monkeypatch, tapes):
    replayed = small(callbacks=[Spoil()]).fit(IRIS)
    assert replayed.n_skipped_steps_ == 1
    monkeypatch.undo()
    eager = small(callbacks=[Spoil()]).fit(IRIS)
    assert eager.n_skipped_steps_ == 1
    assert_same(replayed, eager)


class Freeze(Callback):
    """Ends the learning of the decoder's first layer after two epochs."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3:
            net.module_.decoder[0].requires_grad_(False)


class Weigh(Callback):
    """Changes an option of the optimiser that a recording has swallowed."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3:
            net.optimizer_.param_groups[0]["weight_decay"] = 0.5


@pytest.mark.parametrize("callback", [Freeze, Weigh])
def test_what_a_recording_cannot_follow_makes_a_new_one(monkeypatch, tapes, callback):
    replayed = small(callbacks=[callback()], batch_size=30).fit(IRIS)
    assert tapes.n_recorded == 2
    monkeypatch.undo()
    assert_same(replayed, small(callbacks=[callback()], batch_size=30).fit(IRIS))


class Reads(nn.Module):
    """Looks at its input to decide what to do."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_inputs, n_outputs)

    def forward(self, x):
        return self.layer(x if float(x[0, 0].detach()) > 0 else -x)


class Listens(Callback):
    def on_batch_end(self, net, **kwargs):
        pass


def test_steps_that_cannot_be_recorded_run_as_they_are(monkeypatch, tapes):
    forced = {"net_params": {"capture": True}}
    model = small(encoder=Reads, **forced).fit(IRIS)
    assert (tapes.n_recorded, tapes.n_replayed) == (0, 0)
    monkeypatch.undo()
    assert_same(model, small(encoder=Reads).fit(IRIS))


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"encoder": Reads}, "Reads may not do the same in each step"),
        ({"optimizer": "rmsprop"}, "RMSprop is not the fused Adam"),
        ({"callbacks": [Listens()]}, "listens to batches"),
        ({"net_params": {"capture": False}}, "capture=False"),
    ],
)
def test_the_reason_is_told_and_logged(tapes, caplog, params, reason):
    with caplog.at_level("INFO", logger="skelbo"):
        model = small(**params).fit(IRIS)
    assert reason in model.net_.not_captured_because_
    assert reason in caplog.text
    assert tapes.n_replayed == 0


def test_rare_sizes_are_not_recorded(tapes):
    from skelbo.neural.data.batches import Batch
    from skelbo.neural.model.objectives import Objective
    from skelbo.neural.training.captured_step import CapturedStep
    from skelbo.neural.training.distributed import Processes
    from skelbo.neural.training.gradient_step import GradientStep

    net = small(max_iter=1, batch_size=150).fit(IRIS).net_
    module = net.module_.train()
    step = GradientStep(module, Objective(), net.optimizer_, Processes(), reads=False)
    captured = CapturedStep(step, tapes)
    rows = torch.randn(50, 4).double()
    with captured.epoch(1.0) as totals:
        for _ in range(WARM_UP + 2):
            for size in range(10, 10 + MAX_SIZES + 2):
                captured(Batch(rows[:size]))
    assert tapes.n_recorded == MAX_SIZES
    assert int(totals.skipped) == 0
    assert totals.steps == (WARM_UP + 2) * (MAX_SIZES + 2)


# ------------------------------------------------------------------------------- pickling


class TensorFound(Exception):
    pass


class NoTensors(pickle._Pickler):
    """A pickler that meets no tensor: what holds them has packed them to be mapped to a CPU."""

    def save(self, obj, *args, **kwargs):
        if isinstance(obj, (torch.Tensor, torch.storage.UntypedStorage)):
            raise TensorFound(type(obj))
        return super().save(obj, *args, **kwargs)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
def test_no_tensor_is_pickled_past_the_packing_that_maps_a_gpu_to_the_cpu(tapes, early_stopping):
    import io

    callbacks = [LRScheduler("StepLR", step_size=2)]
    model = small(callbacks=callbacks, early_stopping=early_stopping).fit(IRIS)
    NoTensors(io.BytesIO()).dump(model)
    with pytest.raises(TensorFound):
        NoTensors(io.BytesIO()).dump(model.net_.module_)


# ------------------------------------------------------------------------------- on a GPU


@needs_cuda
@pytest.mark.parametrize("params", [{}, {"objective": "iwae", "gradient": "dreg", "n_samples": 5}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cuda_graphs_are_eager_steps(params, dtype):
    X = IRIS.astype(dtype)
    graphs = small(device="cuda", **params).fit(X)
    assert graphs.net_.not_captured_because_ is None
    eager = small(device="cuda", net_params={"capture": False}, **params).fit(X)
    torch.testing.assert_close(parameters(graphs), parameters(eager), rtol=1e-3, atol=1e-4)
    again = small(device="cuda", **params).fit(X)
    assert torch.equal(parameters(graphs), parameters(again))


@needs_cuda
def test_cuda_falls_back_where_a_network_reads():
    model = small(device="cuda", encoder=Reads, net_params={"capture": True}).fit(IRIS)
    assert np.isfinite(model.score(IRIS))
    assert small(device="cuda").fit(IRIS).net_.not_captured_because_ is None


@needs_cuda
def test_a_model_of_a_gpu_scores_on_a_machine_without(tmp_path):
    import subprocess
    import sys

    model = small(device="cuda", callbacks=[LRScheduler("StepLR", step_size=2)]).fit(IRIS)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    code = (
        "import sys, pickle, warnings; warnings.simplefilter('ignore')\n"
        "from sklearn.datasets import load_iris\n"
        "print(pickle.load(open(sys.argv[1], 'rb')).score(load_iris().data))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model.pkl"],
        env={"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ":".join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert float(run.stdout) == pytest.approx(model.score(IRIS), rel=1e-4)
