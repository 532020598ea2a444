"""Initialisers: fans, variances and ranges, orthogonality, keys."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn import init

DENSE, KERNEL = (300, 500), (32, 24, 3, 5)


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(4)


def test_fans():
    assert init.fans((10, 784)) == (784, 10)
    assert init.fans(KERNEL) == (24 * 15, 32 * 15)
    with pytest.raises(ShapeError, match=r"\(out, in, \*kernel\)"):
        init.fans((3,))
    with pytest.raises(ShapeError, match="at least 1"):
        init.he_normal((3, 0))


VARIANCES = {
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
}


@pytest.mark.parametrize("shape", [DENSE, KERNEL], ids=str)
@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("rule", VARIANCES)
def test_the_variance_follows_the_fans(rule, kind, shape):
    values = getattr(init, f"{rule}_{kind}")(shape, cr.random.key(3)).numpy()
    deviation = np.sqrt(VARIANCES[rule](*init.fans(shape)))
    assert values.shape == shape
    assert values.dtype == np.float32
    assert values.std() == pytest.approx(deviation, rel=0.03)
    assert abs(values.mean()) < 5 * deviation / np.sqrt(values.size)
    largest = np.abs(values).max() / deviation
    assert largest <= np.sqrt(3) * 1.0001 if kind == "uniform" else largest > 3


def test_modes_and_gains():
    def deviation(**settings):
        return init.he_normal(DENSE, cr.random.key(3), **settings).numpy().std()

    assert deviation(mode="fan_out") / deviation() == pytest.approx(np.sqrt(500 / 300), rel=1e-5)
    assert deviation(nonlinearity="linear") / deviation() == pytest.approx(0.5**0.5, rel=1e-5)
    leaky = deviation(nonlinearity="leaky_relu", negative_slope=1.0)
    assert leaky == pytest.approx(deviation(nonlinearity="linear"), rel=1e-5)
    twice = init.glorot_uniform(DENSE, cr.random.key(3), gain=2.0).numpy()
    np.testing.assert_allclose(
        twice, 2 * init.glorot_uniform(DENSE, cr.random.key(3)).numpy(), rtol=1e-5
    )
    with pytest.raises(ArgumentError, match="'fan_in' or 'fan_out'"):
        deviation(mode="fan")
    with pytest.raises(ArgumentError, match="leaky_relu"):
        init.gain("rellu")


def test_normal_and_uniform():
    values = init.normal((400, 300), mean=2.0, standard_deviation=0.1).numpy()
    assert values.mean() == pytest.approx(2.0, abs=1e-3)
    assert values.std() == pytest.approx(0.1, rel=0.01)
    values = init.uniform((400,), low=-3.0, high=-1.0, dtype=cr.float64).numpy()
    assert values.dtype == np.float64
    assert -3 <= values.min() < -2.9
    assert -1.1 < values.max() < -1


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (4, 2, 3, 3)], ids=str)
def test_orthogonal_rows_or_columns(shape):
    matrix = init.orthogonal(shape, gain=3.0, dtype=cr.float64).numpy().reshape(shape[0], -1)
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, 9 * np.eye(len(small)), atol=1e-12)


def test_constants():
    assert init.zeros((2, 3)).tolist() == [[0] * 3] * 2
    assert init.ones(2, dtype=cr.float64).dtype == np.float64
    assert init.constant(2, 0.5).tolist() == [0.5, 0.5]


def test_a_key_fixes_the_draw_and_the_seed_the_keys():
    a, b = (init.he_normal((4, 3), cr.random.key(1)).numpy() for _ in range(2))
    assert (a == b).all()
    first = [init.normal(3).tolist() for _ in range(2)]
    assert first[0] != first[1]
    cr.random.seed(4)
    assert [init.normal(3).tolist() for _ in range(2)] == first


@pytest.mark.peer
@pytest.mark.parametrize("name", ["tanh", "relu", "leaky_relu", "selu", "sigmoid", "linear"])
def test_gains_agree_with_pytorch(name):
    torch = pytest.importorskip("torch")
    assert init.gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-12)


@pytest.mark.peer
@pytest.mark.parametrize(
    "name", ["kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform"]
)
def test_deviations_agree_with_pytorch(name):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    tensor = torch.empty(KERNEL)
    settings = {"nonlinearity": "relu"} if name.startswith("kaiming") else {}
    getattr(torch.nn.init, name + "_")(tensor, **settings)
    ours = getattr(init, name)(KERNEL, **settings).numpy()
    assert ours.std() == pytest.approx(tensor.numpy().std(), rel=0.03)
