"""Layout of a file, and what is refused before anything is made of it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelbo import EMGaussianMixture, GaussianMLE, VAEEstimator
from skelbo.persistence.container import MAX_HEADER, pack, parse_json, unpack
from skelbo.persistence.estimator_file import unpacked
from skelbo.persistence.layout import check_axes, from_c_order, in_c_order
from tests.persistence.fitted import SUBJECTS, file_of

FOLDER = Path(__file__).parents[2] / "benchmarks"


def resealed(name, change):
    """Return the file of a subject with its header changed and its checksum made anew."""
    header, tensors = unpack(file_of(name))
    arrays = {key: tensor.array() for key, tensor in tensors.items()}
    change(header, arrays)
    return pack(header, arrays)


def refuse(name, change, match):
    subject = SUBJECTS[name]
    with pytest.raises(ValueError, match=match):
        unpacked(type(subject.estimator), resealed(name, change), subject.given)


@pytest.mark.slow
def test_no_altered_file_is_read(monkeypatch):
    """A seeded thousand of each kind; `make fuzz-files N=1000000` tries more."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import fuzz_files

    monkeypatch.setattr(fuzz_files, "SUBJECTS", {"gaussian, full": SUBJECTS["gaussian, full"]})
    n = 1000 * (len(fuzz_files.ALTERATIONS) + 1)
    tried, read, wrong = fuzz_files.run(n, seed=0, between_edits=len(fuzz_files.ALTERATIONS) + 1)
    assert not wrong
    assert set(read) <= {"edited header"}
    assert min(tried.values()) > 900
    assert len(tried) == len(fuzz_files.ALTERATIONS) + 1


def test_other_programs_read_the_arrays():
    numpy = pytest.importorskip("safetensors.numpy")
    arrays = numpy.load(file_of("mixture, full"))
    np.testing.assert_array_equal(arrays["means_"], SUBJECTS["mixture, full"].estimator.means_)


def test_files_of_other_programs_are_refused():
    numpy = pytest.importorskip("safetensors.numpy")
    for data in (b"", b"no file of ours", numpy.save({"x": np.zeros(3)})):
        with pytest.raises(ValueError, match="no header of skelbo"):
            unpacked(GaussianMLE, data, {})
    data = bytearray(file_of("gaussian, full"))
    data[:8] = (len(data) * 9).to_bytes(8, "little")
    with pytest.raises(ValueError, match="its header has .* bytes, expected at most"):
        unpack(bytes(data))


def test_a_header_of_another_shape_is_refused():
    name = "gaussian, full"
    refuse(name, lambda h, a: h.pop("version"), "its header has .* expected")
    refuse(name, lambda h, a: h.update({"class": "MCEM"}), "it holds a 'MCEM', expected 'Gauss")
    refuse(name, lambda h, a: h["params"].pop("tol"), "its parameters are")
    refuse(name, lambda h, a: h["params"].update(tol="often"), "'tol' parameter of GaussianMLE")
    refuse("vae, own", lambda h, a: h["params"].update(n_components=True), "is True, expected a nu")
    refuse(name, lambda h, a: h["params"].update(tol={"tuple": 3}), "expected a float")
    refuse(name, lambda h, a: h.update(attributes=3), "its attributes are 3")
    refuse(name, lambda h, a: h["attributes"].update(_log_prob=3), r"attributes \['_log_prob'\]")
    refuse(name, lambda h, a: h["attributes"].pop("mean_"), "mean_ is missing")
    refuse(name, lambda h, a: h["attributes"].update(converged_=1), "expected true or false")
    refuse(name, lambda h, a: h["attributes"].update(n_iter_=-1), "n_iter_ is -1, expected 0 to")
    refuse(name, lambda h, a: h["attributes"].update(n_iter_=1.0), "expected an integer")
    refuse(name, lambda h, a: h["attributes"].update(lower_bounds_=[None]), "expected a float")
    refuse(name, lambda h, a: h["attributes"].update(lower_bounds_=1.0), "expected a list")
    refuse(name, lambda h, a: h["attributes"].update(mean_=[2]), "axes .2., expected those of 1")
    refuse(name, lambda h, a: h["attributes"].update(feature_names_in_=["a"]), "length 1, exp")


def test_an_array_of_another_kind_is_refused():
    name = "mixture, full"
    refuse(name, lambda h, a: a.pop("means_"), "means_ is missing")
    refuse(name, lambda h, a: a.update(more=np.zeros(3)), r"without a field: \['more'\]")
    refuse(name, lambda h, a: a.update(means_=a["means_"][:1]), r"shape \(1, 4\), expected")
    refuse(name, lambda h, a: a.update(means_=np.zeros((2, 4), int)), "has dtype int64")
    refuse(name, lambda h, a: a.update(means_=a["means_"] * np.nan), "cells that are not finite")
    refuse(name, lambda h, a: a.update(weights_=-a["weights_"]), "weights_ has cells outside 0.0")
    refuse(name, lambda h, a: a.update(weights_=a["weights_"] / 2), "weights_ sum to 0.5")


def test_a_small_file_cannot_ask_for_much_memory():
    """Shapes are compared with the parameters before anything is made by them."""

    def wide(header, arrays):
        header["params"]["hidden_layer_sizes"] = {"tuple": [84_000, 84_000]}

    refuse("vae, gaussian, holes", wide, "_net.weights has|is stored in shape .* expected")
    refuse("vae, gaussian, holes", lambda h, a: h["params"].update(n_components=10**9), "stored in")
    refuse("vae, point", lambda h, a: h["params"].update(n_components=10**9), "is stored in")
    refuse("vae, codes", lambda h, a: h["params"].update(hidden_layer_sizes=[4] * 9999), "layers")
    refuse("mixture, full", lambda h, a: h["params"].update(n_components=10**9), "weights_ is st")
    refuse("vae, own", wide, "_net.weights has|is stored in shape .* expected")
    for name in ("variational, binary", "variational, own", "mcem, bernoulli"):
        refuse(
            name,
            lambda h, a: h["attributes"].update(n_features_in_=10**9),
            "n_features_in_ is 1000000000, but its arrays have .* bytes",
        )
    refuse(
        "variational, decoder",
        lambda h, a: h["attributes"].update(n_features_in_=10**6),
        "is stored",
    )
    refuse(
        "mixture, full",
        lambda h, a: h["params"].update(means_init={"strings": ["x" * 10**4] + [""] * 10**4}),
        "one string much longer than others",
    )
    with pytest.raises(ValueError, match="the header of the file would have"):
        pack({"names": "x" * MAX_HEADER}, {})


def test_objects_come_from_a_closed_list():
    def model(**node):
        return lambda h, a: h["params"].update(model=node)

    name = "variational, factor"
    refuse(name, model(**{"class": "System", "params": {}}), "is a 'System', expected one of")
    refuse(name, model(**{"class": "FactorModel", "params": {"x": 1}}), "has the parameters")
    refuse(name, model(given="os.system"), "of the user's own, which no file holds; pass from_file")
    refuse(name, model(object="eval"), "expected a float")
    params = {"n_latents": 1, "likelihood": "gaussian", "noise": "none", "fit_intercept": True}
    refuse(name, model(**{"class": "FactorModel", "params": params}), "noise='none', expected")
    params |= {"noise": "diag", "n_latents": 2.5}
    refuse(name, model(**{"class": "FactorModel", "params": params}), "n_latents is 2.5, expected")


def test_nothing_in_a_file_sets_a_method_of_the_net():
    for key in ("forward", "_get_params_for", "module_", "__class__", "optimizer__"):
        refuse(
            "vae, gaussian, holes",
            lambda h, a, key=key: h["params"].update(net_params={"dict": {key: 1}}),
            f"net_params has '{key}', expected parameters of skorch's NeuralNet",
        )


def test_a_generator_without_an_end_is_refused():
    def zeros(header, arrays):
        (keys,) = (name for name in arrays if name.endswith(".keys"))
        arrays[keys] = 0 * arrays[keys]

    refuse("mixture, full", zeros, "has keys of zeros, of which no generator has a state")


def test_arrays_that_are_no_density_are_refused():
    def zero(name):
        def change(header, arrays):
            arrays[name] = arrays[name].copy()
            arrays[name].flat[0] = 0

        return change

    match = "was set to what is not symmetric and positive-definite"
    for name in ("covariances_", "precisions_", "precisions_cholesky_"):
        refuse("mixture, diag, float32", zero(name), match)
        refuse("mixture, full", zero(name), match)
    refuse("gaussian, full", zero("precision_cholesky_"), match)
    nan = {"means_": np.full((2, 4), np.nan)}
    refuse("mixed, all kinds, holes", lambda h, a: a.update(nan), "means_ has cells that are not")


def test_what_is_no_json_of_ours_is_refused():
    for text, match in [
        ("[1]", "no JSON object"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": 1e999}', "1e999 is beyond the largest float"),
        ('{"a": 1, "a": 2}', "a key comes twice"),
        ('{"a": ' + "[" * 10**5, "is no JSON"),
        ('{"a": ' + "9" * 10**5 + "}", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
    ]:
        with pytest.raises(ValueError, match=match):
            parse_json(text)


@given(st.permutations([0, 1, 2]), st.lists(st.booleans(), min_size=3, max_size=3), st.data())
def test_cells_keep_their_order_in_memory(order, flips, data):
    shape = [data.draw(st.integers(1, 3)) for _ in range(3)]
    array = np.arange(float(np.prod(shape))).reshape(shape).transpose(order)
    array = array[tuple(slice(None, None, -1 if flip else None) for flip in flips)]
    stored, axes = in_c_order(array)
    again = from_c_order(stored, axes)
    np.testing.assert_array_equal(again, array)
    long = [axis for axis in range(3) if array.shape[axis] > 1]
    assert stored.flags.c_contiguous
    if len(long) == 3:
        assert again.strides == array.strides
    if axes != [1, 2, 3]:
        assert check_axes(axes, 3) == axes


def test_axes_that_are_none_are_refused():
    for axes in ([1, 1], [0, 1], [2], "C2", [1, 2.0], [1, 2]):
        with pytest.raises(ValueError, match="has the axes"):
            check_axes(axes, 2)


def test_parameters_and_classes_are_checked_by_name(tmp_path):
    (tmp_path / "file").write_bytes(file_of("gaussian, full"))
    with pytest.raises(TypeError, match=r"from_file got \['nois'\], expected max_bytes or param"):
        VAEEstimator.from_file(tmp_path / "file", nois=1)
    with pytest.raises(ValueError, match="file cannot be used: it holds a 'GaussianMLE'"):
        EMGaussianMixture.from_file(tmp_path / "file")
    assert GaussianMLE.from_file(tmp_path / "file", tol=0.5).tol == 0.5
    with pytest.raises(ValueError, match="'tol' parameter of GaussianMLE must be"):
        GaussianMLE.from_file(tmp_path / "file", tol=-1)
    assert "pickle" not in {name for name in sys.modules if name.startswith("skelbo")}
