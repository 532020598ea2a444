"""Every public elementwise function under its NumPy name; where nodes say they come from."""

import inspect

import numpy as np
import pytest
from op_samples import assert_close

from chainrule import ops
from chainrule.array import asarray
from chainrule.ops.origin import Origin, current_layer, here, layer_scope, origin_of
from chainrule.ops.record import REGISTRY, Op, bind

SMALL, POSITIVE = np.linspace(-0.9, 0.9, 7), np.linspace(0.2, 3.0, 7)
SPECIAL = np.array([-np.inf, -2.5, -0.0, 0.0, 1.5, np.inf, np.nan])
FLAGS = np.array([True, False, True]), np.array([True, True, False])
NUMBERS = np.array([6, 5, 12]), np.array([3, 1, 2])
GROUPS = {
    "abs acos asin asinh atan atanh ceil cos cosh exp expm1 floor log1p": (SMALL,),
    "negative positive round sign sin sinh square tan tanh trunc": (SMALL,),
    "acosh log log2 log10 sqrt reciprocal": (POSITIVE + 1,),
    "isfinite isinf isnan signbit logical_not abs floor trunc sqrt exp": (SPECIAL,),
    "add subtract multiply divide floor_divide remainder pow atan2": (POSITIVE, POSITIVE[::-1] + 2),
    "maximum minimum hypot copysign logaddexp": (SMALL, POSITIVE),
    "equal not_equal less less_equal greater greater_equal": (SMALL, SMALL[::-1]),
    "logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor": FLAGS,
    "bitwise_left_shift bitwise_right_shift bitwise_and": NUMBERS,
    "bitwise_invert": (NUMBERS[0],),
}
CALLS = [(name, arrays) for names, arrays in GROUPS.items() for name in names.split()]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(("name", "arrays"), CALLS, ids=str)
def test_functions_equal_numpys_of_the_same_name(name, arrays):
    found, expected = getattr(ops, name)(*map(asarray, arrays)), getattr(np, name)(*arrays)
    assert found.dtype == expected.dtype
    assert_close(found.numpy(), expected, 1e-12)


@pytest.mark.parametrize(("name", "arrays"), CALLS, ids=str)
def test_functions_take_lists_and_numbers(name, arrays):
    lists = [a.tolist() for a in arrays]
    expected = getattr(ops, name)(*map(asarray, lists))
    found = getattr(ops, name)(*lists)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert getattr(ops, name)(*(a[0].item() for a in arrays)).shape == ()


def test_records_are_checked_when_they_are_made():
    with pytest.raises(ValueError, match="nondifferentiable"):
        Op(name="x", family="elementwise", arity=1, infer=None, evaluate=None, vjp=None, batch=None)
    assert "add" in REGISTRY
    assert len(REGISTRY) == len(list(REGISTRY))
    assert repr(REGISTRY["add"]) == "add"


# --- origins ----------------------------------------------------------------------------------


def test_nodes_name_the_users_line():
    x = asarray([1.0, 2.0])
    line = inspect.currentframe().f_lineno + 1
    y = ops.mean(x * 2)
    assert (y.node.origin.file, y.node.origin.line) == (__file__, line)
    assert str(here()) == f"test_functions.py:{inspect.currentframe().f_lineno}"


def test_layers_nest_in_the_origin():
    with layer_scope("encoder"), layer_scope("0"), layer_scope(""):
        assert current_layer() == "encoder.0"
        x = asarray(1.0) + 1
    assert current_layer() == ""
    assert x.node.origin.layer == "encoder.0"
    assert str(x.node.origin).endswith("layer encoder.0")


def test_transforms_keep_origins():
    origin = Origin("net.py", 7, "head", 0)
    with origin_of(origin, 42):
        x = asarray(1.0) + 1
        with origin_of(Origin("other.py", 1, "", 3)):
            y = bind("negative", x)
        z = bind("negative", x)
    assert x.node.origin == z.node.origin == Origin("net.py", 7, "head", 42)
    assert y.node.origin == Origin("other.py", 1, "", 3)
    assert str(x.node.origin) == "net.py:7, layer head (derivative of node %42)"
    assert here().file == __file__
