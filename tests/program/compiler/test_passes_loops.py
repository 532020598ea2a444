"""Loops: carries that do not change, what is passed or stacked twice, work that is the same."""

import numpy as np
from pass_programs import PROGRAMS, apply_pass, assert_equal, control, names

import chainrule as cr
from chainrule.ops.control import scan_graph
from chainrule.ops.record import bind
from chainrule.program.compiler.passes import import_graph, run_passes, verify_block
from chainrule.program.compiler.passes.dead_code import dead_code
from chainrule.program.compiler.passes.evaluate import evaluate_block
from chainrule.program.compiler.passes.loops import loops

RNG = np.random.default_rng(13)
H, XS, W = RNG.normal(size=3), RNG.normal(size=(4, 3)), RNG.normal(size=(3, 3))


def scan(step, carry, xs, constants, length=4):
    return scan_graph(step, carry, xs, constants, length, reverse=False)


def test_a_carry_that_is_passed_on_becomes_a_constant():
    def function(h, w, xs):
        return scan(lambda h, w, x: [cr.tanh(h @ w + x), w, h @ w], [h, w], [xs], [])

    block = apply_pass(loops, function, H, W, XS)
    found = control(block)
    assert found.attributes["n_carry"] == 1
    assert len(found.results) == 2
    assert block.outputs[1] is block.inputs[1]


def test_equal_sequences_constants_and_results_are_shared():
    def function(h, xs, w):
        def step(h, x, y, w, v):
            return [h @ w + x * y, x * h, x * h, h @ v]

        h, a, b, c = scan(step, [h], [xs, xs], [w, w])
        return [h, a, b, c]

    def run(block):
        run_passes(block)

    block = apply_pass(run, function, H, XS, W, rtol=1e-14)
    found = control(block)
    assert len(found.operands) == 3
    assert found.attributes["n_xs"] == 1
    assert len(found.results) == 3
    assert block.outputs[1] is block.outputs[2]


def test_work_on_constants_is_done_before_the_loop():
    def function(h, w):
        def step(h, w):
            return [cr.tanh(h @ (cr.exp(w).T * 2.0)), cr.sin(h)]

        return scan(step, [h], [], [w])

    block = apply_pass(loops, function, H, W)
    assert names(block) == ["exp", "transpose", "broadcast_to", "multiply", "scan"]
    dead_code(block)
    assert names(control(block).bodies["body"]) == ["dot_general", "tanh", "sin"]


def test_movement_alone_stays_inside():
    def function(h, w):
        return scan(lambda h, w: [h @ w.T + cr.broadcast_to(w[0, :1], (3,))], [h], [], [w])

    block = apply_pass(loops, function, H, W)
    assert names(block) == ["scan"]


def test_what_could_fail_stays_in_a_loop_that_may_not_run():
    places = np.array([[0], [2]])

    def chosen(table, i):
        return cr.while_loop(
            lambda s: cr.sum(s) < 10.0, lambda s: s + cr.sum(bind("gather", table, i)) ** 2, H * 0
        )

    def function(table, i):
        return chosen(table, i)

    block = apply_pass(loops, function, np.abs(W), places)
    assert names(block)[-1] == "while_loop"
    assert "gather" not in names(block)

    def safe(table):
        return cr.while_loop(lambda s: cr.sum(s) < 10.0, lambda s: s + cr.sum(table) ** 2, H * 0)

    assert "sum" in names(apply_pass(loops, safe, np.abs(W)))


def test_loops_of_no_step_are_left():
    block = apply_pass(
        loops, lambda h, w: scan(lambda h, w: [h + cr.exp(w)[0]], [h], [], [w], length=0), H, W
    )
    assert names(block) == ["scan"]


def test_bodies_of_bodies():
    def function(h, w):
        def outer(h, w):
            return [scan(lambda h, w: [cr.tanh(h @ cr.exp(w))], [h], [], [w])[0]]

        return scan(outer, [h], [], [w])

    graph_block = apply_pass(run_passes, function, H, W, rtol=1e-14)
    assert names(graph_block) == ["exp", "scan"]


def test_programs_with_loops_settle():
    for name in ("scan", "scan gradient", "while", "batched while", "cond"):
        graph, values = PROGRAMS[name]()
        block = import_graph(graph)
        for _ in range(4):
            loops(block)
            verify_block(block, "loops")
        assert not loops(block)
        assert_equal(evaluate_block(block, values), graph.evaluate(values))
