"""Checkpoints: a fit that is resumed ends where it would have ended, or is refused by name."""

import errno
import importlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skelbo
from skelbo import MCEM, EMGaussianMixture, GaussianMLE, VAEEstimator
from skelbo.callbacks import Checkpoint
from skelbo.em.checkpoint import FitCheckpoint
from skelbo.persistence.estimator_file import packed

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
FITS = importlib.import_module("kill_fits").FITS
sys.path.remove(str(FOLDER))
SLOW = ("mcem", "vae", "gan", "mixture, gradient", "variational")


class Stop(Exception):
    """The end of a process, as far as one process can test it."""


@pytest.fixture
def stop_after(monkeypatch):
    """Return a function: from now on fits end after so many writes of a checkpoint."""
    offer = FitCheckpoint.offer

    def patch(n_writes):
        counts = [0]

        def counting(self, running=None):
            offer(self, running)
            counts[0] += 1
            if n_writes is not None and counts[0] == n_writes:
                raise Stop

        monkeypatch.setattr(FitCheckpoint, "offer", counting)
        return counts

    return patch


def fitted(name, path):
    estimator, rows, keywords = FITS[name]()
    if estimator.get_params().get("random_state", 0) is None:
        estimator.set_params(random_state=np.random.RandomState(5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.set_callbacks(Checkpoint(path, every=0)).fit(rows, **keywords)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n.startswith(SLOW) else []) for n in FITS],
)
def test_a_resumed_fit_ends_with_the_same_bits(name, tmp_path, stop_after):
    counts = stop_after(None)
    expected = packed(fitted(name, tmp_path / "whole"))
    assert counts[0] > 3
    for share in (0.3, 0.8):
        stop_after(max(1, int(share * counts[0])))
        with pytest.raises(Stop):
            fitted(name, tmp_path / "cut")
        again = stop_after(None)
        assert packed(fitted(name, tmp_path / "cut")) == expected
        assert again[0] < counts[0]  # it did go on, and not begin anew
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixture, restarts", "mixture, dask", "mcem, saem", "vae"])
@pytest.mark.long
def test_a_killed_process_is_resumed_with_the_same_bits(name):
    """Two kills of each; `benchmarks/kill_fits.py` alone does twenty."""
    command = [sys.executable, str(FOLDER / "kill_fits.py"), "--kills", "2", "--fit", name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def left(tmp_path, iris, stop_after):
    """The path of a checkpoint that a mixture left."""
    stop_after(2)
    model = EMGaussianMixture(2, random_state=0, tol=0.0, max_iter=9)
    with pytest.raises(Stop):
        model.set_callbacks(Checkpoint(tmp_path / "fit", every=0)).fit(iris)
    assert not hasattr(model, "means_")
    stop_after(None)
    return tmp_path / "fit"


def model_at(path, n_components=2, random_state=0, max_iter=9, **params):
    model = EMGaussianMixture(
        n_components, random_state=random_state, tol=0.0, max_iter=max_iter, **params
    )
    return model.set_callbacks(Checkpoint(path, every=0))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_another_fit_is_refused_by_name(left, iris, monkeypatch):
    other = iris.copy()
    other[7, 2] = np.nextafter(other[7, 2], 9)
    for model, X, what in [
        (model_at(left, max_iter=10), iris, "parameter max_iter differ"),
        (model_at(left, n_components=3, random_state=1), iris, "n_components, parameter random_st"),
        (model_at(left, random_state=np.random.RandomState(0)), iris, "parameter random_state"),
        (model_at(left), other, "data differ"),
        (model_at(left), iris[::-1], "data differ"),
        (model_at(left), iris.astype(np.float32), "data differ"),
    ]:
        with pytest.raises(ValueError, match=f"is of another fit: .*{what}.* begin anew"):
            model.fit(X)
    with pytest.raises(ValueError, match="data differ"):
        model_at(left).fit(iris, sample_weight=np.arange(1.0, 151.0))
    holes = np.where(iris > 7, np.nan, iris)
    with pytest.raises(ValueError, match="another fit: data, estimator, parameter"):
        GaussianMLE().set_callbacks(Checkpoint(left)).fit(holes)
    warm = EMGaussianMixture(2, random_state=0, tol=0.0, max_iter=9, warm_start=True).fit(iris)
    with pytest.raises(ValueError, match="parameter warm_start, start differ"):
        warm.set_callbacks(Checkpoint(left)).fit(iris)
    monkeypatch.setattr(skelbo, "__version__", "0.0.9")
    with pytest.raises(ValueError, match=r"another fit: version differ.*A search needs a folder"):
        model_at(left).fit(iris)
    monkeypatch.undo()
    # What a fit prints is not what it finds.
    assert model_at(left, verbose=0, verbose_interval=3).fit(iris).n_iter_ == 9
    assert not left.exists()


def test_what_is_no_checkpoint_is_refused(left, iris):
    content = left.read_bytes()
    left.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="no checkpoint that can be used: its SHA-256 .* remove"):
        model_at(left).fit(iris)
    GaussianMLE().fit(iris).to_file(left)
    with pytest.raises(ValueError, match="it holds a 'GaussianMLE'"):
        model_at(left).fit(iris)
    left.write_bytes(content)
    with pytest.raises(ValueError, match=r"fit cannot be used: its header has .*'state'"):
        EMGaussianMixture.from_file(left)


@pytest.mark.skipif(os.name != "posix", reason="files of POSIX")
def test_a_place_that_holds_no_file_is_named(left, iris):
    left.write_bytes(b"")
    with pytest.raises(ValueError, match="fit is no checkpoint that can be used: .* remove the fi"):
        model_at(left).fit(iris)
    left.unlink()
    os.mkfifo(left)
    with pytest.raises(OSError, match="cannot read a FIFO, expected a regular file.*fit"):
        model_at(left).fit(iris)
    left.unlink()
    left.symlink_to(left)
    with pytest.raises(OSError, match=r"symbolic links.*fit"):
        model_at(left).fit(iris)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_link_to_no_file_is_followed(tmp_path, iris):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert model_at(tmp_path / "link").fit(iris).n_iter_ == 9
    assert os.listdir(tmp_path) == ["link"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, iris, monkeypatch):
    whole, sync, counts = model_at(tmp_path / "whole").fit(iris), os.fsync, [0]

    def full(descriptor):
        counts[0] += 1
        if counts[0] > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; .* bytes are needed.*fit"):
        model_at(tmp_path / "fit").fit(iris)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["fit"]
    assert model_at(tmp_path / "fit").fit(iris).lower_bounds_ == whole.lower_bounds_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_fits_of_a_search_share_a_folder(tmp_path, iris, stop_after):
    def search(place, n_jobs=None):
        grid = {"n_components": [1, 2, 3]}
        return GridSearchCV(model_at(place), grid, cv=2, n_jobs=n_jobs, error_score="raise")

    expected = search(tmp_path).fit(iris).cv_results_["mean_test_score"]
    counts = stop_after(15)
    with pytest.raises(Stop):
        search(tmp_path).fit(iris)
    assert len(os.listdir(tmp_path)) == 1
    counts = stop_after(None)
    resumed = search(tmp_path).fit(iris)
    np.testing.assert_array_equal(resumed.cv_results_["mean_test_score"], expected)
    assert not os.listdir(tmp_path)
    n_whole, counts = counts[0], stop_after(None)
    search(tmp_path).fit(iris)
    assert n_whole < counts[0]  # one of the fits went on
    parallel = search(tmp_path, n_jobs=2).fit(iris)
    np.testing.assert_array_equal(parallel.cv_results_["mean_test_score"], expected)
    stop_after(15)
    with pytest.raises(Stop):
        search(tmp_path / "file").fit(iris)
    stop_after(None)
    with pytest.raises(ValueError, match="A search needs a folder for its fits instead of a file"):
        search(tmp_path / "file").fit(iris)


def test_a_checkpoint_is_set_on_one_estimator_that_has_them(tmp_path, iris):
    pipeline = make_pipeline(StandardScaler(), GaussianMLE())
    with pytest.raises(TypeError, match="set on Pipeline, whose fits do not go on from a file"):
        pipeline.set_callbacks(Checkpoint(tmp_path / "fit")).fit(iris)
    with pytest.raises(TypeError, match="path=3, expected a str or os.PathLike: the place of a f"):
        EMGaussianMixture().set_callbacks(Checkpoint(3)).fit(iris)
    with pytest.raises(ValueError, match="every=-1, expected seconds"):
        EMGaussianMixture().set_callbacks(Checkpoint(tmp_path / "fit", every=-1)).fit(iris)
    both = Checkpoint(tmp_path / "a"), Checkpoint(tmp_path / "b")
    with pytest.raises(ValueError, match="Checkpoints at .*a.*b.*, expected one"):
        EMGaussianMixture().set_callbacks(*both).fit(iris)
    with pytest.raises(FileNotFoundError, match=r"the folder .*no does not exist.*no/fit"):
        EMGaussianMixture(2).set_callbacks(Checkpoint(tmp_path / "no" / "fit", every=0)).fit(iris)


def test_callbacks_of_a_net_have_a_state_of_their_own(tmp_path, iris):
    from skorch.callbacks import LRScheduler

    model = VAEEstimator(callbacks=[LRScheduler()])
    with pytest.raises(ValueError, match="have a state that no checkpoint holds; leave"):
        model.set_callbacks(Checkpoint(tmp_path / "fit")).fit(iris)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_fit_that_ctrl_c_ended_can_be_resumed(tmp_path, iris, monkeypatch):
    whole = model_at(tmp_path / "whole").fit(iris)
    offer, counts = FitCheckpoint.offer, [0]

    def interrupting(self, running=None):
        offer(self, running)
        counts[0] += 1
        if counts[0] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(FitCheckpoint, "offer", interrupting)
    with pytest.warns(UserWarning, match="interrupted after 3 iterations"):
        assert model_at(tmp_path / "fit").fit(iris).n_iter_ == 3
    assert (tmp_path / "fit").exists()
    resumed = model_at(tmp_path / "fit").fit(iris)
    assert resumed.lower_bounds_ == whole.lower_bounds_
    assert not (tmp_path / "fit").exists()


def test_nothing_is_written_before_it_is_time(tmp_path, iris, monkeypatch):
    from skelbo.persistence import checkpoint_file

    monkeypatch.setattr(checkpoint_file, "write", lambda *args: pytest.fail("written"))
    model = MCEM(1, model="gaussian", random_state=0)
    model.set_callbacks(Checkpoint(tmp_path / "fit")).fit(iris)
    EMGaussianMixture(2, random_state=0).set_callbacks(Checkpoint(tmp_path / "fit")).fit(iris)
