"""Control flow against unrolled Python, with all transforms, and its errors."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, random
from chainrule.array import asarray, leaf, variable
from chainrule.autodiff import (
    check_gradients,
    checkpoint,
    grad,
    gradients,
    jvp,
    value_and_grad,
    vmap,
)
from chainrule.control import cond, fori_loop, scan, switch, while_loop
from chainrule.errors import (
    ArgumentError,
    ChainruleError,
    DtypeError,
    GradientError,
    ShapeError,
    StateError,
)
from chainrule.ops.origin import layer_scope
from chainrule.program import compile
from chainrule.random import RandomState

RNG = np.random.default_rng(5)


def sample(*shape):
    return asarray(RNG.normal(size=shape) * 0.7)


def assert_close(a, b, rtol=1e-9):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=1e-12)


W, X, H = sample(3, 3), sample(6, 3), sample(3)


def cell(w):
    """One step of a small recurrent network, with a nested carry and result."""

    def step(carry, x):
        h = cr.tanh(carry["h"] @ w + x)
        total = carry["total"] + (h * h).sum()
        return {"h": h, "total": total}, (h, h.sum() * x)

    return step


def start(h):
    return {"h": h, "total": cr.asarray(np.float64(0.5))}


def scanned(w, h, xs, reverse=False):
    carry, (hs, rest) = scan(cell(w), start(h), xs, reverse=reverse)
    return carry["h"], carry["total"], hs, rest


def unrolled(w, h, xs, reverse=False):
    step, carry, ys = cell(w), start(h), []
    order = range(xs.shape[0])
    for i in reversed(order) if reverse else order:
        carry, y = step(carry, xs[i])
        ys.append(y)
    if reverse:
        ys.reverse()
    return carry["h"], carry["total"], *(cr.ops.stack([y[k] for y in ys]) for k in (0, 1))


def weighted(results):
    """A scalar that all results enter with different weights."""
    generator = np.random.default_rng(1)
    return sum((y * generator.normal(size=y.shape)).sum() for y in results)


# --- scan


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_equals_the_unrolled_loop(reverse):
    for a, b in zip(scanned(W, H, X, reverse), unrolled(W, H, X, reverse), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("reverse", [False, True])
def test_first_and_second_derivatives_equal_those_of_the_unrolled_loop(reverse):
    def loss(loop):
        return lambda w, h, xs: weighted(loop(w, h, xs, reverse))

    def second(loop):
        def sum_of_gradients(w, h, xs):
            return weighted(grad(loss(loop), (0, 1, 2))(w, h, xs))

        return grad(sum_of_gradients, (0, 1, 2))

    for transform in (lambda loop: grad(loss(loop), (0, 1, 2)), second):
        for a, b in zip(transform(scanned)(W, H, X), transform(unrolled)(W, H, X), strict=True):
            assert_close(a, b)


def test_scan_against_differences_to_second_order():
    check_gradients(scanned, (W, H, X[:3]), order=2)


def test_jvp_and_vmap_of_scan():
    tangents = (sample(3, 3), sample(3), sample(6, 3))
    for a, b in zip(
        jvp(scanned, (W, H, X), tangents)[1], jvp(unrolled, (W, H, X), tangents)[1], strict=True
    ):
        assert_close(a, b)
    many = (sample(4, 3, 3), sample(4, 3), sample(4, 6, 3))
    for axes in [0, (None, 0, None), (None, None, 0), (0, None, None)]:
        args = [
            m if (axes if axes == 0 else axes[k]) is not None else one
            for k, (m, one) in enumerate(zip(many, (W, H, X), strict=True))
        ]
        for a, b in zip(vmap(scanned, axes)(*args), vmap(unrolled, axes)(*args), strict=True):
            assert_close(a, b)
    per_example = vmap(grad(lambda *a: weighted(scanned(*a)), (0, 1, 2)))(*many)
    loop = vmap(grad(lambda *a: weighted(unrolled(*a)), (0, 1, 2)))(*many)
    for a, b in zip(per_example, loop, strict=True):
        assert_close(a, b)


def test_gradients_reach_what_the_body_catches():
    w, b = variable(W, name="w"), variable(H, name="b")

    def loss(loop):
        def step(h, x):
            h = cr.tanh(h @ w + x * b)
            return h, None

        if loop == "scan":
            h, nothing = scan(step, H, X)
            assert nothing is None
        else:
            h = H
            for i in range(6):
                h, _ = step(h, X[i])
        return (h * sample_weights).sum()

    sample_weights = sample(3)
    for a, b_ in zip(gradients(loss("scan"), [w, b]), gradients(loss("for"), [w, b]), strict=True):
        assert_close(a, b_)


def test_a_scan_in_a_scan():
    def outer(w, xs):
        def row(carry, x):
            def entry(s, value):
                s = cr.sin(s * value + carry * w)
                return s, s * w

            last, ys = scan(entry, carry, x)
            return last, ys.sum()

        return scan(row, w * 0.5, xs)

    def unrolled(w, xs):
        carry, ys = w * 0.5, []
        for i in range(xs.shape[0]):
            s, total = carry, 0.0
            for j in range(xs.shape[1]):
                s = cr.sin(s * xs[i, j] + carry * w)
                total = total + s * w
            carry = s
            ys.append(total)
        return carry, cr.ops.stack(ys)

    w, xs = asarray(np.float64(0.8)), sample(3, 2)
    for a, b in zip(outer(w, xs), unrolled(w, xs), strict=True):
        assert_close(a, b)
    for order in (1, 2):

        def derivative(f, order=order):
            g = grad(lambda w, xs: weighted(f(w, xs)))
            return grad(g) if order == 2 else g

        assert_close(derivative(outer)(w, xs), derivative(unrolled)(w, xs))
    assert_close(vmap(outer, (None, 0))(w, sample(2, 3, 2) * 0 + xs)[1][1], unrolled(w, xs)[1])


@pytest.mark.parametrize("length", [0, 1])
def test_short_scans(length):
    carry, (hs, rest) = scan(cell(W), start(H), X[:length])
    assert hs.shape == (length, 3)
    assert rest.shape == (length, 3)
    if not length:
        assert_close(carry["h"], H)
    found = grad(lambda w, h, x: weighted(scanned(w, h, x)), (0, 1, 2))(W, H, X[:length])
    if length:
        expected = grad(lambda w, h, x: weighted(unrolled(w, h, x)), (0, 1, 2))(W, H, X[:1])
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b)
    else:
        assert_close(found[0], np.zeros((3, 3)))
        assert found[2].shape == (0, 3)


def test_ten_thousand_steps_and_their_gradient():
    n = 10_000
    x = asarray(np.linspace(0.0, 1.0, n))

    def run(w):
        return scan(lambda h, x: (cr.tanh(w * h + x), None), 0.1, x)[0]

    value, slope = value_and_grad(run)(asarray(np.float64(0.9)))
    h = dh = 0.0
    h = 0.1
    for value_of_x in x.numpy():
        dh, h = h + 0.9 * dh, np.tanh(0.9 * h + value_of_x)
        dh *= 1 - h * h
    assert_close(value, h, rtol=1e-8)
    assert_close(slope, dh, rtol=1e-8)


def test_a_scan_is_one_node_and_drops_slices_that_nobody_reads():
    total, _ = scan(lambda s, x: (s + x["used"], None), 0.0, {"used": X[:, 0], "unused": X})
    assert total.node.op.name == "scan"
    assert len(total.node.inputs) == 2


def test_scan_under_compile_checkpoint_and_inside_checkpoint():
    def loss(w, h, x):
        return weighted(scanned(w, h, x))

    expected = grad(loss, (0, 1, 2))(W, H, X)
    for f in (
        grad(checkpoint(loss), (0, 1, 2)),
        compile(grad(loss, (0, 1, 2))),
        compile(grad(checkpoint(loss), (0, 1, 2))),
    ):
        for a, b in zip(f(W, H, X), expected, strict=True):
            assert_close(a, b)

    def stepwise(w, h, x):
        carry, (hs, rest) = scan(checkpoint(cell(w)), start(h), x)
        return weighted((carry["h"], carry["total"], hs, rest))

    for a, b in zip(grad(stepwise, (0, 1, 2))(W, H, X), expected, strict=True):
        assert_close(a, b)


def test_numbers_in_a_carry_adopt_the_type_of_what_they_meet():
    for dtype in ("float16", "float32", "float64"):
        x = X[:, 0].astype(dtype)
        (total, count), ys = scan(lambda c, x: ((c[0] + x, c[1] + 1), c[1] * x), (0.0, 0), x)
        assert str(total.dtype) == dtype
        assert str(ys.dtype) == dtype
        assert (count.dtype, count.item()) == (np.int64, 6)
    assert str(scan(lambda c, _: (c * 0.5, 1.0), 1.0, length=3)[0].dtype) == "float32"
    assert str(scan(lambda c, _: (c * 0.5, 1.0), 1.0, length=3)[1].dtype) == "float32"
    halved = scan(lambda c, _: (c * 0.5, None), 8, length=3)[0]
    assert (str(halved.dtype), halved.item()) == ("float32", 1.0)
    in_program = compile(
        lambda p: scan(lambda c, x: (c + x, None), p, X[:, 0].astype("float32"))[0]
    )
    assert str(in_program(0.5).dtype) == "float32"


def test_the_order_of_keys_does_not_matter():
    carry, _ = scan(lambda c, _: ({"b": c["a"], "a": c["b"]}, None), {"a": 1, "b": 2}, length=3)
    assert {key: value.item() for key, value in carry.items()} == {"a": 2, "b": 1}


# --- what bodies do beside computing


class Counter(nn.Module):
    """Scales its input by a parameter and notes what it saw in buffers."""

    def __init__(self):
        self.scale = nn.Parameter(asarray(np.float64(1.5)))
        self.seen = asarray(np.float64(0.0))
        self.calls = asarray(0)

    def forward(self, x):
        self.seen = self.seen * 0.9 + x.sum()
        self.calls = self.calls + 1
        return x * self.scale


def test_scan_carries_what_a_module_stores():
    module, twin = Counter(), Counter()
    last, _ = scan(lambda c, x: (c + module(x), c), H, X)
    c = H
    for i in range(6):
        c = c + twin(X[i])
    assert_close(last, c)
    assert_close(module.seen, twin.seen)
    assert module.calls.item() == 6
    assert module.calls.node.op is None  # cut: no history piles up
    assert module.__dict__["_parameter_roles"] == {"scale": True}

    def loss(m):
        return (scan(lambda c, x: (c + m(x), None), H, X)[0] * asarray(np.arange(3.0))).sum()

    found = grad(loss)(module)
    assert_close(found["scale"], (X.numpy().sum(0) * np.arange(3.0)).sum())
    assert module.calls.item() == 12


def test_writes_inside_a_program():
    module = Counter()

    @compile
    def step(m, x):
        return scan(lambda c, row: (c + m(row), None), H, x)[0]

    for _ in range(2):
        step(module, X)
    assert module.calls.item() == 12
    assert step.n_compilations == 1


def test_while_and_cond_keep_what_a_module_stores():
    module = Counter()
    while_loop(lambda s: s[0] < 4, lambda s: (s[0] + 1, module(s[1])), (0, H))
    assert module.calls.item() == 4
    # the test sees the buffer as it is at each step
    other = Counter()
    result = while_loop(lambda x: other.calls < 3, lambda x: other(x), H)
    assert_close(result, H.numpy() * 1.5**3)
    third, calls = Counter(), 0
    for flag in (True, False, True):
        cond(asarray(flag), lambda: third(H), lambda: H * 1.5)
        calls += flag
        assert third.calls.item() == calls


def test_draws_differ_from_step_to_step():
    def noisy(carry, x):
        with layer_scope("dropout"):
            mask = random.bernoulli(random.layer_key(), 0.5, (16,))
        with layer_scope("noise"):
            noise = random.normal(random.layer_key(), ())
        return carry + noise, (mask, noise)

    with random.use(RandomState(3)) as state:
        _, (masks, noise) = scan(noisy, 0.0, length=5)
        assert state.step.item() == 1  # a loop is one draw of the state around it
        again = scan(noisy, 0.0, length=5)[1][1]
    assert len({tuple(row) for row in masks.tolist()}) == 5
    assert len({*noise.tolist(), *again.tolist()}) == 10
    with random.use(RandomState(3)):
        np.testing.assert_array_equal(scan(noisy, 0.0, length=5)[1][1].numpy(), noise.numpy())
    with random.use(RandomState(3)) as state:
        inside = compile(lambda x: scan(noisy, x, length=5)[1][1])
        first, second = inside(asarray(0.0)).tolist(), inside(asarray(0.0)).tolist()
        assert len({*first, *second}) == 10
        assert state.step.item() == 2
    with random.use(RandomState(3)) as state:
        scan(lambda c, _: (c, None), 0.0, length=2)
        assert state.step.item() == 0


def test_a_random_state_of_the_users_own_is_carried():
    state, twin = RandomState(1), RandomState(1)
    _, drawn = scan(lambda c, _: (c, random.uniform(state.draw_key())), 0, length=4)
    assert drawn.tolist() == [random.uniform(twin.draw_key()).item() for _ in range(4)]
    assert state.step.item() == 4


def test_draws_in_a_while_loop_differ():
    with random.use(RandomState(1)):
        state = while_loop(
            lambda s: s[0] < 3,
            lambda s: (s[0] + 1, s[2], random.uniform(random.layer_key())),
            (0, asarray(0.0), asarray(0.0)),
        )
    assert state[1].item() != state[2].item()


# --- fori_loop and while_loop


def test_fori_loop():
    assert fori_loop(0, 5, lambda i, c: c + i, 0).item() == 10
    assert fori_loop(3, 1, lambda i, c: c + i, 7).item() == 7
    power = lambda x: fori_loop(0, 4, lambda i, c: c * x, 1.0)  # noqa: E731
    assert grad(grad(power))(3.0).item() == pytest.approx(108)


def test_while_loop():
    def collatz(n):
        def step(s):
            n, count = s
            return cr.where(n % 2 == 0, n // 2, 3 * n + 1), count + 1

        return while_loop(lambda s: s[0] != 1, step, (n, 0))[1]

    expected = []
    for n in range(1, 13):
        count = 0
        while n != 1:
            n, count = (n // 2 if n % 2 == 0 else 3 * n + 1), count + 1
        expected.append(count)
    numbers = asarray(np.arange(1, 13))
    assert [collatz(n).item() for n in numbers] == expected
    assert vmap(collatz)(numbers).tolist() == expected
    assert vmap(compile(collatz))(numbers).tolist() == expected


def test_while_loop_catches_arrays_and_nests():
    limit, factor = asarray(50.0), asarray(1.5)

    def inner(x):
        return while_loop(lambda y: y < x + 3, lambda y: y + factor, x)

    result = while_loop(lambda x: x < limit, inner, asarray(1.0))
    x = 1.0
    while x < 50:
        y = x
        while y < x + 3:
            y += 1.5
        x = y
    assert result.item() == x


def test_reverse_mode_through_a_while_loop_says_what_to_do():
    with pytest.raises(GradientError, match=r"no derivative[\s\S]*scan with a fixed length"):
        grad(lambda x: while_loop(lambda s: s < 10, lambda s: s * x, x))(1.5)
    # what does not depend on the loop is not disturbed
    found = grad(lambda x: x * while_loop(lambda n: n < 10, lambda n: n * 2, 1).astype("float32"))
    assert found(1.0).item() == 16


# --- cond and switch


def branches(x, y):
    return cond(
        x.sum() > 0,
        lambda a, b: {"u": cr.sin(a) * b, "v": (a * a).sum()},
        lambda a, b: {"v": (a * b).sum() * 3.0, "u": a / (b * b + 1.0)},
        x,
        y,
    )


def plain(x, y):
    if float(x.sum()) > 0:
        return {"u": cr.sin(x) * y, "v": (x * x).sum()}
    return {"v": (x * y).sum() * 3.0, "u": x / (y * y + 1.0)}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_cond_and_its_derivatives(sign):
    x, y = asarray(sign * np.array([0.5, 1.0, -0.3])), sample(3)
    result = branches(x, y)
    assert result["u"].node.op.name == "cond"
    for f, g in [(branches, plain)]:
        for key in ("u", "v"):
            assert_close(f(x, y)[key], g(x, y)[key])
            for order in (1, 2):
                first, second = (
                    grad(lambda a, b, h=h, key=key: (h(a, b)[key] * 1.7).sum(), (0, 1))
                    for h in (f, g)
                )
                if order == 2:
                    first, second = (
                        grad(lambda a, b, h=h: weighted(h(a, b)), (0, 1)) for h in (first, second)
                    )
                for p, q in zip(first(x, y), second(x, y), strict=True):
                    assert_close(p, q)
    check_gradients(branches, (x, y), order=2)
    tangents = (sample(3), sample(3))
    moved, expected = jvp(branches, (x, y), tangents)[1], jvp(plain, (x, y), tangents)[1]
    assert_close(moved["u"], expected["u"])
    assert_close(moved["v"], expected["v"])


def test_vmap_of_cond_with_a_batched_and_a_shared_predicate():
    xs, y = sample(5, 3), sample(3)
    assert len({float(x.sum()) > 0 for x in xs}) == 2

    def gradient(x, y):
        return grad(lambda a: branches(a, y)["u"].sum())(x)

    for f in (branches, gradient):
        batched = vmap(f, (0, None))(xs, y)
        for i in range(5):
            one = f(xs[i], y)
            pairs = [(batched, one)] if not isinstance(one, dict) else [
                (batched[k], one[k]) for k in one
            ]  # fmt: skip
            for a, b in pairs:
                assert_close(a[i], b)
    ys = sample(5, 3)
    shared = vmap(branches, (None, 0))(xs[0], ys)
    for i in range(5):
        assert_close(shared["u"][i], branches(xs[0], ys[i])["u"])


def test_gradients_reach_what_branches_catch():
    a, b = variable(asarray(2.0)), variable(asarray(5.0))
    for flag, expected in [(True, (3.0, 0.0)), (False, (0.0, 7.0))]:
        y = cond(asarray(flag), lambda: a * 3.0, lambda: b * 7.0)
        assert tuple(g.item() for g in gradients(y, [a, b])) == expected


def test_cond_in_a_program_decides_at_run_time():
    f = compile(lambda x: cond(x > 0, lambda x: x * 2, lambda x: -x, x))
    assert [f(asarray(v)).item() for v in (3.0, -4.0)] == [6.0, 4.0]
    assert f.n_compilations == 1


def test_numbers_as_results_of_branches():
    x = asarray(np.float64(3.0))
    result = cond(x > 5, lambda: x, lambda: 0.0)
    assert (result.item(), result.dtype) == (0.0, np.float64)
    assert str(cond(x > 5, lambda: 1.0, lambda: 2).dtype) == "float32"
    assert cond(True, lambda: 1, lambda: 2).item() == 1


def test_switch():
    parts = [lambda x: x * 2, cr.sin, lambda x: x**2, lambda x: x - 1, cr.exp]
    x = asarray(np.float64(1.3))
    for index, nearest in [(-3, 0), (0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (9, 4)]:
        assert_close(switch(asarray(index), parts, x), parts[nearest](x))
        assert_close(
            grad(lambda x, index=index: switch(index, parts, x))(x), grad(parts[nearest])(x)
        )
    numbers = asarray(np.arange(5))
    assert_close(
        vmap(lambda i: switch(i, parts, x))(numbers), [parts[i](x).item() for i in range(5)]
    )
    assert switch(0, [lambda: 4]) == 4


# --- errors

BAD = [
    (lambda: scan(lambda c, x: (c[:2], None), H, X), ShapeError, r"the carry changes its shape"),
    (
        lambda: scan(lambda c, x: ({"a": c["a"], "b": c["b"][:1]}, None), {"a": H, "b": H}, X),
        ShapeError, r"the carry 'b' changes its shape",
    ),
    (
        lambda: scan(lambda c, x: (c.astype("float32"), None), H, X),
        DtypeError, r"changes its type[\s\S]*float64[\s\S]*float32",
    ),
    (
        lambda: scan(lambda c, x: (c + 0.5, None), asarray([1, 2]), X),
        DtypeError, r"changes its type[\s\S]*int64[\s\S]*float32",
    ),
    (
        lambda: scan(lambda c, x: ({"a": c["a"]}, None), {"a": H, "b": H}, X),
        StateError, r"structured otherwise[\s\S]*a, b[\s\S]*without b",
    ),
    (
        lambda: scan(lambda c, x: ({**c, "z": H}, None), {"a": H}, X),
        StateError, r"with z in addition",
    ),
    (lambda: scan(lambda c, x: ([c], None), H, X), StateError, r"structured otherwise"),
    (lambda: scan(lambda c, x: c, H, X), ArgumentError, r"must return a pair"),
    (lambda: scan(lambda c, x: (c, c, c), H, X), ArgumentError, r"a tuple of 3"),
    (
        lambda: scan(lambda c, x: (c, None), H, {"a": X, "b": X[:4]}),
        ShapeError, r"lengths differ[\s\S]*6 of xs 'a', 4 of xs 'b'",
    ),
    (lambda: scan(lambda c, x: (c, None), H, X, length=5), ShapeError, r"5 of length"),
    (lambda: scan(lambda c, x: (c, None), H), ShapeError, r"nothing says how many"),
    (lambda: scan(lambda c, x: (c, None), H, length=-1), ArgumentError, r"negative"),
    (lambda: scan(lambda c, x: (c, None), H, asarray(1.0)), ShapeError, r"is a scalar"),
    (
        lambda: fori_loop(0, asarray(3), lambda i, c: c, 0),
        ArgumentError, r"bounds must be known[\s\S]*while_loop",
    ),
    (lambda: while_loop(lambda s: s, lambda s: s, 1.0), DtypeError, r"while_loop: the condition"),
    (lambda: while_loop(lambda s: s > 0, lambda s: s, H), ShapeError, r"must be one bool"),
    (lambda: while_loop(lambda s: s.sum() > 0, lambda s: s[:1], H), ShapeError, r"carry changes"),
    (lambda: cond(H > 0, lambda: 1, lambda: 2), ShapeError, r"cond: [\s\S]*cr\.where"),
    (lambda: cond(1.0, lambda: 1, lambda: 2), DtypeError, r"must be a bool"),
    (
        lambda: cond(True, lambda: {"a": H}, lambda: {"a": H[:2]}),
        ShapeError, r"the result 'a' differs[\s\S]*\[3\], as true_function[\s\S]*\[2\] from false",
    ),
    (
        lambda: cond(True, lambda: H, lambda: H.astype("float32")),
        DtypeError, r"float64\[3\], as true_function[\s\S]*float32\[3\] from false_function",
    ),
    (lambda: cond(True, lambda: (H, H), lambda: H), StateError, r"result of false_function"),
    (
        lambda: switch(1, [lambda: H, lambda: H, lambda: H[:1]]),
        ShapeError, r"switch[\s\S]*branch 1[\s\S]*branch 2",
    ),
    (lambda: switch(0, []), ArgumentError, r"at least one branch"),
    (lambda: switch(0.5, [lambda: H]), DtypeError, r"one integer"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[m for _, _, m in BAD])
def test_errors_name_the_leaf(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, ChainruleError)
    assert "test_control.py" in str(caught.value)


def test_a_body_that_adds_state_is_told_to_create_it_first():
    class Lazy(nn.Module):
        def forward(self, x):
            if "memory" not in self.__dict__:
                self.memory = x
            return x

    lazy = Lazy()
    with pytest.raises(StateError, match=r"added the entry 'memory'[\s\S]*__init__"):
        scan(lambda c, x: (lazy(c), None), H, X)


def test_a_body_that_fails_leaves_state_as_it_was():
    module = Counter()
    before = (module.scale, module.seen, module.calls)

    def fails(c, x):
        module(c)
        raise ValueError("stop")

    for run in (
        lambda: scan(fails, H, X),
        lambda: cond(True, lambda: fails(H, H), lambda: H),
        lambda: while_loop(lambda s: True, lambda s: fails(s, s), H),
    ):
        with pytest.raises(ValueError, match="stop"):
            run()
        assert (module.scale, module.seen, module.calls) == before or all(
            a is b for a, b in zip((module.scale, module.seen, module.calls), before, strict=True)
        )


def test_a_leaf_of_python_numbers_keeps_bools_and_ints():
    result = fori_loop(0, 3, lambda i, c: (c[0] | (i == 2), c[1] + i), (False, 0))
    assert (result[0].item(), result[1].item()) == (True, 3)
    assert (result[0].dtype, result[1].dtype) == (np.bool_, np.int64)
    assert leaf(np.asarray(1)).item() == 1
