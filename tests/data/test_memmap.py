"""A mapped file's pages do not stay: read in parts, given back, and what they hold is not lost."""

import ctypes
import mmap
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.data import memmap

needs_advice = pytest.mark.skipif(
    not hasattr(mmap, "MADV_DONTNEED"), reason="the system takes no advice on mapped pages"
)
needs_proc = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="resident memory is read from /proc: Linux only"
)


N_ROWS = 5000


@pytest.fixture
def file(tmp_path):
    """A file of 256 MiB, from which on pages are released; sparse beyond the first rows."""
    path = tmp_path / "rows.npy"
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(2**28 // 24, 3))
    table[:N_ROWS] = np.random.default_rng(0).standard_normal((N_ROWS, 3))
    table.flush()
    return path


def rows_of(file, mode="r"):
    """Return the first rows of the file as a view of its mapping."""
    return np.load(file, mmap_mode=mode)[:N_ROWS]


@needs_advice
@pytest.mark.parametrize("view", [np.s_[:], np.s_[1000:], np.s_[:, :2], np.s_[::2], np.s_[::-1]])
def test_what_is_given_back_is_still_there(file, view):
    X = np.array(rows_of(file))
    for mode in ("r", "r+", "c"):
        mapped = rows_of(file, mode)[view]
        for part in (slice(0, None), slice(7, 2000), slice(2000, 2000)):
            memmap.release_pages(mapped, part.start, part.stop)
        assert_array_equal(mapped, X[view])


@needs_advice
def test_changes_are_kept(file):
    """Also those of a private mapping, which exist nowhere else."""
    for mode in ("c", "r+"):
        mapped = rows_of(file, mode)
        mapped[:2000] = 7.0
        memmap.release_pages(mapped)
        memmap.release_pages(np.asarray(mapped)[100:])
        assert np.all(mapped[:2000] == 7.0)
    assert np.all(rows_of(file)[:2000] == 7.0)
    assert memmap.mapped_file(rows_of(file, "c")) is None


@needs_proc
def test_pages_that_the_system_will_not_take_back_stay(file):
    """Pages stay resident, as those of a process that has locked its memory (mlockall)."""
    mapped = rows_of(file)
    libc, first = ctypes.CDLL(None, use_errno=True), mapped.ctypes.data // mmap.PAGESIZE
    if libc.mlock(ctypes.c_void_p(first * mmap.PAGESIZE), ctypes.c_size_t(4 * mmap.PAGESIZE)):
        pytest.skip("this system does not allow locked pages")
    with pytest.raises(OSError):
        mapped._mmap.madvise(mmap.MADV_DONTNEED)
    assert_array_equal(GaussianMLE().fit(mapped).mean_, GaussianMLE().fit(np.array(mapped)).mean_)


@needs_advice
def test_a_mapping_is_recognised_through_views(file):
    mapped = rows_of(file)
    for X in (mapped, mapped[5:, :2], np.asarray(mapped), np.asarray(mapped)[::2].T):
        assert memmap.mapped_file(X) is mapped._mmap
    for X in (np.array(mapped), mapped + 1.0, [[1.0]], None):
        assert memmap.mapped_file(X) is None


@pytest.mark.slow
@needs_advice
@pytest.mark.parametrize("order", ["C", "F"])
def test_results_are_those_of_the_array(tmp_path, order):
    """The file is read anew in each pass."""
    X = np.random.default_rng(0).standard_normal((400_000, 8))
    X[:150_000] += 8.0
    X[5] = np.nan
    options = {"dtype": np.float64, "shape": (2**22, 8), "fortran_order": order == "F"}
    table = np.lib.format.open_memmap(tmp_path / "rows.npy", mode="w+", **options)
    table[: len(X)] = X  # the rest of the file is sparse
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")[: len(X)]
    models = [
        EMGaussianMixture(2, covariance_type="diag", random_state=0).fit(rows)
        for rows in (np.asarray(X, order=order), mapped)
    ]
    assert_array_equal(models[0].means_, models[1].means_)
    for method in ("score_samples", "predict", "transform", "elbo"):
        answers = [getattr(models[0], method)(table) for table in (X, mapped)]
        assert_array_equal(*answers)
    assert_array_equal(GaussianMLE().fit(X).mean_, GaussianMLE().fit(mapped).mean_)


def test_infinity_is_refused_in_a_mapped_file(file):
    mapped = rows_of(file, "r+")
    model = GaussianMLE().fit(mapped)
    mapped[4000, 1] = np.inf
    for method in (GaussianMLE().fit, GaussianMLE().partial_fit, model.score_samples):
        with pytest.raises(ValueError, match="Input X contains infinity"):
            method(mapped)


RESIDENT = """
import numpy as np
from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.mixture.backends import numba_pass

numba_pass.kernel()  # its libraries are files too

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssFile"))

X = np.load(PATH, mmap_mode="r")
stream = EMGaussianMixture(2, covariance_type="diag", random_state=0, max_iter=1, tol=1e9)
stream.fit(X[:1000])
before = resident()
jobs = [
    lambda: stream._validate_fit(X, None),
    lambda: stream.fit(X),
    lambda: stream.score_samples(X),
    lambda: GaussianMLE().fit(X),
    lambda: [stream.partial_fit(part) for part in np.array_split(X, 4)],
]
for job in jobs:
    job()
    print(resident() - before)
"""


@pytest.mark.slow
@needs_proc
@pytest.mark.long
def test_a_large_file_does_not_stay_resident(tmp_path):
    """After each pass a few MiB of 293 remain, whether it validates, fits, scores or streams."""
    path = tmp_path / "rows.npy"
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(600_000, 64))
    table.flush()  # a sparse file of zeros: nothing is written, but every page is read
    code = RESIDENT.replace("PATH", repr(str(path)))
    command = [sys.executable, "-W", "ignore", "-c", code]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert max(float(line) for line in output.split()) < 64
