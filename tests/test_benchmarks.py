"""Benchmarks are run by hand; here, that they can be."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("bench_*.py")))
def test_a_benchmark_imports_what_it_uses(name, monkeypatch):
    """Peers are imported where they are run, so that none is needed here."""
    monkeypatch.syspath_prepend(str(FOLDER))
    importlib.import_module(name)
