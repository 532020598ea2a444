"""What traced functions can reach: the containers whose writes are followed."""

import functools

import numpy as np
import pytest

from chainrule import nn
from chainrule.array import asarray
from chainrule.autodiff.effects import Watch, reachable
from chainrule.errors import StateError
from chainrule.random import RandomState

LAYER = nn.Linear(2, 2)


class Owner:
    def __init__(self):
        self.model = nn.Linear(2, 2)
        self.other = 3

    def method(self, x):
        return self.model(x)


def uses_a_global(x):
    return [(lambda y: LAYER(y))(part) for part in x]


def test_functions_are_searched_through_all_that_they_hold():
    inner, owner = nn.Linear(2, 2), Owner()
    held = {"deep": [(inner,)]}

    def closure(x):
        return held["deep"][0][0](x)

    def default(x, layer=inner, *, key=inner):
        return layer(key(x))

    @functools.wraps(closure)
    def wrapped(x):
        return closure(x)

    for root, expected in [
        (closure, inner),
        (default, inner),
        (wrapped, inner),
        (functools.partial(default, layer=LAYER), inner),
        (owner.method, owner.model),
        (uses_a_global, LAYER),
        (inner, inner),
        (held, inner),
    ]:
        assert any(x is expected for x in reachable([root]))
    assert reachable([len, 3, "x", np.ones(3), lambda: undefined]) == []  # noqa: F821


def test_a_name_that_is_not_assigned_yet_is_passed_over():
    def early():
        return late

    assert reachable([early]) == []
    late = LAYER
    assert reachable([early]) == [late]


def test_a_watch_returns_what_was_stored_and_puts_back_what_was_there():
    layer, state = nn.Linear(2, 2), RandomState(1)
    weight, bias = layer.weight, layer.bias
    watch = Watch(layer, state)
    fresh = asarray([1.0, 2.0])
    layer.__tree_assign__("bias", fresh)
    state.draw_key()
    written = list(watch.take().values())
    assert [(w.leaf.path, w.value is fresh) for w in written] == [("bias", True)]
    assert layer.bias is bias
    assert layer.weight is weight
    assert state.step.item() == 1  # RandomStates are followed only where asked for
    followed = Watch(state, random_states=True)
    state.draw_key()
    assert [w.leaf.path for w in followed.take().values()] == ["step"]
    assert state.step.item() == 1


def test_new_entries_are_refused_after_everything_is_put_back():
    layer = nn.Linear(2, 2)
    bias = layer.bias
    watch = Watch(layer)
    layer.__tree_assign__("bias", asarray([1.0, 2.0]))
    layer.extra = asarray([3.0])
    with pytest.raises(StateError, match="added the entry 'extra'"):
        watch.take()
    assert layer.bias is bias
