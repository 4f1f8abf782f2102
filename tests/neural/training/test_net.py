"""The skorch net: torch.compile, skipped steps, pickles, and what changes on a GPU."""

import io
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from skorch.callbacks import LRScheduler

from tests.neural.networks import small, weights

IRIS = load_iris().data
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


# TorchDynamo itself reads .grad of tensors that have none.
dynamo = pytest.mark.filterwarnings("ignore:The .grad attribute", "ignore::DeprecationWarning")


@pytest.mark.slow
@dynamo
@pytest.mark.parametrize("gradient", ["reparameterized", "dreg"])
def test_compiled_networks_are_those_of_an_eager_fit(gradient):
    # This backend runs the captured operations as they are: it needs no compiler.
    compiled = {"compile": True, "compile__backend": "eager"}
    options = {"objective": "iwae", "gradient": gradient, "n_samples": 3}
    model = small(net_params=compiled, **options).fit(IRIS)
    eager = small(**options).fit(IRIS)
    torch.testing.assert_close(weights(model), weights(eager), rtol=1e-6, atol=1e-8)
    loaded = pickle.loads(pickle.dumps(model))
    assert np.array_equal(loaded.score_samples(IRIS), model.score_samples(IRIS))
    model.set_params(warm_start=True).fit(IRIS)


@dynamo
def test_the_networks_are_handed_to_the_compiler():
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    small(net_params={"compile": True, "compile__backend": backend}, max_iter=1).fit(IRIS)
    assert len(seen) >= 2


class TensorFound(Exception):
    pass


class NoTensors(pickle.Pickler):
    """A pickler that refuses tensors: skorch packs those that must be mapped to the CPU."""

    def persistent_id(self, obj):
        if isinstance(obj, (torch.Tensor, torch.storage.UntypedStorage)):
            raise TensorFound(type(obj))
        return None


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
def test_no_tensor_is_pickled_past_the_packing_that_maps_a_gpu_to_the_cpu(early_stopping):
    callbacks = [LRScheduler("StepLR", step_size=2)]
    model = small(callbacks=callbacks, early_stopping=early_stopping).fit(IRIS)
    NoTensors(io.BytesIO()).dump(model)
    with pytest.raises(TensorFound):
        NoTensors(io.BytesIO()).dump(model.net_.module_)


def test_an_error_in_a_pass_leaves_the_estimator_as_it_was():
    model = small().partial_fit(IRIS)
    before, state = weights(model).clone(), dict(vars(model))
    model.set_params(lr=1e200, optimizer="sgd")
    with pytest.raises(ValueError, match="not finite"):
        model.partial_fit(np.where(IRIS > 7, 1e30, IRIS))
    assert torch.equal(weights(model), before)
    for name in ("lower_bound_", "lower_bounds_", "n_iter_", "converged_"):
        assert vars(model)[name] == state[name]


def test_an_error_in_a_continued_fit_leaves_the_estimator_as_it_was():
    model = small(warm_start=True).fit(IRIS)
    before, bounds = weights(model).clone(), model.lower_bounds_
    model.set_params(lr=1e200, optimizer="sgd")
    with pytest.raises(ValueError, match="not finite"):
        model.fit(IRIS)
    assert torch.equal(weights(model), before)
    assert model.lower_bounds_ == bounds


# ------------------------------------------------------------------------------- on a GPU


@needs_cuda
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fit_on_a_gpu_is_that_of_its_seed(dtype):
    X = IRIS.astype(dtype)
    one, other = small(device="cuda").fit(X), small(device="cuda").fit(X)
    assert torch.equal(weights(one), weights(other))
    assert one.score(X) == pytest.approx(small(device="cpu").fit(X).score(X), abs=0.5)


@needs_cuda
def test_a_model_of_a_gpu_scores_on_a_machine_without(tmp_path):
    model = small(device="cuda", callbacks=[LRScheduler("StepLR", step_size=2)]).fit(IRIS)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    code = (
        "import sys, pickle, warnings; warnings.simplefilter('ignore')\n"
        "from sklearn.datasets import load_iris\n"
        "print(pickle.load(open(sys.argv[1], 'rb')).score(load_iris().data))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model.pkl"],
        env={"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ":".join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert float(run.stdout) == pytest.approx(model.score(IRIS), rel=1e-4)
