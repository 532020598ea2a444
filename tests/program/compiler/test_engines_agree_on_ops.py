"""Every op of the registry, in every type it takes: compiled equals interpreted, values and vjp."""

import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule.array import asarray, trace
from chainrule.graph import Graph
from chainrule.ops import dtypes
from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.native import NativeProgram
from chainrule.program.interpreter import Plan

sys.path.insert(0, str(Path(__file__).parents[2] / "ops"))
from op_samples import apply, assert_close, gradient_function, outputs_of, sample

OPS = [op for op in REGISTRY if op.cases]
TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 4e-6, "float64": 1e-12}


def types_of(op, case):
    """The types that the case's free inputs may have."""
    fixed = len(case.integers) + len(case.masks)
    return op.dtypes if len(case.shapes) > fixed else op.dtypes[:1]


def program_of(functions_and_inputs):
    """One graph that computes all functions on inputs of their own."""
    arrays = [a for _, inputs in functions_and_inputs for a in inputs]

    def everything(*values):
        left = iter(values)
        return [
            y
            for function, inputs in functions_and_inputs
            for y in outputs_of(function(*(next(left) for _ in inputs)))
        ]

    graph = trace(everything, [asarray(a) for a in arrays])
    captured = [x.data for x in graph.captured]
    return Graph(graph.inputs, graph.outputs), [*arrays, *captured]


def check(parts, tolerance=None):
    graph, arrays = program_of(parts)
    expected = Plan(graph).run(arrays)
    native = NativeProgram(graph)
    for threads in (1, 2):
        native.code.threads = threads
        found = native.run(arrays)
        for number, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert a.dtype == b.dtype
            if dtypes.is_floating(b.dtype):
                bound = tolerance or TOLERANCE[str(b.dtype)]
                assert_close(a, b, bound, f"output {number} {b.dtype}")
            else:
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("op", OPS, ids=str)
def test_values(op):
    check([
        (apply(op, case), sample(op, case, dtype))
        for case in op.cases
        for dtype in types_of(op, case)
    ])  # fmt: skip


@pytest.mark.parametrize("op", [op for op in OPS if not op.nondifferentiable], ids=str)
def test_derivatives(op):
    check([
        (gradient_function(apply(op, case)), sample(op, case, dtype))
        for case in op.cases
        for dtype in types_of(op, case)
        if dtypes.is_floating(dtype) and dtype in (dtypes.float32, dtypes.float64)
    ])  # fmt: skip
