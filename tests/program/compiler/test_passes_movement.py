"""Random chains of movement, arithmetic, reductions and products through all passes."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_programs import assert_equal

from chainrule import ops
from chainrule.array import asarray, placeholder
from chainrule.graph import Graph
from chainrule.ops import dtypes
from chainrule.ops.record import bind
from chainrule.program.compiler.passes import PASSES, import_graph, run_passes, verify_block
from chainrule.program.compiler.passes.evaluate import evaluate_block

SHAPES = [(), (1,), (4,), (1, 3), (2, 1), (2, 3), (1, 1, 2), (2, 1, 3), (3, 2, 2)]
MAX_SIZE = 400


def some_axes(draw, x):
    axes = draw(st.lists(st.integers(0, max(x.ndim - 1, 0)), unique=True, max_size=x.ndim))
    return tuple(sorted(axes))


def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


def reshaped(draw, x):
    left, shape = x.size, []
    for _ in range(draw(st.integers(0, 3))):
        size = draw(st.sampled_from(divisors(left))) if left else 0
        shape.append(size)
        left //= max(size, 1)
    if left > 1 or (x.size == 0 and 0 not in shape):
        shape.append(left if x.size else 0)
    return bind("reshape", x, shape=tuple(shape))


def transposed(draw, x):
    return bind("transpose", x, axes=tuple(draw(st.permutations(range(x.ndim)))))


def spread(draw, x):
    shape = [draw(st.integers(1, 3)) if n == 1 else n for n in x.shape]
    shape = [*draw(st.lists(st.integers(1, 3), max_size=2)), *shape]
    return bind("broadcast_to", x, shape=tuple(shape)) if math.prod(shape) <= MAX_SIZE else x


def part(draw, x):
    starts, stops, strides = [], [], []
    for n in x.shape:
        starts.append(draw(st.integers(0, max(n - 1, 0))) if n else 0)
        stops.append(draw(st.integers(min(starts[-1] + 1, n), n)))
        strides.append(draw(st.integers(1, 3)))
    return bind("slice", x, starts=tuple(starts), stops=tuple(stops), strides=tuple(strides))


def padded(draw, x):
    widths = [tuple(draw(st.integers(0, 1)) for _ in x.shape) for _ in range(3)]
    if x.size > 60 or not x.ndim:
        return x
    return bind("pad", x, low=widths[0], high=widths[1], interior=widths[2])


def flipped(draw, x):
    return bind("flip", x, axes=some_axes(draw, x))


def joined(draw, x):
    if not x.ndim or x.size > MAX_SIZE // 2:
        return x
    return bind("concatenate", x, x, axis=draw(st.integers(0, x.ndim - 1)))


def reduced(draw, x):
    name = draw(st.sampled_from(["sum", "max", "min"]))
    axes = some_axes(draw, x)
    return x if any(x.shape[a] == 0 for a in axes) else bind(name, x, axes=axes)


def product(draw, x):
    if not x.ndim:
        return x
    axis = draw(st.integers(0, x.ndim - 1))
    lead = draw(st.sampled_from([(), (axis,)])) if x.ndim > 1 else ()
    rest = [a for a in range(x.ndim) if a not in lead]
    inner = (draw(st.sampled_from(rest)),)
    if x.size**2 // max(x.shape[inner[0]], 1) > 4 * MAX_SIZE:
        return x
    y = bind("dot_general", x, x * 0.5, contract=(inner, inner), batch=(lead, lead))
    return ops.tanh(y)


def unary(draw, x):
    function = draw(
        st.sampled_from([ops.negative, ops.relu, ops.sin, ops.abs, ops.square, ops.identity])
    )
    return function(x)


def with_number(draw, x):
    value = draw(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0]))
    name = draw(st.sampled_from(["add", "subtract", "multiply", "maximum"]))
    number = ops.full(x.shape, value, dtype=x.dtype)
    return bind(name, *draw(st.permutations([x, number])))


def divided(draw, x):
    return x / draw(st.sampled_from([1.0, -1.0, 2.0, 3.0]))


STEPS = [
    reshaped, transposed, spread, part, padded, flipped, joined, reduced, product, unary,
    with_number, divided,
]  # fmt: skip


@st.composite
def graphs(draw):
    """A graph of two inputs; later values are made of earlier ones, some of pairs."""
    inputs = [
        placeholder(draw(st.sampled_from(SHAPES)), dtypes.float64, name) for name in ("x", "y")
    ]
    table = asarray(np.arange(6.0).reshape(2, 3) - 2.5)
    values = [*inputs, table, asarray(np.full((2, 2), 1.5))]
    for _ in range(draw(st.integers(1, 9))):
        x = draw(st.sampled_from(values))
        if draw(st.integers(0, 3)) == 0:
            values.append(combine(draw, x, draw(st.sampled_from(values))))
        else:
            values.append(draw(st.sampled_from(STEPS))(draw, x))
    n_outputs = draw(st.integers(1, 3))
    return Graph(inputs, values[-n_outputs:])


def combine(draw, x, y):
    try:
        shape = np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return ops.sum(x) * ops.sum(y)
    if math.prod(shape) > MAX_SIZE:
        return x
    a, b = (ops.broadcast_to(v, shape) for v in (x, y))
    if draw(st.booleans()):
        return ops.where(bind("greater", a, b), a, b)
    return bind(draw(st.sampled_from(["add", "subtract", "multiply"])), a, b)


def sample(graph, seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=x.shape) for x in graph.inputs]


@settings(max_examples=250, deadline=None, derandomize=True)
@given(graphs(), st.integers(0, 1000))
def test_all_passes_keep_the_values(graph, seed):
    values = sample(graph, seed)
    block = import_graph(graph)
    run_passes(block, verify=True)
    assert_equal(evaluate_block(block, values), graph.evaluate(values), 1e-11)
    run_passes(block)  # deep chains of slices may want more rounds than one call has
    listing = str(block)
    run_passes(block)
    assert str(block) == listing


@settings(max_examples=60, deadline=None, derandomize=True)
@given(graphs(), st.integers(0, 1000))
def test_each_pass_alone_keeps_the_values_and_settles(graph, seed):
    values = sample(graph, seed)
    expected = graph.evaluate(values)
    for each in PASSES:
        block = import_graph(graph)
        for _ in range(8):
            if not each.run(block):
                break
            verify_block(block, each.name)
        else:
            raise AssertionError(f"{each.name} does not come to an end")
        assert_equal(evaluate_block(block, values), expected, 1e-11)
