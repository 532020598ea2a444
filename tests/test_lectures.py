"""The lectures' worked examples, with their numbers. ``docs/lectures.md`` says where each lives."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def variables(**values):
    return {name: cr.variable(np.float64(value), name=name) for name, value in values.items()}


def gradients_of(build, **values):
    """Gradients of ``build(**variables)`` by name, as floats."""
    made = variables(**values)
    loss = build(**made)
    found = cr.gradients(loss, list(made.values()))
    return {name: float(g) for name, g in zip(made, found, strict=True)}


def test_perceptron_example_gives_sigmoid_of_minus_six():
    x = cr.asarray([-1.0, 2.0])
    y = cr.sigmoid(1 + (cr.asarray([3.0, -2.0]) * x).sum())
    assert float(y) == pytest.approx(0.00247, abs=5e-6)


def test_one_input_example():
    w, b, x, y = 0.6, -0.2, 1.5, 1.0
    found = gradients_of(lambda w, b: (cr.sigmoid(x * w + b) - y) ** 2, w=w, b=b)
    z = x * w + b
    product = 2 * (sigmoid(z) - y) * sigmoid(z) * sigmoid(-z)
    assert found["w"] == pytest.approx(product * x, rel=1e-12)
    assert found["b"] == pytest.approx(product, rel=1e-12)


def test_one_input_one_hidden_unit_example():
    x, y = 1.5, 0.0
    start = {"w1": 0.6, "b1": -0.2, "w2": -1.1, "b2": 0.4}

    def loss(w1, b1, w2, b2):
        return (cr.sigmoid(cr.sigmoid(x * w1 + b1) * w2 + b2) - y) ** 2

    found = gradients_of(loss, **start)
    z1 = x * start["w1"] + start["b1"]
    a1 = sigmoid(z1)
    z2 = a1 * start["w2"] + start["b2"]
    last = 2 * (sigmoid(z2) - y) * sigmoid(z2) * sigmoid(-z2)
    first = last * start["w2"] * a1 * sigmoid(-z1)
    assert found["w2"] == pytest.approx(last * a1, rel=1e-12)
    assert found["b2"] == pytest.approx(last, rel=1e-12)
    assert found["w1"] == pytest.approx(first * x, rel=1e-12)
    assert found["b1"] == pytest.approx(first, rel=1e-12)


def test_two_inputs_two_hidden_units_example():
    x1, x2, y = 0.5, -1.0, 1.0
    start = {"w1": 0.1, "w2": -0.3, "w3": 0.4, "w4": 0.2, "w5": 0.7, "w6": -0.6}
    start |= {"b1": 0.05, "b2": -0.1, "b3": 0.2}

    def loss(w1, w2, w3, w4, w5, w6, b1, b2, b3):
        h1 = cr.sigmoid(x1 * w1 + x2 * w3 + b1)
        h2 = cr.sigmoid(x1 * w2 + x2 * w4 + b2)
        return (y - (h1 * w5 + h2 * w6 + b3)) ** 2

    found = gradients_of(loss, **start)
    s = start
    h1 = sigmoid(x1 * s["w1"] + x2 * s["w3"] + s["b1"])
    h2 = sigmoid(x1 * s["w2"] + x2 * s["w4"] + s["b2"])
    error = -2 * (y - (h1 * s["w5"] + h2 * s["w6"] + s["b3"]))
    assert found["w5"] == pytest.approx(error * h1, rel=1e-12)
    assert found["w6"] == pytest.approx(error * h2, rel=1e-12)
    assert found["w1"] == pytest.approx(error * s["w5"] * h1 * (1 - h1) * x1, rel=1e-12)
    assert found["w4"] == pytest.approx(error * s["w6"] * h2 * (1 - h2) * x2, rel=1e-12)


def test_binary_cross_entropy_example():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=3), 1.0
    w1, w2 = rng.normal(size=(3, 2)), rng.normal(size=2)

    def loss(w1, w2):
        hidden = cr.sigmoid(w1.T @ cr.asarray(x))
        chance = cr.sigmoid((w2 * hidden).sum())
        return -y * cr.log(chance) - (1 - y) * cr.log(1 - chance)

    in_w1, in_w2 = cr.grad(loss, argnums=(0, 1))(w1, w2)
    hidden = 1 / (1 + np.exp(-(w1.T @ x)))
    chance = sigmoid(float(w2 @ hidden))
    np.testing.assert_allclose(in_w2.numpy(), (chance - y) * hidden, rtol=1e-12)
    delta = (chance - y) * w2 * hidden * (1 - hidden)
    np.testing.assert_allclose(in_w1.numpy(), np.outer(x, delta), rtol=1e-12)


def test_two_two_two_network_to_six_digits():
    start = {"w1": 0.15, "w2": 0.20, "w3": 0.25, "w4": 0.30}
    start |= {"w5": 0.40, "w6": 0.45, "w7": 0.50, "w8": 0.55}

    def loss(w1, w2, w3, w4, w5, w6, w7, w8):
        h1 = cr.sigmoid(0.05 * w1 + 0.10 * w2 + 0.35)
        h2 = cr.sigmoid(0.05 * w3 + 0.10 * w4 + 0.35)
        o1 = cr.sigmoid(h1 * w5 + h2 * w6 + 0.60)
        o2 = cr.sigmoid(h1 * w7 + h2 * w8 + 0.60)
        return 0.5 * (0.01 - o1) ** 2 + 0.5 * (0.99 - o2) ** 2

    assert float(loss(**variables(**start))) == pytest.approx(0.298371, abs=5e-7)
    found = gradients_of(loss, **start)
    assert found["w5"] == pytest.approx(0.0821670, abs=5e-8)
    assert start["w5"] - 0.5 * found["w5"] == pytest.approx(0.358916, abs=5e-7)


def test_softmax_with_cross_entropy_sends_back_prediction_minus_truth():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(4, 3))
    labels = np.array([0, 2, 1, 1])
    loss = nn.CrossEntropyLoss(reduction="sum")
    found = cr.grad(lambda z: loss(z, cr.asarray(labels)))(z)
    predicted = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.numpy(), predicted - np.eye(3)[labels], rtol=1e-9, atol=1e-12)


def test_squared_error_and_cross_entropy_through_a_sigmoid():
    i, t = 0.8, 0.3
    o = sigmoid(i)
    squared = gradients_of(lambda i: 0.5 * (t - cr.sigmoid(i)) ** 2, i=i)["i"]
    assert -squared == pytest.approx(o * (1 - o) * (t - o), rel=1e-12)
    entropy = gradients_of(
        lambda i: -t * cr.log(cr.sigmoid(i)) - (1 - t) * cr.log(1 - cr.sigmoid(i)), i=i
    )["i"]
    assert -entropy == pytest.approx(t - o, rel=1e-12)


def test_squared_loss_example():
    loss = nn.MSELoss()(cr.asarray([0.1, 0.8, 0.6]), cr.asarray([1.0, 0.0, -1.0]))
    assert float(loss) == pytest.approx(1.33667, abs=5e-6)


def test_delta_rule():
    rng = np.random.default_rng(2)
    w, b, x, t, rate = rng.normal(size=3), 0.3, rng.normal(size=3), 0.7, 0.1
    gradient = cr.grad(lambda w: 0.5 * ((w * x).sum() + b - t) ** 2)(w)
    expected = w - rate * (w @ x + b - t) * x
    np.testing.assert_allclose(w - rate * gradient.numpy(), expected, rtol=1e-12)


def test_softmax_ignores_a_constant_and_logistic_is_two_class_softmax():
    from chainrule.nn.functional import softmax

    z = cr.asarray(np.array([0.3, -1.2, 2.0]))
    np.testing.assert_allclose(
        softmax(z, axis=0).numpy(), softmax(z + 100.0, axis=0).numpy(), rtol=1e-12
    )
    pair = cr.asarray(np.array([0.4, -0.9]))
    assert float(softmax(pair, axis=0)[0]) == pytest.approx(sigmoid(0.4 + 0.9), rel=1e-12)


def test_pooling_example():
    x = cr.asarray([[1.0, 3, 2, 4], [3, 9, 2, 4], [1, 3, 3, 2], [4, 2, 2, 5]])
    assert cr.max_pool(x, (2, 2)).tolist() == [[9, 4], [4, 5]]
    assert cr.average_pool(x, (2, 2)).tolist() == [[4, 3], [2.5, 3]]


def test_a_deep_linear_network_equals_one_matrix():
    cr.random.seed(0)
    deep = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in [(5, 7), (7, 4), (4, 2)]))
    x = cr.asarray(np.random.default_rng(3).normal(size=(6, 5)).astype("f"))
    product = deep[2].weight @ deep[1].weight @ deep[0].weight
    np.testing.assert_allclose(deep(x).numpy(), (x @ product.T).numpy(), rtol=1e-4, atol=1e-6)


def test_the_digit_network_has_7960_parameters():
    digits = nn.Sequential(nn.Linear(784, 10), nn.Sigmoid(), nn.Linear(10, 10))
    assert sum(p.size for p in digits.parameters()) == 784 * 10 + 10 + 10 * 10 + 10 == 7960


def test_an_image_of_250_by_250_is_too_much_for_full_connection():
    unit = nn.Linear(250 * 250, 1, bias=False).summary((250 * 250,))
    assert unit.n_parameters == 62_500
    layer = nn.Linear(62_500, 62_500, bias=False).summary((62_500,))
    assert layer.n_parameters == 3_906_250_000


def test_learning_rates():
    falling = optim.InverseTime(0.9)
    assert [falling(step) for step in range(4)] == pytest.approx([0.9, 0.45, 0.3, 0.225])
    linear = optim.Linear(0.9, 1e-9, 100)
    assert linear(0) == 0.9
    assert linear(50) == pytest.approx(0.45, abs=1e-8)
    assert linear(100) == linear(1000) == 1e-9


def test_adam_has_the_defaults_of_its_paper():
    adam = optim.Adam()
    assert float(adam.learning_rate) == 0.001
    assert (float(adam.beta1), float(adam.beta2)) == (0.9, 0.999)
    assert float(adam.epsilon) == 1e-8


def test_adagrad_divides_by_the_root_of_the_summed_squares():
    w = {"w": cr.asarray(np.array([1.0]))}
    adagrad = optim.AdaGrad(0.5, epsilon=0.0)
    adagrad.initialise(w)
    sum_of_squares, expected = 0.0, 1.0
    for g in (3.0, 4.0, -2.0):
        adagrad.update(w, {"w": cr.asarray(np.array([g]))})
        sum_of_squares += g * g
        expected -= 0.5 * g / math.sqrt(sum_of_squares)
        assert w["w"].item() == pytest.approx(expected, rel=1e-12)
