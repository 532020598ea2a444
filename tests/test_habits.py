"""Names from elsewhere are answered by names that are there."""

import re

import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.ops import habits

OWNERS = {
    "Array": (cr.asarray([1.0, 2.0]), habits.ARRAY),
    "Module": (nn.Linear(2, 2), habits.MODULE),
    "nn": (nn, habits.NN),
    "optimizer": (optim.SGD(0.1), habits.OPTIMIZER),
    "chainrule": (cr, habits.PACKAGE),
}
CASES = [
    (owner, name)
    for owner, (_, table) in OWNERS.items()
    for name in table
    if (owner, name) != ("chainrule", "array")  # a module of that name, once it is loaded
]


@pytest.mark.parametrize(("owner", "name"), CASES, ids=lambda value: value)
def test_a_habit_is_answered(owner, name):
    thing, table = OWNERS[owner]
    with pytest.raises(AttributeError) as caught:
        getattr(thing, name)
    assert table[name] in str(caught.value)


@pytest.mark.parametrize(("owner", "name"), CASES, ids=lambda value: value)
def test_the_answer_names_what_there_is(owner, name):
    fix = OWNERS[owner][1][name]
    for package, known in [("cr", cr), ("nn", nn), ("optim", optim)]:
        for found in re.findall(rf"\b{package}\.(\w+)", fix):
            assert hasattr(known, found), fix


def test_plain_lists_and_dicts_hold_modules():
    class Held(nn.Module):
        def __init__(self):
            self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
            self.heads = {"a": nn.Linear(2, 2)}

    names = {name for name, _ in Held().named_parameters()}
    assert {"layers.1.weight", "heads.a.bias"} <= names
