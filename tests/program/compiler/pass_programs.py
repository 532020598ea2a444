"""Graphs for the tests of the passes: every op's cases, training steps, control flow."""

import itertools
import sys
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[2]
for folder in ("ops", "autodiff"):  # samples and random graphs that the tests there use too
    if str(TESTS / folder) not in sys.path:
        sys.path.append(str(TESTS / folder))

from op_samples import (  # noqa: E402
    CASES,
    DIFFERENTIABLE,
    apply,
    assert_close,
    gradient_function,
    main_dtype,
    outputs_of,
    sample,
)

import chainrule as cr  # noqa: E402
from chainrule import nn, ops, optim  # noqa: E402
from chainrule.array import asarray, trace  # noqa: E402
from chainrule.autodiff import checkpoint, custom_vjp, grad, value_and_grad, vmap  # noqa: E402
from chainrule.graph import Graph  # noqa: E402
from chainrule.program import compile  # noqa: E402
from chainrule.program.compiler.passes import import_graph, verify_block  # noqa: E402
from chainrule.program.compiler.passes.evaluate import evaluate_block  # noqa: E402


def traced(function, arrays):
    """A closed graph of the function and values for its inputs, what it caught among them."""
    graph = trace(lambda *xs: outputs_of(function(*xs)), [asarray(a) for a in arrays])
    return graph, [*arrays, *(x.data for x in graph.captured)]


def case_graph(op, case, dtype=None):
    arrays = sample(op, case, main_dtype(op) if dtype is None else dtype)
    return traced(apply(op, case), arrays)


def gradient_graph(op, case):
    return traced(gradient_function(apply(op, case)), sample(op, case))


def training_step(sizes=(7, 6, 5, 3), batch=4, dropout=0.2):
    """One step of a small classifier with dropout, cross-entropy and Adam, as a graph."""
    cr.random.seed(3)
    layers = []
    for n_in, n_out in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
    model = nn.Sequential(*layers, nn.Linear(*sizes[-2:]))
    optimizer = optim.Adam(1e-2)

    @compile
    def step(model, optimizer, x, y):
        loss, gradients = value_and_grad(lambda m: nn.cross_entropy(m(x), y))(model)
        optimizer.update(model, gradients)
        return loss

    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, sizes[0])).astype(np.float32)
    call, program = step.prepare((model, optimizer, x, np.arange(batch) % sizes[-1]))
    return program.graph, call.values()


def _recurrence(h, xs, w):
    def step(h, x):
        h = cr.tanh(h @ w + x * 2)
        return h, (h * h, x * 1.0)

    return cr.scan(step, h, xs)


def _recurrence_gradient(h, xs, w):
    def loss(h, w):
        last, (squares, _) = _recurrence(h, xs, w)
        return cr.sum(squares) + cr.sum(last)

    return grad(loss, argnums=(0, 1))(h, w)


def _branches(x, y):
    return cr.cond(cr.sum(x) > 0, lambda a, b: (a * 2 + b, b), lambda a, b: (a - b, b + 1), x, y)


def _newton(x):
    return cr.while_loop(
        lambda s: cr.all(s[0] < 10), lambda s: (s[0] + 1, (s[1] + x / s[1]) / 2), (0, x)
    )[1]


@custom_vjp
def straight_through(x):
    return cr.round(x)


straight_through.define(lambda x: (cr.round(x), x * 3), lambda residual, g: (g * residual,))


def _checkpointed(x, w):
    def loss(x, w):
        inner = checkpoint(lambda x, w: cr.tanh(cr.sin(x @ w) * x))
        return cr.sum(inner(inner(x, w), w))

    return grad(loss, argnums=(0, 1))(x, w)


def _samples(*shapes):
    rng = np.random.default_rng(5)
    return [rng.normal(size=shape) for shape in shapes]


def _attention(x):
    q, k, v = x * 0.5, x + 1, cr.flip(x, axis=0)
    scores = nn.functional.softmax(q @ k.T / 3.0, axis=-1)
    return scores @ v


#: name → () → (graph, values)
PROGRAMS = {
    "training step": training_step,
    "scan": lambda: traced(lambda h, xs, w: _recurrence(h, xs, w)[0], _samples(3, (4, 3), (3, 3))),
    "scan gradient": lambda: traced(_recurrence_gradient, _samples(3, (4, 3), (3, 3))),
    "cond": lambda: traced(_branches, _samples((3, 2), (3, 2))),
    "while": lambda: traced(_newton, [np.abs(x) + 1 for x in _samples(4)]),
    "batched while": lambda: traced(vmap(_newton), [np.abs(x) + 1 for x in _samples((2, 4))]),
    "custom_vjp": lambda: traced(grad(lambda x: cr.sum(straight_through(x) * x)), _samples((3, 2))),
    "checkpoint": lambda: traced(_checkpointed, _samples(4, (4, 4))),
    "attention gradient": lambda: traced(
        grad(lambda x: cr.sum(_attention(x) ** 2)), _samples((5, 3))
    ),
}


def names(block):
    """The ops of a block, in order."""
    return [i.op.name for i in block.instructions]


def control(block):
    """The first control instruction."""
    return next(i for i in block.instructions if i.bodies)


def assert_equal(found, expected, rtol=0.0):
    """Same shapes and types; same bits (NaN's sign apart), or within ``rtol`` of the scale."""
    for x, y in zip(found, expected, strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        if rtol == 0.0:
            np.testing.assert_array_equal(x, y)
            if x.dtype.kind == "f":
                known = ~np.isnan(x)
                np.testing.assert_array_equal(np.signbit(x[known]), np.signbit(y[known]))
        else:
            assert_close(x, y, rtol)


def apply_pass(run, function, *arrays, rtol=0.0):
    """Import a function, run one pass, verify, compare values; return the block."""
    graph, values = traced(function, arrays)
    block = import_graph(graph)
    run(block)
    verify_block(block, run.__name__)
    assert_equal(evaluate_block(block, values), graph.evaluate(values), rtol)
    return block


__all__ = [
    "CASES", "DIFFERENTIABLE", "PROGRAMS", "Graph", "apply_pass", "assert_equal", "case_graph",
    "control", "gradient_graph", "names", "ops", "traced", "training_step",
]  # fmt: skip
