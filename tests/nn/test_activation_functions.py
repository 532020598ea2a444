"""Every activation: value, derivative, extremes, types; against PyTorch where it has one."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn import functional as F


def np_sigmoid(x):
    return 1 / (1 + np.exp(-x))


def np_erf(x):
    return np.vectorize(math.erf)(x)


def np_softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def np_elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


SELU = (1.6732632423543772, 1.0507009873554805)

# layer, value in NumPy, points where the derivative jumps, PyTorch's name and arguments
TABLE = {
    "sigmoid": (nn.Sigmoid(), np_sigmoid, (), ("Sigmoid", {})),
    "tanh": (nn.Tanh(), np.tanh, (), ("Tanh", {})),
    "scaled_tanh": (nn.ScaledTanh(), lambda x: 1.7159 * np.tanh(2 * x / 3), (), None),
    "relu": (nn.ReLU(), lambda x: np.maximum(x, 0), (0,), ("ReLU", {})),
    "relu6": (nn.ReLU6(), lambda x: np.clip(x, 0, 6), (0, 6), ("ReLU6", {})),
    "leaky_relu": (
        nn.LeakyReLU(0.1), lambda x: np.where(x > 0, x, 0.1 * x), (0,),
        ("LeakyReLU", {"negative_slope": 0.1}),
    ),
    "elu": (nn.ELU(0.7), lambda x: np_elu(x, 0.7), (0,), ("ELU", {"alpha": 0.7})),
    "selu": (nn.SELU(), lambda x: SELU[1] * np_elu(x, SELU[0]), (0,), ("SELU", {})),
    "softplus": (
        nn.Softplus(2.0), lambda x: np.logaddexp(0, 2 * x) / 2, (), ("Softplus", {"beta": 2.0}),
    ),
    "gelu": (
        nn.GELU(), lambda x: x * 0.5 * (1 + np_erf(x / math.sqrt(2))), (), ("GELU", {}),
    ),
    "gelu_tanh": (
        nn.GELU("tanh"),
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))), (),
        ("GELU", {"approximate": "tanh"}),
    ),
    "silu": (nn.SiLU(), lambda x: x * np_sigmoid(x), (), ("SiLU", {})),
    "mish": (nn.Mish(), lambda x: x * np.tanh(np.logaddexp(0, x)), (), ("Mish", {})),
    "hardtanh": (
        nn.Hardtanh(-0.5, 2.0), lambda x: np.clip(x, -0.5, 2), (-0.5, 2),
        ("Hardtanh", {"min_val": -0.5, "max_val": 2.0}),
    ),
    "hardsigmoid": (
        nn.Hardsigmoid(), lambda x: np.clip((x + 3) / 6, 0, 1), (-3, 3), ("Hardsigmoid", {}),
    ),
    "hardswish": (
        nn.Hardswish(), lambda x: x * np.clip((x + 3) / 6, 0, 1), (-3, 3), ("Hardswish", {}),
    ),
    "softsign": (nn.Softsign(), lambda x: x / (1 + np.abs(x)), (), ("Softsign", {})),
    "binary_step": (nn.BinaryStep(0.5), lambda x: (x >= 0.5).astype(x.dtype), (0.5,), None),
    "sign_step": (nn.SignStep(0.5), lambda x: np.where(x >= 0.5, 1.0, -1.0), (0.5,), None),
    "sign": (nn.Sign(), np.sign, (0,), None),
    "softmax": (nn.Softmax(), np_softmax, (), ("Softmax", {"dim": -1})),
    "log_softmax": (
        nn.LogSoftmax(), lambda x: np.log(np_softmax(x)), (), ("LogSoftmax", {"dim": -1}),
    ),
    "maxout": (nn.Maxout(2), lambda x: x.reshape(*x.shape[:-1], -1, 2).max(-1), (), None),
}  # fmt: skip


def samples(kinks, shape=(5, 8), dtype=np.float64):
    """Normal numbers, none of them near a kink."""
    x = np.random.default_rng(0).normal(scale=3, size=shape)
    for kink in kinks:
        x = np.where(np.abs(x - kink) < 0.05, x + 0.2, x)
    return x.astype(dtype)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_values(name, dtype):
    layer, formula, kinks, _ = TABLE[name]
    x = samples(kinks, dtype=dtype)
    y = layer(cr.asarray(x))
    assert y.dtype == dtype
    tolerance = 40 * np.finfo(dtype).eps
    np.testing.assert_allclose(
        y.numpy(), formula(x.astype(np.float64)), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("name", TABLE)
def test_first_and_second_derivatives(name):
    layer, _, kinks, _ = TABLE[name]
    x = samples(kinks, (3, 4))
    if name not in ("binary_step", "sign_step", "sign"):
        cr.check_gradients(layer, (x,), order=2, tolerance=1e-5)
    else:
        found = cr.grad(lambda x: (layer(x) * x).sum())(x)
        np.testing.assert_array_equal(found.numpy(), layer(cr.asarray(x)).numpy())


@pytest.mark.parametrize("name", TABLE)
def test_extremes_do_not_overflow(name):
    layer = TABLE[name][0]
    x = np.array([[-1e4, 1e4, -88.0, 89.0], [0.0, -0.0, 1e-30, -1e-30]], np.float32)
    value, found = cr.value_and_grad(lambda x: layer(x).sum())(x)
    assert np.isfinite(found.numpy()).all()
    if name != "log_softmax":
        assert np.isfinite(float(value))


@pytest.mark.parametrize("name", TABLE)
def test_batches_and_empty_inputs(name):
    layer, _, kinks, _ = TABLE[name]
    x = cr.asarray(samples(kinks, (6, 4)))
    np.testing.assert_allclose(cr.vmap(layer)(x).numpy(), layer(x).numpy(), rtol=1e-12)
    assert layer(cr.zeros((0, 4))).shape[0] == 0


@pytest.mark.parametrize(
    ("layer", "at", "slope"),
    [
        (nn.ReLU(), 0.0, 0.0),
        (nn.LeakyReLU(0.1), 0.0, 0.1),
        (nn.ELU(0.5), 0.0, 0.5),
        (nn.Hardtanh(), 1.0, 1.0),
    ],
    ids=repr,
)
def test_the_derivative_at_a_kink_is_what_is_said(layer, at, slope):
    assert float(cr.grad(lambda x: layer(x))(at)) == pytest.approx(slope)


def test_steps_at_their_threshold():
    at = cr.asarray([0.5])
    assert nn.BinaryStep(0.5)(at).tolist() == [1]
    assert nn.SignStep(0.5)(at).tolist() == [1]
    assert nn.SignStep(0.5, at_threshold=-1)(at).tolist() == [-1]
    assert nn.SignStep()(cr.asarray([0.0])).tolist() == [1], "Rosenblatt's unit fires at 0"


def test_scaled_tanh_maps_one_to_one():
    assert float(F.scaled_tanh(1.0)) == pytest.approx(1.0, abs=1e-4)


def test_softplus_is_the_integral_of_the_logistic_function():
    x = samples(())
    slope = cr.grad(lambda x: F.softplus(x).sum())(x)
    np.testing.assert_allclose(slope.numpy(), np_sigmoid(x), rtol=1e-12)


def test_softmaxs_jacobian_is_full():
    z = np.array([0.3, -1.0, 2.0])
    y = np_softmax(z)
    jacobian = cr.jacobian(lambda z: F.softmax(z, axis=0))(z)
    np.testing.assert_allclose(jacobian.numpy(), np.diag(y) - np.outer(y, y), rtol=1e-10)


def test_softmax_is_one_node_and_so_is_its_derivative():
    z = cr.variable(np.ones((2, 3)))
    y = F.softmax(z)
    assert y.node.op.name == "softmax"
    assert cr.gradients((y * y).sum(), z).node.op.name == "softmax_pullback"


def test_prelu_learns_a_slope_for_each_channel():
    layer = nn.PReLU(3, init=0.2)
    x = samples((0,), (2, 3, 4), np.float32)
    y = layer(cr.asarray(x)).numpy()
    np.testing.assert_allclose(y, np.where(x > 0, x, 0.2 * x), rtol=1e-6)
    _, found = cr.value_and_grad(lambda m: (m(cr.asarray(x)) * x).sum())(layer)
    np.testing.assert_allclose(
        found["weight"].numpy(), np.where(x > 0, 0, x * x).sum(axis=(0, 2)), rtol=1e-5
    )
    with pytest.raises(ShapeError, match="channels"):
        layer(cr.zeros((2, 4)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Softplus(beta=0.0),
        lambda: nn.Hardtanh(1.0, 1.0),
        lambda: nn.GELU("exact"),
        lambda: nn.SignStep(at_threshold=0.0),
        lambda: nn.Maxout(0),
        lambda: nn.PReLU(0),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ArgumentError):
        make()


def test_maxout_needs_whole_groups():
    with pytest.raises(ShapeError, match="groups of 3"):
        nn.Maxout(3)(cr.zeros((2, 4)))


@pytest.mark.peer
@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[3]])
def test_against_torch(name):
    torch = pytest.importorskip("torch")
    layer, _, kinks, (peer, options) = TABLE[name]
    x, g = samples(kinks), np.random.default_rng(1).normal(size=(5, 8))
    theirs_x = torch.tensor(x, requires_grad=True)
    theirs = getattr(torch.nn, peer)(**options)(theirs_x)
    theirs.backward(torch.tensor(g))
    ours, pull = cr.vjp(layer, x)
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-12)
    # PyTorch holds the 1/6 of hardsigmoid's derivative in float32
    tolerance = 1e-7 if name == "hardsigmoid" else 1e-8
    np.testing.assert_allclose(
        pull(g)[0].numpy(), theirs_x.grad.numpy(), rtol=tolerance, atol=1e-11
    )


def test_every_activation_layer_is_in_the_table():
    import inspect

    from chainrule.nn import activations

    classes = {
        name
        for name, value in vars(activations).items()
        if inspect.isclass(value) and value.__module__ == activations.__name__
    }
    assert classes == {type(row[0]).__name__ for row in TABLE.values()} | {"PReLU"}
