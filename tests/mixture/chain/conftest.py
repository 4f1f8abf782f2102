import pytest

from skelbo.mixture.chain import run_blocks

BACKENDS = {"numba": 0, "numpy": 2**60}


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    """Run the recursions by compiled kernels, or by NumPy."""
    if request.param == "numba":
        pytest.importorskip("numba")
    monkeypatch.setattr(run_blocks, "MIN_COMPILED", BACKENDS[request.param])
    return request.param
