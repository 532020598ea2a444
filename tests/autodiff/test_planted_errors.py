"""The tests of derivatives can fail: wrong rules, planted into copies of records, are caught."""

import dataclasses

import numpy as np
import pytest

from chainrule import ops
from chainrule.array import asarray
from chainrule.autodiff import check_gradients
from chainrule.errors import GradientError
from chainrule.ops.record import REGISTRY, bind

NAN = float("nan")


def negated(parts):
    return tuple(None if g is None else -g for g in parts)


def doubled(parts):
    return tuple(None if g is None else g * 2.0 for g in parts)


def swapped(parts):
    return tuple(reversed(parts))


def with_nan(parts):
    return tuple(None if g is None else g * NAN for g in parts)


def forgotten(parts):
    return (None, *parts[1:])


def slightly_off(parts):
    return tuple(None if g is None else g * 1.0001 for g in parts)


CORRUPTIONS = [negated, doubled, with_nan, forgotten, slightly_off]
CALLS = {
    "multiply": ([(3, 4), (3, 4)], {}),
    "divide": ([(3, 4), (3, 4)], {}),
    "tanh": ([(3, 4)], {}),
    "sum": ([(3, 4)], {"axes": (1,)}),
    "max": ([(3, 4)], {"axes": (0,)}),
    "broadcast_to": ([(4,)], {"shape": (3, 4)}),
    "dot_general": ([(3, 3), (3, 3)], {"contract": ((1,), (0,)), "batch": ((), ())}),
    "transpose": ([(3, 4)], {"axes": (1, 0)}),
    "pad": ([(3, 4)], {"low": (1, 0), "high": (0, 2), "interior": (0, 0)}),
}


def planted(name, corrupt):
    """A copy of a record, unregistered, whose rule is spoiled."""
    right = REGISTRY[name]

    def wrong(g, y, *inputs, **attributes):
        return corrupt(right.vjp(g, y, *inputs, **attributes))

    return dataclasses.replace(right, vjp=wrong)


def verdict(op, shapes, attributes):
    rng = np.random.default_rng(3)
    arrays = [asarray(rng.uniform(0.5, 2.0, shape)) for shape in shapes]
    check_gradients(lambda *xs: bind(op, *xs, **attributes), tuple(arrays))


@pytest.mark.parametrize("name", CALLS)
def test_the_right_rules_pass(name):
    verdict(REGISTRY[name], *CALLS[name])


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", CALLS)
def test_spoiled_rules_are_caught(name, corrupt):
    with pytest.raises(GradientError):
        verdict(planted(name, corrupt), *CALLS[name])


@pytest.mark.parametrize("name", ["multiply", "divide", "dot_general"])
def test_swapped_cotangents_are_caught(name):
    with pytest.raises(GradientError):
        verdict(planted(name, swapped), *CALLS[name])


def test_a_sum_left_out_is_caught():
    """The derivative of broadcasting is a sum over the copies: here the first copy alone."""
    right = REGISTRY["broadcast_to"]
    wrong = dataclasses.replace(right, vjp=lambda g, y, x, *, shape: (g[0],))
    with pytest.raises(GradientError):
        verdict(wrong, *CALLS["broadcast_to"])


def test_a_wrong_second_derivative_is_caught():
    """Right in value, but the rule hides the dependence on x from the next derivative."""
    right = REGISTRY["exp"]
    wrong = dataclasses.replace(right, vjp=lambda g, y, x: (g * ops.stop_gradient(y),))
    x = asarray(np.array([0.3, -0.5]))
    check_gradients(lambda x: bind(wrong, x), (x,))
    with pytest.raises(GradientError):
        check_gradients(lambda x: bind(wrong, x), (x,), order=2)
