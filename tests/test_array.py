"""What an Array is: made, looked at, converted, never changed."""

import copy
import inspect
import pickle
import weakref

import ml_dtypes
import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.array import (
    asarray,
    constant,
    cut,
    leaf,
    placeholder,
    require_concrete,
    trace,
    variable,
)
from chainrule.errors import ArgumentError, DtypeError, TracedValueError
from chainrule.ops import dtypes


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        (2.0, "float32", ()),
        (2, "int64", ()),
        (True, "bool", ()),
        ([1.0, 2.0], "float32", (2,)),
        ([1, 2.5], "float32", (2,)),
        ([[1, 2], [3, 4]], "int64", (2, 2)),
        ([], "float32", (0,)),
        ((1.0, 2.0, 3.0), "float32", (3,)),
        (np.float64(2.0), "float64", ()),
        ([np.float64(2.0)], "float64", (1,)),
        (np.arange(3), "int64", (3,)),
        (np.ones(2, np.float16), "float16", (2,)),
        (np.ones(2, ml_dtypes.bfloat16), "bfloat16", (2,)),
        (np.ones(2, ">f4"), "float32", (2,)),
        (np.ones(2, ">i2"), "int16", (2,)),
        (range(0), "int64", None),
    ],
)
def test_asarray_keeps_dtypes_and_gives_defaults(value, dtype, shape):
    if shape is None:
        with pytest.raises(DtypeError, match="not supported"):
            asarray(object())
        return
    x = asarray(value)
    assert (str(x.dtype), x.shape) == (dtype, shape)
    np.testing.assert_array_equal(x.numpy().astype(float), np.asarray(value).astype(float))


def test_asarray_casts_and_stacks():
    assert asarray([1, 2], dtype="float64").dtype == np.float64
    assert asarray([1, 2], dtype=float).dtype == np.float32
    assert asarray(np.ones(2), dtype=np.float32).dtype == np.float32
    assert asarray(0.1, dtype=np.float64).item() == 0.1
    x, y = asarray(1.0), asarray(2.0)
    assert asarray([x, y]).tolist() == [1.0, 2.0]
    assert asarray([[x, 3.0], [4, y]]).tolist() == [[1.0, 3.0], [4.0, 2.0]]
    assert asarray(x) is x


def test_asarray_copies_when_asked_and_refuses_when_asked():
    x = asarray([1.0, 2.0])
    assert asarray(x, copy=False) is x
    own = asarray(x, copy=True)
    assert own.node is not x.node
    assert own.tolist() == x.tolist()
    frozen = np.ones(2)
    frozen.flags.writeable = False
    assert np.shares_memory(asarray(frozen, copy=False).numpy(), frozen)
    for value, dtype in [(np.ones(2), None), (frozen, "float32"), ([1.0], None), (x, "int32")]:
        with pytest.raises(ArgumentError, match="must be copied"):
            asarray(value, dtype=dtype, copy=False)


def test_lists_of_arrays_stay_in_the_graph():
    w = variable(3.0)
    total = (asarray([w, w * w]) * asarray([1.0, 2.0])).sum()
    assert float(cr.gradients(total, w)) == 13.0


@pytest.mark.parametrize("value", [1j, "text", object(), np.array(["a"]), np.ones(2, complex), {}])
def test_other_types_are_refused(value):
    with pytest.raises(TypeError, match="not supported"):
        asarray(value)


@pytest.mark.parametrize("name", ["complex64", "object", "nonsense", None, "U3"])
def test_other_dtypes_are_refused(name):
    with pytest.raises(TypeError, match="not supported"):
        dtypes.as_dtype(name)


def test_attributes():
    x = asarray(np.zeros((2, 3), np.float32))
    assert (x.ndim, x.size, x.shape, x.device, x.name) == (2, 6, (2, 3), "cpu", "")
    assert x.T.shape == (3, 2)
    assert asarray(np.zeros((4, 2, 3))).mT.shape == (4, 3, 2)
    assert len(x) == 2
    assert variable(1.0, name="w").name == "w"
    with pytest.raises(TypeError, match="no length"):
        len(asarray(1.0))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0, "Array(2., float32)"),
        ([1, 2], "Array([1, 2], int64)"),
        ([True], "Array([ True], bool)"),
        ([[1.0, 2.0], [3.0, 4.0]], "Array([[1., 2.],\n       [3., 4.]], float32)"),
        (np.array([1.5, 2], ml_dtypes.bfloat16), "Array([1.5, 2. ], bfloat16)"),
        ([], "Array([], float32)"),
    ],
)
def test_printing(value, text):
    assert repr(asarray(value)) == str(asarray(value)) == text


def test_printing_more():
    assert repr(variable(2.0, name="w")) == "Array(2., float32, name='w')"
    assert "..." in repr(asarray(np.zeros(1000)))
    assert repr(placeholder((2,), dtypes.float32)) == "Array(traced, shape=(2,), float32)"
    assert f"{asarray(2.5):.3f}" == "2.500"
    assert f"{asarray(2.5)}" == "Array(2.5, float32)"
    assert asarray(2.5)._repr_html_() == "<pre>Array(2.5, float32)</pre>"


def test_conversions_to_numbers():
    assert float(asarray(2.5)) == 2.5
    assert float(asarray([[2.5]])) == 2.5
    assert int(asarray(2.9)) == 2
    assert complex(asarray(2.0)) == 2 + 0j
    assert bool(asarray(0.0)) is False
    assert bool(asarray([3])) is True
    assert asarray(7).item() == 7
    assert [10, 20, 30][asarray(1)] == 20
    assert list(range(asarray(2))) == [0, 1]
    assert asarray([[1, 2]]).tolist() == [[1, 2]]


@pytest.mark.parametrize("convert", [float, int, bool, complex])
def test_only_one_element_makes_a_number(convert):
    with pytest.raises(ArgumentError, match="no single") as caught:
        convert(asarray([1.0, 2.0]))
    assert "test_array.py" in caught.value.where
    assert "reduce it first" in str(caught.value)


@pytest.mark.parametrize("value", [1.0, True, [1]])
def test_only_integer_scalars_are_indices(value):
    with pytest.raises(TypeError, match="integer scalar"):
        range(asarray(value))


def test_arrays_are_not_hashable_and_compare_by_element():
    with pytest.raises(TypeError, match="unhashable"):
        hash(asarray(1.0))
    assert (asarray([1, 2]) == asarray([1, 3])).tolist() == [True, False]
    assert (asarray([1, 2]) != 1).tolist() == [False, True]
    assert (asarray(1.0) == None) is False  # noqa: E711
    assert (asarray(1.0) != "text") is True
    assert 2 in asarray([1, 2])
    assert 3 not in asarray([1, 2])


def test_iteration():
    rows = list(asarray([[1, 2], [3, 4]]))
    assert [row.tolist() for row in rows] == [[1, 2], [3, 4]]
    a, b = asarray([1.0, 2.0])
    assert (float(a), float(b)) == (1.0, 2.0)
    with pytest.raises(TypeError):
        iter(asarray(1.0))


# --- immutable --------------------------------------------------------------------------------


def test_numpy_views_are_read_only_and_share_memory():
    x = asarray(np.arange(3.0))
    view = x.numpy()
    assert np.shares_memory(view, x.numpy())
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    assert np.asarray(x).flags.writeable is False
    assert np.array(x).flags.writeable is True
    assert np.asarray(x, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="a copy is needed"):
        np.asarray(x, dtype=np.float32, copy=False)


@pytest.mark.parametrize("make", [asarray, variable, lambda a: asarray(a[...]), ops.as_value])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_what_happens_to_the_source_does_not_reach_the_array(make, shape):
    source = np.ones(shape)
    x = make(source)
    hidden = source.view()
    hidden.flags.writeable = False
    y = make(hidden)
    source[...] = 5.0
    assert np.all(x.numpy() == 1.0)
    assert np.all(y.numpy() == 1.0)


def test_frozen_sources_are_not_copied(tmp_path):
    source = np.ones(3)
    source.flags.writeable = False
    assert np.shares_memory(constant(source).numpy(), source)
    data = np.frombuffer(b"12345678", np.uint8)
    assert np.shares_memory(constant(data).numpy(), data)
    np.arange(4.0).tofile(tmp_path / "data")
    mapped = np.memmap(tmp_path / "data", dtype=np.float64, mode="r")
    assert np.shares_memory(asarray(mapped).numpy(), mapped)


def test_in_place_operators_rebind():
    x = y = asarray([1.0, 2.0])
    x += 1
    assert y.tolist() == [1.0, 2.0]
    assert x.tolist() == [2.0, 3.0]
    with pytest.raises(TypeError):
        y[0] = 5.0


def test_copies_are_the_array_itself():
    x = variable([1.0, 2.0], name="w")
    assert copy.copy(x) is x
    assert copy.deepcopy({"w": x})["w"] is x
    y = pickle.loads(pickle.dumps(x * 1.0))
    assert y.tolist() == [1.0, 2.0]
    again = pickle.loads(pickle.dumps(x))
    assert (again.name, again.node.tracked, again.tolist()) == ("w", True, [1.0, 2.0])


# --- history ----------------------------------------------------------------------------------


def test_plain_arrays_forget_their_operands_once_evaluated():
    x = asarray([1.0, 2.0])
    y = x * 2 + 1
    assert y.node.inputs
    y.numpy()
    assert not y.node.inputs
    w = variable([1.0, 2.0])
    z = w * 2
    z.numpy()
    assert z.node.inputs


def test_variables_are_leaves_of_their_own():
    w = variable([1, 2])
    assert w.dtype == np.float32
    assert variable(np.array([1, 2])).dtype == np.int64
    assert variable(np.float64(1.0)).dtype == np.float64
    first = variable(w * 2)
    second = variable(first)
    assert first.node is not second.node
    assert np.shares_memory(first.numpy(), second.numpy())
    assert not first.node.inputs


def test_cut_forgets_history_and_lets_traced_arrays_pass():
    w = variable(2.0)
    y = cut(w * 3, name="y")
    assert (y.node.op, y.name, y.node.tracked, float(y)) == (None, "y", False, 6.0)
    assert cut(y, name="y") is y
    traced = placeholder((), dtypes.float32) * 2
    assert cut(traced) is traced


def test_weak_scalars_take_the_type_that_they_meet():
    rate = leaf(np.asarray(0.1), weak=True)
    for dtype in dtypes.FLOATS:
        x = asarray(np.ones(2, np.float32)).astype(dtype)
        for y in (x * rate, rate * x, x - 2 * rate, x / (1 - rate), (1 - rate) ** 2 * x):
            assert y.dtype == dtype
            assert not y.weak
    assert (1 - rate).weak
    assert (rate * asarray([1, 2])).dtype == np.float32
    assert not rate.astype(np.float64).weak


# --- traces -----------------------------------------------------------------------------------


def value_of(x):
    return [
        lambda: float(x),
        lambda: bool(x > 0),
        lambda: x.numpy(),
        lambda: int(x),
        lambda: f"{x:.2f}",
        lambda: np.asarray(x),
        lambda: x.item(),
        lambda: 3 if x > 0 else 4,
    ]


@pytest.mark.parametrize("number", range(8))
def test_traced_values_are_refused_with_line_and_way_out(number):
    def looks(x):
        return value_of(x)[number]()

    with pytest.raises(TracedValueError) as caught:
        trace(looks, [((), dtypes.float32)])
    text = str(caught.value)
    assert "test_array.py" in caught.value.where
    assert "cr.where" in text
    assert "cond" in text


def test_traced_masks_are_refused_with_a_way_out():
    line = inspect.currentframe().f_lineno + 3

    def picks(x):
        return x[x > 0]

    with pytest.raises(TracedValueError, match=r"a mask") as caught:
        trace(picks, [((3,), dtypes.float32)])
    assert f"test_array.py:{line}" in caught.value.where
    assert "cr.where(mask, x, 0)" in str(caught.value)
    assert require_concrete(asarray(2.0), "this") == 2.0


def test_traces_catch_arrays_but_keep_numbers():
    data = asarray([1.0, 2.0])
    w = variable(3.0)
    graph = trace(lambda x: [x * data * 2.0 + w], [((2,), dtypes.float32)])
    assert [x.node for x in graph.captured] == [data.node, w.node]
    found = graph.evaluate([np.array([5.0, 7.0], np.float32), *(x.data for x in graph.captured)])
    assert found[0].tolist() == [13.0, 31.0]
    assert "return" in repr(graph)


def test_evaluation_lets_intermediate_values_go():
    x = asarray(np.ones(10))
    between = x * 2
    watched = weakref.ref(between.node)
    y = between + 1
    del between
    assert watched() is not None
    y.numpy()
    assert watched() is None
