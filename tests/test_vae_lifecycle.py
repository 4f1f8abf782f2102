"""Training of a VAEEstimator: stopped, continued, extended and kept."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    LRScheduler,
)
from torch import nn
from torch.utils.data import TensorDataset

from skelbo import ELBOMonitor, NoiseFloorWarning, VAEEstimator
from tests.neural.networks import small, weights

IRIS = load_iris().data


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


# ------------------------------------------------------------ stopping


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


def test_a_fit_that_ends_within_the_warm_up_of_the_kl_has_not_converged():
    with pytest.warns(ConvergenceWarning, match=r"weight of the KL was still rising .* \(now 9"):
        model = small(kl_warmup=9, max_iter=5).fit(IRIS)
    assert not model.converged_
    assert small(kl_warmup=4, max_iter=5).fit(IRIS).converged_


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


# ------------------------------------------------------------ callbacks


def test_callbacks_of_scikit_learn_see_every_epoch_and_may_stop():
    monitor = ELBOMonitor()
    model = small().set_callbacks(monitor).fit(IRIS)
    bounds = [entry["lower_bound"] for entry in monitor.log_]
    assert len(bounds) == 5
    assert bounds[:-1] == pytest.approx(model.lower_bounds_[:-1])
    stopper = ELBOMonitor(patience=1, min_climb=np.inf)
    with pytest.warns(ConvergenceWarning, match="a callback ended the fit after 2 epochs"):
        model = small().set_callbacks(stopper).fit(IRIS)
    assert model.n_iter_ == 2
    assert not model.converged_


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
    with pytest.warns(ConvergenceWarning, match="a callback ended the fit"):
        model.fit(IRIS)
    assert vars(stop) == before
    assert model.callbacks is callbacks
    assert model.n_iter_ < 20
    assert not model.converged_
    assert model.net_.history[:, "train_loss"][0] > 0
    assert model.net_.optimizer_.param_groups[0]["lr"] < 1e-3 / 2
    assert (tmp_path / "params.pt").exists()


def test_net_params_reach_the_optimizer():
    model = small(net_params={"optimizer__weight_decay": 0.25}).fit(IRIS)
    assert model.net_.optimizer_.param_groups[0]["weight_decay"] == 0.25


@pytest.mark.parametrize("name", ["get_loss", "_get_params_for", "history_", "lr__x", "beta"])
def test_net_params_are_those_of_skorch(name):
    with pytest.raises(ValueError, match=f"net_params has '{name}', expected parameters of skorch"):
        small(net_params={name: 1}).fit(IRIS)


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


class Direction(nn.Module):
    """An encoder of unit vectors: its gradient at a row of zeros is NaN, its value is not."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.first = nn.Linear(n_inputs, 8, bias=False)
        self.last = nn.Linear(8, n_outputs)

    def forward(self, x):
        h = self.first(x)
        return self.last(h / (1e-6 + h.square().sum(1, keepdim=True).sqrt()))


def test_a_gradient_that_is_not_finite_is_skipped_and_counted():
    X = np.random.default_rng(0).standard_normal((400, 3))
    X[7] = np.nan
    model = small(encoder=Direction, batch_size=20).fit(X)
    assert model.n_skipped_steps_ == 5  # the row comes once per epoch
    assert torch.isfinite(weights(model)).all()
    assert np.isfinite(model.score(X))


def test_scoring_callbacks_of_skorch_see_the_bound():
    def bound(net, X, y=None):
        return float(net.forward(X).mean())

    callbacks = [
        EpochScoring(bound, name="epoch_cached"),
        EpochScoring(bound, name="epoch", use_caching=False),
        EpochScoring(bound, name="train", on_train=True),
        BatchScoring(bound, name="batch"),
        BatchScoring(bound, name="batch_train", on_train=True),
    ]
    options = {"early_stopping": True, "max_iter": 3, "batch_size": 20}
    with pytest.warns(ConvergenceWarning, match="still rising"):
        model = small(callbacks=callbacks, **options).fit(IRIS)
    with pytest.warns(ConvergenceWarning, match="still rising"):
        plain = small(**options).fit(IRIS)
    assert torch.equal(weights(model), weights(plain))
    for row in model.net_.history:
        for name in ("epoch_cached", "batch"):
            assert row[name] == pytest.approx(-row["valid_loss"], rel=1e-6)
        assert row["epoch"] == pytest.approx(-row["valid_loss"], abs=0.5)
        for name in ("train", "batch_train"):
            assert row[name] == pytest.approx(-row["train_loss"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skelbo.ImportanceWarning")
@pytest.mark.parametrize("batch_size", [2, 4, 128])
@pytest.mark.parametrize("n_rows", [3, 33])
@pytest.mark.parametrize("on_disk", [False, True])
def test_batch_normalisation_gets_no_batch_of_one_row(batch_size, n_rows, on_disk):
    def encoder(n, m):
        return nn.Sequential(nn.Linear(n, 4), nn.BatchNorm1d(4), nn.Linear(4, m))

    X = IRIS[:n_rows]
    rows = TensorDataset(torch.tensor(X)) if on_disk else X
    # Four columns of three rows are nearly copies of each other, and have no noise.
    model = small(encoder=encoder, batch_size=batch_size, max_iter=2, noise="unit").fit(rows)
    assert np.isfinite(model.score(X))


# ------------------------------------------------------------ going on


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
        ("activation", "tanh"),
        ("encoder", nn.Linear),
    ],
)
def test_what_goes_on_must_fit_together(name, value, tmp_path):
    """A file with another activation was read as another model."""
    X = np.round(IRIS)
    model = small(warm_start=True).fit(X).set_params(**{name: value})
    calls = model.fit, model.partial_fit, model.score, lambda X: model.to_file(tmp_path / "file")
    for call in calls:
        with pytest.raises(ValueError, match=f"{name}=.* is not that of the fit"):
            call(X)
    model.set_params(warm_start=False).fit(X).partial_fit(X)


def test_warm_start_needs_the_same_columns():
    model = small(warm_start=True).fit(IRIS)
    with pytest.raises(ValueError, match="expecting 4 features"):
        model.fit(IRIS[:, :3])


@pytest.mark.slow
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


def test_partial_fit_warns_of_a_constant_column():
    X = np.column_stack([IRIS, np.full(150, 3.0)])
    model = small()
    for _ in range(2):
        with pytest.warns(NoiseFloorWarning, match="column 4"):
            model.partial_fit(X)


def test_the_last_chunk_of_a_stream_may_be_one_row():
    model = small().partial_fit(IRIS[:149])
    before = model.score(IRIS)
    assert np.isfinite(model.partial_fit(IRIS[149:]).lower_bound_)
    assert abs(model.score(IRIS) - before) < 1
    with pytest.raises(ValueError, match="minimum of 2"):
        small().partial_fit(IRIS[:1])


def test_partial_fit_after_fit_and_in_batches():
    model = small().fit(IRIS)
    before = weights(model).clone()
    model.partial_fit(IRIS[:50]).partial_fit(IRIS[50:])
    assert not torch.equal(weights(model), before)
    with pytest.raises(ValueError, match="expecting 4 features"):
        model.partial_fit(IRIS[:, :2])


# ------------------------------------------------------------ networks of one's own


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
