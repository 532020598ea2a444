"""Rosenblatt's perceptron: its rule by hand, convergence, and XOR, which it can not learn."""

import numpy as np
import pytest

from chainrule import nn
from chainrule.errors import ArgumentError, DataError, ShapeError

CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)


def test_the_first_corrections_by_hand():
    unit = nn.Perceptron(2)
    # (0,0): says +1, wants −1: b −2·½; (0,1): w·x + b = −1, right; (1,0): right; (1,1): says −1,
    # wants +1: w (1,1), b 0
    assert unit.fit(CORNERS, [-1, -1, -1, 1], epochs=1, learning_rate=0.5) == [2]
    assert unit.weight.tolist() == [[1, 1]]
    assert unit.bias.tolist() == [0]
    assert not unit.converged


def test_zero_counts_as_plus_one():
    assert nn.Perceptron(3)([5, -2, 1]).tolist() == [1.0]
    assert nn.Perceptron(3, 2)(np.zeros((4, 3), "f")).shape == (4, 2)


@pytest.mark.parametrize(
    "targets",
    [[-1, -1, -1, 1], [-1, 1, 1, 1], [1, 1, 1, -1], [1, -1, -1, -1], [1, 1, 1, 1]],
    ids=["and", "or", "nand", "nor", "always"],
)
def test_separable_functions_are_learned(targets):
    unit = nn.Perceptron(2)
    errors = unit.fit(CORNERS, targets, epochs=50)
    assert errors[-1] == 0
    assert len(errors) < 50
    assert unit.converged
    assert unit(CORNERS).numpy().ravel().tolist() == targets


def test_xor_is_never_learned():
    unit = nn.Perceptron(2)
    errors = unit.fit(CORNERS, [-1, 1, 1, -1], epochs=500)
    assert len(errors) == 500
    assert min(errors) > 0
    assert not unit.converged
    assert (unit(CORNERS).numpy().ravel() != [-1, 1, 1, -1]).any()


def test_several_units_learn_side_by_side():
    targets = np.array([[-1, 1], [-1, -1], [-1, -1], [1, -1]])
    units = nn.Perceptron(2, 2)
    assert units.fit(CORNERS, targets)[-1] == 0
    np.testing.assert_array_equal(units(CORNERS).numpy(), targets)


def test_learning_goes_on_where_it_stopped():
    whole, parts = nn.Perceptron(2), nn.Perceptron(2)
    errors = whole.fit(CORNERS, [-1, -1, -1, 1], epochs=3)
    pieces = [parts.fit(CORNERS, [-1, -1, -1, 1], epochs=1)[0] for _ in range(3)]
    assert pieces == errors
    np.testing.assert_array_equal(whole.weight.numpy(), parts.weight.numpy())


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((CORNERS, [0, 0, 0, 1]), DataError, r"2 \* targets - 1"),
        ((CORNERS * np.nan, [1, 1, 1, 1]), DataError, "NaN"),
        ((CORNERS, [1, 1, 1]), ShapeError, r"\(n, 2\) and \(n, 1\)"),
        ((CORNERS[:, :1], [1, 1, 1, 1]), ShapeError, "do not fit"),
        ((CORNERS, [1, 1, 1, 1], 0), ArgumentError, "epochs"),
        ((CORNERS, [1, 1, 1, 1], 5, 0.0), ArgumentError, "learning_rate"),
    ],
    ids=str,
)
def test_wrong_arguments_are_told(arguments, kind, words):
    with pytest.raises(kind, match=words):
        nn.Perceptron(2).fit(*arguments)


def test_a_wrong_input_is_told():
    with pytest.raises(ShapeError, match=r"\(\.\.\., 2\)"):
        nn.Perceptron(2)([1, 2, 3])
