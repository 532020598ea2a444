"""Batch norm behind convolutions: sums over pixels are made where the convolution writes."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.array import asarray, trace
from chainrule.graph import Graph
from chainrule.nn import functional
from chainrule.program.compiler.compiling import plan
from chainrule.program.compiler.native import NativeProgram, assemble_program
from chainrule.program.compiler.runtime.counts import exactly
from chainrule.program.compiler.schedule import kernels
from chainrule.program.compiler.target import TARGETS
from chainrule.program.interpreter import Plan

# several images a task, rows that end with whole vectors or do not, one axis, strides
SHAPES = [
    ((16, 6, 7, 9), (17, 6, 3, 3), 1),
    ((32, 4, 100), (8, 4, 3), 1),
    ((8, 16, 24, 20), (18, 16, 3, 3), 2),
]


def drawn(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype("float32") for shape in shapes]


def traced(function, arrays):
    graph = trace(function, [asarray(a) for a in arrays])
    captured = [x.data for x in graph.captured]
    return Graph(graph.inputs, graph.outputs), [*arrays, *captured]


def block(stride):
    """Convolution, batch norm and ReLU twice, and a shortcut; all derivatives."""

    def forward(x, w, v, scale, shift):
        def norm(z):
            return functional.batch_norm(z, weight=scale, bias=shift, training=True)

        first = ops.relu(norm(ops.convolution(x, w, padding=1, stride=stride)))
        return ops.relu(norm(ops.convolution(first, v, padding=1)) + first)

    def all_of_it(x, w, v, scale, shift, cotangent):
        def loss(*values):
            return ops.sum(forward(*values) * cotangent)

        found = cr.value_and_grad(loss, (0, 1, 2, 3, 4))(x, w, v, scale, shift)
        return (found[0], *found[1])

    return all_of_it


def arguments(image, weight, stride):
    channels, spatial = weight[0], tuple(-(-n // stride) for n in image[2:])
    second = (channels, channels, *weight[2:])
    return drawn(image, weight, second, (channels,), (channels,), (image[0], channels, *spatial))


@pytest.mark.parametrize(("image", "weight", "stride"), SHAPES)
def test_blocks_agree_with_the_interpreter_on_any_threads(image, weight, stride):
    agree(block(stride), arguments(image, weight, stride))


def test_sums_of_a_gradient_that_is_written_in_phases():
    """Behind the norm stands a convolution with a stride: its input gradient has four phases."""

    def function(x, w, v, scale, cotangent):
        def loss(x, w, v, scale):
            normed = functional.batch_norm(ops.convolution(x, w, padding=1), weight=scale)
            return ops.sum(ops.convolution(ops.relu(normed), v, padding=1, stride=2) * cotangent)

        return cr.grad(loss, (0, 1, 2, 3))(x, w, v, scale)

    shapes = (6, 16, 21, 18), (17, 16, 3, 3), (18, 17, 3, 3), (17,), (6, 18, 11, 9)
    agree(function, drawn(*shapes))
    found = kernels_of(function, drawn(*shapes), TARGETS["avx2"])
    assert any("convolution 18->17" in k.title and "sum" in k.title for k in found)


def agree(function, arrays):
    graph, values = traced(function, arrays)
    expected = Plan(graph).run(values)
    native = NativeProgram(graph)
    runs = []
    for threads in (1, 2):
        with exactly(threads):
            runs.append(native.run(values))
    for one, two, reference in zip(*runs, expected, strict=True):
        np.testing.assert_array_equal(one, two)
        scale = float(np.abs(reference).max())
        np.testing.assert_allclose(one, reference, rtol=0, atol=5e-5 * scale)


def kernels_of(function, arrays, target):
    graph, _ = traced(function, arrays)
    return list(kernels(plan(assemble_program(graph), target).schedule))


def test_large_tensors_are_read_once_more_each_way():
    """Forward and back: the convolution, a kernel of a few numbers, and one over all pixels."""
    image, weight, stride = (32, 8, 32, 32), (8, 8, 3, 3), 1
    found = kernels_of(block(stride), arguments(image, weight, stride), TARGETS["avx2"])
    size = 4 * 32 * 8 * 32 * 32
    convolutions = [k for k in found if k.title.startswith("convolution") and "sum" in k.title]
    assert len(convolutions) == 3  # two forward, and the input gradient between the norms
    passes = [k for k in found if k.moved > 1.5 * size and "convolution" not in k.title]
    passes = [k for k in passes if "gradient" not in k.title]
    # forward: two, the last with the sums of the way back; then what each norm hands on
    assert len(passes) == 4, [k.title for k in passes]


def test_a_variance_far_from_zero_is_exact_to_float32():
    (x,) = drawn((8, 4, 16, 16), seed=3)
    w = np.eye(4, dtype="float32")[:, :, None, None]
    x += 1000.0
    found = np.asarray(
        cr.compile(lambda x, w: ops.var(ops.convolution(x, w), axis=(0, 2, 3)))(x, w)
    )
    expected = x.astype(np.float64).var(axis=(0, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["sum", "max", "min", "prod"])
def test_other_folds_over_pixels_too(kind):
    def function(x, w):
        z = ops.convolution(x, w, padding=1) * 0.1 + 1.0
        return getattr(ops, kind)(z, axis=(2, 3)), z

    arrays = drawn((4, 3, 5, 11), (7, 3, 3, 3))
    graph, values = traced(function, arrays)
    for found, expected in zip(
        NativeProgram(graph).run(values), Plan(graph).run(values), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
