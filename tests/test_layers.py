"""Imports run down the floors, and heavy libraries are imported only when they are needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skelbo

ROOT = Path(skelbo.__file__).parent
# Top floor: chapters, which do not import each other. Ground floor: what things are.
TOP = {"gaussian_mle", "gaussian_mixture", "variational_em", "mcem", "vae", "hidden_markov"}
MIDDLE = {
    "estimator",
    "dask_fetch",
    "dask_input",
    "progress",
    "callbacks",
    "model_estimator",
    "inference",
    "neural",
    "display",
}
GROUND = {
    "elbo",
    "restarts",
    "stopping",
    "acceleration",
    "rows",
    "pages",
    "dask_blocks",
    "dask_rows",
    "threads",
    "gradients",
    "models",
    "gaussian",
}
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if path.name != "__init__.py")


def room(path):
    """Return the top-level module or package that a file belongs to."""
    return path.parts[0].removesuffix(".py")


def imported_rooms(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    return {name.split(".")[1] for name in names if name and name.startswith("skelbo.")}


def test_every_room_has_a_floor():
    assert {room(path) for path in FILES} <= TOP | MIDDLE | GROUND


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_run_down(path):
    own = room(path)
    below = {**dict.fromkeys(TOP, MIDDLE | GROUND), **dict.fromkeys(MIDDLE, MIDDLE | GROUND)}
    assert imported_rooms(path) - {own} <= below.get(own, GROUND)


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_import_is_light():
    code = "import sys, skelbo; print(sorted({'torch', 'matplotlib', 'dask', 'skorch', 'sklearn'}"
    assert run(code + " & set(sys.modules)))").strip() == "[]"


def test_the_gaussian_half_needs_no_torch():
    code = (
        "import sys, numpy as np\n"
        "from skelbo import EMGaussianMixture, GaussianMLE, ELBOMonitor\n"
        "X = np.random.default_rng(0).standard_normal((50, 2))\n"
        "EMGaussianMixture(2, random_state=0, max_iter=200).set_callbacks(ELBOMonitor()).fit(X)\n"
        "GaussianMLE().fit(X).sample()\n"
        "print(sorted({'torch', 'matplotlib', 'dask', 'skorch'} & set(sys.modules)))\n"
    )
    assert run(code).strip() == "[]"


def test_public_names():
    for name in skelbo.__all__:
        assert getattr(skelbo, name) is not None
    assert sorted(skelbo._MODULES) == sorted(set(skelbo.__all__) - {"__version__"})
    assert set(dir(skelbo)) >= set(skelbo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'GaussianMLEE'"):
        _ = skelbo.GaussianMLEE
