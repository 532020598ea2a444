"""``Linear``, ``Flatten``, ``Identity``: values, initial range, and errors that say what to do."""

from itertools import pairwise

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, DtypeError, ShapeError


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(2)


def data(*shape):
    return np.random.default_rng(4).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("lead", [(), (5,), (0,), (2, 3)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_a_product_and_a_sum(lead, bias):
    layer, x = nn.Linear(4, 3, bias=bias), data(*lead, 4)
    exact = x.astype(np.float64) @ layer.weight.numpy().astype(np.float64).T
    if bias:
        exact = exact + layer.bias.numpy()
    np.testing.assert_allclose(layer(x).numpy(), exact, rtol=1e-5, atol=1e-6)


def test_weights_begin_uniform_in_one_over_the_root_of_the_inputs():
    layer = nn.Linear(400, 300)
    for value in (layer.weight.numpy(), layer.bias.numpy()):
        assert np.abs(value).max() <= 0.05
        assert np.abs(value).max() > 0.045
        assert abs(value.mean()) < 0.005
    assert layer.weight.numpy().std() == pytest.approx(0.05 / np.sqrt(3), rel=0.01)


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((32, 28, 28), r"flatten it first: nn\.Flatten\(\)"),
        ((32, 7, 28, 28), r"nn\.Flatten\(2\)"),
        ((28, 28), r"x\.reshape\(1, 784\)"),
        ((784, 32), r"transpose it \(x\.T\)"),
        ((32, 100), r"nn\.Linear\(100, 10\)"),
        ((), "one row of numbers"),
    ],
    ids=str,
)
def test_a_wrong_size_is_told_with_its_fix(shape, fix):
    with pytest.raises(ShapeError, match=fix) as raised:
        nn.Sequential(nn.Identity(), nn.Linear(784, 10))(data(*shape))
    assert "layer 1" in str(raised.value)
    assert "(..., 784)" in str(raised.value)


def test_integers_are_cast_and_another_float_is_refused():
    layer = nn.Linear(3, 2)
    pixels = np.array([[1, 2, 250]], np.uint8)
    np.testing.assert_array_equal(layer(pixels).numpy(), layer(pixels.astype("f")).numpy())
    with pytest.raises(DtypeError, match="computes in float32 but its input is float64"):
        layer(data(2, 3).astype(np.float64))
    wide = nn.Linear(3, 2, dtype=cr.float64)
    assert wide(data(2, 3).astype(np.float64)).dtype == np.float64


@pytest.mark.parametrize("sizes", [(0, 3), (3, -1), (2.5, 3), (True, 3), ("3", 3)], ids=str)
def test_sizes_are_positive_integers(sizes):
    with pytest.raises(ArgumentError, match="must be a positive integer"):
        nn.Linear(*sizes)


def test_gradients_are_the_hand_derived_products():
    layer = nn.Linear(4, 3, dtype=cr.float64)
    x, cotangent = data(2, 3, 4).astype(np.float64), data(2, 3, 3).astype(np.float64)
    grads, by_input = cr.grad(lambda m, x: (m(x) * cotangent).sum(), argnums=(0, 1))(layer, x)
    exact = np.einsum("abo,abi->oi", cotangent, x)
    np.testing.assert_allclose(grads["weight"].numpy(), exact, rtol=1e-12)
    np.testing.assert_allclose(grads["bias"].numpy(), cotangent.sum((0, 1)), rtol=1e-12)
    np.testing.assert_allclose(by_input.numpy(), cotangent @ layer.weight.numpy(), rtol=1e-12)


def test_a_deep_linear_network_equals_one_matrix():
    sizes = [6, 9, 4, 7, 3]
    pairs = pairwise(sizes)
    model = nn.Sequential(*(nn.Linear(a, b, dtype=cr.float64) for a, b in pairs))
    weight, bias = np.eye(6), np.zeros(6)
    for layer in model:
        weight = layer.weight.numpy() @ weight
        bias = layer.weight.numpy() @ bias + layer.bias.numpy()
    x = data(20, 6).astype(np.float64)
    np.testing.assert_allclose(model(x).numpy(), x @ weight.T + bias, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "shape", "result"),
    [
        ({}, (2, 3, 4, 5), (2, 60)),
        ({}, (2, 3), (2, 3)),
        ({"start_dim": 0}, (2, 3), (6,)),
        ({"start_dim": -2}, (2, 3, 4), (2, 12)),
        ({"start_dim": 1, "end_dim": 2}, (2, 3, 4, 5), (2, 12, 5)),
        ({}, (0, 3, 4), (0, 12)),
    ],
    ids=str,
)
def test_flatten_merges_axes(settings, shape, result):
    x = data(*shape)
    y = nn.Flatten(**settings)(x).numpy()
    np.testing.assert_array_equal(y, x.reshape(result))


def test_flatten_needs_a_batch():
    with pytest.raises(ShapeError, match=r"x\[None\]"):
        nn.Flatten()(data(5))


def test_identity_takes_any_arguments():
    x = cr.asarray([1.0])
    assert nn.Identity(3, anything=True)(x) is x


@pytest.mark.peer
@pytest.mark.parametrize("bias", [True, False])
def test_defaults_names_and_layouts_agree_with_pytorch(bias):
    torch = pytest.importorskip("torch")
    ours, peer = nn.Linear(5, 3, bias=bias), torch.nn.Linear(5, 3, bias=bias)
    state = peer.state_dict()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in state.items()
    }
    assert ours.extra_repr() == peer.extra_repr()
    ours.load_state_dict(state)
    x = data(4, 2, 5)
    wanted = peer(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(x).numpy(), wanted, rtol=1e-5, atol=1e-6)
    big = torch.nn.Linear(400, 300).weight.detach().numpy()
    assert nn.Linear(400, 300).weight.numpy().std() == pytest.approx(big.std(), rel=0.02)
