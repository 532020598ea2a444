"""Attention in tiles with masks and dropped weights: equal to the plain formula, and its draws."""

import dataclasses

import numpy as np
import pytest
from attention_samples import samples

import chainrule as cr
from chainrule import nn, random
from chainrule.array import asarray, trace
from chainrule.graph import Graph
from chainrule.nn import functional as F
from chainrule.nn.functional.attention import attend
from chainrule.program.compiler.attention.operations import OPS
from chainrule.program.compiler.compiling import plan
from chainrule.program.compiler.native import NativeProgram, assemble_program
from chainrule.program.compiler.passes import import_graph, run_passes
from chainrule.program.compiler.passes.evaluate import evaluate_block
from chainrule.program.compiler.runtime.counts import exactly
from chainrule.program.compiler.target import TARGETS
from chainrule.program.interpreter import Plan


def mask_of(kind, batch, heads, queries, keys):
    rng = np.random.default_rng(queries)
    if kind == "padding":  # the second text is empty
        lengths = np.array([keys // 2 + 1, 0, keys])[:batch]
        return (np.arange(keys) < lengths[:, None])[:, None, None]
    if kind == "pairs":
        mask = rng.random((queries, keys)) < 0.5
        mask[3] = False
        return mask
    if kind == "each":
        return rng.random((batch, heads, queries, keys)) < 0.3
    if kind == "one number a query":
        return rng.standard_normal((batch, 1, queries, 1)).astype("f")
    bias = rng.standard_normal((heads, queries, keys)).astype("f")
    bias[0, :, : keys // 2] = -np.inf
    bias[:, 5] = -np.inf
    return bias


def function_of(form, causal, p=0.0):
    """``attend`` or the plain formula of q, k, v, mask."""

    def tiled(q, k, v, *mask):
        draw = (random.key(7), p) if p else None
        return attend(q, k, v, *mask, is_causal=causal, draw=draw)

    def plain(q, k, v, *mask):
        weights = F.attention_weights(q, k, *mask, is_causal=causal)
        if p:
            kept = random.bernoulli(random.key(7), 1.0 - p, weights.shape)
            weights = cr.where(kept, weights / (1.0 - p), 0.0)
        return F.weighted_mean(weights, v)

    return {"tiled": tiled, "plain": plain}[form]


def graph_of(function, arrays, differentiable=3):
    def both(g, *inputs):
        fixed = inputs[differentiable:]
        y, pull = cr.vjp(lambda *x: function(*x, *fixed), *inputs[:differentiable])
        return [y, *pull(g)]

    graph = trace(both, [asarray(a) for a in arrays])
    captured = [x.data for x in graph.captured]
    return Graph(graph.inputs, graph.outputs), [*arrays, *captured]


def agree(sizes, kind="", causal=False, p=0.0, dtype="float32", target=None, differentiable=3):
    q, k, v, g = samples(*sizes, dtype=dtype)
    batch, heads, _, queries, keys = sizes[:5]
    mask = [mask_of(kind, batch, heads, queries, keys)] if kind else []
    mask = [m if m.dtype == bool else m.astype(dtype) for m in mask]
    arrays = [g, q, k, v, *mask]
    wide = [x if x.dtype == bool else x.astype("float64") for x in arrays]
    graph, values = graph_of(function_of("plain", causal, p), wide, differentiable)
    expected = Plan(graph).run(values)
    graph, values = graph_of(function_of("tiled", causal, p), arrays, differentiable)
    block = run_passes(import_graph(graph), verify=True)
    assert [x.op.name for x in block.instructions if x.op.name in OPS] == list(OPS)
    native = NativeProgram(graph, target)
    runs = []
    for threads in (1, 2, 3):
        with exactly(threads):
            runs.append(native.run(values))
    tolerance = 3e-6 if dtype == "float32" else 1e-13
    for one, two, three, reference in zip(*runs, expected, strict=True):
        scale = float(np.abs(reference).max())
        np.testing.assert_allclose(one, reference, rtol=0, atol=tolerance * scale)
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
    others = [Plan(graph).run(values)]
    if dtype == "float64":
        others.append(evaluate_block(block, values))
    for found in others:
        for one, reference in zip(found, expected, strict=True):
            scale = float(np.abs(reference).max())
            np.testing.assert_allclose(one, reference, rtol=0, atol=tolerance * scale)
    return runs[0]


# batch, heads, heads of keys, queries, keys, features, value features; mask, causal, dropping
CASES = [
    ((2, 4, 2, 100, 37, 16, 48), "padding", True, 0.3),
    ((2, 2, 1, 37, 130, 32, 16), "pairs", False, 0.0),
    ((1, 2, 2, 33, 64, 16, 16), "pairs", False, 0.5),
    ((2, 2, 2, 20, 102, 16, 16), "each", True, 0.1),
    ((1, 2, 2, 24, 35, 16, 16), "one number a query", False, 0.0),
    ((2, 4, 2, 37, 48, 32, 32), "bias", True, 0.0),
    ((1, 2, 2, 65, 67, 16, 16), "", False, 0.25),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case):
    agree(*case)


def test_a_text_without_words_gives_zeros():
    y, by_query, by_key, by_value = agree((3, 2, 2, 24, 131, 16, 16), "padding", False, 0.2)
    for x in (y, by_query, by_key, by_value):
        assert x[0].any()
        assert not x[1].any()
    assert not by_key[0, :, 66:].any()


def test_float64():
    agree((2, 2, 1, 30, 45, 16, 16), "bias", True, 0.2, "float64")


@pytest.mark.parametrize("name", ["scalar", "sse2"])
def test_processors_without_wide_vectors(name):
    target = dataclasses.replace(TARGETS[name], triple="")
    agree((1, 2, 1, 18, 29, 16, 16), "pairs", False, 0.3, target=target)


@pytest.mark.parametrize("name", ["avx512", "neon"])
def test_code_for_other_processors(name):
    q, k, v, g = samples(1, 2, 1, 37, 130, 16, 16)
    graph, _ = graph_of(function_of("tiled", False, 0.1), [g, q, k, v, np.ones((37, 130), bool)])
    assert "fma" in str(plan(assemble_program(graph), TARGETS[name]).module)


def test_a_learned_bias():
    """Its gradient comes from the plain formula, the others from tiles."""
    by_mask = agree((2, 4, 2, 37, 48, 16, 16), "bias", False, 0.2, differentiable=4)[-1]
    assert by_mask.any()
    assert np.isfinite(by_mask).all()


def test_slopes_of_slopes():
    q, k, v, g = samples(1, 2, 1, 16, 20, 16, 16, dtype="float64")
    mask = mask_of("bias", 1, 2, 16, 20).astype("float64")

    def second(function):
        def loss(q, mask):
            return (function(q, k, v, mask) * g).sum()

        return lambda q: cr.hvp(loss, (q, mask), (q * q, np.where(mask < -9, 0.0, 0.5)))

    tiled, plain = (function_of(form, True, 0.2) for form in ("tiled", "plain"))
    for one, other in zip(cr.compile(second(tiled))(q), second(plain)(q), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=0, atol=1e-11)


def test_gradients_beside_a_mask_of_large_finite_numbers():
    """Rows hidden by −1e9 keep weights that sum to 1, in the gradients too."""
    q, k, v, g = samples(1, 1, 1, 16, 32, 16, 16)
    mask = np.full((16, 32), -1e9, "f")
    graph, values = graph_of(function_of("tiled", False), [g, q, k, v, mask])
    *_, by_value = NativeProgram(graph, None).run(values)
    np.testing.assert_allclose(by_value.sum(axis=2), g.sum(axis=2), rtol=1e-4)


def test_what_is_dropped_is_that_of_bernoulli():
    """Values that name their key show which weights were kept."""
    q, k = np.zeros((1, 2, 20, 16), "f"), np.zeros((1, 2, 37, 16), "f")
    kept = []
    for key in range(37):
        v = np.zeros((1, 2, 37, 16), "f")
        v[:, :, key] = 1.0
        kept.append(v)
    step = cr.compile(lambda q, k, v: attend(q, k, v, draw=(random.key(5), 0.4)))
    found = np.stack([step(q, k, v).numpy()[..., 0] for v in kept], axis=-1)
    drawn = random.bernoulli(random.key(5), 0.6, (1, 2, 20, 37)).numpy()
    np.testing.assert_array_equal(found != 0, drawn)
    np.testing.assert_allclose(found[drawn], 1 / 37 / 0.6, rtol=1e-5)


def test_probability_changes_without_compiling():
    cr.random.seed(0)
    layer = nn.MultiheadAttention(32, 2, dropout=0.5, batch_first=True)
    x = np.random.default_rng(0).standard_normal((2, 20, 32)).astype("f")

    @cr.compile
    def output(layer, x):
        return layer(x, x, x, need_weights=False)[0]

    output(layer, x)
    layer.dropout.p = 0.0
    still = output(layer, x).numpy()
    assert output.n_compilations == 1
    layer.eval()
    np.testing.assert_allclose(still, layer(x, x, x)[0].numpy(), atol=1e-5)


def test_memory_grows_with_places_not_with_their_square():
    @cr.compile
    def gradient(g, q, k, v, mask):
        y, pull = cr.vjp(lambda *x: function_of("tiled", False, 0.1)(*x, mask), q, k, v)
        return [y, *pull(g)]

    sizes = []
    for places in (512, 1024):
        q, k, v, g = samples(1, 8, 8, places, places, 16, 16)
        mask = mask_of("padding", 1, 8, places, places)
        sizes.append(gradient.memory(g, q, k, v, mask).arena)
    assert sizes[1] <= 2.1 * sizes[0]
    assert sizes[1] < 8 * 1024 * 1024 * 4 / 2
