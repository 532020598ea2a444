"""Constant folding: what is computed while compiling, and what stays lazy."""

import numpy as np
from pass_programs import apply_pass, control, names

import chainrule as cr
from chainrule.array import asarray, leaf, placeholder
from chainrule.graph import Graph
from chainrule.ops import dtypes
from chainrule.ops.record import bind
from chainrule.program.compiler.passes import import_graph, run_passes, verify_block
from chainrule.program.compiler.passes.dead_code import dead_code
from chainrule.program.compiler.passes.evaluate import evaluate_block
from chainrule.program.compiler.passes.fold_constants import MAX_FOLDED, fold_constants

RNG = np.random.default_rng(4)
TABLE = RNG.normal(size=(4, 5))


def with_constants(function, *specs):
    """A block of a function whose closed-over Arrays are constants, as in a Program."""
    inputs = [placeholder(shape, dtypes.float64, f"x{i}") for i, shape in enumerate(specs)]
    result = function(*inputs)
    graph = Graph(inputs, result if isinstance(result, list) else [result])
    return graph, import_graph(graph)


def folded(function, *specs):
    graph, block = with_constants(function, *specs)
    fold_constants(block)
    dead_code(block)
    verify_block(block, "fold_constants")
    values = [RNG.normal(size=shape) for shape in specs]
    for x, y in zip(evaluate_block(block, values), graph.evaluate(values), strict=True):
        np.testing.assert_array_equal(x, y)
    return block


def test_what_depends_on_constants_alone_is_computed():
    table = leaf(TABLE)
    block = folded(lambda x: x + cr.sum(cr.exp(table) @ cr.flip(table, axis=0).T), (3,))
    assert names(block) == ["broadcast_to", "add"]
    assert block.instructions[0].operands[0].constant is not None


def test_copies_and_counters_stay_lazy():
    def function(x):
        counter = bind("iota", shape=(3, 4), axis=1, dtype=dtypes.float64)
        return x * cr.full((3, 4), 2.0, dtype=cr.float64) + cr.sin(counter)

    assert names(folded(function, (3, 4))) == ["broadcast_to", "multiply", "iota", "sin", "add"]


def test_a_counter_is_read_where_the_result_is_small():
    def function(x):
        rows = bind("iota", shape=(5, 2), axis=0, dtype=dtypes.float64)
        return x + cr.sum(rows, axis=0)

    block = folded(function, (2,))
    assert names(block) == ["add"]
    np.testing.assert_array_equal(block.instructions[0].operands[1].constant, [10.0, 10.0])


def test_large_results_are_not_stored():
    n = int(MAX_FOLDED**0.5) + 1
    line = leaf(RNG.normal(size=(n,)))
    block = folded(lambda x: x + cr.tensordot(line, line, axes=0), (n, n))
    assert "dot_general" in names(block)
    wide = leaf(RNG.normal(size=(n, n)))
    assert names(folded(lambda x: x + cr.exp(wide), (n, n))) == ["add"]  # no larger than before


def test_random_bits_and_barriers_are_left():
    key = cr.random.key(3)
    block = folded(lambda x: x + cr.sum(bind("random_bits", key, shape=(4,)), dtype=cr.float64), ())
    assert "random_bits" in names(block)
    assert names(folded(lambda x: x + cr.barrier(leaf(TABLE)), (4, 5))) == ["barrier", "add"]


def test_an_index_out_of_range_is_left_for_the_run():
    place = bind("gather", leaf(TABLE), asarray(np.array([[9], [1]])))
    x = placeholder((2, 5), dtypes.float64)
    block = import_graph(Graph([x], [x + place]))
    fold_constants(block)
    assert names(block) == ["gather", "add"]


def test_a_constant_of_equal_elements_becomes_copies():
    block = folded(lambda x: x * leaf(np.full((3, 4), 2.5)), (3, 4))
    assert names(block) == ["broadcast_to", "multiply"]
    assert block.instructions[0].operands[0].shape == ()
    block = folded(lambda x: x * leaf(np.broadcast_to(np.array(1.5), (300, 400))), (300, 400))
    assert names(block) == ["broadcast_to", "multiply"]  # however large: its strides say so
    signed = leaf(np.array([0.0, -0.0]))
    assert names(folded(lambda x: x * signed, (2,))) == ["multiply"]


def test_a_uniform_constant_that_only_leaves_stays():
    block = folded(lambda x: [x, leaf(np.ones(3))], ())
    assert names(block) == []


def test_constants_move_into_loops_and_branches():
    def scan(x, xs):
        last, _ = cr.scan(lambda h, part: (h * 0.5 + part[0] * part[1], None), x, xs)
        return last

    def function(x):
        return scan(x, (cr.full((4, 3), 2.0, dtype=cr.float64), leaf(TABLE[:, :3])))

    found = control(folded(function, (3,)))
    assert found.attributes["n_xs"] == 1  # the copies are inside, the table's rows differ
    assert len(found.operands) == 2

    def branches(x, y):
        return cr.cond(cr.sum(x) > 0, lambda a, b: a + b, lambda a, b: a - b, x, leaf(TABLE[0]))

    assert len(control(folded(branches, (5,), (5,))).operands) == 2


def test_constants_move_into_while_loops():
    limit = leaf(np.array(100.0))
    step = leaf(TABLE[0])

    def function(x):
        return cr.while_loop(lambda s: cr.sum(s * s) < limit, lambda s: s + step, x)

    found = control(folded(function, (5,)))
    assert len(found.operands) == 1
    assert found.attributes["n_test"] == 0


def test_folding_in_a_whole_program_reaches_loops():
    def function(x):
        return cr.scan(lambda h, part: (h + part, None), x, cr.zeros((4, 3), dtype=cr.float64))[0]

    block = apply_pass(run_passes, function, RNG.normal(size=3))
    assert control(block).attributes["n_xs"] == 0
