"""The ops that carry graphs: scan, cond, while_loop and Composites."""

import numpy as np
import pytest
from op_samples import assert_close, check_derivative, gradient_function, outputs_of

from chainrule import ops
from chainrule.array import asarray, trace
from chainrule.autodiff import grad, jvp, vmap
from chainrule.errors import GradientError
from chainrule.ops.composite import COMPOSITES, composite
from chainrule.ops.control import scan_graph
from chainrule.ops.record import bind

LENGTH = 4


def recurrence(h, c, xs, w):
    """A small recurrent network: two carries, a sequence, a weight, two results a step."""

    def step(h, c, x, w):
        h = ops.tanh(h @ w + x) * ops.cos(c)
        return [h, c + ops.sum(h * h), h * c, ops.sum(x)]

    return scan_graph(step, [h, c], [xs], [w], LENGTH, reverse=False)


def recurrence_by_hand(h, c, xs, w, reverse=False):
    slices, sums = [], []
    for x in xs[::-1] if reverse else xs:
        h = np.tanh(h @ w + x) * np.cos(c)
        slices.append(h * c)
        c = c + (h * h).sum()
        sums.append(x.sum())
    order = slice(None, None, -1 if reverse else 1)
    return [h, c, np.stack(slices[order]), np.array(sums[order])]


def counter(x, xs):
    """An integer carry, an unused carry and a captured Array beside the floating ones."""
    caught = asarray(np.array([0.3, -0.2, 0.5]))

    def step(count, x, unused, part):
        return [count + 1, x * caught + part * ops.astype(count, np.float64), unused, x * 2]

    start = [asarray(0), x, asarray(np.zeros(2))]
    return scan_graph(step, start, [xs], [], LENGTH, reverse=True)


def samples(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


RECURRENCE = ((3,), (), (LENGTH, 3), (3, 3))


def test_scan_equals_the_loop():
    arrays = samples(0, *RECURRENCE)
    found = recurrence(*map(asarray, arrays))
    for x, y in zip(found, recurrence_by_hand(*arrays), strict=True):
        assert_close(x.numpy(), y, 1e-14)


def test_reversed_scan_runs_from_the_end():
    def step(h, c, x, w):
        h = ops.tanh(h @ w + x) * ops.cos(c)
        return [h, c + ops.sum(h * h), h * c, ops.sum(x)]

    arrays = samples(1, *RECURRENCE)
    h, c, xs, w = map(asarray, arrays)
    # h·c uses the carry before the update
    found = scan_graph(step, [h, c], [xs], [w], LENGTH, reverse=True)
    for x, y in zip(found, recurrence_by_hand(*arrays, reverse=True), strict=True):
        assert_close(x.numpy(), y, 1e-14)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [(recurrence, RECURRENCE), (counter, ((3,), (LENGTH, 3)))],
)
def test_scan_differentiates_twice(function, shapes):
    check_derivative(function, samples(2, *shapes))
    check_derivative(gradient_function(function, 7), samples(3, *shapes), rtol=1e-6)


def test_gradients_reach_what_a_body_caught():
    x, xs = map(asarray, samples(4, (3,), (LENGTH, 3)))

    def loss(w):
        def step(h, part):
            return [ops.tanh(h * w + part)]

        return ops.sum(scan_graph(step, [x], [xs], [], LENGTH, reverse=False)[0])

    check_derivative(loss, samples(5, (3,)))


@pytest.mark.parametrize("batched", [(1, 0, 0, 0), (0, 0, 1, 0), (0, 1, 0, 1), (1, 1, 1, 1)])
def test_scan_under_vmap(batched):
    members = [samples(10 + i, *RECURRENCE) for i in range(3)]
    arrays = [
        np.stack([m[i] for m in members]) if flag else members[0][i]
        for i, flag in enumerate(batched)
    ]
    axes = [0 if flag else None for flag in batched]
    together = vmap(recurrence, in_axes=axes)(*map(asarray, arrays))
    pulled = vmap(gradient_function(recurrence), in_axes=axes)(*map(asarray, arrays))
    for number in range(3):
        one = [a[number] if flag else a for a, flag in zip(arrays, batched, strict=True)]
        for x, y in zip(together, recurrence_by_hand(*one), strict=True):
            assert_close(x.numpy()[number], y, 1e-13)
        alone = gradient_function(recurrence)(*map(asarray, one))
        for x, y in zip(pulled, alone, strict=True):
            assert_close(x.numpy()[number], y.numpy(), 1e-12)


def check_forward_mode(function, arrays):
    rng = np.random.default_rng(11)
    directions = [rng.normal(size=a.shape) for a in arrays]
    _, tangents = jvp(function, list(map(asarray, arrays)), list(map(asarray, directions)))

    def moved(step):
        shifted = (asarray(a + step * d) for a, d in zip(arrays, directions, strict=True))
        return [y.numpy().astype(float) for y in outputs_of(function(*shifted))]

    pairs = zip(moved(1e-6), moved(-1e-6), strict=True)
    for tangent, (above, below) in zip(outputs_of(tangents), pairs, strict=True):
        assert_close(tangent.numpy(), (above - below) / 2e-6, 1e-7)


def test_scan_in_forward_mode():
    check_forward_mode(recurrence, samples(6, *RECURRENCE))
    check_forward_mode(counter, samples(6, (3,), (LENGTH, 3)))


def test_scan_of_no_steps_and_of_one():
    for length in (0, 1):
        h, xs = samples(7, (3,), (length, 3))

        def run(h, xs, length=length):
            return scan_graph(lambda h, x: [h * x, h], [h], [xs], [], length, False)

        final, stacked = run(asarray(h), asarray(xs))
        assert stacked.shape == (length, 3)
        assert_close(final.numpy(), h * xs.prod(axis=0), 1e-15)
        check_derivative(run, [h, xs])


def test_residuals_leave_constants_alone():
    """What does not depend on the step is not stacked for the backward loop."""
    x, xs = map(asarray, samples(8, (3,), (LENGTH, 3)))

    def loss(x, xs):
        return ops.sum(scan_graph(lambda h, p: [h * 2.0 + p], [x], [xs], [], LENGTH, False)[0])

    graph = trace(grad(loss), [x, xs])
    forward = [n for n in graph.nodes if n.op is not None and n.op.name == "scan"]
    backward = forward[-1]
    assert all(len(y.shape) <= 1 for y in backward.attributes["body"].inputs)
    assert not backward.attributes["n_xs"]


# --- cond -------------------------------------------------------------------------------------


def choose(flag, x, y):
    specs = [x, y]
    on_true = trace(lambda x, y: [ops.sin(x) * y, x], specs)
    on_false = trace(lambda x, y: [x * x - y, y * 3.0], specs)
    return list(bind("cond", flag, x, y, on_true=on_true, on_false=on_false))


def choose_by_hand(flag, x, y):
    return [np.sin(x) * y, x] if flag else [x * x - y, y * 3.0]


@pytest.mark.parametrize("flag", [True, False])
def test_cond_takes_one_branch(flag):
    arrays = samples(20, (3,), (3,))
    found = choose(asarray(flag), *map(asarray, arrays))
    for x, y in zip(found, choose_by_hand(flag, *arrays), strict=True):
        assert_close(x.numpy(), y, 1e-15)

    def function(x, y):
        return choose(asarray(flag), x, y)

    check_derivative(function, arrays)
    check_derivative(gradient_function(function, 1), arrays, rtol=1e-6)
    check_forward_mode(function, arrays)


def test_cond_under_vmap_chooses_for_each_member():
    flags = np.array([True, False, True])
    x, y = samples(21, (3, 2), (3, 2))
    found = vmap(choose)(asarray(flags), asarray(x), asarray(y))
    shared = vmap(choose, in_axes=(None, 0, None))(asarray(False), asarray(x), asarray(y[0]))
    for number, flag in enumerate(flags):
        for a, b in zip(found, choose_by_hand(flag, x[number], y[number]), strict=True):
            assert_close(a.numpy()[number], b, 1e-15)
        for a, b in zip(shared, choose_by_hand(False, x[number], y[0]), strict=True):
            assert_close(a.numpy()[number], b, 1e-15)


# --- while_loop -------------------------------------------------------------------------------


def halve(x):
    """Halve until below 1, and count."""
    like = [x, asarray(0)]
    test = trace(lambda x, n: [x > 1.0], like)
    body = trace(lambda x, n: [x * 0.5, n + 1], like)
    return bind("while_loop", x, asarray(0), test=test, body=body, n_state=2, n_test=0)


def test_while_loop_runs_as_often_as_needed():
    value, count = halve(asarray(11.0))
    assert (float(value), int(count)) == (0.6875, 4)
    values, counts = vmap(halve)(asarray([11.0, 0.5, 2.0]))
    assert values.tolist() == [0.6875, 0.5, 1.0]
    assert counts.tolist() == [4, 0, 1]


def test_while_loop_has_no_derivative_and_says_so():
    with pytest.raises(GradientError, match="no derivative"):
        grad(lambda x: halve(x)[0])(11.0)


# --- Composites -------------------------------------------------------------------------------


def wave_vjp(g, y, x, w, *, scale):
    return wave_gradient(g, x, w, scale=scale), g * ops.sin(x * scale)


@composite("test_wave_gradient")
def wave_gradient(g, x, w, *, scale):
    return g * w * ops.cos(x * scale) * scale


wave = composite("test_wave", vjp=wave_vjp, formula="{y}·sin(s·{x})")(
    lambda x, w, *, scale: w * ops.sin(x * scale)
)
plain = composite("test_plain")(lambda x, w, *, scale: w * ops.sin(x * scale))


@pytest.mark.parametrize("function", [wave, plain], ids=["own vjp", "body"])
def test_composites_evaluate_and_differentiate_like_their_body(function):
    arrays = samples(30, (2, 3), (2, 3))
    y = function(*map(asarray, arrays), scale=3.0)
    assert y.node.op is function.op
    assert_close(y.numpy(), arrays[1] * np.sin(arrays[0] * 3.0), 1e-15)

    def applied(x, w):
        return function(x, w, scale=3.0)

    check_derivative(applied, arrays)
    check_derivative(gradient_function(applied, 3), arrays, rtol=1e-6)
    check_derivative(gradient_function(gradient_function(applied, 3), 4), arrays, rtol=1e-5)
    check_forward_mode(applied, arrays)
    x, w = map(asarray, arrays)
    batched = vmap(applied, in_axes=(0, None))(x, w[0])
    assert_close(batched.numpy(), arrays[1][0] * np.sin(arrays[0] * 3.0), 1e-15)


def test_composites_are_listed_and_named_once():
    assert {"test_wave", "test_plain"} <= {member.name for member in COMPOSITES}
    assert repr(COMPOSITES["test_wave"]) == "test_wave"
    with pytest.raises(ValueError, match="exists already"):
        composite("test_wave")(lambda x: x)
