"""How a VAEEstimator is trained, stopped, continued, extended and kept."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LRScheduler
from torch import nn
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from skelbo import ELBOMonitor, VAEEstimator

IRIS = load_iris().data


def small(n_components=2, **params):
    defaults = {
        "hidden_layer_sizes": (8,),
        "max_iter": 5,
        "early_stopping": False,
        "random_state": 0,
        "n_importance_samples": 200,
    }
    return VAEEstimator(n_components, **{**defaults, **params})


def weights(model):
    return torch.cat([p.detach().ravel() for p in model.net_.module_.parameters()])


class Interrupt(Callback):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch
        self.epochs = 0

    def on_epoch_begin(self, net, **kwargs):
        self.epochs += 1

    def on_grad_computed(self, net, *args, **kwargs):
        if self.epochs == self.epoch:
            signal_interrupt()


def signal_interrupt():
    import signal

    signal.raise_signal(signal.SIGINT)


# ----------------------------------------------------------------------- stopping


@pytest.mark.slow
def test_early_stopping_restores_the_best_weights():
    X = np.random.default_rng(0).normal(size=(200, 6))
    model = VAEEstimator(2, hidden_layer_sizes=(64,), lr=1e-2, kl_warmup=0, random_state=0).fit(X)
    assert model.converged_
    assert model.n_iter_ < model.max_iter
    # Noise has no structure: the best epoch lies well before the last of the first plateau.
    history = model.net_.history
    assert len(history) == model.n_iter_ == len(model.validation_lower_bounds_)
    assert model.validation_lower_bounds_[-1] >= max(model.validation_lower_bounds_) - 0.05


def test_a_bound_that_still_rises_is_reported():
    X = np.tile(IRIS, (2, 1))
    with pytest.warns(ConvergenceWarning, match="still rising after max_iter=3 epochs"):
        model = small(early_stopping=True, max_iter=3).fit(X)
    assert not model.converged_
    assert model.n_iter_ == 3


@pytest.mark.slow
def test_nothing_stops_during_the_warm_up_of_the_kl():
    X = np.random.default_rng(0).normal(size=(200, 3))
    params = {"early_stopping": True, "kl_warmup": 60, "n_iter_no_change": 1, "batch_size": 20}
    model = small(max_iter=500, **params).fit(X)
    assert model.n_iter_ > 60


def test_a_stop_by_ctrl_c_keeps_what_was_learned():
    with pytest.warns(ConvergenceWarning, match="interrupted after 3 epochs"):
        model = small(max_iter=50, callbacks=[Interrupt(4)]).fit(IRIS)
    assert model.n_iter_ == 3
    assert not model.converged_
    assert np.isfinite(model.score(IRIS))


@pytest.mark.slow
def test_ctrl_c_restores_the_best_weights_of_the_rows_held_out():
    X = np.random.default_rng(0).normal(size=(60, 6))
    params = {"early_stopping": True, "validation_fraction": 0.5, "lr": 1e-2, "kl_warmup": 0}
    wide = {"hidden_layer_sizes": (64,), "batch_size": 4, "n_iter_no_change": 100}
    with pytest.warns(ConvergenceWarning, match="interrupted after 29 epochs"):
        model = small(max_iter=200, callbacks=[Interrupt(30)], **params, **wide).fit(X)
    bounds = model.validation_lower_bounds_
    best = 1 + int(np.argmax(bounds))
    assert best < 29  # it overfits
    # The weights are those of a fit that ends with the best epoch.
    with pytest.warns(ConvergenceWarning, match="still rising"):
        short = small(max_iter=best, **params, **wide).fit(X)
    assert torch.equal(weights(model), weights(short))


def test_ctrl_c_before_the_first_epoch_is_passed_on():
    with pytest.raises(KeyboardInterrupt):
        small(callbacks=[Interrupt(1)]).fit(IRIS)
    with pytest.raises(KeyboardInterrupt):
        small(callbacks=[Interrupt(1)]).partial_fit(IRIS)


# ------------------------------------------------------------------------ callbacks


def test_callbacks_of_scikit_learn_see_every_epoch_and_may_stop():
    monitor = ELBOMonitor()
    model = small().set_callbacks(monitor).fit(IRIS)
    bounds = [entry["lower_bound"] for entry in monitor.log_]
    assert len(bounds) == 5
    assert bounds[:-1] == pytest.approx(model.lower_bounds_[:-1])
    stopper = ELBOMonitor(patience=1, min_climb=np.inf)
    assert small().set_callbacks(stopper).fit(IRIS).n_iter_ == 2


def test_progress_bar(capsys):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = small().set_callbacks(ProgressBar()).fit(IRIS)
    assert capsys.readouterr().out.count("VAEEstimator") >= 1
    assert torch.equal(weights(shown), weights(small().fit(IRIS)))


def test_callbacks_of_skorch_work_and_the_parameter_is_not_written_to(tmp_path):
    stop = EarlyStopping("train_loss", patience=2, threshold=1e9, threshold_mode="abs")
    scheduler = LRScheduler("StepLR", step_size=1, gamma=0.5)
    checkpoint = Checkpoint(monitor="train_loss_best", dirname=tmp_path)
    callbacks = [stop, scheduler, checkpoint]
    model = small(max_iter=20, callbacks=callbacks)
    before = dict(vars(stop))
    model.fit(IRIS)
    assert vars(stop) == before
    assert model.callbacks is callbacks
    assert model.n_iter_ < 20
    assert model.converged_
    assert model.net_.history[:, "train_loss"][0] > 0
    assert model.net_.optimizer_.param_groups[0]["lr"] < 1e-3 / 2
    assert (tmp_path / "params.pt").exists()


def test_net_params_reach_the_optimizer():
    model = small(net_params={"optimizer__weight_decay": 0.25}).fit(IRIS)
    assert model.net_.optimizer_.param_groups[0]["weight_decay"] == 0.25


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adagrad", "rmsprop", "sgd"])
def test_optimizers(optimizer):
    model = small(optimizer=optimizer).fit(IRIS)
    assert np.isfinite(model.score(IRIS))
    assert small(optimizer=torch.optim.NAdam).fit(IRIS).converged_


class Corrupt(Callback):
    """Spoils the gradient of one step."""

    def __init__(self):
        self.done = False

    def on_grad_computed(self, net, named_parameters, **kwargs):
        if not self.done:
            for _, parameter in named_parameters:
                parameter.grad.fill_(float("nan"))
            self.done = True


def test_a_step_that_is_not_finite_is_skipped_and_counted():
    model = small(batch_size=10, callbacks=[Corrupt()]).fit(IRIS)
    assert model.n_skipped_steps_ == 1
    assert torch.isfinite(weights(model)).all()
    assert np.isfinite(model.lower_bounds_).all()


# ------------------------------------------------------------------------- going on


def test_warm_start_goes_on_where_the_fit_ended():
    model = small(max_iter=60, lr=1e-2, warm_start=True).fit(IRIS)
    before = model.lower_bound_
    model.set_params(max_iter=1, lr=1e-6).fit(IRIS)
    assert model.lower_bound_ == pytest.approx(before, abs=0.1)
    assert small(max_iter=1, lr=1e-6).fit(IRIS).lower_bound_ < before - 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", 3),
        ("likelihood", "poisson"),
        ("noise", "isotropic"),
        ("hidden_layer_sizes", (9,)),
        ("encoder", nn.Linear),
    ],
)
def test_what_goes_on_must_fit_together(name, value):
    X = np.round(IRIS)
    model = small(warm_start=True).fit(X).set_params(**{name: value})
    for go_on in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=f"{name} is .* the networks to go on from were made"):
            go_on(X)
    model.set_params(warm_start=False).fit(X).partial_fit(X)


def test_warm_start_needs_the_same_columns():
    model = small(warm_start=True).fit(IRIS)
    with pytest.raises(ValueError, match="expecting 4 features"):
        model.fit(IRIS[:, :3])


def test_partial_fit_climbs_pass_by_pass():
    model = small(lr=1e-2)
    for _ in range(40):
        model.partial_fit(IRIS)
    assert model.n_iter_ == 40 == len(model.lower_bounds_)
    assert np.mean(model.lower_bounds_[-10:]) > np.mean(model.lower_bounds_[:10]) + 0.5
    assert len(set(model.lower_bounds_)) == 40
    again = small(lr=1e-2)
    for _ in range(40):
        again.partial_fit(IRIS)
    assert np.array_equal(again.transform(IRIS), model.transform(IRIS))


def test_partial_fit_after_fit_and_in_batches():
    model = small().fit(IRIS)
    before = weights(model).clone()
    model.partial_fit(IRIS[:50]).partial_fit(IRIS[50:])
    assert not torch.equal(weights(model), before)
    with pytest.raises(ValueError, match="expecting 4 features"):
        model.partial_fit(IRIS[:, :2])


# ------------------------------------------------------------------- networks of one's own


class ConvolutionalEncoder(nn.Module):
    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64, n_outputs),
        )

    def forward(self, x):
        return self.layers(x).chunk(2, dim=1)


def test_convolutions():
    X = load_digits().data[:200] + np.random.default_rng(0).random((200, 64))
    model = small(encoder=ConvolutionalEncoder).fit(X)
    assert model.transform(X).shape == (200, 2)
    assert pickle.loads(pickle.dumps(model)).transform(X).shape == (200, 2)


def test_linear_layers_as_networks_are_the_linear_vae():
    model = small(encoder=nn.Linear, decoder=nn.Linear).fit(IRIS)
    assert model.n_parameters_ == small(hidden_layer_sizes=()).fit(IRIS).n_parameters_


def test_an_instance_is_never_trained_in_place():
    encoder = nn.Sequential(nn.Linear(4, 4))
    before = encoder[0].weight.detach().clone()
    model = small(encoder=encoder).fit(IRIS)
    assert model.encoder is encoder
    assert torch.equal(encoder[0].weight, before)
    assert not torch.equal(model.encoder_[0].weight, before)
    fresh = clone(model)
    assert torch.equal(fresh.encoder[0].weight, before)
    # The same start, the same data, the same seed.
    assert torch.equal(weights(fresh.fit(IRIS)), weights(model))


# -------------------------------------------------------------------------------- files


@pytest.mark.parametrize("likelihood", ["gaussian", "categorical"])
def test_a_file_without_pickle_holds_everything(tmp_path, likelihood):
    pytest.importorskip("safetensors")
    pd = pytest.importorskip("pandas")
    X = IRIS if likelihood == "gaussian" else np.round(IRIS)
    X = pd.DataFrame(np.array(X), columns=list("abcd"))
    model = small(likelihood=likelihood).fit(X)
    model.to_file(tmp_path / "model.safetensors")
    loaded = VAEEstimator.from_file(tmp_path / "model.safetensors")
    assert loaded.get_params() == model.get_params()
    assert np.array_equal(loaded.score_samples(X), model.score_samples(X))
    assert loaded.lower_bounds_ == model.lower_bounds_
    assert loaded.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_array_equal(loaded.noise_variance_, model.noise_variance_)
    loaded.set_params(warm_start=True).fit(X)


def test_networks_of_ones_own_are_passed_when_reading(tmp_path):
    pytest.importorskip("safetensors")
    model = small(encoder=nn.Linear).fit(IRIS)
    model.to_file(tmp_path / "model")
    with pytest.raises(ValueError, match="pass the encoder and decoder"):
        VAEEstimator.from_file(tmp_path / "model")
    loaded = VAEEstimator.from_file(tmp_path / "model", encoder=nn.Linear)
    assert np.array_equal(loaded.transform(IRIS), model.transform(IRIS))


def test_a_file_of_another_kind_is_refused(tmp_path):
    pytest.importorskip("safetensors")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="expected 'skelbo.VAEEstimator/1'"):
        VAEEstimator.from_file(tmp_path / "other")
    (tmp_path / "text").write_text("no safetensors at all")
    with pytest.raises(ValueError, match="is no safetensors file"):
        VAEEstimator.from_file(tmp_path / "text")


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    safetensors = pytest.importorskip("safetensors.torch")
    path, model = tmp_path / "model", small().fit(IRIS)
    model.to_file(path)

    def disk_full(tensors, place, metadata):
        place.write_text("half of")
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors, "save_file", disk_full)
    with pytest.raises(OSError, match="No space"):
        model.to_file(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert VAEEstimator.from_file(path).score(IRIS) == model.score(IRIS)


# -------------------------------------------------------------------------- large tables


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_memory_map_is_streamed(tmp_path, monkeypatch, early_stopping, weighted):
    """Sorted rows, the worst case for reading in order: the fit is as good as from memory."""
    monkeypatch.setattr("skelbo.neural.estimator.STREAMED_BYTES", 0)
    rng = np.random.default_rng(0)
    X = np.sort(rng.normal(size=(1000, 1)), axis=0) * [[1.0, 2.0, -1.0]]
    X += 0.1 * rng.normal(size=X.shape)
    file = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=X.shape)
    file[:] = X
    weights = rng.integers(0, 3, 1000) if weighted else None
    params = {"hidden_layer_sizes": (), "lr": 5e-2, "max_iter": 20, "batch_size": 64}
    model = small(1, early_stopping=early_stopping, **params)
    streamed = clone(model).fit(file, sample_weight=weights)
    in_memory = clone(model).fit(X, sample_weight=weights)
    assert streamed.score(X) > in_memory.score(X) - 0.1
    assert streamed.n_iter_ == len(streamed.lower_bounds_)


def test_a_stream_yields_every_row_once(tmp_path):
    from skelbo.neural.data.columns import Columns
    from skelbo.neural.data.streaming import StreamedRows

    X = np.arange(1000.0)[:, None]
    columns = Columns.read(X, None, "gaussian")
    rows = StreamedRows(X, None, columns, torch.zeros(1).double(), np.arange(0, 1000, 10), 7)
    seen = torch.cat([batch.targets for batch in rows.shuffled()])
    places = np.round(columns.restore(seen.numpy())).ravel()
    assert sorted(places) == [i for i in range(1000) if i % 10]
    assert rows.held_out.n_samples == 100
    assert len(rows) == 900


class Recorded(Dataset):
    """Rows beside a label; remembers how many were read at once."""

    def __init__(self, X):
        self.X, self.largest = X, 0

    def __len__(self):
        return len(self.X)

    def __getitem__(self, place):
        return self.X[place], "a label"

    def __getitems__(self, places):
        self.largest = max(self.largest, len(places))
        return [self[place] for place in places]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weighted", "likelihood", "dtype"),
    [(False, "gaussian", np.float32), (True, "auto", np.float64)],
)
def test_a_dataset_gives_the_fit_of_the_streamed_array(
    tmp_path, monkeypatch, weighted, likelihood, dtype
):
    monkeypatch.setattr("skelbo.neural.estimator.STREAMED_BYTES", 0)
    monkeypatch.setattr("skelbo.neural.estimator.JUDGED_ROWS", 100)
    monkeypatch.setattr("skelbo.neural.data.validation_split.JUDGED_ROWS", 100)
    monkeypatch.setattr("skelbo.neural.training.net.FINAL_DRAWS", 100)
    monkeypatch.setattr("skelbo.neural.data.columns.BLOCK_CELLS", 400)
    monkeypatch.setattr("skelbo.neural.data.datasets.BLOCK_CELLS", 400)
    rng = np.random.default_rng(0)
    file = np.memmap(tmp_path / "rows", dtype=dtype, mode="w+", shape=(1000, 4))
    file[:] = rng.normal(size=(1000, 4)) + rng.normal(size=(1000, 1))
    file[:, 1] = file[:, 1] > 0
    file[:, 2] = np.clip(np.round(file[:, 2]), 0, 2)
    file[::7, 0] = np.nan
    sample_weight = rng.integers(1, 3, 1000) if weighted else None
    model = small(1, early_stopping=True, max_iter=4, batch_size=4, kl_warmup=0)
    model.set_params(likelihood=likelihood)
    dataset = Recorded(file)
    with pytest.warns(ConvergenceWarning):
        of_dataset = clone(model).fit(dataset, sample_weight=sample_weight)
    with pytest.warns(ConvergenceWarning):
        of_array = clone(model).fit(file, sample_weight=sample_weight)
    assert dataset.largest < 300
    assert torch.equal(weights(of_dataset), weights(of_array))
    assert of_dataset.lower_bounds_ == of_array.lower_bounds_
    assert np.array_equal(of_dataset.likelihood_, of_array.likelihood_)
    assert of_dataset.n_features_in_ == 4
    assert of_dataset.transform(file).dtype == dtype


def test_datasets_of_torch_are_read():
    dataset = TensorDataset(torch.tensor(IRIS), torch.zeros(150))
    fits = [small().fit(rows) for rows in (dataset, Subset(dataset, range(150)))]
    passes = [small().partial_fit(rows) for rows in (dataset, IRIS)]
    assert torch.equal(*map(weights, passes))
    assert fits[0].n_features_in_ == 4
    assert torch.equal(*map(weights, fits))


class Endless(IterableDataset):
    def __iter__(self):
        return iter(IRIS)


class Uncounted(Dataset):
    def __getitem__(self, place):
        return IRIS[place]


def test_a_dataset_that_cannot_be_read_is_refused():
    infinite = torch.zeros(150, 4)
    infinite[7, 1] = np.inf
    cases = [
        (Endless(), TypeError, "expected a map-style Dataset"),
        (Uncounted(), TypeError, "without __len__"),
        (TensorDataset(torch.zeros(0, 4)), ValueError, "Dataset of 0 rows"),
        (TensorDataset(torch.zeros(1, 4)), ValueError, "1 sample"),
        (TensorDataset(torch.zeros(9, 2, 2)), ValueError, r"item 0 .* shape \(2, 2\), expected"),
        (Recorded([*IRIS[:9], IRIS[9, :3]]), ValueError, r"item 9 .* shape \(3,\), expected"),
        (TensorDataset(infinite), ValueError, "infinity: item 7"),
    ]
    for dataset, kind, message in cases:
        with pytest.raises(kind, match=message):
            small().fit(dataset)
