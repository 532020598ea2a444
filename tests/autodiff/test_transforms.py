"""grad, vjp, jvp, jacobian, hessian, hvp, vmap: values, containers, nesting, refusals."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops
from chainrule.array import Array, asarray, variable
from chainrule.autodiff import (
    grad,
    gradients,
    hessian,
    hvp,
    jacobian,
    jvp,
    value_and_grad,
    vjp,
    vmap,
)
from chainrule.errors import ArgumentError, GradientError, ShapeError, StateError

A = np.array([[2.0, -1.0, 0.5], [0.3, 1.0, -2.0], [1.5, 0.7, 1.0]])


def quadratic(x):
    return ops.sum(x * (asarray(A) @ x))


def vector(*values):
    return asarray(np.array(values, dtype=np.float64))


X = vector(1.0, -2.0, 0.5)


def test_value_and_grad():
    value, g = value_and_grad(quadratic)(X)
    x = X.numpy()
    assert float(value) == pytest.approx(x @ A @ x)
    np.testing.assert_allclose(g.numpy(), (A + A.T) @ x)
    assert g.node.op is None, "what an outermost transform returns has no history"
    assert value.node.op is None


def test_aux_and_keywords():
    def loss(x, *, scale):
        return ops.sum(x) * scale, {"twice": x * 2}

    (value, aux), g = value_and_grad(loss, has_aux=True)(X, scale=3.0)
    assert float(value) == -1.5
    assert aux["twice"].tolist() == [2.0, -4.0, 1.0]
    assert g.tolist() == [3.0, 3.0, 3.0]
    found, aux = grad(loss, has_aux=True)(X, scale=3.0)
    assert found.tolist() == g.tolist()
    assert aux["twice"].node.op is None


def test_argnums():
    def loss(x, y, z):
        return ops.sum(x * y) + z

    assert grad(loss, argnums=1)(X, X * 2, 3.0).tolist() == X.tolist()
    first, last = grad(loss, argnums=(0, -1))(X, X * 2, 3.0)
    assert first.tolist() == (X * 2).tolist()
    assert float(last) == 1.0
    with pytest.raises(ArgumentError, match="names no positional argument"):
        grad(loss, argnums=3)(X, X, 1.0)


def test_containers_of_any_nesting():
    def loss(params):
        (w, b), rest = params["layer"], params["rest"]
        return ops.sum(w * X + b) * rest[0]["scale"]

    params = {"layer": (X, vector(0.5)), "rest": [{"scale": 2.0, "name": "fixed", "n": 3}]}
    g = grad(loss)(params)
    assert g["layer"][0].tolist() == (X * 2).tolist()
    assert g["layer"][1].tolist() == [6.0]
    assert float(g["rest"][0]["scale"]) == pytest.approx(float(ops.sum(X * X + 0.5)))
    assert g["rest"][0]["name"] == "fixed"
    assert g["rest"][0]["n"] == 3


def test_unused_arguments_get_zeros():
    assert grad(lambda x, y: ops.sum(x), argnums=1)(X, X).tolist() == [0.0, 0.0, 0.0]


def test_grads_of_grads():
    f = grad(grad(grad(lambda x: x**4)))
    assert float(f(2.0)) == 48.0
    mixed = grad(lambda y: grad(lambda x: x * x * y)(3.0) * y)(2.0)
    assert float(mixed) == 24.0  # d/dy (2·3·y·y) = 12y


def test_perturbations_are_not_confused():
    # d/dx (x · d/dy (x + y)) = 1
    assert float(grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0)) == 1.0
    _, tangent = jvp(lambda x: x * jvp(lambda y: x + y, (1.0,), (1.0,))[1], (1.0,), (1.0,))
    assert float(tangent) == 1.0


def test_vjp():
    y, pull = vjp(lambda x, w: {"a": x * w, "b": [ops.sum(x)]}, X, X * 2)
    assert y["b"][0].tolist() == -0.5
    g_x, g_w = pull({"a": vector(1.0, 0.0, 2.0), "b": [asarray(10.0)]})
    assert g_x.tolist() == [12.0, 10.0, 12.0]
    assert g_w.tolist() == [1.0, 0.0, 1.0]
    again, _ = pull({"a": vector(0.0, 1.0, 0.0), "b": [0.0]})
    assert again.tolist() == [0.0, -4.0, 0.0]


def test_vjp_passes_over_integers():
    _, pull = vjp(lambda x: (x * 2, ops.argmax(x)), X)
    assert pull((vector(1.0, 2.0, 3.0), asarray(0)))[0].tolist() == [2.0, 4.0, 6.0]


def test_vjp_refuses_cotangents_that_do_not_match():
    _, pull = vjp(lambda x: x * 2, X)
    with pytest.raises(ShapeError, match="shape of its result"):
        pull(vector(1.0))
    with pytest.raises(ArgumentError, match="structure"):
        pull([X])


def test_jvp():
    direction = vector(0.5, 1.0, -1.0)
    value, tangent = jvp(quadratic, (X,), (direction,))
    x, d = X.numpy(), direction.numpy()
    assert float(value) == pytest.approx(x @ A @ x)
    assert float(tangent) == pytest.approx(x @ (A + A.T) @ d)
    result, moved = jvp(
        lambda p: {"y": p["x"] * 3, "n": ops.argmax(p["x"])}, [{"x": X}], [{"x": X}]
    )
    assert moved["y"].tolist() == (X * 3).tolist()
    assert moved["n"].tolist() == 0
    assert result["n"].tolist() == 0
    with pytest.raises(ArgumentError, match="one tangent"):
        jvp(quadratic, (X,), ())
    with pytest.raises(ShapeError):
        jvp(quadratic, (X,), (vector(1.0),))


def test_forward_over_reverse_and_reverse_over_forward():
    direction = vector(0.5, 1.0, -1.0)
    expected = (A + A.T) @ direction.numpy()
    over_reverse = jvp(grad(quadratic), (X,), (direction,))[1]
    over_forward = grad(lambda x: jvp(quadratic, (x,), (direction,))[1])(X)
    product = hvp(quadratic, (X,), (direction,))
    for found in (over_reverse, over_forward, product):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_hvp_of_several_arguments():
    def f(x, y):
        return ops.sum(x * x * y)

    h_x, h_y = hvp(f, (X, X), (vector(1.0, 0.0, 0.0), vector(0.0, 1.0, 0.0)))
    x = X.numpy()
    np.testing.assert_allclose(h_x.numpy(), [2 * x[0], 2 * x[1], 0])
    np.testing.assert_allclose(h_y.numpy(), [2 * x[0], 0, 0])


def test_jacobian_and_hessian():
    matrix = jacobian(lambda x: asarray(A) @ x)(X)
    np.testing.assert_allclose(matrix.numpy(), A)
    np.testing.assert_allclose(hessian(quadratic)(X).numpy(), A + A.T)
    assert jacobian(lambda x: ops.outer(x, x))(X).shape == (3, 3, 3)
    assert (
        jacobian(lambda x: ops.ones((2, 2)) * 3)(X).numpy().tolist() == np.zeros((2, 2, 3)).tolist()
    )
    np.testing.assert_allclose(
        jacobian(lambda n, x: x * n, argnums=1)(2.0, X).numpy(), np.eye(3) * 2
    )
    with pytest.raises(GradientError, match="one Array to one Array"):
        jacobian(lambda x: [x, x])(X)


def test_softmax_has_its_full_jacobian():
    def softmax(x):
        return ops.exp(x - ops.logsumexp(x, keepdims=True))

    p = softmax(X).numpy()
    np.testing.assert_allclose(jacobian(softmax)(X).numpy(), np.diag(p) - np.outer(p, p), rtol=1e-9)


def test_transforms_differentiate_through_each_other_by_tape():
    w = variable(2.0)
    loss = vmap(lambda x: x * w * w)(asarray([1.0, 2.0, 3.0])).sum()
    assert float(gradients(loss, w)) == 24.0


def test_grad_of_integers_and_vectors_is_refused():
    with pytest.raises(GradientError, match="no derivative"):
        grad(lambda x: x * 1.0)(3)
    with pytest.raises(GradientError, match=r"'w\.0' holds int64"):
        grad(lambda p: ops.sum(p["w"][0] * 1.0))({"w": [asarray([1, 2])]})
    with pytest.raises(GradientError, match="one floating number"):
        grad(lambda x: x * 2)(X)
    with pytest.raises(GradientError, match="no Array"):
        grad(lambda x: 3.0)(X)


# --- vmap -------------------------------------------------------------------------------------


def test_vmap_axes():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(3, 2)
    found = vmap(ops.vecdot, in_axes=(0, 1))(asarray(a), asarray(b))
    np.testing.assert_array_equal(found.numpy(), (a * b.T).sum(1))
    shared = vmap(lambda x, y: x * y, in_axes=(1, None), out_axes=1)(
        asarray(a), asarray([1.0, 2.0])
    )
    np.testing.assert_array_equal(shared.numpy(), a * np.array([[1.0], [2.0]]))
    last = vmap(lambda x: x * 2, in_axes=-1)(asarray(a))
    np.testing.assert_array_equal(last.numpy(), a.T * 2)


def test_vmap_of_containers_and_constants():
    def f(p):
        return {"twice": p["x"] * 2, "fixed": asarray([1.0, 2.0])}

    found = vmap(f)({"x": asarray([1.0, 2.0, 3.0])})
    assert found["twice"].tolist() == [2.0, 4.0, 6.0]
    assert found["fixed"].tolist() == [[1.0, 2.0]] * 3


def test_vmap_nests_and_combines():
    a = np.arange(6.0).reshape(2, 3)
    table = vmap(vmap(lambda x, y: x * y, (None, 0)), (0, None))
    np.testing.assert_array_equal(table(asarray(a[0]), asarray(a[1])).numpy(), np.outer(a[0], a[1]))
    per_example = vmap(grad(lambda x: ops.sum(x**3)))(asarray(a))
    np.testing.assert_allclose(per_example.numpy(), 3 * a**2)
    through = grad(lambda x: ops.sum(vmap(lambda row: ops.sum(row) ** 2)(x)))(asarray(a))
    np.testing.assert_allclose(
        through.numpy(), np.broadcast_to(2 * a.sum(1, keepdims=True), a.shape)
    )
    _, tangent = jvp(vmap(ops.sin), (asarray(a),), (asarray(a),))
    np.testing.assert_allclose(tangent.numpy(), a * np.cos(a), rtol=1e-12)


def test_vmap_refusals():
    x = asarray(np.ones((2, 3)))
    with pytest.raises(ShapeError, match="one batch size"):
        vmap(lambda a, b: a)(x, asarray([1.0, 2.0, 3.0]))
    with pytest.raises(ShapeError, match="no batched argument"):
        vmap(lambda a: a, in_axes=None)(x)
    with pytest.raises(ArgumentError, match="in_axes does not fit"):
        vmap(lambda a: a, in_axes=(0, 0))(x)
    with pytest.raises(ShapeError, match="does not exist"):
        vmap(lambda a: a, in_axes=2)(x)


def test_results_are_arrays_of_the_public_kind():
    assert isinstance(cr.grad(lambda x: x * x)(3.0), Array)
    assert repr(cr.grad(lambda x: x * x)(3.0)) == "Array(6., float32)"


class Counting(nn.Module):
    """Stores what it saw, as batch normalisation does."""

    def __init__(self):
        self.seen = np.zeros((), np.float32)

    def forward(self, x):
        self.seen = self.seen + x.sum()
        return x * 2


def test_vmap_refuses_a_function_that_stores():
    layer = Counting()
    before = layer.seen
    with pytest.raises(StateError, match="'seen'"):
        cr.vmap(lambda row: layer(row))(cr.ones((3, 2)))
    assert layer.seen is before
