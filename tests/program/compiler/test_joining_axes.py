"""Axes that step through memory as one become one; others stay."""

import numpy as np

from chainrule import ops
from chainrule.array import asarray, trace
from chainrule.graph import Graph
from chainrule.program.compiler.compiling import plan
from chainrule.program.compiler.native import NativeProgram, assemble_program
from chainrule.program.compiler.schedule import kernels
from chainrule.program.compiler.target import TARGETS
from chainrule.program.interpreter import Plan


def tasks_and_results(function, *arrays):
    graph = trace(function, [asarray(a) for a in arrays])
    closed = Graph(graph.inputs, graph.outputs)
    schedule = plan(assemble_program(closed), TARGETS["avx2"]).schedule
    values = [*arrays, *(x.data for x in graph.captured)]
    pairs = zip(NativeProgram(closed).run(values), Plan(closed).run(values), strict=True)
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    return [k.tasks for k in kernels(schedule)]


def drawn(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def test_elementwise_work_is_one_long_loop():
    assert tasks_and_results(lambda x, y: x * y + 1.0, drawn(40, 5, 7), drawn(40, 5, 7)) == [1]


def test_numbers_of_a_channel_keep_pixels_together():
    found = tasks_and_results(lambda x, b: x * b[:, None, None], drawn(9, 6, 5, 7), drawn(6))
    assert found == [9 * 6]


def test_rows_that_are_moved_apart_stay_rows():
    found = tasks_and_results(lambda x: ops.permute_dims(x, (1, 0, 2)) + 1.0, drawn(9, 6, 8))
    assert found == [9 * 6]


def test_folded_axes_are_joined_too():
    def function(x, y):
        return ops.sum(x * y, axis=(2, 3)), ops.max(x, axis=(1, 2))

    tasks_and_results(function, drawn(9, 6, 5, 7), drawn(9, 6, 5, 7))


def test_counters_that_are_values_stay():
    def function(x):
        return x + ops.arange(0, 7, dtype="float32"), ops.argmax(x, axis=2)

    tasks_and_results(function, drawn(9, 6, 7))
