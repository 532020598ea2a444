"""Products with long formulas behind them: the formula takes two vectors of a row at once."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.array import trace
from chainrule.nn import functional
from chainrule.program.compiler.native import NativeProgram
from chainrule.program.compiler.runtime.counts import exactly
from chainrule.program.compiler.target import TARGETS, host_target
from chainrule.program.interpreter import Plan

RUNNABLE = [t for t in TARGETS.values() if t.architecture == host_target().architecture]
RUNNABLE = [t for t in RUNNABLE if t.vector_bytes <= host_target().vector_bytes]


def layer(x, w, bias, mask):
    """A value and its slope, with what differs from row to row and from column to column."""
    before = x @ w + bias
    value, back = cr.vjp(functional.gelu, before)
    return value * (mask > 0.3), back(cr.sin(before))[0], cr.exp(-before * before)


@pytest.mark.parametrize("columns", [5, 16, 24, 41, 64])
@pytest.mark.parametrize("target", RUNNABLE, ids=lambda t: t.name)
def test_rows_of_any_number_of_vectors(target, columns):
    rng = np.random.default_rng(columns)
    shapes = (37, 29), (29, columns), (columns,), (37, columns)
    values = [rng.normal(size=shape).astype("f") for shape in shapes]
    graph = trace(layer, [(shape, np.dtype("f")) for shape in shapes])
    native = NativeProgram(graph, target)
    found = native.run(values)
    for ours, expected in zip(found, Plan(graph).run(values), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=2e-6)
    with exactly(3):
        for ours, again in zip(found, native.run(values), strict=True):
            np.testing.assert_array_equal(ours, again)
