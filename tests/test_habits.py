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


def test_array_is_answered_though_it_is_a_package():
    import chainrule.array

    with pytest.raises(AttributeError, match=r"cr\.asarray\(x\)") as caught:
        chainrule.array([1.0, 2.0])
    assert "test_habits.py" in str(caught.value)


X = cr.zeros((2, 3))
SPELLINGS = {
    "dim of a method": (lambda: X.mean(dim=0), "x.mean(axis=0)"),
    "keepdim of a method": (lambda: X.sum(1, keepdim=True), "x.sum(keepdims=True)"),
    "dim of a function": (lambda: cr.mean(X, dim=(0, 1)), "mean(x, axis=(0, 1))"),
    "dim of concat": (lambda: cr.concat([X, X], dim=1), "concat(arrays, axis=1)"),
    "dim of softmax": (lambda: nn.softmax(X, dim=1), "softmax(x, axis=1)"),
    "dims": (lambda: cr.permute_dims(X, dims=(1, 0)), "permute_dims(x, axes=(1, 0))"),
    "ddof": (lambda: cr.std(X, ddof=1), "std(x, correction=1)"),
    "axis without a name": (lambda: cr.stack([X, X], 1), "stack(arrays, axis=1)"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_from_elsewhere_is_answered(name):
    call, cure = SPELLINGS[name]
    with pytest.raises(TypeError) as caught:
        call()
    assert f"try:      {cure}\n" in str(caught.value)
    assert "test_habits.py" in str(caught.value)


def test_other_type_errors_stay_as_they_are():
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        cr.sum(X, foo=1)
    with pytest.raises(TypeError, match="positional argument"):
        cr.sum(X, "rows")


def test_plain_lists_and_dicts_hold_modules():
    class Held(nn.Module):
        def __init__(self):
            self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
            self.heads = {"a": nn.Linear(2, 2)}

    names = {name for name, _ in Held().named_parameters()}
    assert {"layers.1.weight", "heads.a.bias"} <= names
