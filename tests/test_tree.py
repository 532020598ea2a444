"""Containers are taken apart, rebuilt and refilled."""

from typing import NamedTuple

import numpy as np
import pytest

from chainrule import tree
from chainrule.array import asarray
from chainrule.errors import StateError


class Pair(NamedTuple):
    first: object
    second: object


class Box:
    """An object that follows the protocol."""

    def __init__(self, **values):
        self.values = values
        self.mode = "a"

    def __tree_children__(self):
        return list(self.values.items())

    def __tree_assign__(self, name, value):
        self.values[name] = value

    def __tree_static__(self):
        return self.mode


def example():
    a, b = asarray([1.0]), np.array([2.0])
    return {"a": a, "rest": [b, (0.5, "fixed", None)], "pair": Pair(3.0, 4)}, (a, b)


def test_leaves_come_with_paths_and_places():
    container, (a, b) = example()
    leaves, _ = tree.flatten(container)
    assert [leaf.path for leaf in leaves] == ["a", "rest.0", "rest.1.0", "pair.0"]
    assert leaves[0].value is a
    assert leaves[1].value is b
    assert leaves[1].owner is container["rest"]
    assert leaves[2].owner is None, "a tuple can not be written to"
    bare, _ = tree.flatten(a)
    assert [leaf.path for leaf in bare] == [""]


def test_rebuilding_keeps_structure_and_static_parts():
    container, _ = example()
    leaves, structure = tree.flatten(container)
    rebuilt = tree.unflatten(structure, range(len(leaves)))
    assert rebuilt == {"a": 0, "rest": [1, (2, "fixed", None)], "pair": Pair(3, 4)}
    assert type(rebuilt["pair"]) is Pair


def test_structures_are_equal_where_leaves_may_differ():
    first, second = (tree.flatten(example()[0])[1] for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    other = tree.flatten({"a": 1.0, "rest": [1.0, (0.5, "other", None)], "pair": Pair(3.0, 4)})[1]
    assert other != first


def test_assigning_replaces_in_place():
    box = Box(weight=asarray(1.0), inner={"rate": 0.1})
    leaves, _ = tree.flatten([box])
    assert [leaf.path for leaf in leaves] == ["0.weight", "0.inner.rate"]
    leaves[0].assign("new")
    leaves[1].assign(0.2)
    assert box.values == {"weight": "new", "inner": {"rate": 0.2}}
    with pytest.raises(StateError, match="can be written to"):
        tree.flatten((1.0,))[0][0].assign(2.0)


def test_the_static_description_of_an_object_counts():
    one, two = Box(w=1.0), Box(w=1.0)
    assert tree.flatten(one)[1] == tree.flatten(two)[1]
    two.mode = "b"
    assert tree.flatten(one)[1] != tree.flatten(two)[1]
    with pytest.raises(StateError, match="can not be rebuilt"):
        tree.unflatten(tree.flatten(one)[1], [1.0])


def test_mapping_over_leaves():
    doubled = tree.map_leaves(lambda x, y: x + y, {"a": 1.0, "b": [2.0]}, {"a": 10.0, "b": [20.0]})
    assert doubled == {"a": 11.0, "b": [22.0]}
    with pytest.raises(StateError, match="number of leaves"):
        tree.map_leaves(lambda x, y: x, [1.0], [1.0, 2.0])


def test_values_that_can_not_be_hashed_are_told_apart_by_identity():
    first, second = {1, 2}, {1, 2}
    assert tree.flatten([first])[1] == tree.flatten([first])[1]
    assert tree.flatten([first])[1] != tree.flatten([second])[1]
