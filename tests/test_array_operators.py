"""Operators and type promotion, by the rules of the array API standard."""

import operator

import ml_dtypes
import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.array import asarray, variable
from chainrule.errors import DtypeError
from chainrule.ops import dtypes

BINARY = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
INTEGER = {
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}
X = np.array([[1.5, 2.0, 3.25], [0.5, 1.0, 2.0]], np.float32)
Y = np.array([[2.0, 2.0, 1.5], [3.0, 0.25, 1.0]], np.float32)
LEFT, RIGHT = np.array([5, 6, 7, 1]), np.array([3, 6, 2, 0])


@pytest.mark.parametrize("symbol", BINARY)
def test_operators_on_floats_equal_numpys(symbol):
    function = BINARY[symbol]
    for left, right in [(X, Y), (X, Y[0]), (X[:, :1], Y)]:
        expected = function(left, right)
        for found in (
            function(asarray(left), asarray(right)),
            function(asarray(left), right),
            function(left, asarray(right)),
        ):
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    for found, expected in [
        (function(asarray(X), 2.0), function(X, 2.0)),
        (function(2.0, asarray(X)), function(2.0, X)),
        (function(asarray(X), 2), function(X, 2)),
        (function(asarray(X), [1.0, 2.0, 3.0]), function(X, np.array([1, 2, 3], np.float32))),
        (function(asarray(X), np.float32(2)), function(X, np.float32(2))),
        (function(np.float32(2), asarray(X)), function(np.float32(2), X)),
    ]:
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("symbol", INTEGER)
def test_operators_on_integers_equal_numpys(symbol):
    function = INTEGER[symbol]
    for found, expected in [
        (function(asarray(LEFT), asarray(RIGHT)), function(LEFT, RIGHT)),
        (function(asarray(LEFT), 2), function(LEFT, 2)),
        (function(2, asarray(RIGHT)), function(2, RIGHT)),
    ]:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found.numpy(), expected)


def test_unary_operators_and_products_of_matrices():
    x = asarray(X)
    np.testing.assert_array_equal((-x).numpy(), -X)
    assert +x is x
    np.testing.assert_array_equal(abs(-x).numpy(), X)
    np.testing.assert_array_equal((~asarray(LEFT)).numpy(), ~LEFT)
    np.testing.assert_array_equal((~(x > 1)).numpy(), ~(X > 1))
    for found in (x @ asarray(Y).T, X @ asarray(Y.T), x @ Y.T):
        np.testing.assert_allclose(found.numpy(), X @ Y.T, rtol=1e-6)
    mask = asarray([True, False])
    assert (mask & asarray([True, True])).tolist() == [True, False]
    assert (mask | False).tolist() == [True, False]
    assert (mask ^ True).tolist() == [False, True]


def test_methods_equal_functions():
    x = asarray(X)
    for axis in (None, 0, (0, 1)):
        for name in ("sum", "mean", "max", "min"):
            for keepdims in (False, True):
                found = getattr(x, name)(axis, keepdims=keepdims).numpy()
                expected = getattr(X, name)(axis, keepdims=keepdims)
                np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert x.argmax(axis=1).tolist() == X.argmax(1).tolist()
    assert x.reshape(3, 2).shape == x.reshape((3, 2)).shape == x.reshape(3, -1).shape == (3, 2)
    assert x.reshape(6).shape == x.reshape(-1).shape == (6,)
    assert x.astype("int32").dtype == np.int32


@pytest.mark.parametrize("other", ["text", None, {}, 1j, object()])
def test_strangers_are_left_to_python(other):
    with pytest.raises(TypeError):
        asarray(1.0) + other
    with pytest.raises(TypeError):
        other + asarray(1.0)


# --- promotion --------------------------------------------------------------------------------


def standard(a, b):
    """The type of a mixed operation by the array API's tables; ours where they are silent."""
    if a == b:
        return a
    if dtypes.bool_ in (a, b):
        return b if a == dtypes.bool_ else a
    if dtypes.is_floating(a) != dtypes.is_floating(b):
        return a if dtypes.is_floating(a) else b
    if {a, b} == {dtypes.float16, dtypes.bfloat16}:
        return dtypes.float32
    if dtypes.bfloat16 in (a, b):
        return b if a == dtypes.bfloat16 else a
    if dtypes.uint64 in (a, b) and "i" in (a.kind, b.kind):
        return None
    return np.promote_types(a, b)


@pytest.mark.parametrize("a", dtypes.NUMERIC, ids=str)
@pytest.mark.parametrize("b", dtypes.NUMERIC, ids=str)
def test_every_pair_of_types(a, b):
    x, y = asarray(np.array([2, 3]).astype(a)), asarray(np.array([1, 2]).astype(b))
    expected = standard(a, b)
    if expected is None:
        with pytest.raises(DtypeError, match="no common"):
            x + y
        return
    assert (x + y).dtype == (y * x).dtype == expected
    assert (x < y).dtype == dtypes.bool_
    assert ops.where(x > 2, x, y).dtype == expected
    assert cr.result_type(a, b) == cr.result_type(x, y) == expected
    floating = expected if dtypes.is_floating(expected) else dtypes.float32
    assert (x / y).dtype == floating
    assert ops.atan2(x, y).dtype == floating


@pytest.mark.parametrize("dtype", dtypes.NUMERIC, ids=str)
def test_python_scalars_take_the_type_of_the_array(dtype):
    x = asarray(np.array([1, 2]).astype(dtype))
    floating = dtype if dtypes.is_floating(dtype) else dtypes.float32
    assert (x + 1).dtype == (1 - x).dtype == dtype
    assert (x * True).dtype == dtype
    assert (x * 2.5).dtype == (2.5 - x).dtype == floating
    assert ops.maximum(x, 1).dtype == dtype
    assert ops.clip(x, 0, 1).dtype == dtype
    assert ops.where(x > 1, x, 0).dtype == dtype
    assert ops.where(x > 1, 1.5, x).dtype == floating


def test_bools_among_numbers():
    flags = asarray([True, False])
    assert (flags * 2).dtype == np.int64
    assert (flags * 2.0).dtype == np.float32
    assert (flags * asarray(np.ones(2, np.int8))).dtype == np.int8
    with pytest.raises(DtypeError, match="does not take bool"):
        flags + flags


def test_numpy_scalars_have_a_type_of_their_own():
    x = asarray(np.ones(2, np.float32))
    assert (x * np.float64(2)).dtype == np.float64
    assert (np.float64(2) * x).dtype == np.float64
    assert (x * np.float32(2)).dtype == np.float32
    assert (x * np.int64(2)).dtype == np.float32
    assert (x * np.array(2.0, ml_dtypes.bfloat16)).dtype == np.float32


@pytest.mark.parametrize(
    ("dtype", "number"), [(np.int8, 128), (np.uint8, -1), (np.uint8, 256), (np.int32, 2**31)]
)
def test_integers_that_do_not_fit_are_refused(dtype, number):
    with pytest.raises(DtypeError, match="does not fit"):
        asarray(np.ones(2, dtype)) + number


def test_repeated_numbers_are_one_node_but_signs_and_types_differ():
    x = asarray([1.0])
    first, second = (x * 2.0).node.inputs[1], (x * 2.0).node.inputs[1]
    assert first.node.inputs[0].node is second.node.inputs[0].node
    assert np.signbit((x * -0.0).numpy()[0])
    assert not np.signbit((x * 0.0).numpy()[0])
    assert (x * 1).dtype == np.float32
    assert (asarray([2]) * 1).dtype == np.int64
    assert (asarray([2]) * True).tolist() == [2]


def test_asking_for_types():
    assert cr.result_type(cr.float32, 1.0) == np.float32
    assert cr.result_type(cr.int32, 1.0) == np.float32
    assert cr.isdtype(cr.bfloat16, "real floating")
    assert cr.isdtype(cr.int8, ("bool", "integral"))
    assert not cr.isdtype(cr.float32, "complex floating")
    assert cr.isdtype(cr.int8, cr.int8)
    assert cr.finfo(cr.float32).eps == np.finfo(np.float32).eps
    assert cr.finfo(cr.bfloat16).bits == 16
    assert cr.iinfo(asarray([1])).max == 2**63 - 1
    assert cr.can_cast(cr.int8, cr.int64)
    assert not cr.can_cast(cr.int64, cr.int8)
    assert not cr.can_cast(cr.int64, cr.float32)
    assert not cr.can_cast(cr.uint64, cr.int64)
    assert cr.can_cast(cr.bool, cr.float16)
    with pytest.raises(ValueError, match="unknown kind"):
        cr.isdtype(cr.int8, "numbers")


def test_a_namespace_by_the_standards_names():
    names = ["add", "asarray", "matmul", "sum", "permute_dims", "float32", "pi", "newaxis"]
    namespace = asarray(1.0).__array_namespace__()
    for name in names:
        assert hasattr(namespace, name)


def test_gradients_flow_through_mixed_operands():
    w = variable(np.array([1.0, 2.0], np.float32))
    loss = (np.array([3.0, 4.0], np.float32) * w + [1.0, 2.0] - np.float32(1)).sum()
    assert cr.gradients(loss, w).tolist() == [3.0, 4.0]
    half = variable(np.array([1.0, 2.0], np.float16))
    mixed = (half * variable(np.array([2.0, 3.0]))).sum()
    found = cr.gradients(mixed, half)
    assert (found.dtype, found.tolist()) == (np.float16, [2.0, 3.0])


@pytest.mark.parametrize(
    "ufunc",
    [np.sin, np.exp, np.arctan, np.absolute, np.rint, np.negative, np.tanh, np.square],
    ids=lambda ufunc: ufunc.__name__,
)
def test_numpys_elementwise_functions_record_an_op(ufunc):
    x = cr.variable(np.array([0.3, -1.2, 2.0]))
    y = ufunc(x)
    assert isinstance(y, cr.Array)
    assert y.node.tracked, "so gradients go through"
    np.testing.assert_allclose(y.numpy(), ufunc(x.numpy()), rtol=1e-12)


def test_numpys_other_functions_take_the_values():
    x, y = cr.asarray([1.0, 2.0]), cr.asarray([3.0, 5.0])
    assert np.mean(x) == 1.5
    assert np.stack([x, y]).tolist() == [[1, 2], [3, 5]]
    assert np.concatenate((x, y)).shape == (4,)
    assert np.allclose(x, [1, 2])
    with pytest.raises(DtypeError, match=r"np\.spacing"):
        np.spacing(x)
