"""EM on a torch device gives what EM with NumPy gives; the CPU stands in for a GPU."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch")

from skelbo import EMGaussianMixture  # noqa: E402
from skelbo.data.rows import Rows  # noqa: E402
from skelbo.gaussian.regularization import Ridge  # noqa: E402
from skelbo.gaussian.structures import STRUCTURES  # noqa: E402
from skelbo.mixture.backends.torch_pass import DeviceBlock, DeviceTable, torch_device  # noqa: E402
from skelbo.mixture.mixture import Mixture  # noqa: E402

KINDS = list(STRUCTURES)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
every_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])


def make(kind, n=700, shift=0.0):
    """Return rows, some incomplete and weighted, and a mixture of three Gaussians."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 5)) @ rng.standard_normal((5, 5))
    resp = rng.dirichlet(np.full(3, 0.2), n).T
    means = (resp @ X) / resp.sum(axis=1)[:, None]
    structure = STRUCTURES[kind].configured(5, 2)
    moments = structure.label_moments(X.T, resp, means, True)
    theta = Mixture.from_moments(structure, moments, Ridge(0.0))
    X[::50, 1] = np.nan
    cells = structure.row_cells(3, 5)[0]
    return Rows(X, rng.integers(0, 3, n).astype(float), np.full(5, shift), cells), theta


@every_device
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [0.0, 1e5], ids=["near", "far"])
@pytest.mark.parametrize("streamed", [False, True])
def test_same_statistics(kind, device, shift, streamed, monkeypatch):
    """Both arithmetics (far from the origin the careful one), rows kept or moved in each pass."""
    rows, theta = make(kind, shift=shift)
    theta = Mixture(
        theta.weights,
        type(theta.components)(theta.components.means - shift, theta.components.covariance),
    )
    if kind == "factor":
        assert theta.components.covariance.is_safe(theta.components.means) == (shift == 0)
    else:
        assert (theta.natural is None) == (shift > 0)
    expected_bound, expected = theta.e_step(rows)
    reads, blocks = [], rows.blocks
    monkeypatch.setattr(rows, "blocks", lambda *size: reads.append(size) or blocks(*size))
    table = DeviceTable(rows, device, kept_cells=0 if streamed else None)
    for _ in range(2):
        bound, moments = table.e_step(theta)
        assert bound == pytest.approx(expected_bound, rel=1e-10 if shift else 1e-13)
        for name in [name for name in vars(expected) if name != "kind"]:
            found, wanted = getattr(moments, name), getattr(expected, name)
            assert_allclose(found, wanted, rtol=1e-9, atol=1e-7 if shift else 1e-10)
    assert len(reads) == (2 if streamed else 1)


def test_small_blocks_are_joined():
    rows, _ = make("diag")
    whole = next(block for block in rows.blocks() if block.observed is None)
    starts = range(0, rows.n_samples, 300)
    parts = [next(rows.part(i, i + 300).blocks()) for i in starts]
    joined = DeviceBlock(parts, torch.device("cpu"))
    assert_allclose(joined.values.numpy(), whole.values)
    assert_allclose(joined.weights.numpy(), whole.weights)
    assert joined.largest == np.abs(whole.values).max()


@every_device
def test_rows_far_from_everything(device):
    """A row whose density underflows: bound minus infinity, and still moments that are numbers."""
    _, theta = make("full")
    rows = Rows(np.array([[0.0] * 5, [1e180] * 5]))
    with np.errstate(over="ignore", invalid="ignore"):
        bound, moments = DeviceTable(rows, device).e_step(theta)
        assert bound == theta.e_step(rows)[0] == -np.inf
    assert_allclose(moments.weight.sum(), 2)


@every_device
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_same_fit(kind, device, iris):
    X = iris.astype(np.float32)
    X[::10, 2] = np.nan
    # Factor models climb slowly: where they stop depends on rounding, where they are does not.
    steps = {"max_iter": 20, "tol": 0.0} if kind == "factor" else {"max_iter": 300}
    options = {"covariance_type": kind, "random_state": 0, **steps}
    ours = EMGaussianMixture(2, **options).fit(X)
    theirs = EMGaussianMixture(2, device=device, **options).fit(X)
    assert theirs.lower_bound_ == pytest.approx(ours.lower_bound_, abs=1e-9)
    assert theirs.means_.dtype == np.float32
    assert_allclose(theirs.means_, ours.means_, rtol=1e-4)
    assert np.all(np.diff(theirs.lower_bounds_)[:-1] >= -1e-13)  # the last is of float32 ones


@pytest.mark.slow
@every_device
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["gem", "gradient"])
def test_other_solvers(solver, device, faithful):
    options = {"solver": solver, "random_state": 0, "max_iter": 5}
    ours = EMGaussianMixture(2, **options).fit(faithful)
    theirs = EMGaussianMixture(2, device=device, **options).fit(faithful)
    assert_allclose(theirs.lower_bounds_, ours.lower_bounds_, rtol=1e-9)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA can be used here")
def test_a_device_that_is_not_there():
    with pytest.raises(ValueError, match="device='cuda' cannot be used here"):
        torch_device("cuda")
