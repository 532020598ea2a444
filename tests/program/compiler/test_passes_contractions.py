"""Contractions absorb what stands around them."""

import itertools

import numpy as np
import pytest
from pass_programs import apply_pass, names

import chainrule as cr
from chainrule.ops.record import bind
from chainrule.program.compiler.passes.contractions import contractions
from chainrule.program.compiler.passes.dead_code import dead_code

RNG = np.random.default_rng(8)
A, B = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 5))
BATCH_A, BATCH_B = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 4, 5))


def absorbed(function, *arrays):
    def run(block):
        contractions(block)
        dead_code(block)

    return apply_pass(run, function, *arrays, rtol=1e-14)


def dot(x, y, contract, batch=((), ())):
    return bind("dot_general", x, y, contract=contract, batch=batch)


def test_transposed_operands_and_results_of_matrix_products():
    for function in (
        lambda a, b: cr.permute_dims(a, (1, 0)).T @ b,
        lambda a, b: (b.T @ a.T).T,
        lambda a, b: cr.matrix_transpose(cr.matrix_transpose(b) @ cr.matrix_transpose(a)),
    ):
        block = absorbed(function, A, B)
        assert names(block) == ["dot_general"]
    assert block.instructions[0].operands == block.inputs


def test_linear_and_its_gradient_have_no_transposition():
    def function(x, w, g):
        y = x @ w.T
        return [y, g @ w, (x.T @ g).T]

    x, w, g = RNG.normal(size=(6, 4)), RNG.normal(size=(3, 4)), RNG.normal(size=(6, 3))
    assert names(absorbed(function, x, w, g)) == ["dot_general"] * 3


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_any_order_of_axes(order):
    def operand(x, y):
        shape = [x.shape[a] for a in order]
        moved = cr.permute_dims(x, order)
        back = [order.index(a) for a in range(3)]
        assert moved.shape == tuple(shape)
        return dot(moved, y, ((back[2],), (1,)), ((back[0],), (0,)))

    assert names(absorbed(operand, BATCH_A, BATCH_B)) == ["dot_general"]

    def result(x, y):
        return cr.permute_dims(dot(x, y, ((2,), (1,)), ((0,), (0,))), order)

    left = names(absorbed(result, BATCH_A, BATCH_B))
    assert left == (["dot_general"] if order[0] == 0 else ["dot_general", "transpose"])


def test_free_axes_in_another_order_keep_the_transposition():
    def function(x, w):
        return dot(cr.permute_dims(x, (1, 0, 2)), w, ((2,), (0,)))

    assert names(absorbed(function, BATCH_A, B)) == ["transpose", "dot_general"]


def test_batch_axes_in_another_order():
    x, y = RNG.normal(size=(2, 3, 4, 5)), RNG.normal(size=(2, 3, 5, 6))

    def function(x, y):
        return cr.permute_dims(dot(x, y, ((3,), (2,)), ((0, 1), (0, 1))), (1, 0, 3, 2))

    assert names(absorbed(function, x, y)) == ["dot_general"]


def test_a_product_that_others_read_is_not_computed_twice():
    block = absorbed(lambda a, b: [y := a @ b, y.T], A, B)
    assert names(block) == ["dot_general", "transpose"]


def test_an_operand_that_is_copied_along_the_batch_needs_none():
    block = absorbed(lambda x, w: x @ cr.broadcast_to(w, (2, 4, 5)), BATCH_A, B)
    assert names(block)[-1] == "dot_general"
    assert block.instructions[-1].attributes["batch"] == ((), ())
    deep = RNG.normal(size=(2, 3, 3, 4))
    block = absorbed(lambda x, w: x @ cr.broadcast_to(w, (2, 3, 4, 5)), deep, B)
    assert block.instructions[-1].attributes["batch"] == ((), ())
    shared = RNG.normal(size=(2, 1, 4, 5))
    block = absorbed(lambda x, w: x @ cr.broadcast_to(w, (2, 3, 4, 5)), deep, shared)
    assert block.instructions[-1].attributes["batch"] == ((0,), (0,))


def test_a_copied_first_operand_keeps_its_batch_where_the_order_would_change():
    block = absorbed(lambda a, y: cr.broadcast_to(a, (2, 3, 4)) @ y, A, BATCH_B)
    assert block.instructions[-1].attributes["batch"] == ((0,), (0,))
    line = RNG.normal(size=4)

    def vector(v, y):
        return dot(cr.broadcast_to(v, (2, 4)), y, ((1,), (1,)), ((0,), (0,)))

    block = absorbed(vector, line, BATCH_B)
    assert block.instructions[-1].attributes["batch"] == ((), ())


def test_a_product_of_copies_of_both_keeps_its_result():
    def function(a, b):
        return cr.broadcast_to(a, (2, 3, 4)) @ cr.broadcast_to(b, (2, 4, 5))

    absorbed(function, A, B)
