"""Programs of many kernels: their driver is compiled without optimisation, and does the same."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.array import asarray, trace
from chainrule.graph import Graph
from chainrule.program.compiler.compiling import plan
from chainrule.program.compiler.native import NativeProgram, assemble_program
from chainrule.program.compiler.runtime.counts import exactly
from chainrule.program.compiler.target import host_target
from chainrule.program.interpreter import Plan

RNG = np.random.default_rng(0)


def network(depth):
    """Layers one behind the other, a loop and a branch among them."""

    def function(x, w):
        for _ in range(depth):
            x = cr.tanh(x @ w)
        x, sums = cr.scan(lambda x, s: (cr.tanh(x @ w) + s, cr.sum(x)), x, x[:5, 0])
        return cr.cond(x[0, 0] > 0, lambda x: x @ w, lambda x: x * 2.0, x), sums

    arrays = [RNG.normal(size=(16, 24)), RNG.normal(size=(24, 24)) / 5]
    arrays = [a.astype(np.float32) for a in arrays]
    graph = trace(lambda *a: list(function(*a)), [asarray(a) for a in arrays])
    values = [*arrays, *(x.data for x in graph.captured)]
    return Graph(graph.inputs, graph.outputs), values


@pytest.mark.parametrize(("depth", "quickly"), [(3, False), (120, True)])
def test_a_long_driver_is_compiled_quickly_and_right(depth, quickly):
    graph, values = network(depth)
    module = plan(assemble_program(graph), host_target()).module
    assert ("optnone" in module.functions["program"]) == quickly
    program = NativeProgram(graph)
    found = []
    for threads in (1, 2, 3):
        with exactly(threads):
            found.append([np.array(x) for x in program.run(values)])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert (a == b).all()
    for a, b in zip(found[0], Plan(graph).run(values), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
