"""``custom_vjp``: the user's rule is taken, in any nesting, and mistakes in it are named."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.array import asarray, variable
from chainrule.autodiff import (
    check_gradients,
    checkpoint,
    custom_vjp,
    grad,
    gradients,
    hessian,
    jvp,
    value_and_grad,
    vjp,
    vmap,
)
from chainrule.control import cond, scan
from chainrule.errors import ArgumentError, ChainruleError, GradientError, ShapeError
from chainrule.program import compile

RNG = np.random.default_rng(3)


def sample(*shape):
    return asarray(RNG.normal(size=shape))


def assert_close(a, b):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-9, atol=1e-12)


@custom_vjp
def product(x, y):
    """x·sin(y)."""
    return x * cr.sin(y)


product.define(
    lambda x, y: (x * cr.sin(y), (x, y)),
    lambda kept, g: (g * cr.sin(kept[1]), g * kept[0] * cr.cos(kept[1])),
)


def plain(x, y):
    return x * cr.sin(y)


# a rule that is told apart from the true derivative: three times as large
tripled = custom_vjp(lambda x: x * x).define(lambda x: (x * x, x), lambda x, g: (g * x * 6.0,))

X, Y = sample(4), sample(4)


def test_it_looks_like_the_function():
    assert product.__name__ == "product"
    assert product.__doc__ == "x·sin(y)."
    assert repr(product) == "<custom_vjp product>"
    assert_close(product(X, Y), plain(X, Y))


def test_a_right_rule_gives_what_the_chain_rule_gives_in_every_transform():
    direction = (sample(4), sample(4))
    for transform in [
        lambda f: grad(lambda x, y: (f(x, y) * direction[0]).sum(), (0, 1))(X, Y),
        lambda f: grad(
            lambda x, y: (grad(lambda x, y: f(x, y).sum() ** 2, 1)(x, y) * direction[1]).sum(),
            (0, 1),
        )(X, Y),
        lambda f: jvp(f, (X, Y), direction),
        lambda f: vjp(f, X, Y)[1](direction[0]),
        lambda f: [hessian(lambda x: (f(x, x) ** 2).sum())(X)],
        lambda f: [vmap(f)(X, Y), vmap(f, (0, None))(X, Y[0]), vmap(f, (None, 0))(X[0], Y)],
        lambda f: vmap(grad(f, (0, 1)), (0, None))(X, Y[0]),
        lambda f: grad(lambda x, y: (vmap(f, (0, None))(x, y) ** 2).sum(), (0, 1))(X, Y[0]),
        lambda f: compile(grad(lambda x, y: (f(x, y) ** 2).sum(), (0, 1)))(X, Y),
        lambda f: [grad(lambda x: scan(lambda c, y: (f(c, y), c), x, Y)[0])(X[0])],
        lambda f: [grad(lambda x: cond(x > 0, lambda: f(x, Y[0]), lambda: f(Y[1], x)))(X[0])],
        lambda f: grad(checkpoint(lambda x, y: (f(x, y) ** 2).sum()), (0, 1))(X, Y),
    ]:
        for a, b in zip(transform(product), transform(plain), strict=True):
            assert_close(a, b)
    check_gradients(product, (X, Y), order=2)


def test_the_rule_and_not_the_true_derivative_is_taken():
    two = asarray(2.0)
    for f, x in (
        (grad(lambda x: tripled(x)), two),
        (compile(grad(lambda x: tripled(x))), two),
        (vmap(grad(lambda x: tripled(x))), asarray([2.0])),
        (lambda x: jvp(tripled, (x,), (1.0,))[1], two),
        (grad(checkpoint(lambda x: tripled(x))), two),
        (grad(lambda x: scan(lambda c, _: (tripled(c), None), x, length=1)[0]), two),
    ):
        assert np.asarray(f(x)).ravel().tolist() == [12.0]
    # the second derivative is that of the rule: d(6x) / dx
    assert grad(grad(lambda x: tripled(x)))(2.0).item() == 6.0


def test_containers_residual_numbers_and_static_arguments():
    @custom_vjp
    def affine(parameters, x, power):
        raise NotImplementedError

    def forward(parameters, x, power):
        result = parameters["w"] * x**power + parameters["b"][0]
        kept = {"w": parameters["w"], "x": x, "power": power, "factor": 0.5, "none": None}
        return {"y": result, "twice": (result * 2.0,)}, kept

    def backward(kept, g):
        assert kept["power"] == 2
        assert kept["none"] is None
        total = g["y"] + g["twice"][0] * 2.0
        slope = kept["factor"] * 2.0 * 2.0 * kept["x"]
        return {"w": total * kept["x"] ** 2, "b": [total.sum()]}, total * kept["w"] * slope, None

    affine.define(forward, backward)

    def loss(parameters, x):
        result = affine(parameters, x, 2)
        return (result["y"] * Y).sum() + (result["twice"][0] ** 2).sum()

    def expected(parameters, x):
        y = parameters["w"] * x**2 + parameters["b"][0]
        return (y * Y).sum() + ((y * 2.0) ** 2).sum()

    parameters = {"w": sample(4), "b": [sample()]}
    value, found = value_and_grad(loss, (0, 1))(parameters, X)
    true_value, true = value_and_grad(expected, (0, 1))(parameters, X)
    assert_close(value, true_value)
    assert_close(found[0]["w"], true[0]["w"])
    assert_close(found[0]["b"][0], true[0]["b"][0])
    assert_close(found[1], true[1])


def test_integer_arguments_get_no_cotangent():
    pick = custom_vjp(lambda x, i: x[i]).define(
        lambda x, i: (cr.take(x, i, axis=0), i),
        lambda i, g: (cr.one_hot(i, 4, dtype=g.dtype).mT @ g, None),
    )
    index = asarray([1, 3, 1])
    found = grad(lambda x: (pick(x, index) * asarray([1.0, 2.0, 4.0])).sum())(X.astype("float32"))
    assert found.tolist() == [0, 5, 0, 2]


def test_python_floats_are_differentiated_and_do_not_widen():
    scaled = custom_vjp(lambda x, s: x * s).define(
        lambda x, s: (x * s, (x, s)), lambda kept, g: (g * kept[1], (g * kept[0]).sum())
    )
    x = asarray(np.array([1.0, 2.0], np.float16))
    assert scaled(x, 0.5).dtype == np.float16
    found = grad(lambda x, s: scaled(x, s).sum().astype("float32"), (0, 1))(x, 0.5)
    assert found[0].dtype == np.float16
    assert [part.tolist() for part in found] == [[0.5, 0.5], 3.0]


def test_none_and_a_bare_cotangent():
    half = custom_vjp(lambda x: x).define(lambda x: (x * 1.0, None), lambda _, g: g * 0.5)
    assert grad(lambda x: half(x))(3.0).item() == 0.5
    stop = custom_vjp(lambda x, y: x + y).define(lambda x, y: (x + y, None), lambda _, g: (None, g))
    assert [g.item() for g in grad(lambda x, y: stop(x, y), (0, 1))(3.0, 4.0)] == [0, 1]
    scalar = custom_vjp(lambda x: x.sum()).define(lambda x: (x.sum(), None), lambda _, g: (2.0,))
    with pytest.raises(ShapeError, match="wrong shape"):
        custom_vjp(lambda x: x.sum()).define(lambda x: (x.sum(), None), lambda _, g: (g,))(X)
    assert grad(lambda x: scalar(x))(X).tolist() == [2.0] * 4


def test_integer_results_pass():
    rounded = custom_vjp(lambda x: x).define(
        lambda x: ((cr.round(x), x.astype("int64")), None), lambda _, g: (g[0],)
    )
    value, whole = rounded(asarray(2.7))
    assert (value.item(), whole.item(), whole.dtype) == (3.0, 2, np.int64)
    assert grad(lambda x: rounded(x)[0] * 2.0)(2.7).item() == 2.0
    values, wholes = vmap(rounded)(asarray([1.2, 3.9]))
    assert (values.tolist(), wholes.tolist()) == ([1, 4], [1, 3])


def test_a_rule_may_use_constants_and_outer_arrays_in_backward():
    strength = variable(asarray(0.25), name="strength")
    reverse = custom_vjp(lambda x: x).define(
        lambda x: (x + 0.0, None), lambda _, g: (-g * strength,)
    )
    assert grad(lambda x: reverse(x))(3.0).item() == -0.25
    # what backward catches stays an input when the graph is recorded again
    run = compile(lambda s: grad(lambda x: custom_scale(s)(x))(3.0))

    def custom_scale(s):
        return custom_vjp(lambda x: x).define(lambda x: (x + 0.0, None), lambda _, g: (g * s,))

    assert [run(asarray(v)).item() for v in (2.0, 5.0)] == [2.0, 5.0]
    assert run.n_compilations == 1
    batched = vmap(lambda s: grad(lambda x: custom_scale(s)(x))(asarray(3.0)))
    assert batched(asarray([2.0, 5.0])).tolist() == [2.0, 5.0]


def test_a_variable_caught_by_forward_is_refused():
    w = variable(asarray(2.0), name="w")
    caught = custom_vjp(lambda x: x * w).define(lambda x: (x * w, x), lambda x, g: (g,))
    with pytest.raises(GradientError, match=r"'w' from outside[\s\S]*pass it as an argument"):
        caught(asarray(1.0))
    layer = nn.Linear(2, 2)
    through = custom_vjp(layer).define(lambda x: (layer(x), None), lambda _, g: (g,))
    with pytest.raises(GradientError, match="from outside"):
        through(cr.ones((1, 2)))
    held = custom_vjp(lambda x: x * w).define(
        lambda x: (x * cr.stop_gradient(w), None), lambda _, g: (g,)
    )
    assert held(asarray(1.5)).item() == 3.0
    constant = asarray(4.0)
    fine = custom_vjp(lambda x: x).define(lambda x: (x * constant, None), lambda _, g: (g,))
    assert fine(asarray(1.0)).item() == 4.0


def wrong(forward=lambda x: (x, None), backward=lambda _, g: (g,), arguments=(X,)):
    return custom_vjp(lambda *parts: parts[0]).define(forward, backward)(*arguments)


BAD = [
    (lambda: custom_vjp(lambda x: x)(X), GradientError, r"without rules[\s\S]*define"),
    (lambda: wrong(forward=lambda x: x), ArgumentError, r"forward must return"),
    (lambda: wrong(forward=lambda x: (x, x, x)), ArgumentError, r"a tuple of 3"),
    (lambda: wrong(backward=lambda _, g: (g, g)), ArgumentError, r"one cotangent for each"),
    (
        lambda: wrong(lambda x, y: (x * y, None), lambda _, g: g, (X, Y)),
        ArgumentError, r"a tuple of 2[\s\S]*Array",
    ),
    (lambda: wrong(backward=lambda _, g: (g[:2],)), ShapeError, r"of the wrong shape[\s\S]*\(2,\)"),
    (lambda: wrong(backward=lambda _, g: ("no",)), ArgumentError, r"argument 0 is no Array"),
    (
        lambda: wrong(lambda d: (d["a"], None), lambda _, g: ({"b": g},), ({"a": X},)),
        ArgumentError, r"argument 0 is structured otherwise[\s\S]*entries a[\s\S]*b",
    ),
    (
        lambda: wrong(lambda d: (d["a"], None), lambda _, g: (g,), ({"a": X},)),
        ArgumentError, r"argument 0 is structured otherwise",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[m for _, _, m in BAD])
def test_mistakes_are_named_at_the_call(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, ChainruleError)
    assert "test_custom.py" in str(caught.value)


def test_gradients_of_a_recorded_result():
    x, y = variable(X), variable(Y)
    found = gradients((product(x, y) * 3.0).sum(), [x, y])
    expected = grad(lambda x, y: plain(x, y).sum() * 3.0, (0, 1))(X, Y)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)


def test_forward_mode_through_a_rule_that_is_not_linear_says_so():
    clipped = custom_vjp(lambda x: x).define(
        lambda x: (x + 0.0, None), lambda _, g: (cr.clip(g, -1.0, 1.0),)
    )
    assert grad(lambda x: clipped(x) * 5.0)(1.0).item() == 1.0
    with pytest.raises(GradientError, match="not linear in its cotangent"):
        jvp(clipped, (1.0,), (1.0,))
