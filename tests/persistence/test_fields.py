"""Declared kinds of values: what is written is read, and everything else is refused by name."""

import numpy as np
import pytest

from skelbo.persistence import (
    Array,
    Arrays,
    Chosen,
    Flag,
    Mapping,
    Names,
    Nullable,
    Number,
    Optional,
    RandomStream,
    Record,
    Sequence,
    Text,
)
from skelbo.persistence.container import pack, unpack
from skelbo.persistence.fields import decode_float
from skelbo.persistence.file_arrays import Reader, Writer

ZEROS = np.zeros((2, 3))
ALMOST_ZEROS = np.eye(1, 624, 0, dtype=np.uint32)[0]


def again(field, value):
    """Return a value that was written and read."""
    writer = Writer()
    node = field.encode(value, "it", writer)
    header, tensors = unpack(pack({"node": node}, writer.arrays))
    reader = Reader(tensors)
    result = field.decode(header["node"], "it", reader)
    assert not reader.tensors
    return result


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (Flag(), True),
        (Text(("a", "b")), "b"),
        (Number(), 0.1),
        (Number(finite=False), -np.inf),
        (Number(integer=True), 10**20),
        (Nullable(Number()), None),
        (Optional(Number()), 2.0),
        (Sequence(Text(), kind=tuple), ("x", "")),
        (Sequence((Flag(), Number()), 2), [False, 1.5]),
        (Mapping({"n": Number(integer=True), "x": Optional(Flag())}), {"n": 1}),
        (Record(complex, {"real": Number(), "imag": Number()}), 1 + 2j),
        (
            Mapping({"n": Number(integer=True), "x": Chosen(lambda v: Array((v["n"],)))}),
            {"n": 1, "x": np.float32([0.5])},
        ),
    ],
)
def test_what_is_written_is_read(field, value):
    assert again(field, value) == value
    assert type(again(field, value)) is type(value)


@pytest.mark.parametrize(
    ("field", "node", "match"),
    [
        (Flag(), 1, "it is 1, expected true or false"),
        (Text(), None, "it is None, expected a string"),
        (Text(("a", "b")), "c", r"it is 'c', expected \('a', 'b'\)"),
        (Number(), 1, "it is 1, expected a float"),
        (Number(), {"float": "1e9"}, "it is .*1e9.*, expected a float"),
        (Number(), {"float": "nan"}, "it is nan, expected a finite number"),
        (Number(low=0), -1.0, "it is -1.0, expected 0 to inf"),
        (Number(integer=True), True, "it is True, expected an integer"),
        (Sequence(Flag()), {"0": True}, "it is .*, expected a list"),
        (Sequence(Flag(), 2), [True], "it has length 1, expected 2"),
        (Names(1), ["a", "b"], "it has length 2, expected 1"),
        (Names(dtype=np.str_), ["a" * 10**4] + [""] * 10**4, "one string much longer"),
        (Arrays(None), [], r"it is \[\], expected arrays by their names"),
        (Arrays({"a": (2,)}), {"b": "C"}, r"it has \['b'\], expected \['a'\]"),
        (Arrays({"a": (2,)}, undeclared=("b.",)), {"b.c": "C"}, "expected .'a'"),
        (Arrays(None, c_order=True), {"a": [2, 1]}, "it has axes .2, 1. of a, expected 'C'"),
        (Mapping({"a": Flag()}), True, "it is True, expected values by their names"),
        (Mapping({"a": Flag()}), {"fit": 1, "a": True}, r"it has \['fit'\], expected \['a'\]"),
        (Mapping({"a": Flag()}), {}, "it.a is missing"),
        (RandomStream(), {"same": "params.other"}, "a generator that does not come before it"),
        (RandomStream(), {"same": {}}, "a generator that does not come before it"),
        (RandomStream(), {}, "it.keys is missing"),
    ],
)
def test_what_is_not_declared_is_refused(field, node, match):
    with pytest.raises(ValueError, match=match):
        field.decode(node, "it", Reader({}))


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        (Array((2, 3)), ZEROS.astype(int), "it has dtype int64, expected float64 or float32"),
        (Array((3, 2)), ZEROS, r"it has shape \(2, 3\), expected \(3, 2\)"),
        (Array((2, 3)), ZEROS + np.inf, "it has cells that are not finite"),
        (Array((2, 3), low=1.0), ZEROS, "it has cells outside 1.0 to inf"),
        (Array((2, 3), high=-1.0), ZEROS, "it has cells outside -inf to -1.0"),
        (Mapping({"a": Flag()}), {}, "it.a is missing"),
        (Number(low=0), -1.0, "expected 0 to inf"),
        (RandomStream(), np.random.RandomState(np.random.PCG64(0)), "bit generator PCG64, of wh"),
    ],
)
def test_what_could_not_be_read_is_not_written(field, value, match):
    with pytest.raises(ValueError, match=match):
        field.encode(value, "it", Writer())


def test_arrays_of_undeclared_parts_have_any_shape():
    field = Arrays({"a": (2,)}, undeclared=("own.",))
    value = {"a": np.zeros(2), "own.weight": np.full((3, 1), np.inf)}
    np.testing.assert_equal(again(field, value), value)


@pytest.mark.parametrize("keys", [np.zeros(624, np.uint32), ALMOST_ZEROS])
def test_a_generator_that_never_ends_is_refused(keys):
    """Of zeros alone, or with one bit that is not of the state, rejection sampling has no end."""
    stream = np.random.RandomState(0)
    stream.set_state(("MT19937", keys, 624))
    assert not stream.random_sample(10**4).any()
    with pytest.raises(ValueError, match="it has keys of zeros, of which no generator has a state"):
        again(RandomStream(), stream)


def test_generators_go_on_and_stay_one():
    first, field = np.random.RandomState(4), Sequence(RandomStream())
    first.standard_normal(3)
    one, two, three = again(field, [first, first, np.random.RandomState(4)])
    assert one is two and one is not three
    assert one.standard_normal() == first.standard_normal()


def test_a_float_is_a_float_of_json():
    assert decode_float({"float": "-inf"}, "it") == -np.inf
    for node in (True, "inf", {"float": "inf", "more": 1}, None, [1.0]):
        with pytest.raises(ValueError, match="expected a float"):
            decode_float(node, "it")
