"""Random graphs: compiled equals interpreted, forward and gradient, whatever target and threads."""

import dataclasses
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chainrule import ops
from chainrule import random as draws
from chainrule.array import asarray, trace
from chainrule.autodiff.reverse import pull_back
from chainrule.graph import Graph
from chainrule.ops import dtypes
from chainrule.program.compiler.compiling import plan
from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.native import NativeProgram, assemble_program
from chainrule.program.compiler.target import TARGETS, host_target
from chainrule.program.interpreter import Plan

sys.path.insert(0, str(Path(__file__).parent))
from random_graphs import Writer, check, compare, graph_of

TOGETHER = 8  # graphs to a module: compiling costs less, and kernels of several graphs may meet
MIXED = [
    dtypes.float32, dtypes.float64, dtypes.float16, dtypes.float32,
    dtypes.float32, dtypes.bfloat16, dtypes.float32, dtypes.float64,
]  # fmt: skip
RECIPES = st.lists(
    st.builds(
        lambda source, floating: Writer(source, floating, 9 if floating.itemsize > 2 else 4).recipe,
        st.randoms(use_true_random=False),
        st.sampled_from(MIXED),
    ),
    min_size=TOGETHER,
    max_size=TOGETHER,
)
COMMON = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


def runnable(name):
    """A target for this process; skips where the processor has no such instructions.

    AVX-512's vectors of sixteen, tiles and all, are run in pairs of registers where it is missing.
    """
    here = host_target().name
    if here == "neon":
        pytest.skip("targets of another architecture")
    if name in ("avx2", "avx512") and here == "sse2":
        pytest.skip(f"no {name} here")
    target = dataclasses.replace(TARGETS[name], triple="")
    if name == "avx512" and here != name:
        target = dataclasses.replace(target, processor=TARGETS["avx2"].processor, features="")
    return target


def some(seed, count=TOGETHER, floating=dtypes.float32):
    return [Writer(random.Random(1000 * seed + i), floating).recipe for i in range(count)]


@given(RECIPES)
@settings(COMMON, max_examples=6)
def test_compiled_equals_interpreted(recipes):
    check(recipes)


def mixed(seed):
    """Graphs of every floating type; those of 16 bits stay short, for each op loses digits."""
    found = []
    for i in range(TOGETHER):
        floating = MIXED[i % len(MIXED)]
        most = 9 if floating.itemsize > 2 else 4
        found.append(Writer(random.Random(1000 * seed + i), floating, most).recipe)
    return found


SEEDS = range(1000, 1000 + int(os.environ.get("CHAINRULE_TEST_GRAPHS", "1000")) // TOGETHER)


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeds", [SEEDS[i : i + 25] for i in range(0, len(SEEDS), 25)], ids=lambda seeds: seeds[0]
)
def test_thousands_of_graphs(seeds):
    """``CHAINRULE_TEST_GRAPHS`` says how many: 1,000, and 10,000 in ``make test-all``."""
    wrong = {}
    for seed in seeds:
        try:
            check(mixed(seed), threads=(1, 2 + seed % 2))
        except Exception as error:
            wrong[seed] = f"{type(error).__name__}: {error}"
    assert not wrong, "\n".join(f"mixed({seed}): {text}" for seed, text in wrong.items())


@pytest.mark.slow
@given(RECIPES)
@settings(COMMON, max_examples=24)
def test_many_drawn_graphs(recipes):
    check(recipes)


@pytest.mark.parametrize("name", ["scalar", "sse2", "avx2", "avx512"])
def test_every_vector_width(name):
    for seed in (1, 2):
        check(some(seed), runnable(name), threads=(2,))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scalar", "sse2", "avx2", "avx512"])
def test_every_vector_width_often(name):
    for seed in range(100, 110):
        check(some(seed), runnable(name))


@pytest.mark.parametrize("name", ["avx512", "neon"])
def test_wide_and_foreign_code_is_emitted(name):
    """Code generation takes what is written for processors that are not at hand."""
    graph, _, _ = graph_of(some(3, 4), True)
    made = plan(assemble_program(graph), TARGETS[name])
    assert "program" in jit.emit_assembly(str(made.module), TARGETS[name])


# --- what the random graphs found -----------------------------------------------------------------


def both_engines(function, *arrays, target=None):
    graph = trace(function, [asarray(x) for x in arrays])
    values = [*arrays, *(x.data for x in graph.captured)]
    graph = Graph(graph.inputs, graph.outputs)
    found = NativeProgram(graph, target).run(values)
    for a, b in zip(found, Plan(graph).run(values), strict=True):
        compare(a, b, "")


def test_a_front_part_is_not_fused_into_loops_over_the_whole():
    x = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)

    def parts(v):
        whole = ops.tanh(v) * 2.0
        front = whole[:2] * 3.0 + 1.0
        return [whole, front, ops.sum(whole[:, :4] + 1.0, axis=1)]

    both_engines(parts, x)


def test_what_spreads_a_product_is_no_epilogue():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in [(5, 7), (7, 5)])
    c = rng.normal(size=(3, 1, 1)).astype(np.float32)

    def spread(a, b, c):
        product = (a @ b) * 0.5
        row = ops.tanh(c[:, 0, 0])
        return [product + c, ops.sum(product, axis=0), row]

    both_engines(spread, a, b, c)


def test_a_padded_scalar():
    both_engines(lambda v: [ops.pad(v * 2.0, ())], np.float32(3.0).reshape(()))


def test_an_index_computed_beside_its_reader_is_not_taken_out_of_the_loops():
    x = np.random.default_rng(0).normal(size=(1, 7, 8, 3)).astype(np.float32)

    def none_of(v, i, none):
        rows = ops.take(v, i, axis=0)
        whole = ops.scatter_items(ops.zeros_like(v), i, rows * 0.5, mode="add")
        found = ops.take(whole, none, axis=0)
        return [found, *pull_back([found], [asarray(x[:0])], [v])]

    both_engines(none_of, x, np.zeros(3, np.int64), np.zeros(0, np.int64))


@pytest.mark.parametrize("name", ["sse2", "avx2"])
@pytest.mark.parametrize("size", [3, 4, 7, 64])
def test_words_of_one_block_fill_the_lanes(name, size):
    def drop(v):
        return [ops.where(draws.bernoulli(draws.key(1), 0.5, v.shape), v, 0.0)]

    for dtype in (np.float32, np.float64):
        x = np.arange(1, size + 1, dtype=dtype)
        both_engines(drop, x, target=runnable(name))
