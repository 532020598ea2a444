"""Canonical form: every rule is exact, and there is one way to say each thing."""

import itertools

import numpy as np
import pytest
from pass_programs import apply_pass, names, ops, traced

import chainrule as cr
from chainrule.array import placeholder
from chainrule.graph import Graph
from chainrule.ops import dtypes
from chainrule.ops.record import bind
from chainrule.program.compiler.passes import import_graph
from chainrule.program.compiler.passes.canonical import canonical
from chainrule.program.compiler.passes.evaluate import evaluate_block

RNG = np.random.default_rng(2)
X = RNG.normal(size=(3, 4))


def reduced(function, *arrays):
    """The ops that are left of a function in canonical form, dead ones apart."""
    block = apply_pass(canonical, function, *arrays)
    used = {x for i in block.instructions for x in i.operands} | set(block.outputs)
    return [i.op.name for i in block.instructions if not used.isdisjoint(i.results)]


def last(function, *arrays):
    """The instruction that makes the result."""
    return apply_pass(canonical, function, *arrays).outputs[0].producer


@pytest.mark.parametrize(
    "function",
    [
        ops.identity,
        cr.stop_gradient,
        lambda x: bind("reshape", x, shape=(3, 4)),
        lambda x: bind("transpose", x, axes=(0, 1)),
        lambda x: bind("broadcast_to", x, shape=(3, 4)),
        lambda x: bind("cast", x, dtype=dtypes.float64),
        lambda x: bind("slice", x, starts=(0, 0), stops=(3, 4), strides=(1, 1)),
        lambda x: bind("pad", x, low=(0, 0), high=(0, 0), interior=(0, 0)),
        lambda x: bind("flip", x, axes=()),
        lambda x: bind("max", x, axes=()),
        lambda x: bind("concatenate", x, x[:0], axis=0),
        lambda x: x.T.T,
        lambda x: x.reshape(2, 6).reshape(3, 4),
        lambda x: cr.flip(cr.flip(x, axis=0), axis=0),
        lambda x: cr.astype(cr.astype(x[None][0], cr.float64), cr.float64),
    ],
)
def test_what_does_nothing_goes(function):
    block = apply_pass(canonical, function, X)
    assert block.outputs == block.inputs


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x: x.reshape(12).reshape(2, 6), ["reshape"]),
        (lambda x: cr.permute_dims(cr.permute_dims(x[None], (2, 0, 1)), (1, 2, 0)), ["reshape"]),
        (lambda x: cr.broadcast_to(cr.broadcast_to(x[0], (3, 4)), (2, 3, 4)), None),
        (lambda x: x[None, :, None].reshape(3, 4), []),
        (lambda x: cr.permute_dims(x[:, None, :], (1, 0, 2)), ["reshape"]),
        (lambda x: x[1:][:, 1:3][::2], ["slice"]),
        (lambda x: cr.flip(cr.flip(x, axis=0), axis=(0, 1)), ["flip"]),
        (lambda x: cr.broadcast_to(x.reshape(1, 3, 4), (2, 3, 4)), ["broadcast_to"]),
        (lambda x: cr.broadcast_to(x[:1, :1], (2, 3)), ["slice", "reshape", "broadcast_to"]),
        (lambda x: cr.broadcast_to(x, (1, 3, 4)), ["reshape"]),
        (lambda x: cr.broadcast_to(x[:, :1], (3, 4)).T, ["slice", "reshape", "broadcast_to"]),
        (lambda x: cr.sum(x[:1], axis=0), ["slice", "reshape"]),
        (lambda x: cr.argmax(x[:, :1], axis=1), ["broadcast_to"]),
        (lambda x: cr.cumulative_sum(x[:1], axis=0), ["slice"]),
    ],
)
def test_movements_merge(function, left):
    found = reduced(function, X)
    assert left is None or found == left


def test_copies_of_one_number_are_copies_of_a_scalar_whatever_moves_them():
    def moved(x):
        copies = cr.broadcast_to(x.reshape(1, 1), (4, 6))
        return cr.flip(copies.reshape(2, 3, 4), axis=1)[:, 1:].reshape(4, 4).T

    block = apply_pass(canonical, moved, np.array(2.5))
    made = block.outputs[0].producer
    assert made.op.name == "broadcast_to"
    assert made.operands == block.inputs


def test_slices_name_what_they_read():
    made = last(lambda x: x[0:5:3], np.arange(6.0))
    assert made.attributes == {"starts": (0,), "stops": (4,), "strides": (3,)}
    made = last(lambda x: x[1::2][1:][::5], np.arange(9.0))
    assert made.attributes == {"starts": (3,), "stops": (4,), "strides": (1,)}


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: 2.0 + x, "add"),
        (lambda x: 2.0 * x, "multiply"),
        (lambda x: x > 2.0, "greater"),
        (lambda x: x <= 2.0, "less_equal"),
        (lambda x: bind("less", cr.ones_like(x), x), "greater"),
        (lambda x: bind("not_equal", cr.ones_like(x), x), "not_equal"),
    ],
)
def test_constants_stand_second(function, name):
    block = apply_pass(canonical, function, X)
    assert block.outputs[0].producer.op.name == name
    assert block.outputs[0].producer.operands[0] is block.inputs[0]


def test_order_stays_where_it_counts():
    for function in (lambda x: 2.0 - x, lambda x: 2.0 / x, lambda x: cr.maximum(0.0, x)):
        made = last(function, X)
        assert made.operands[1].producer is None


def test_negative_axes_become_positions():
    x = placeholder((2, 3), dtypes.float64)
    y = bind("cumsum", x, axis=-1)
    block = import_graph(Graph([x], [bind("flip", y, axes=(-1,))]))
    canonical(block)
    assert [i.attributes for i in block.instructions] == [{"axis": 1}, {"axes": (1,)}]


def test_barriers_stay():
    assert names(apply_pass(canonical, lambda x: cr.barrier(cr.barrier(x)), X)) == ["barrier"] * 2


# --- casts ------------------------------------------------------------------------------------


def edge_values(dtype):
    if dtype == dtypes.bool_:
        return np.array([False, True])
    if dtypes.is_integer(dtype):
        limits = np.iinfo(dtype)
        return np.array([limits.min, limits.max, 0, 1, limits.max // 2 + 1, limits.max // 3], dtype)
    small = np.array([0.0, -0.0, 1.5, -2.25, 70000.0, 3e9, -3e9, 1e19, np.inf, -np.inf, np.nan])
    with np.errstate(all="ignore"):
        return np.concatenate([small, [0.1, 1 / 3, 2049.0, 257.0]]).astype(dtype)


def test_casts_merge_only_where_no_value_can_tell():
    merged = 0
    for chain in itertools.product(dtypes.ALL, repeat=3):
        if chain[0] == chain[1] or chain[1] == chain[2]:
            continue
        x = placeholder((len(edge_values(chain[0])),), chain[0])
        middle = bind("cast", x, dtype=chain[1])
        graph = Graph([x], [bind("cast", middle, dtype=chain[2])])
        block = import_graph(graph)
        canonical(block)
        if block.outputs[0].producer is not None:
            merged += block.outputs[0].producer.operands[0] is block.inputs[0]
        else:
            merged += 1
        values = [edge_values(chain[0])]
        found, expected = evaluate_block(block, values)[0], graph.evaluate(values)[0]
        wide = (np.asarray(y, np.float64) if y.dtype.kind in "fV" else y for y in (found, expected))
        np.testing.assert_array_equal(*wide, err_msg=str(chain))
    assert merged > 300


def test_a_cast_that_loses_stays():
    for chain in ([cr.float64, cr.float32, cr.float64], [cr.int64, cr.int8, cr.int64]):
        graph, _ = traced(
            lambda x, chain=chain: cr.astype(cr.astype(x, chain[1]), chain[2]),
            [np.arange(3).astype(str(chain[0]))],
        )
        block = import_graph(graph)
        assert not canonical(block)
