"""Narrowing: elementwise work before copies, parts before wholes, sums of copies."""

import numpy as np
import pytest
from pass_programs import apply_pass, names, traced

import chainrule as cr
from chainrule.errors import IndexRangeError
from chainrule.ops import dtypes
from chainrule.ops.record import bind
from chainrule.program.compiler.passes import import_graph
from chainrule.program.compiler.passes.dead_code import dead_code
from chainrule.program.compiler.passes.evaluate import evaluate_block
from chainrule.program.compiler.passes.narrowing import narrowing

RNG = np.random.default_rng(6)
X, ROW, ONE = RNG.normal(size=(3, 4)), RNG.normal(size=4), RNG.normal(size=())


def narrowed(function, *arrays, rtol=0.0):
    def run(block):
        narrowing(block)
        dead_code(block)

    return apply_pass(run, function, *arrays, rtol=rtol)


def spread(x, shape=(3, 4)):
    return cr.broadcast_to(x, shape)


def shapes(block):
    return [(i.op.name, i.result.shape) for i in block.instructions]


def test_arithmetic_on_copied_scalars_is_done_once():
    block = narrowed(lambda a, x: spread(a) * spread(a) * x, ONE, X)
    assert shapes(block) == [("multiply", ()), ("broadcast_to", (3, 4)), ("multiply", (3, 4))]


def test_a_chain_on_copies_ends_in_one_copy():
    block = narrowed(
        lambda a: cr.astype(cr.where(spread(a) > 0, cr.exp(spread(a)), 2.0), cr.float32), ONE
    )
    assert [shape for _, shape in shapes(block)][-1] == (3, 4)
    assert {shape for _, shape in shapes(block)[:-1]} == {()}


def test_copies_of_different_shapes_meet_in_the_middle():
    block = narrowed(lambda a, row: spread(a) * spread(row), ONE, ROW)
    assert shapes(block) == [
        ("broadcast_to", (4,)),
        ("multiply", (4,)),
        ("broadcast_to", (3, 4)),
    ]
    column = RNG.normal(size=(3, 1))
    assert narrowed(lambda c, row: spread(c) * spread(row), column, ROW).instructions[
        -1
    ].op.name == ("multiply")  # an outer product is as small as it gets


def test_parts_of_elementwise_results_are_computed_alone():
    block = narrowed(lambda x: cr.exp(x * x)[1:, :2], X)
    assert names(block) == ["slice", "slice", "multiply", "exp"]
    assert {shape for _, shape in shapes(block)} == {(2, 2)}
    both = narrowed(lambda x: [y := cr.exp(x), y[1:]], X)
    assert names(both) == ["exp", "slice"]


def picked(rows, labels):
    """The entry of each row at its label, as losses read it."""
    lead = (*labels.shape, 1)
    columns = [bind("iota", shape=lead, axis=a, dtype=dtypes.int64) for a in range(labels.ndim)]
    return bind("gather", rows, cr.concat([*columns, labels.reshape(lead)], axis=-1))


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_gathered_entries_are_computed_alone(shape):
    x, labels = RNG.normal(size=shape), RNG.integers(0, 4, shape[:-1])

    def function(x, labels):
        rows = cr.exp(x)
        return [rows, picked(cr.log(rows / cr.sum(rows, axis=-1, keepdims=True)), labels)]

    block = narrowed(function, x, labels)
    assert names(block)[-4:] == ["gather", "reshape", "divide", "log"]
    assert block.outputs[1].shape == shape[:-1]


def test_rows_that_are_read_often_are_computed_as_a_whole():
    table, places = RNG.normal(size=(3, 4)), np.array([[0], [2], [2], [1]])
    block = narrowed(lambda t, i: bind("gather", t * 2.0, i), table, places)
    assert names(block) == ["broadcast_to", "multiply", "gather"]
    block = narrowed(lambda t, i: bind("gather", t * 2.0, i[:1]), table, places)
    assert names(block) == ["slice", "gather", "broadcast_to", "multiply"]


def test_a_gather_stays_to_check_its_indices():
    column = RNG.normal(size=(3, 1))
    block = narrowed(lambda c, i: picked(spread(c) * spread(c), i), column, np.array([0, 1, 3]))
    assert "gather" in names(block)
    graph, values = traced(lambda x, i: picked(x * 2.0, i), [X, np.array([0, 1, 2])])
    block = import_graph(graph)
    assert narrowing(block)
    with pytest.raises(IndexRangeError):
        evaluate_block(block, [values[0], np.array([0, 1, 4])])


def test_parts_of_copies_are_copies_of_parts():
    block = narrowed(lambda row: spread(row)[1:, ::2], ROW)
    assert shapes(block) == [("slice", (2,)), ("broadcast_to", (2, 2))]
    column = RNG.normal(size=(3, 1))
    assert shapes(narrowed(lambda c: spread(c)[1:, 1:3], column))[-1] == ("broadcast_to", (2, 2))


def test_parts_of_joined_and_padded_arrays():
    def joined(x):
        return bind("concatenate", cr.exp(x), x, x, axis=1)[:, 5:8]

    assert names(narrowed(joined, X)) == ["slice"]
    across = narrowed(lambda x: bind("concatenate", x, cr.exp(x), axis=1)[:, 3:6], X)
    assert names(across) == ["exp", "concatenate", "slice"]
    assert names(narrowed(lambda x: cr.pad(x, 2)[2:4, 3:5], X)) == ["slice"]
    assert names(narrowed(lambda x: cr.pad(x, 2)[1:4, 3:5], X)) == ["pad", "slice"]


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int8", "uint8"])
def test_a_sum_over_copies_is_a_multiple(dtype):
    row = RNG.integers(-5, 5, 4).astype(dtype)
    wide = (300, 4)

    def function(row):
        return [bind("sum", spread(row, wide), axes=axes) for axes in ((0,), (1,), (0, 1))]

    block = narrowed(function, row)
    assert max(i.result.size for i in block.instructions) == 300  # one sum, copied
    assert all(x.size <= 4 for i in block.instructions if i.op.name == "sum" for x in i.operands)


def test_reductions_beside_the_copied_axes_come_first():
    block = narrowed(lambda x: cr.max(spread(x, (5, 3, 4)), axis=1), X)
    assert shapes(block)[-1] == ("broadcast_to", (5, 4))
    assert max(i.result.size for i in block.instructions[:-1]) <= 12


def test_sums_over_copies_of_size_one_axes_and_of_nothing():
    column = RNG.normal(size=(3, 1))
    function = lambda c: bind("sum", spread(c, (2, 3, 5)), axes=(0, 2))  # noqa: E731
    assert "sum" not in names(narrowed(function, column, rtol=1e-15))
    empty = narrowed(lambda c: bind("sum", spread(c, (3, 0)), axes=(1,)), column)
    assert names(empty) == ["broadcast_to", "sum"]
    half = narrowed(lambda c: bind("sum", spread(c, (3, 5)), axes=(1,)), column.astype(np.float16))
    assert names(half) == ["broadcast_to", "sum"]


def test_extrema_over_copies_are_those_of_the_originals():
    block = narrowed(lambda row: [cr.max(spread(row), axis=0), cr.min(spread(row))], ROW)
    assert max(i.operands[0].size for i in block.instructions) <= 4


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
def test_reductions_of_transposed_arrays_read_them_as_they_are(axes):
    cube = RNG.normal(size=(2, 3, 4))
    for order in ((2, 0, 1), (1, 0, 2), (2, 1, 0)):
        block = narrowed(
            lambda x, order=order: bind("sum", cr.permute_dims(x, order), axes=axes),
            cube,
            rtol=1e-14,
        )
        assert names(block)[0] == "sum"


def test_barriers_are_not_passed():
    block = narrowed(lambda a: cr.barrier(spread(a)) + spread(a), ONE)
    assert names(block) == ["broadcast_to", "barrier", "broadcast_to", "add"]


def test_counts_of_elements_fold_into_sums_of_ones():
    block = narrowed(lambda a: cr.sum(cr.astype(spread(a > 0), cr.int32), dtype=cr.int32), ONE)
    assert dtypes.int32 == block.outputs[0].dtype
    assert "sum" not in names(block)
