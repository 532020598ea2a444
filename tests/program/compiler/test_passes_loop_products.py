"""Loops of recurrent cells, derived: one loop each way, products of all steps outside of it."""

import numpy as np
import pytest
from pass_programs import apply_pass, control, names, traced

import chainrule as cr
from chainrule import nn
from chainrule.autodiff import grad
from chainrule.program.compiler.passes import import_graph, run_passes, verify_block
from chainrule.program.compiler.passes.dead_code import dead_code
from chainrule.program.compiler.passes.evaluate import evaluate_block
from chainrule.program.compiler.passes.loop_merging import loop_merging
from chainrule.program.compiler.passes.loop_products import loop_products

RNG = np.random.default_rng(3)
STEPS, BATCH, N_IN, N = 5, 3, 4, 6


def values(*shapes):
    return [RNG.normal(size=shape) * 0.5 for shape in shapes]


def plain(h, x, w, u):
    return cr.tanh(x @ w + h @ u)


def gated(h, x, w, u):
    a, b = x @ w, h @ u
    z = cr.sigmoid(a[:, :N] + b[:, :N])
    return z * h + (1 - z) * cr.tanh(a[:, N:] + b[:, N:])


def joined(h, x, w, u):
    return cr.tanh(cr.concat([x, h], axis=1) @ cr.concat([w, u], axis=0))


CELLS = {"plain": (plain, N), "gated": (gated, 2 * N), "joined": (joined, N)}


def loss_of(cell, reverse=False):
    def loss(h, xs, w, u, v):
        def step(h, x):
            h = cell(h, x, w, u)
            return h, h @ v

        last, ys = cr.scan(step, h, xs, reverse=reverse)
        return cr.sum(ys**2) + cr.sum(last * 0.3)

    return loss


def all_passes(block):
    run_passes(block, verify=True)


def scans(block):
    return [x for x in block.instructions if x.op.name == "scan"]


def products_inside(scan):
    return names(scan.bodies["body"]).count("dot_general")


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_cell_of_the_users_keeps_one_product_a_step(name, reverse):
    cell, width = CELLS[name]
    gradient = grad(loss_of(cell, reverse), argnums=(0, 1, 2, 3, 4))
    arrays = values((BATCH, N), (STEPS, BATCH, N_IN), (N_IN, width), (N, width), (N, 2))
    block = apply_pass(all_passes, gradient, *arrays, rtol=1e-13)
    loops = scans(block)
    assert [products_inside(x) for x in loops] == [1, 1]
    assert [x.attributes["n_carry"] for x in loops] == [1, 1]
    assert names(block).count("dot_general") >= 4


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
def test_layers_keep_one_product_a_step(layer):
    cr.random.seed(0)
    model = layer(N_IN, N, dtype=np.float64)

    def gradient(x, h):
        def loss(m, x):
            hx = (h, h * 0.5) if layer is nn.LSTM else h
            return cr.sum(m(x, hx)[0] ** 2)

        return list(grad(loss, argnums=0)(model, x).values())

    block = apply_pass(
        all_passes, gradient, *values((STEPS, BATCH, N_IN), (1, BATCH, N)), rtol=1e-13
    )
    assert [products_inside(x) for x in scans(block)] == [1, 1]


def test_second_derivatives_are_those_of_the_graph():
    def norm(h, xs, w, u, v):
        gradients = grad(loss_of(gated), argnums=(2, 3))(h, xs, w, u, v)
        return sum(cr.sum(g**2) for g in gradients)

    arrays = values((BATCH, N), (STEPS, BATCH, N_IN), (N_IN, 2 * N), (N, 2 * N), (N, 2))
    apply_pass(all_passes, grad(norm, argnums=(0, 3)), *arrays, rtol=1e-12)


def test_equal_scans_become_one_and_equal_carries_too():
    def function(h, xs, u):
        a, ya = cr.scan(lambda h, x: (cr.tanh(h @ u + x),) * 2, h, xs)
        (b, c), yb = cr.scan(
            lambda s, x: ((cr.tanh(s[0] @ u + x), cr.tanh(s[1] @ u + x)), s[0] * s[1]), (h, h), xs
        )
        return [a, ya, b, c, yb]

    block = apply_pass(loop_merging, function, *values((BATCH, N), (STEPS, BATCH, N), (N, N)))
    (only,) = scans(block)
    assert only.attributes["n_carry"] == 1
    assert products_inside(only) == 1


def test_scans_that_differ_stay_apart():
    def function(h, g, xs, u):
        one = cr.scan(lambda h, x: (cr.tanh(h @ u + x), None), h, xs)[0]
        two = cr.scan(lambda h, x: (cr.tanh(h @ u + x), None), g, xs)[0]
        back = cr.scan(lambda h, x: (cr.tanh(h @ u + x), None), h, xs, reverse=True)[0]
        later = cr.scan(lambda h, x: (cr.tanh(h @ u + x), None), one, xs)[0]
        return [one, two, back, later]

    arrays = values((BATCH, N), (BATCH, N), (STEPS, BATCH, N), (N, N))
    assert len(scans(apply_pass(loop_merging, function, *arrays))) == 4


def test_sums_leave_the_loop_and_what_else_is_collected_stays():
    def function(xs, ys):
        def step(total, parts):
            x, y = parts
            return total + x.T @ y + cr.broadcast_to(cr.exp(x[0, 0]), (4, 5)), None

        return [cr.scan(step, cr.ones((4, 5), dtype=cr.float64), (xs, ys))[0]]

    block = apply_pass(loop_products, function, *values((6, 3, 4), (6, 3, 5)), rtol=1e-14)
    dead_code(block)
    assert products_inside(control(block)) == 0
    assert control(block).attributes["n_carry"] == 1


def test_what_stays_in_a_sum_may_be_read_as_it_is():
    def function(xs, ys, zs):
        def step(total, parts):
            x, y, z = parts
            return total + x.T @ y + z, None

        return [cr.scan(step, cr.ones((4, 5), dtype=cr.float64), (xs, ys, zs))[0]]

    arrays = values((6, 3, 4), (6, 3, 5), (6, 4, 5))
    block = apply_pass(loop_products, function, *arrays, rtol=1e-14)
    dead_code(block)
    assert products_inside(control(block)) == 0


def test_products_of_many_rows_stay_inside():
    def function(xs, w):
        return [cr.scan(lambda s, x: (s + cr.sum(x @ w), None), 0.0, xs)[0]]

    block = apply_pass(loop_products, function, *values((4, 300, 5), (5, 3)), rtol=1e-15)
    assert products_inside(control(block)) == 1


def test_passes_settle_on_stacked_layers():
    cr.random.seed(1)
    model = nn.LSTM(N_IN, N, num_layers=2, bidirectional=True, peephole=True, dtype=np.float64)

    def gradient(x, lengths):
        def loss(m, x):
            return cr.sum(m(x, lengths=lengths)[0] ** 2)

        return list(grad(loss)(model, x).values())

    arrays = [*values((STEPS, BATCH, N_IN)), np.array([5, 2, 4])]
    graph, inputs = traced(gradient, arrays)
    block = run_passes(import_graph(graph), verify=True)
    assert len(scans(block)) == 8
    for found, expected in zip(evaluate_block(block, inputs), graph.evaluate(inputs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
    verify_block(block)
