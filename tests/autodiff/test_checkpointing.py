"""``checkpoint``: the same results and derivatives, less memory, effects once."""

import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, random
from chainrule.array import asarray, variable
from chainrule.autodiff import (
    check_gradients,
    checkpoint,
    grad,
    gradients,
    hessian,
    jvp,
    value_and_grad,
    vmap,
)
from chainrule.graph import topological
from chainrule.program import compile
from chainrule.random import RandomState

RNG = np.random.default_rng(8)


def sample(*shape):
    return asarray(RNG.normal(size=shape))


def assert_close(a, b):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-9, atol=1e-12)


X, W, V = sample(4), sample(4, 4), sample(4)


def body(x, w):
    return cr.tanh(cr.sin(x @ w) * x)


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: [f(X, W)],
        lambda f: grad(lambda x, w: (f(x, w) * V).sum(), (0, 1))(X, W),
        lambda f: [hessian(lambda x: (f(x, W) * V).sum())(X)],
        lambda f: jvp(f, (X, W), (V, W * 0.3)),
        lambda f: [vmap(f, (0, None))(sample_rows, W), vmap(f, (None, 0))(X, many)],
        lambda f: vmap(grad(lambda x, w: (f(x, w) * V).sum(), (0, 1)), (0, None))(sample_rows, W),
        lambda f: compile(grad(lambda x, w: (f(f(x, w), w) * V).sum(), (0, 1)))(X, W),
        lambda f: grad(lambda x: (grad(lambda w: (f(x, w) * V).sum())(W) ** 2).sum())(X)[None],
    ],
    ids=["value", "grad", "hessian", "jvp", "vmap", "vmap of grad", "compile", "second"],
)
def test_every_transform_gives_the_same(transform):
    for a, b in zip(transform(checkpoint(body)), transform(body), strict=True):
        assert_close(a, b)


sample_rows, many = sample(3, 4), sample(2, 4, 4)


def test_against_differences():
    check_gradients(checkpoint(body), (X, W), order=2)
    check_gradients(checkpoint(checkpoint(lambda x: checkpoint(cr.exp)(x * x))), (X,), order=2)


def inner_nodes(x):
    return [node.op.name for node in topological([x]) if node.op is not None]


def test_nothing_inside_is_kept():
    x, w = variable(X), variable(W)
    y = checkpoint(body)(x, w)
    assert inner_nodes(y) == ["checkpoint"]
    loss = (y * V).sum()
    found = gradients(loss, [x, w])
    assert "tanh" not in inner_nodes(found[0])
    plain = gradients((body(x, w) * V).sum(), [x, w])
    for a, b in zip(found, plain, strict=True):
        assert_close(a, b)


def test_the_recomputation_lies_behind_barriers():
    x = variable(X)
    y = checkpoint(lambda x: cr.exp(cr.sin(x)))(x)
    backward = gradients((y * V).sum(), x)
    forward, again = (
        [node.op.name for node in z.node.attributes["body"].nodes if node.op is not None]
        for z in (y, backward)
    )
    assert forward == ["sin", "exp"]
    assert again.index("barrier") < again.index("sin")


def test_memory_of_a_deep_chain():
    x = asarray(RNG.normal(size=20_000))

    def block(x):
        for _ in range(20):
            x = cr.sin(x) * 1.1
        return x

    def deep(f):
        def loss(x):
            for _ in range(20):
                x = f(x)
            return (x * x).sum()

        return loss

    def peak(f):
        tracemalloc.start()
        value = grad(deep(f))(x).numpy()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size, value

    (plain, a), (saved, b) = peak(block), peak(checkpoint(block))
    assert_close(a, b)
    assert saved < plain / 4


def test_containers_keywords_and_numbers():
    def f(parts, factor, *, shift):
        return {"a": parts["x"] * factor, "b": [shift + parts["w"], 3.0]}, "label"

    (result, label), expected = checkpoint(f)({"x": X, "w": W}, 2.0, shift=V), 2 * X.numpy()
    assert label == "label"
    assert_close(result["a"], expected)
    assert_close(result["b"][0], V.numpy() + W.numpy())
    assert result["b"][1] == 3.0
    half = asarray(np.ones(2, np.float16))
    assert checkpoint(lambda x, s: x * s)(half, 0.5).dtype == np.float16
    assert compile(lambda x, s: checkpoint(lambda x: x * s)(x))(half, 0.5).dtype == np.float16
    assert checkpoint(lambda: 1.0)() == 1.0
    assert checkpoint(lambda x: x)(X).shape == (4,)


def test_closures_take_part():
    w = variable(W, name="w")

    def f(x):
        return cr.tanh(x @ w)

    assert_close(gradients((checkpoint(f)(X) * V).sum(), w), gradients((f(X) * V).sum(), w))


class Block(nn.Module):
    """A layer with dropout-like noise, a running buffer and a counter."""

    def __init__(self):
        self.inner = nn.Linear(4, 4).astype("float64")
        self.seen = asarray(np.zeros(4))
        self.calls = asarray(0)

    def forward(self, x):
        mask = random.bernoulli(random.layer_key("mask"), 0.5, x.shape)
        self.seen = self.seen * 0.9 + x.mean(axis=0)
        self.calls = self.calls + 1
        return cr.where(mask, cr.tanh(self.inner(x)), 0.0) * 2.0


ROWS = sample(6, 4)


def run(wrap, way):
    """Loss, gradients and state after two steps, with or without checkpoint."""
    with random.use(RandomState(4)) as state:
        model = Block()

        def loss(model, x):
            if way == "argument":
                y = wrap(lambda m, x: m(x))(model, x)
            elif way == "closure":
                y = wrap(lambda x: model(x))(x)
            else:
                y = wrap(model)(x)
            return (y * np.arange(4.0)).sum()

        step = value_and_grad(loss)
        if way == "program":
            step = compile(step)
        results = [step(model, ROWS) for _ in range(2)]
        return results, model, state.step.item()


@pytest.mark.parametrize("way", ["module", "argument", "closure", "program"])
def test_draws_are_replayed_and_buffers_written_once(way):
    results, model, steps = run(checkpoint, way)
    expected, twin, twin_steps = run(lambda f: f, way)
    for (value, found), (true_value, true) in zip(results, expected, strict=True):
        assert_close(value, true_value)
        assert set(found) == set(true)
        for name in true:
            assert_close(found[name], true[name])
    assert results[0][0].item() != results[1][0].item()  # a new mask each step
    assert model.calls.item() == twin.calls.item() == 2
    assert_close(model.seen, twin.seen)
    assert steps == twin_steps
    assert model.seen.node.op is None
    assert model.inner.weight.node.tracked


def test_without_gradients_the_effects_are_the_same():
    model, twin = Block(), Block()
    twin.load_state_dict(model.state_dict())
    with random.use(RandomState(1)) as state:
        a = checkpoint(model)(ROWS)
        assert state.step.item() == 1
    with random.use(RandomState(1)):
        b = twin(ROWS)
    assert_close(a, b)
    assert model.calls.item() == 1
    assert_close(model.seen, twin.seen)


def test_a_module_keeps_its_attributes_to_itself():
    model = Block()
    wrapped = checkpoint(model)
    assert not hasattr(wrapped, "inner")
    assert wrapped.__wrapped__ is model


def test_an_error_inside_leaves_the_module_as_it_was():
    model = Block()
    before = model.calls

    def fails(x):
        model(x)
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        checkpoint(fails)(ROWS)
    assert model.calls is before
