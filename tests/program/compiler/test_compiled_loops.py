"""Loops in machine code: how carries travel, memory, what does not depend on the steps."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops, optim
from chainrule.autodiff import checkpoint, grad, value_and_grad
from chainrule.program import compile
from chainrule.program.compiler import options
from chainrule.program.compiler.machine import MachineCode

RNG = np.random.default_rng(1)


def draw(*shape):
    return (RNG.normal(size=shape) * 0.5).astype(np.float32)


def agree(function, *arrays, tolerance=2e-6):
    slow = compile(function, engine="interpreter")(*arrays)
    fast = compile(function, engine="compiler")(*arrays)
    for x, y in zip(slow, fast, strict=True):
        np.testing.assert_allclose(np.asarray(y), np.asarray(x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("length", [0, 1, 2, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_carries_in_stacks_in_rings_swapped_and_as_results(length, reverse):
    def function(a, b, c, xs, w):
        def step(carry, x):
            a, b, _ = carry
            h = cr.tanh(a @ w + x)
            return (h, a, b * 0.5 + h), (h, b)  # stacked, handed on, in a ring

        last, ys = cr.scan(step, (a, b, c), xs, reverse=reverse)
        again, _ = cr.scan(lambda h, x: (cr.tanh(h @ w) * x, None), last[0], xs, reverse=reverse)
        return [*last, *ys, again]

    agree(function, draw(3, 4), draw(3, 4), draw(3, 4), draw(length, 3, 4), draw(4, 4))


def test_large_carries_are_overwritten():
    def function(total, xs):
        last, sums = cr.scan(lambda s, x: (s * 0.5 + x[0], cr.sum(s)), total, xs)
        return [last, sums]

    agree(function, draw(300, 300), draw(4, 1), tolerance=1e-4)


def test_loops_in_loops_and_branches_pack_weights_before_all():
    def function(h, xs, w, u):
        def outer(h, x):
            def inner(h, y):
                h = cr.cond(cr.sum(y) > 0, lambda h: cr.tanh(h @ w), lambda h: h @ u, h)
                return cr.tanh(h @ u + y), h

            h, ys = cr.scan(inner, h, x)
            return cr.tanh(h @ w), cr.sum(ys)

        return list(cr.scan(outer, h, xs))

    weights = draw(32, 32) / 4, draw(32, 32) / 4
    agree(function, draw(8, 32), draw(3, 2, 8, 32), *weights, tolerance=2e-5)


def test_every_access_lies_inside_its_tensor(monkeypatch):
    monkeypatch.setattr(options, "is_checked", lambda: True)
    w, xs = draw(32, 32), draw(4, 8, 32)

    def function(h, xs, w):
        return grad(lambda h, xs, w: cr.sum(cr.scan(cell(w), h, xs)[1] ** 2), (0, 1, 2))(h, xs, w)

    def cell(w):
        return lambda h, x: (cr.tanh(h @ w + x),) * 2

    agree(function, draw(8, 32), xs, w, tolerance=1e-5)


class Letters(nn.Module):
    """A small model of characters."""

    def __init__(self, layer, n):
        self.table = nn.Embedding(13, n)
        self.memory = layer(n, n)
        self.head = nn.Linear(n, 13)

    def forward(self, x):
        """Scores of the next characters."""
        return self.head(self.memory(self.table(x.T))[0])


def train(layer, engine=None, threads=None, steps=3, n=32):
    cr.random.seed(0)
    model, optimizer = Letters(layer, n), optim.Adam(1e-2)

    def step(model, optimizer, x):
        def loss(m):
            scores = m(x[:, :-1]).reshape((-1, 13))
            return nn.functional.cross_entropy(scores, x[:, 1:].T.reshape((-1,)))

        value, gradients = value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    text = np.random.default_rng(2).integers(0, 13, (8, 12))
    cr.set_num_threads(threads)
    try:
        order = np.tile(np.arange(8), (steps, 1))
        losses = cr.run_steps(step, [model, optimizer], [text], order, engine=engine)
    finally:
        cr.set_num_threads(None)
    return np.asarray(losses), {k: v.numpy() for k, v in model.state_dict().items()}


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU])
def test_training_agrees_with_the_interpreter_and_itself_on_any_number_of_threads(layer):
    losses, _ = train(layer, engine="interpreter")
    one = train(layer, threads=1)
    two = train(layer, threads=2)
    np.testing.assert_allclose(one[0], losses, rtol=1e-5)
    np.testing.assert_array_equal(one[0], two[0])
    for name, value in one[1].items():
        np.testing.assert_array_equal(value, two[1][name])


def prepared(steps, segment=None):
    cr.random.seed(0)
    layer = nn.LSTM(16, 16)

    def loss(m, x):
        if segment is None:
            return cr.sum(m(x)[0] ** 2)

        def part(state, xs):
            y, state = m(xs, state)
            return state, cr.sum(y**2)

        start = (ops.zeros((1, 4, 16)),) * 2
        parts = x.reshape((steps // segment, segment, 4, 16))
        return cr.sum(cr.scan(lambda s, xs: checkpoint(part)(s, xs), start, parts)[1])

    step = compile(lambda m, x: value_and_grad(loss)(m, x), engine="compiler")
    _, program = step.prepare((layer, np.zeros((steps, 4, 16), np.float32)))
    code: MachineCode = program.native.code
    return code


def test_code_does_not_grow_with_the_steps_and_memory_is_what_was_planned():
    short, long = prepared(10), prepared(1000)
    assert len(short.machine.kernels) == len(long.machine.kernels)
    assert abs(len(long.compiled.code) - len(short.compiled.code)) < 0.1 * len(short.compiled.code)
    assert long.machine.arena_bytes < 110 * short.machine.arena_bytes
    assert prepared(1000, 50).machine.arena_bytes < 0.7 * long.machine.arena_bytes
