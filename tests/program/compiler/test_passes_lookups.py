"""Lookups: tables are multiplied instead of what is looked up in them."""

import numpy as np
import pytest
from pass_programs import apply_pass, names

import chainrule as cr
from chainrule.autodiff import grad
from chainrule.errors import IndexRangeError
from chainrule.ops.record import bind
from chainrule.program import compile
from chainrule.program.compiler.passes import run_passes
from chainrule.program.compiler.passes.lookups import lookups

RNG = np.random.default_rng(8)
TABLE, WEIGHTS = RNG.normal(size=(5, 3)), RNG.normal(size=(7, 3))
TOKENS = RNG.integers(0, 5, (6, 4))


def loss(table, weights, tokens):
    x = table[tokens]
    y = cr.tensordot(x, weights, axes=((2,), (1,)))
    return cr.sum(cr.sin(y) * y)


def products(block):
    return [x for x in block.instructions if x.op.name == "dot_general"]


def test_the_table_is_multiplied():
    def function(table, weights, tokens):
        return [cr.tensordot(table[tokens], weights, axes=((2,), (1,)))]

    block = apply_pass(lookups, function, TABLE, WEIGHTS, TOKENS, rtol=1e-15)
    assert products(block)[-1].result.shape == (5, 7)
    assert names(block)[-1] == "gather"


def test_gradients_of_table_and_weights_add_up_by_row():
    def run(block):
        run_passes(block, verify=True)

    gradient = grad(loss, argnums=(0, 1))
    block = apply_pass(run, gradient, TABLE, WEIGHTS, TOKENS, rtol=1e-13)
    assert [x.result.shape for x in products(block)] == [(5, 7), (5, 3), (7, 3)]
    assert names(block).count("scatter") == 1


def test_places_that_are_turned_are_looked_up_in_the_other_order():
    def turned(table, weights, tokens):
        x = cr.permute_dims(table[tokens], (1, 0, 2))
        y = cr.tensordot(x, weights, axes=((2,), (1,)))
        return cr.sum(cr.sin(y) * y)

    def run(block):
        run_passes(block, verify=True)

    gradient = grad(turned, argnums=(0, 1))
    block = apply_pass(run, gradient, TABLE, WEIGHTS, TOKENS, rtol=1e-13)
    assert [x.result.shape for x in products(block)] == [(5, 7), (5, 3), (7, 3)]
    assert names(block).count("scatter") == 1


def test_tables_of_several_axes_and_operands_in_the_other_order():
    table = RNG.normal(size=(2, 2, 3, 4))
    places = RNG.integers(0, 2, (4, 5, 2))

    def function(table, places, w, g):
        x = bind("gather", table, places)
        return [
            cr.tensordot(x, w, axes=((3,), (0,))),
            cr.tensordot(g, x, axes=((2, 1), (0, 1))),
            cr.tensordot(x, g, axes=((1, 0), (1, 2))),
        ]

    arrays = RNG.normal(size=(4, 6)), RNG.normal(size=(3, 5, 4))
    block = apply_pass(lookups, function, table, places, *arrays, rtol=1e-13)
    assert [x.result.shape for x in products(block)] == [(2, 2, 3, 6), (3, 3, 4), (3, 4, 3)]


def test_large_tables_and_other_axes_stay():
    def function(table, tokens, w):
        x = table[tokens]
        return [cr.tensordot(x, w, axes=((1,), (0,)))]

    large = RNG.normal(size=(50, 3))
    block = apply_pass(lookups, function, large, TOKENS, RNG.normal(size=(4, 2)))
    assert products(block)[0].operands[0].producer.op.name == "gather"


def test_a_bad_token_is_named():
    step = compile(grad(loss, argnums=(0, 1)))
    bad = TOKENS.copy()
    bad[2, 1] = 5
    step(TABLE, WEIGHTS, TOKENS)
    with pytest.raises(IndexRangeError, match="5"):
        step(TABLE, WEIGHTS, bad)


def test_a_bias_is_added_to_the_table():
    def function(table, tokens, b):
        return [table[tokens] + b, b - table[tokens]]

    block = apply_pass(lookups, function, TABLE, TOKENS, RNG.normal(size=3))
    assert [x.op.name for x in block.instructions if x.result.shape == (6, 4, 3)][-1] == "gather"
    assert block.outputs[0].producer.op.name == "gather"
