"""The passes that remove: dead code and common subexpressions."""

import numpy as np
import pytest
from pass_programs import PROGRAMS, apply_pass, assert_equal, control, names, traced

import chainrule as cr
from chainrule.array import asarray, placeholder
from chainrule.graph import Graph
from chainrule.ops import dtypes
from chainrule.ops.record import bind
from chainrule.program.compiler.passes import import_graph, verify_block
from chainrule.program.compiler.passes.common_subexpressions import (
    attribute_key,
    common_subexpressions,
)
from chainrule.program.compiler.passes.dead_code import dead_code
from chainrule.program.compiler.passes.evaluate import evaluate_block
from chainrule.program.compiler.passes.walking import count_instructions

RNG = np.random.default_rng(11)


X, Y = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))


@pytest.mark.parametrize("run", [dead_code, common_subexpressions])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_keep_every_bit_and_a_second_run_changes_nothing(run, name):
    graph, values = PROGRAMS[name]()
    block = import_graph(graph)
    run(block)
    verify_block(block, run.__name__)
    assert_equal(evaluate_block(block, values), graph.evaluate(values))
    count = count_instructions(block)
    assert not run(block)
    assert count_instructions(block) == count


# --- dead code --------------------------------------------------------------------------------


def test_what_nobody_needs_goes():
    graph, _ = traced(lambda x: [cr.exp(x), cr.sin(cr.tanh(x))], [X])
    block = import_graph(graph)
    del block.outputs[1]
    assert dead_code(block)
    assert names(block) == ["exp"]
    assert len(block.inputs) == 1


def scan(function, n_results):
    def build(h, c, xs):
        last, results = cr.scan(function, (h, c), xs)
        return [*last, *results][:n_results]

    arrays = [RNG.normal(size=shape) for shape in ((3,), (3,), (4, 3))]
    return apply_pass(dead_code, build, *arrays)


def test_unused_carries_and_results_of_a_scan_go():
    def step(state, x):
        h, c = state
        return (cr.tanh(h + 1), cr.sin(c + x)), (h * 2, x * 3)

    found = control(scan(step, 1))  # only h, which needs neither c nor x
    assert len(found.operands) == len(found.results) == 1
    assert found.attributes["n_carry"] == 1
    assert found.attributes["n_xs"] == 0
    assert found.attributes["length"] == 4
    assert names(found.bodies["body"]) == ["broadcast_to", "add", "tanh"]


def test_a_carry_that_feeds_a_used_one_stays():
    def step(state, x):
        h, c = state
        return (h + c, c + x), (c * 2, x * 3)

    found = control(scan(step, 1))
    assert len(found.results) == 2
    assert found.attributes["n_xs"] == 1
    assert names(found.bodies["body"]) == ["add", "add"]


def test_unused_results_and_operands_of_branches_go():
    def build(x, y):
        return cr.cond(cr.sum(x) > 0, lambda a, b: (a + 1, b), lambda a, b: (a - 1, b * 2), x, y)[0]

    found = control(apply_pass(dead_code, build, X, Y))
    assert len(found.operands) == 2
    assert len(found.results) == 1
    assert names(found.bodies["on_false"]) == ["broadcast_to", "subtract"]


def test_unused_state_of_a_while_loop_goes():
    def build(x, y):
        return cr.while_loop(
            lambda s: s[0] < 5, lambda s: (s[0] + 1, s[1] * 2, s[2] + y), (0, x, y)
        )[1]

    found = control(apply_pass(dead_code, build, X, Y))
    assert found.attributes["n_state"] == len(found.results) == 2
    assert len(found.operands) == 2
    assert "add" in names(found.bodies["body"])


# --- common subexpressions --------------------------------------------------------------------


def test_equal_instructions_merge_in_any_order_of_operands():
    block = apply_pass(common_subexpressions, lambda x, y: (x + y) * (y + x) - (x - y), X, Y)
    assert names(block) == ["add", "multiply", "subtract", "subtract"]


def test_order_counts_where_it_must():
    block = apply_pass(common_subexpressions, lambda x, y: (x - y) * (y - x), X, Y)
    assert names(block) == ["subtract", "subtract", "multiply"]
    block = apply_pass(
        common_subexpressions, lambda x, y: cr.maximum(x, y) + cr.maximum(y, x), X, Y
    )
    assert names(block) == ["maximum", "maximum", "add"]  # max(0.0, −0.0) is the first of both


def test_attributes_tell_instructions_apart():
    block = apply_pass(
        common_subexpressions,
        lambda x: [cr.sum(x, axis=0), cr.sum(x, axis=0), cr.sum(x, axis=1)],
        X,
    )
    assert names(block) == ["sum", "sum"]
    assert block.outputs[0] is block.outputs[1]


def test_barriers_and_what_is_behind_them_stay_apart():
    block = apply_pass(
        common_subexpressions, lambda x: cr.sin(cr.barrier(x)) + cr.sin(cr.barrier(x)), X
    )
    assert names(block) == ["barrier", "sin", "barrier", "sin", "add"]


def test_small_constants_of_equal_bytes_are_one():
    x = placeholder((2,), dtypes.float64, "x")
    a, b, zero, negative = (
        asarray(np.array(v)) for v in ([1.0, 2.0], [1.0, 2.0], [0.0, -0.0], [-0.0, 0.0])
    )
    block = import_graph(Graph([x], [x + a, x + b, x + zero, x + negative]))
    assert len(list(block.constants())) == 4
    assert common_subexpressions(block)
    verify_block(block)
    assert len(list(block.constants())) == 3
    assert names(block) == ["add"] * 3
    assert block.outputs[0] is block.outputs[1]


def test_equal_draws_from_one_key_are_one():
    key = cr.random.key(1).numpy()
    block = apply_pass(
        common_subexpressions,
        lambda k: [bind("random_bits", k, shape=(3,)) for _ in range(2)],
        key,
    )
    assert names(block) == ["random_bits"]


def test_bodies_are_merged_inside():
    def build(h):
        return cr.scan(lambda h, _: (cr.sin(h) * cr.sin(h), None), h, None, length=3)[0]

    found = control(apply_pass(common_subexpressions, build, X))
    assert names(found.bodies["body"]) == ["sin", "multiply"]


def test_keys_of_attributes_mean_what_they_stand_for():
    assert attribute_key(0.0) != attribute_key(-0.0)
    assert attribute_key(float("nan")) == attribute_key(float("nan"))
    assert attribute_key((1, (2, 3))) == attribute_key([1, [2, 3]])
    assert attribute_key(np.arange(3)) == attribute_key(np.arange(3))
    assert attribute_key(np.arange(3)) != attribute_key(np.arange(3.0))
    assert attribute_key(slice(1, 2)) == attribute_key(slice(1, 2, None))
    assert attribute_key({"a": 1, "b": 0.5}) == attribute_key({"b": 0.5, "a": 1})
    assert attribute_key(dtypes.float32) != attribute_key(dtypes.float64)
