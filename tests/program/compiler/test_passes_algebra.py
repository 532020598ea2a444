"""Algebra: each rewrite, and the values that tell whether it may be done."""

import numpy as np
import pytest
from pass_programs import apply_pass, assert_equal, names, ops, traced

import chainrule as cr
from chainrule.array import placeholder
from chainrule.graph import Graph
from chainrule.ops import dtypes
from chainrule.ops.record import bind
from chainrule.program.compiler.passes import import_graph, verify_block
from chainrule.program.compiler.passes.algebra import algebra
from chainrule.program.compiler.passes.canonical import canonical
from chainrule.program.compiler.passes.dead_code import dead_code
from chainrule.program.compiler.passes.evaluate import evaluate_block

EDGES = np.array([0.0, -0.0, 1.0, -1.5, 1e-310, 1e308, np.inf, -np.inf, np.nan, 2.0, -7.25, 0.1])
MASK = EDGES > 0


def simplified(function, *arrays, rtol=0.0):
    """The ops of a function after algebra and dead code, values being checked."""

    def run(block):
        algebra(block)
        dead_code(block)

    return names(apply_pass(run, function, *arrays, rtol=rtol))


def number(x, value):
    return ops.full(x.shape, value, dtype=x.dtype)


def binary(name, value):
    return lambda x: bind(name, x, number(x, value))


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (binary("add", -0.0), []),
        (binary("add", 0.0), ["broadcast_to", "add"]),
        (binary("subtract", 0.0), []),
        (binary("subtract", -0.0), ["broadcast_to", "subtract"]),
        (binary("multiply", 1.0), []),
        (binary("multiply", -1.0), ["negative"]),
        (binary("multiply", 0.0), ["broadcast_to", "multiply"]),
        (binary("divide", 1.0), []),
        (binary("divide", -1.0), ["negative"]),
        (binary("power", 1.0), []),
        (binary("maximum", 0.0), ["relu"]),
        (binary("maximum", -0.0), ["broadcast_to", "maximum"]),
        (lambda x: bind("subtract", number(x, -0.0), x), ["negative"]),
        (lambda x: bind("subtract", number(x, 0.0), x), ["broadcast_to", "subtract"]),
        (lambda x: cr.negative(-x), []),
        (lambda x: x + (-cr.exp(x)), ["exp", "subtract"]),
        (lambda x: (-x) + cr.exp(x), ["exp", "subtract"]),
        (lambda x: x - (-cr.exp(x)), ["exp", "add"]),
        (lambda x: (-x) * (-cr.exp(x)), ["exp", "multiply"]),
        (lambda x: (-x) / (-cr.exp(x)), ["exp", "divide"]),
        (lambda x: -(x * 3.0), ["broadcast_to", "multiply"]),
        (lambda x: (-x) * 3.0, ["broadcast_to", "multiply"]),
        (lambda x: -(x * cr.exp(x)), ["exp", "multiply", "negative"]),
        (lambda x: cr.relu(cr.relu(x)), ["relu"]),
        (lambda x: cr.abs(-x), ["abs"]),
        (lambda x: cr.cos(-x), ["cos"]),
        (lambda x: cr.floor(cr.floor(x)), ["floor"]),
        (lambda x: cr.floor(cr.ceil(x)), ["ceil", "floor"]),
        (lambda x: cr.maximum(x, x), []),
        (lambda x: x - x, ["subtract"]),
        (lambda x: x / x, ["divide"]),
    ],
)
def test_floats_keep_every_bit(function, left):
    with np.errstate(all="ignore"):
        assert simplified(function, EDGES) == left


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (binary("add", 0), []),
        (binary("multiply", 0), ["broadcast_to"]),
        (binary("multiply", 1), []),
        (lambda x: -(x * 3), ["broadcast_to", "multiply"]),
        (binary("power", 2), ["multiply"]),
        (binary("power", -1), ["broadcast_to", "power"]),
        (lambda x: cr.trunc(cr.floor(x)), []),
        (lambda x: bind("subtract", number(x, 0), x), ["negative"]),
        (lambda x: x & x, []),
        (lambda x: x & number(x, 1), ["broadcast_to", "bitwise_and"]),
        (lambda x: cr.bitwise_invert(cr.bitwise_invert(x)), []),
    ],
)
def test_integers_wrap_around_as_before(function, left):
    limits = np.iinfo(np.int64)
    assert simplified(function, np.array([0, 1, -1, 5, -7, limits.min, limits.max])) == left


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint32"])
def test_factors_change_sign_modulo_the_range(dtype):
    x = np.array([0, 1, 3, 100, 127], dtype)
    for factor in (3, np.iinfo(dtype).max, np.iinfo(dtype).min):
        factors = binary("multiply", factor)
        for function in (lambda x: -factors(x), lambda x: factors(-x)):  # noqa: B023
            assert "negative" not in simplified(function, x)[:-1]


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda m: m & number(m, True), []),
        (lambda m: m & number(m, False), ["broadcast_to"]),
        (lambda m: m | number(m, True), ["broadcast_to"]),
        (lambda m: m | number(m, False), []),
        (lambda m: m ^ number(m, True), ["bitwise_invert"]),
        (lambda m: m ^ number(m, False), []),
        (lambda m: ~~m, []),
        (lambda m: m | m, []),
        (lambda m: cr.astype(m, cr.int64) != 0, []),
        (lambda m: cr.astype(m, cr.float32) == 0, ["bitwise_invert"]),
        (lambda m: cr.astype(m, cr.int64) > 0, []),
    ],
)
def test_truth_values(function, left):
    assert simplified(function, MASK) == left


def test_negated_comparisons_turn_where_there_is_no_nan():
    x = np.array([1, 2, 3])
    assert simplified(lambda x: ~(x < 2), x) == ["broadcast_to", "greater_equal"]
    assert simplified(lambda x: ~(x != 2), x) == ["broadcast_to", "equal"]
    assert simplified(lambda x: ~(x == 1.0), EDGES) == ["broadcast_to", "not_equal"]
    assert simplified(lambda x: ~(x < 1.0), EDGES) == ["broadcast_to", "less", "bitwise_invert"]


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda m, x: cr.where(m, x, x), []),
        (lambda m, x: cr.where(number(m, True), x, -x), []),
        (lambda m, x: cr.where(number(m, False), -x, x), []),
        (lambda m, x: cr.where(~m, x, cr.exp(x)), ["exp", "where"]),
        (lambda m, x: cr.where(m, cr.where(m, x, cr.exp(x)), 1.0), ["broadcast_to", "where"]),
        (lambda m, x: cr.where(m, 1.0, cr.where(m, cr.exp(x), x)), ["broadcast_to", "where"]),
    ],
)
def test_selections(function, left):
    with np.errstate(all="ignore"):
        assert simplified(function, MASK, EDGES) == left


# --- what changes the last bit ----------------------------------------------------------------


def scaled(dtype):
    values = np.random.default_rng(1).normal(size=200).astype(dtype)
    return values, np.asarray(np.random.default_rng(2).uniform(0.3, 3.0), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_division_by_one_number_is_a_product_within_three_halves_ulp(dtype):
    x, s = scaled(dtype)
    graph, values = traced(lambda x, s: x / s, [x, s])
    block = import_graph(graph)
    algebra(block)
    verify_block(block, "algebra")
    divisions = [i for i in block.instructions if i.op.name == "divide"]
    assert [i.result.shape for i in divisions] == [()]
    exact = x.astype(np.longdouble) / s
    error = np.abs(evaluate_block(block, values)[0] - exact)
    assert (error <= 2 * np.spacing(np.abs(exact).astype(dtype))).all()


def test_division_by_a_power_of_two_keeps_every_bit():
    assert simplified(lambda x: x / 8.0, EDGES[~np.isnan(EDGES)] * 1e-5) == [
        "broadcast_to", "multiply",
    ]  # fmt: skip


def test_divisions_stay_where_the_reciprocal_could_leave_the_range():
    x = np.array([1e308, 2.0])
    assert "divide" in simplified(lambda x: x / 1e-310, x)
    assert "divide" in simplified(lambda x: x / 1.7e308, x)
    assert "divide" in simplified(lambda x: x / 0.0, x)
    half = np.array([1.0, 3.0], np.float16)
    assert "multiply" not in simplified(lambda x: x / 3.0, half)
    assert simplified(lambda x, s: x / s, np.array(3.0), np.array(7.0)) == ["divide"]


def test_special_divisors_give_the_same():
    x = np.array([1.0, -1.0, 0.0, np.inf, np.nan])
    for s in (0.0, -0.0, np.inf, -np.inf, np.nan):
        graph, values = traced(lambda x, s: x / s, [x, np.array(s)])
        block = import_graph(graph)
        assert algebra(block)
        assert_equal(evaluate_block(block, values), graph.evaluate(values))


@pytest.mark.parametrize(
    ("exponent", "left"),
    [
        (2.0, ["multiply"]),
        (3.0, ["multiply", "multiply"]),
        (0.5, ["broadcast_to", "add", "sqrt"]),
        (-1.0, ["broadcast_to", "divide"]),
        (2.5, ["broadcast_to", "power"]),
    ],
)
def test_powers_by_a_known_number(exponent, left):
    values = np.array([0.0, -0.0, 0.1, 3.7, 1e-5, 1e5, np.inf, np.nan, 7.0])
    assert simplified(binary("power", exponent), values, rtol=1e-15) == left


def test_the_power_of_a_negative_zero_is_positive():
    graph, values = traced(binary("power", 0.5), [np.array([-0.0])])
    block = import_graph(graph)
    algebra(block)
    assert not np.signbit(evaluate_block(block, values)[0][0])


def test_doubling_a_product_keeps_every_bit_of_normal_numbers():
    normal = EDGES[np.abs(EDGES) != 1e-310]
    assert simplified(lambda x: [y := x * 0.3, y + y][1], normal) == ["broadcast_to", "multiply"]
    assert "add" in simplified(lambda x: [y := x * 1e308, y + y][1], normal)


def test_bodies_are_simplified_too():
    def build(h):
        return cr.scan(lambda h, _: (cr.negative(-h) * 1.0 + cr.sin(h), None), h, None, length=3)[0]

    block = apply_pass(lambda b: (algebra(b), dead_code(b)), build, np.arange(3.0))
    assert names(block.instructions[0].bodies["body"]) == ["sin", "add"]


def test_a_second_run_finds_nothing():
    x = placeholder((4,), dtypes.float64)
    block = import_graph(Graph([x], [(x / 3.0) ** 2 - (-x)]))
    assert canonical(block) | algebra(block)
    assert not algebra(block)
