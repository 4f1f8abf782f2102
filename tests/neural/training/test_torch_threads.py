"""Threads of torch: one for small networks and in forked processes; the caller's number is kept."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from tests.neural.networks import small

X = np.random.default_rng(0).normal(size=(60, 4))


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Count(Callback):
    """Collects the number of threads of each epoch."""

    counts: list = []

    def on_epoch_end(self, net, **kwargs):
        self.counts.append(torch.get_num_threads())


def test_a_small_fit_takes_one_thread_and_gives_the_others_back(two_threads):
    Count.counts = []
    model = small(callbacks=[Count()]).fit(X)
    model.score(X)
    assert set(Count.counts) == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_a_fork_after_a_fit_by_two_threads_does_not_hang():
    code = (
        "import os, warnings, numpy as np, torch\n"
        "warnings.simplefilter('ignore')\n"
        "from skelbo import VAEEstimator\n"
        "torch.set_num_threads(2)\n"
        "X = np.random.default_rng(0).normal(size=(2000, 100)).astype(np.float32)\n"
        "def fit():\n"
        "    return VAEEstimator(2, hidden_layer_sizes=(256,), batch_size=1000, max_iter=1,\n"
        "                        early_stopping=False, random_state=0,\n"
        "                        n_importance_samples=10).fit(X).score(X[:50])\n"
        "first, child = fit(), os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if abs(fit() - first) < 1e-2 else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=path)
