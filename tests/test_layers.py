"""Imports between the wings are those of one table, and heavy libraries load only when needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skelbo

ROOT = Path(skelbo.__file__).parent
# Wing or root module -> the other wings and root modules that it imports.
IMPORTS = {
    "elbo": set(),
    "degenerate_fit": set(),
    "autograd": {"data"},
    "callbacks": {"display", "em"},
    "python_parameters": set(),
    "checked_parameters": {"python_parameters"},
    "persistence": set(),
    "data": set(),
    "display": {"data"},
    "em": {"data", "persistence"},
    "gaussian": {"data", "degenerate_fit", "elbo", "em"},
    "mixture": {"autograd", "data", "elbo", "em", "gaussian", "likelihoods", "persistence"},
    "likelihoods": {"data"},
    "models": {"data", "degenerate_fit", "likelihoods", "python_parameters"},
    "inference": {
        "autograd",
        "data",
        "elbo",
        "em",
        "likelihoods",
        "models",
        "persistence",
        "quadrature_panels",
    },
    "neural": {
        "autograd",
        "data",
        "degenerate_fit",
        "elbo",
        "em",
        "likelihoods",
        "mixins",
        "persistence",
        "transaction",
        "quadrature_panels",
    },
    "transaction": set(),
    "gaussian_mle": {
        "data",
        "elbo",
        "em",
        "gaussian",
        "mixins",
        "mixture",
        "persistence",
        "transaction",
    },
    "gaussian_mixture": {"data", "em", "gaussian", "mixins", "mixture", "persistence"},
    "mixture_model": {"data", "em", "gaussian", "likelihoods", "mixins", "mixture", "persistence"},
    "hidden_markov": {
        "data",
        "em",
        "gaussian",
        "likelihoods",
        "mixins",
        "mixture",
        "persistence",
        "transaction",
    },
    "variational_em": {"em", "inference", "mixins"},
    "mcem": {"em", "inference", "mixins", "persistence"},
    "meta": {"checked_parameters", "data", "degenerate_fit", "transaction"},
    "printed_table": set(),
    "quadrature_panels": set(),
    "comparison": {"data", "printed_table"},
    "vae": {"autograd", "data", "likelihoods", "neural", "transaction"},
    "vqvae": {"autograd", "likelihoods", "neural", "transaction"},
    "gan": {"autograd", "data", "em", "neural", "transaction"},
    "mixins": {
        "checked_parameters",
        "data",
        "elbo",
        "em",
        "gaussian",
        "inference",
        "likelihoods",
        "mixture",
        "models",
        "persistence",
        "printed_table",
        "transaction",
    },
}
FILES = sorted(p.relative_to(ROOT) for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def wing(path):
    """Return the wing or root module that a file belongs to."""
    return path.parts[0].removesuffix(".py")


def imported_wings(path):
    tree = ast.parse((ROOT / path).read_text())
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    return {name.split(".")[1] for name in names if name and name.startswith("skelbo.")}


@pytest.mark.parametrize("name", IMPORTS)
def test_a_wing_imports_what_the_table_states(name):
    files = [path for path in FILES if wing(path) == name]
    assert files
    found = set().union(*map(imported_wings, files)) - {name}
    assert found == IMPORTS[name]


def test_every_wing_is_in_the_table():
    assert {wing(path) for path in FILES} == set(IMPORTS)


def test_wings_form_no_cycle():
    left = dict(IMPORTS)
    while left:
        ground = [name for name, imports in left.items() if not imports & set(left)]
        assert ground, f"a cycle among {sorted(left)}"
        for name in ground:
            del left[name]


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
