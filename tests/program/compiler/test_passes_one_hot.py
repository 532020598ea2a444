"""Scatters into one place a row become comparisons, unless they are what checks the labels."""

import numpy as np
import pytest
from pass_programs import apply_pass, assert_equal, control, names, traced

import chainrule as cr
from chainrule import nn
from chainrule.autodiff import grad, value_and_grad
from chainrule.errors import IndexRangeError
from chainrule.ops import dtypes
from chainrule.ops.record import bind
from chainrule.program.compiler.passes import import_graph, run_passes
from chainrule.program.compiler.passes.evaluate import evaluate_block
from chainrule.program.compiler.passes.one_hot import one_hot

RNG = np.random.default_rng(17)


def places(labels, position):
    """Indices whose column ``position`` is the label and whose others count the axes."""
    lead = (*labels.shape, 1)
    columns = [bind("iota", shape=lead, axis=a, dtype=dtypes.int64) for a in range(labels.ndim)]
    columns.insert(position, labels.reshape(lead))
    return cr.concat(columns, axis=-1)


@pytest.mark.parametrize("mode", ["add", "set"])
@pytest.mark.parametrize(
    ("shape", "position", "trailing"),
    [((3, 5), 1, ()), ((5, 3), 0, ()), ((2, 5, 3), 1, ()), ((3, 5), 1, (2,)), ((2, 3, 5), 2, (4,))],
)
def test_one_place_a_row(mode, shape, position, trailing):
    lead = tuple(n for axis, n in enumerate(shape) if axis != position)
    x, u = RNG.normal(size=(*shape, *trailing)), RNG.normal(size=(*lead, *trailing))
    x.reshape(-1)[:2] = -0.0
    labels = RNG.integers(0, shape[position], lead)

    def function(x, labels, u):
        where = places(labels, position)
        return [bind("gather", x, where), bind("scatter", x, where, u, mode=mode)]

    block = apply_pass(one_hot, function, x, labels, u)
    assert "scatter" not in names(block)
    assert names(block)[-1] == "where"


def test_counters_in_another_order():
    x, labels, u = RNG.normal(size=(3, 2, 5)), RNG.integers(0, 5, (2, 3)), RNG.normal(size=(2, 3))

    def function(x, labels, u):
        lead = (2, 3, 1)
        rows, columns = (bind("iota", shape=lead, axis=a, dtype=dtypes.int64) for a in (1, 0))
        where = cr.concat([rows, columns, labels.reshape(lead)], axis=-1)
        return [bind("gather", x, where), bind("scatter", x, where, u, mode="add")]

    assert "scatter" not in names(apply_pass(one_hot, function, x, labels, u))


def test_other_scatters_stay():
    x, u = RNG.normal(size=(3, 5)), RNG.normal(size=(3,))
    for labels in (RNG.integers(0, 3, (3, 2)), np.array([[0, 0], [0, 0], [1, 1]])):
        block = apply_pass(
            one_hot,
            lambda x, i, u: [bind("gather", x, i), bind("scatter", x, i, u, mode="add")],
            x,
            labels,
            u,
        )
        assert "scatter" in names(block)


def test_labels_are_still_checked():
    z, labels = RNG.normal(size=(3, 4)), np.array([0, 3, 2])
    for function in (grad, value_and_grad):
        graph, values = traced(
            lambda z, t, f=function: f(lambda z: nn.cross_entropy(z, t))(z), [z, labels]
        )
        block = import_graph(graph)
        run_passes(block, verify=True)
        assert_equal(evaluate_block(block, values), graph.evaluate(values), 1e-13)
        assert ("scatter" in names(block)) is (function is grad)
        for wrong in (4, -1, 2**32):
            with pytest.raises(IndexRangeError):
                evaluate_block(block, [z, np.array([0, wrong, 2])])


def test_scatters_in_loops():
    def step(x, t):
        where = places(t, 1)
        return bind("scatter", x, where, bind("gather", x, where), mode="add"), None

    x, labels = RNG.normal(size=(3, 5)), RNG.integers(0, 5, (4, 3))
    block = apply_pass(one_hot, lambda x, t: cr.scan(step, x, t)[0], x, labels)
    assert "scatter" not in names(control(block).bodies["body"])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_loss_of_labels_scatters_nothing(smoothing):
    def loss(z, t):
        return nn.cross_entropy(z, t, label_smoothing=smoothing)

    arrays = [RNG.normal(size=(6, 4)), RNG.integers(0, 4, 6)]
    graph, values = traced(lambda z, t: value_and_grad(loss)(z, t), arrays)
    block = run_passes(import_graph(graph))
    assert_equal(evaluate_block(block, values), graph.evaluate(values), 1e-13)
    assert "scatter" not in names(block)
