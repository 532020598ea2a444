"""Convolutions and their gradients: compiled equals interpreted, the same bits on any threads."""

import dataclasses

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.array import asarray, trace
from chainrule.graph import Graph
from chainrule.program.compiler.compiling import plan
from chainrule.program.compiler.convolutions import lowering, planning, weights
from chainrule.program.compiler.convolutions.geometry import Geometry, Line
from chainrule.program.compiler.convolutions.planning import plan_pixels
from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.native import NativeProgram, assemble_program
from chainrule.program.compiler.runtime.counts import exactly
from chainrule.program.compiler.target import TARGETS, host_target
from chainrule.program.interpreter import Plan

PLAIN = [
    ((2, 3, 8, 8), (4, 3, 3, 3), {"padding": 1}),
    ((4, 5, 13, 9), (7, 5, 3, 3), {"padding": 1}),
    ((2, 5, 13, 9), (7, 5, 5, 2), {"padding": ((2, 1), (0, 3))}),
    ((4, 8, 50), (16, 8, 3), {"padding": 1}),
    ((2, 3, 5, 6, 7), (5, 3, 3, 2, 3), {"padding": 1}),
    ((6, 16, 4, 4), (12, 16, 3, 3), {"padding": 1}),
    ((2, 32, 1, 2), (32, 32, 1, 1), {}),
    ((1, 9, 40, 33), (13, 9, 3, 3), {"padding": 1}),
    ((3, 1, 12, 12), (6, 1, 5, 5), {"padding": 2}),
    ((3, 6, 14, 14), (16, 6, 5, 5), {}),
]
STEPS = [
    ((4, 5, 14, 14), (7, 5, 3, 3), {"padding": 1, "stride": 2}),
    ((4, 5, 15, 13), (10, 5, 3, 3), {"padding": 1, "stride": (2, 3)}),
    ((4, 5, 15, 13), (10, 5, 3, 3), {"padding": 2, "dilation": 2}),
    ((2, 16, 5, 5), (32, 16, 1, 1), {"stride": 2}),
    ((2, 4, 21, 20), (6, 4, 7, 7), {"padding": 3, "stride": 2}),
    ((3, 4, 31), (8, 4, 3), {"stride": 2}),
]
SPREAD = [
    ((4, 5, 7, 7), (10, 5, 3, 3), {"padding": 1, "input_dilation": 2}),
    ((4, 5, 7, 9), (10, 5, 3, 3), {"padding": ((1, 2), (2, 1)), "input_dilation": 3}),
    ((4, 5, 9, 9), (10, 5, 3, 3), {"padding": 1, "input_dilation": 2, "stride": 3}),
    ((2, 13, 29, 32), (6, 13, 2, 2), {"padding": 1, "dilation": 2, "input_dilation": 2}),
]
GROUPS = [
    ((4, 8, 9, 9), (8, 1, 3, 3), {"padding": 1, "groups": 8}),
    ((4, 8, 9, 9), (16, 4, 3, 3), {"padding": 1, "groups": 2}),
    ((4, 6, 10, 12), (12, 1, 3, 3), {"padding": 1, "groups": 6, "stride": 2}),
    ((5, 6, 21, 17), (6, 1, 5, 5), {"padding": 2, "groups": 6, "stride": 2}),
    ((3, 4, 6, 7, 8), (4, 1, 3, 3, 3), {"padding": 1, "groups": 4}),
]
ALL = [*PLAIN, *STEPS, *SPREAD, *GROUPS]


def arrays_of(*shapes, dtype="float32"):
    rng = np.random.default_rng(len(shapes) + shapes[0][0])
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def graph_of(function, arrays):
    graph = trace(function, [asarray(a) for a in arrays])
    captured = [x.data for x in graph.captured]
    return Graph(graph.inputs, graph.outputs), [*arrays, *captured]


def agree(function, arrays, target=None, tolerance=1e-5):
    graph, values = graph_of(function, arrays)
    expected = Plan(graph).run(values)
    native = NativeProgram(graph, target)
    runs = []
    for threads in (1, 2):
        with exactly(threads):
            runs.append(native.run(values))
    for one, two, reference in zip(*runs, expected, strict=True):
        scale = max(float(np.abs(reference).max(initial=0)), 1e-6)
        np.testing.assert_allclose(one, reference, rtol=0, atol=tolerance * scale)
        np.testing.assert_array_equal(one, two)


def kernels_of(function, arrays, target=None):
    graph, _ = graph_of(function, arrays)
    made = plan(assemble_program(graph), target or host_target())
    return [record.title for record in made.machine.kernels]


def gradients(settings):
    def function(x, w, g):
        def loss(a, b):
            return cr.sum(ops.convolution(a, b, **settings) * g)

        return list(cr.grad(loss, argnums=(0, 1))(x, w))

    return function


@pytest.mark.parametrize(("image", "weight", "settings"), ALL, ids=str)
def test_values(image, weight, settings):
    def function(x, w):
        return ops.convolution(x, w, **settings)

    agree(function, arrays_of(image, weight))
    assert any("convolution" in title for title in kernels_of(function, arrays_of(image, weight)))


@pytest.mark.parametrize(("image", "weight", "settings"), ALL, ids=str)
def test_gradients(image, weight, settings):
    x, w = arrays_of(image, weight)
    shape = ops.convolution(asarray(x), asarray(w), **settings).shape
    (g,) = arrays_of(shape)
    agree(gradients(settings), [x, w, g])


@pytest.mark.parametrize(
    ("image", "weight", "settings"), [PLAIN[1], STEPS[0], SPREAD[0], GROUPS[1]], ids=str
)
def test_float64(image, weight, settings):
    x, w = arrays_of(image, weight, dtype="float64")
    shape = ops.convolution(asarray(x), asarray(w), **settings).shape
    (g,) = arrays_of(shape, dtype="float64")
    agree(lambda x, w: ops.convolution(x, w, **settings), [x, w], tolerance=1e-12)
    agree(gradients(settings), [x, w, g], tolerance=1e-12)


@pytest.mark.parametrize("name", ["scalar", "sse2"])
@pytest.mark.parametrize(
    ("image", "weight", "settings"), [PLAIN[1], STEPS[0], SPREAD[0], GROUPS[1]], ids=str
)
def test_processors_without_wide_vectors(name, image, weight, settings):
    target = dataclasses.replace(TARGETS[name], triple="")
    x, w = arrays_of(image, weight)
    shape = ops.convolution(asarray(x), asarray(w), **settings).shape
    (g,) = arrays_of(shape)
    agree(lambda x, w: ops.convolution(x, w, **settings), [x, w], target)
    agree(gradients(settings), [x, w, g], target)


@pytest.mark.parametrize("name", ["avx512", "neon"])
def test_code_for_other_processors(name):
    x, w, g = arrays_of((4, 16, 16, 16), (16, 16, 3, 3), (4, 16, 16, 16))
    graph, _ = graph_of(gradients({"padding": 1}), [x, w, g])
    text = str(plan(assemble_program(graph), TARGETS[name]).module)
    assert jit.emit_assembly(text, TARGETS[name])


def test_bands_of_rows_when_images_do_not_fit_the_cache():
    settings = {"padding": 1}
    agree(lambda x, w: ops.convolution(x, w, **settings), arrays_of((1, 24, 71, 66), (9, 24, 3, 3)))
    x, w, g = arrays_of((2, 24, 71, 66), (9, 24, 3, 3), (2, 9, 71, 66))
    agree(gradients(settings), [x, w, g])


def test_bands_that_ask_for_what_comes_next():
    """Memory from 256 KB on is asked for ahead; the last of seven bands reaches back."""
    settings = {"padding": 1, "stride": 2}
    x, w, g = arrays_of((2, 64, 40, 40), (16, 64, 3, 3), (2, 16, 20, 20))

    def function(x, w, g):
        return [ops.convolution(x, w, **settings), *gradients(settings)(x, w, g)]

    graph, _ = graph_of(function, [x, w, g])
    text = str(plan(assemble_program(graph), TARGETS["avx2"]).module)
    assert "llvm.prefetch" in text
    agree(function, [x, w, g])


def test_images_are_kept_whole_where_their_pixels_are_summed():
    line = Line(32, 3, 32, before=1)
    for channels in (16, 64):
        alone = Geometry(32, 1, channels, channels, (line, line), "float")
        summed = dataclasses.replace(alone, summed=True)
        bands = [plan_pixels(each, TARGETS["avx2"]).bands for each in (alone, summed)]
        # 64 channels of an image do not fit
        assert bands == ([2, 1] if channels == 16 else [16, 16])


def test_what_follows_is_computed_from_the_sums():
    x, w, bias, skip = arrays_of((4, 5, 13, 9), (7, 5, 3, 3), (7,), (4, 7, 13, 9))

    def block(x, w, bias, skip):
        y = ops.convolution(x, w, padding=1) + ops.reshape(bias, (1, 7, 1, 1))
        return ops.relu(y) + skip

    agree(block, [x, w, bias, skip])
    (title,) = kernels_of(block, [x, w, bias, skip])
    assert "relu" in title


GATHERED = [
    ((1, 6, 14, 14), (16, 6, 5, 5), {}),
    ((2, 3, 10, 7), (5, 3, 3, 3), {"padding": ((1, 0), (2, 1))}),
    ((1, 5, 11, 12), (9, 5, 3, 4), {"stride": 2, "padding": 1}),
    ((1, 5, 12, 15), (9, 5, 3, 3), {"dilation": 2, "stride": (1, 3), "padding": 3}),
    ((3, 4, 9, 9), (8, 2, 3, 3), {"groups": 2}),
    ((1, 3, 5, 6, 7), (5, 3, 2, 3, 3), {"padding": 1}),
    ((1, 2, 6, 3), (9, 2, 3, 7), {"padding": ((1, 1), (7, 6))}),
    # rows in phases, of which one may have no taps
    ((2, 12, 5, 8), (11, 12, 2, 2), {"input_dilation": (2, 1), "dilation": (2, 1), "padding": 1}),
    ((1, 4, 5, 7), (9, 4, 3, 3), {"input_dilation": (3, 1), "padding": ((2, 1), (1, 1))}),
]


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize(("image", "weight", "settings"), GATHERED)
def test_columns_that_are_gathered(image, weight, settings, rows, monkeypatch):
    def cuts(geometry):
        count = geometry.lines[0].count
        yield 1 if rows else geometry.batch, min(count, rows or count), True

    monkeypatch.setattr(planning, "_cuts", cuts)
    monkeypatch.setattr(planning, "plan_convolution", planning.plan_pixels)
    monkeypatch.setattr(lowering, "plan_convolution", planning.plan_pixels)
    x, w = arrays_of(image, weight)
    skip = arrays_of(ops.convolution(x, w, **settings).shape)[0]

    def block(x, w, skip):
        y = ops.tanh(ops.convolution(x, w, **settings)) + skip
        # the second store has its rows elsewhere: it keeps the loops over rows
        return y, ops.flip(y, axis=-2)

    agree(lambda *given: block(*given)[0], [x, w, skip])
    agree(block, [x, w, skip])


def test_columns_are_gathered_where_rows_waste_lanes():
    def planes(source, channels, kernel, before):
        line = Line(source, kernel, source + 2 * before - kernel + 1, before=before)
        geometry = Geometry(1, 1, channels, 16, (line, line), "float")
        return plan_pixels(geometry, TARGETS["avx2"]).form.planes

    assert planes(14, 6, 5, 0).gathered
    assert not planes(32, 32, 3, 1).gathered
    assert not planes(14, 64, 3, 1).gathered


@pytest.mark.parametrize(
    ("image", "weight", "settings"),
    [
        ((1, 4, 9, 11), (19, 4, 3, 3), {"padding": 1}),
        ((1, 5, 4, 5, 6), (6, 5, 3, 2, 3), {"padding": 1}),
        ((2, 12, 7, 8), (9, 4, 3, 2), {"padding": 1, "groups": 3}),
        ((1, 8, 30), (16, 8, 5), {"stride": 2}),
    ],
)
def test_weights_of_few_outputs_are_read_where_they_are(image, weight, settings, monkeypatch):
    x, w = arrays_of(image, weight)

    def forward(x, w):
        return ops.convolution(x, w, **settings)

    def from_elsewhere(x, w):  # rows turned round, channels first: other steps through memory
        w = ops.flip(ops.permute_dims(w, (1, 0, *range(2, w.ndim))), axis=-1)
        return ops.convolution(x, w, **settings)

    turned = np.ascontiguousarray(w.swapaxes(0, 1))
    agree(forward, [x, w])
    agree(from_elsewhere, [x, turned])
    assert len(kernels_of(forward, [x, w])) == 1
    monkeypatch.setattr(weights, "WORTH_PACKING", 0)
    assert len(kernels_of(forward, [x, w])) == 2


def test_weights_that_meet_in_few_lines_of_the_cache_are_packed():
    x, w = arrays_of((1, 1024, 4, 4), (32, 1024, 1, 1))
    assert len(kernels_of(lambda x, w: ops.convolution(x, w), [x, w])) == 2


def test_images_that_are_computed_while_they_are_read():
    x, w = arrays_of((4, 12 * 12), (6, 1, 5, 5))
    agree(lambda x, w: ops.convolution(ops.reshape(x, (4, 1, 12, 12)), w), [x, w])
    y, v = arrays_of((3, 12, 10, 5), (6, 5, 3, 3))
    agree(
        lambda y, v: ops.convolution(ops.permute_dims(ops.flip(y, axis=1), (0, 3, 1, 2)), v), [y, v]
    )


def test_every_access_is_inside(monkeypatch):
    monkeypatch.setenv("CHAINRULE_CHECK", "1")
    for image, weight, settings in (PLAIN[1], STEPS[0], SPREAD[0], GROUPS[1]):
        x, w = arrays_of(image, weight)
        shape = ops.convolution(asarray(x), asarray(w), **settings).shape
        (g,) = arrays_of(shape)
        agree(gradients(settings), [x, w, g])
        agree(lambda x, w, s=settings: ops.convolution(x, w, **s), [x, w])
