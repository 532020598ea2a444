"""Attention in tiles: compiled equals the plain formula, at any order, on any threads."""

import dataclasses

import numpy as np
import pytest
from attention_samples import samples

import chainrule as cr
from chainrule.array import asarray, trace
from chainrule.graph import Graph
from chainrule.nn import MultiheadAttention
from chainrule.nn import functional as F
from chainrule.program.compiler.attention.geometry import geometry_of
from chainrule.program.compiler.attention.operations import FORWARD, OPS, pays
from chainrule.program.compiler.compiling import plan
from chainrule.program.compiler.instructions import Instruction, Tensor
from chainrule.program.compiler.native import NativeProgram, assemble_program
from chainrule.program.compiler.passes import import_graph, run_passes
from chainrule.program.compiler.passes.evaluate import evaluate_block
from chainrule.program.compiler.runtime.counts import exactly
from chainrule.program.compiler.target import TARGETS, host_target
from chainrule.program.interpreter import Plan

# batch, heads, heads of keys, queries, keys, features, value features, causal
SIZES = [
    (1, 1, 1, 16, 16, 16, 16, False),
    (2, 4, 2, 100, 37, 16, 48, True),
    (1, 2, 1, 37, 130, 32, 16, True),
    (1, 2, 2, 70, 131, 48, 32, False),
    (2, 5, 5, 64, 64, 32, 32, True),
]


def tiled(causal):
    def function(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)

    return function


def plain(causal):
    def function(q, k, v):
        return F.weighted_mean(F.attention_weights(q, k, None, causal), v)

    return function


def with_gradients(function):
    def both(q, k, v, g):
        y, pull = cr.vjp(function, q, k, v)
        return [y, *pull(g)]

    return both


def graph_of(function, arrays):
    graph = trace(function, [asarray(a) for a in arrays])
    captured = [x.data for x in graph.captured]
    return Graph(graph.inputs, graph.outputs), [*arrays, *captured]


def agree(causal, arrays, target=None, tolerance=3e-6):
    wide = [x.astype("float64") for x in arrays]
    expected = Plan(graph_of(with_gradients(plain(causal)), wide)[0]).run(wide)
    graph, values = graph_of(with_gradients(tiled(causal)), arrays)
    runs = []
    native = NativeProgram(graph, target)
    for threads in (1, 2):
        with exactly(threads):
            runs.append(native.run(values))
    for one, two, reference in zip(*runs, expected, strict=True):
        scale = float(np.abs(reference).max())
        np.testing.assert_allclose(one, reference, rtol=0, atol=tolerance * scale)
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values_and_gradients(sizes):
    agree(sizes[-1], samples(*sizes[:-1]))


def test_float64():
    agree(True, samples(*SIZES[1][:-1], dtype="float64"), tolerance=1e-13)


@pytest.mark.parametrize("name", ["scalar", "sse2"])
def test_processors_without_wide_vectors(name):
    agree(True, samples(*SIZES[1][:-1]), dataclasses.replace(TARGETS[name], triple=""))


@pytest.mark.parametrize("name", ["avx512", "neon"])
def test_code_for_other_processors(name):
    arrays = samples(*SIZES[2][:-1])
    graph, _ = graph_of(with_gradients(tiled(True)), arrays)
    text = str(plan(assemble_program(graph), TARGETS[name]).module)
    assert "fma" in text


def test_formulas_of_the_composites():
    arrays = samples(*SIZES[1][:-1], dtype="float64")
    expected = Plan(graph_of(with_gradients(plain(True)), arrays)[0]).run(arrays)
    graph, values = graph_of(with_gradients(tiled(True)), arrays)
    block = run_passes(import_graph(graph), verify=True)
    assert [x.op.name for x in block.instructions if x.op.name in OPS] == list(OPS)
    for found in (Plan(graph).run(values), evaluate_block(block, values)):
        for one, reference in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, reference, rtol=0, atol=1e-12)


def test_higher_orders_and_batches():
    q, k, v, g = samples(1, 2, 1, 16, 20, 16, 16, dtype="float64")

    def slope(function):
        def loss(q):
            return (function(q, k, v) * g).sum()

        def second(q):
            return cr.hvp(loss, (q,), (q * q,)), cr.jvp(loss, (q,), (q,))[1]

        return second

    for one, other in zip(cr.compile(slope(tiled(True)))(q), slope(plain(True))(q), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=0, atol=1e-11)
    many = cr.vmap(lambda q: tiled(True)(q, k, v))(np.stack([q, 2 * q]))
    np.testing.assert_allclose(many[1].numpy(), plain(True)(2 * q, k, v).numpy(), atol=1e-12)
    flat = tiled(True)(q[0], k[0, [0, 0]], v[0, [0, 0]])
    np.testing.assert_allclose(flat.numpy(), plain(True)(q, k, v)[0].numpy(), atol=1e-12)


def test_memory_grows_with_places_not_with_their_square():
    @cr.compile
    def gradient(q, k, v, g):
        return with_gradients(tiled(True))(q, k, v, g)

    sizes = []
    for places in (256, 512, 1024):
        arrays = samples(1, 8, 8, places, places, 16, 16)
        sizes.append(gradient.memory(*arrays).arena)
    assert sizes[2] - sizes[1] <= 2.1 * (sizes[1] - sizes[0])
    assert sizes[2] < 8 * 1024 * 1024 * 4 / 2


def test_a_layer_reads_its_projection_where_it_lies():
    cr.random.seed(0)
    layer = MultiheadAttention(64, 4, batch_first=True)
    x = np.random.default_rng(1).standard_normal((2, 32, 64)).astype("float32")

    def output(x):
        return layer(x, x, x, need_weights=False, is_causal=True)[0]

    graph, values = graph_of(output, [x])
    made = plan(assemble_program(graph), host_target())
    titles = [record.title for record in made.machine.kernels]
    assert any("attention" in title for title in titles)
    assert not any(title in ("copy", "transpose") for title in titles)
    expected = layer(x, x, x, need_weights=True, is_causal=True)[0].numpy()
    np.testing.assert_allclose(NativeProgram(graph, None).run(values)[0], expected, atol=1e-5)


def test_when_tiles_pay():
    def tensors(*shapes, dtype="float32"):
        return [Tensor(shape, dtype) for shape in shapes]

    assert pays(*tensors(*[(1, 2, 16, 32)] * 3))
    assert not pays(*tensors((1, 2, 1, 32), (1, 2, 64, 32), (1, 2, 64, 32)))
    assert not pays(*tensors(*[(1, 2, 64, 20)] * 3))
    assert not pays(*tensors(*[(1, 2, 64, 32)] * 3, dtype="float16"))


def test_blocks_waste_little():
    def geometry(places):
        operands = [Tensor((2, 4, places, 64), "float32") for _ in range(3)]
        specs = [((2, places, 4, 64), "float32"), ((2, 4, places, 2), "float32")]
        setting = {"causal": True, "scale": 1.0, "masked": False, "dropped": False}
        x = Instruction(FORWARD, operands, setting, specs, None)
        return geometry_of(x, TARGETS["avx2"])

    for places in (16, 64, 65, 100, 1000, 1024):
        g = geometry(places)
        for block in (g.columns, g.rows, g.block_queries, g.block_keys):
            assert -(-places // block) * block <= max(1.1 * places, places + 48)
    assert geometry(4).pairs == 2 * 4 * 10
