"""Every optimizer against three steps computed by hand, from its paper, with plain floats."""

import math

import numpy as np
import pytest

from chainrule import optim
from chainrule.array import asarray, variable

START = (0.7, -1.3)
GRADIENTS = ((0.3, -0.2), (-0.1, 0.4), (0.25, 0.5))
ETA = 0.1


def replay(optimizer):
    """The parameter after each of three updates, as the library computes it, in float64."""
    parameters = {"w": variable(np.array(START))}
    path = []
    for gradient in GRADIENTS:
        optimizer.update(parameters, {"w": asarray(np.array(gradient))})
        path.append(parameters["w"].numpy().tolist())
    return path


def by_hand(rule):
    """The same, element by element: ``rule(theta, g, memory, t)`` returns the new theta."""
    columns = []
    for i, theta in enumerate(START):
        memory, column = {}, []
        for t, gradient in enumerate(GRADIENTS, start=1):
            theta = rule(theta, gradient[i], memory, t)
            column.append(theta)
        columns.append(column)
    return [list(row) for row in zip(*columns, strict=True)]


def sgd(theta, g, memory, t):
    return theta - ETA * g


def sgd_momentum(theta, g, memory, t):
    g = g + 0.01 * theta
    memory["b"] = g if t == 1 else 0.9 * memory["b"] + (1 - 0.2) * g
    return theta - ETA * memory["b"]


def sgd_nesterov(theta, g, memory, t):
    memory["b"] = 0.9 * memory.get("b", 0.0) + g
    return theta - ETA * (g + 0.9 * memory["b"])


def momentum(theta, g, memory, t):
    memory["v"] = 0.9 * memory.get("v", 0.0) - ETA * g
    return theta + memory["v"]


def nesterov(theta, g, memory, t):
    # Sutskever's form keeps θ and looks at θ + μ v; the optimizer's parameter is the latter
    before = memory.get("v", 0.0)
    memory["v"] = 0.9 * before - ETA * g
    plain = theta - 0.9 * before + memory["v"]
    return plain + 0.9 * memory["v"]


def adagrad(theta, g, memory, t):
    memory["s"] = memory.get("s", 0.0) + g**2
    return theta - ETA / (math.sqrt(memory["s"]) + 1e-10) * g


def adagrad_of_the_lectures(theta, g, memory, t):
    memory["s"] = memory.get("s", 0.0) + g**2
    return theta - ETA / math.sqrt(memory["s"]) * g


def adadelta(theta, g, memory, t):
    memory["g"] = 0.9 * memory.get("g", 0.0) + 0.1 * g**2
    step = -math.sqrt(memory.get("x", 0.0) + 1e-6) / math.sqrt(memory["g"] + 1e-6) * g
    memory["x"] = 0.9 * memory.get("x", 0.0) + 0.1 * step**2
    return theta + step


def rmsprop(theta, g, memory, t):
    memory["n"] = 0.99 * memory.get("n", 0.0) + 0.01 * g**2
    return theta - ETA * g / (math.sqrt(memory["n"]) + 1e-8)


def rmsprop_centered(theta, g, memory, t):
    memory["n"] = 0.99 * memory.get("n", 0.0) + 0.01 * g**2
    memory["g"] = 0.99 * memory.get("g", 0.0) + 0.01 * g
    scaled = g / (math.sqrt(memory["n"] - memory["g"] ** 2) + 1e-8)
    memory["b"] = 0.5 * memory.get("b", 0.0) + scaled
    return theta - ETA * memory["b"]


def moments(g, memory, beta1=0.9, beta2=0.999):
    m = memory["m"] = beta1 * memory.get("m", 0.0) + (1 - beta1) * g
    v = memory["v"] = beta2 * memory.get("v", 0.0) + (1 - beta2) * g**2
    return m, v


def adam(theta, g, memory, t):
    m, v = moments(g, memory)
    return theta - ETA * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)


def adamw(theta, g, memory, t):
    m, v = moments(g, memory)
    adaptive = (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return theta - ETA * (adaptive + 0.01 * theta)


def adamax(theta, g, memory, t):
    m = memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
    u = memory["u"] = max(0.999 * memory.get("u", 0.0), abs(g) + 1e-8)
    return theta - ETA / (1 - 0.9**t) * m / u


def nadam(theta, g, memory, t):
    def mu(k):
        return 0.9 * (1 - 0.5 * 0.96 ** (k * 0.004))

    m, v = moments(g, memory)
    product = memory["p"] = memory.get("p", 1.0) * mu(t)
    ahead = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
    return theta - ETA * ahead / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)


def radam(theta, g, memory, t):
    beta2 = 0.6  # ρ_∞ = 4: never adaptive; see radam_adaptive
    m, _ = moments(g, memory, beta2=beta2)
    return theta - ETA * m / (1 - 0.9**t)


def radam_adaptive(theta, g, memory, t):
    # the three steps come after five with the gradient 0.2, so that ρ_t passes 5 in between
    m, v = moments(g, memory)
    longest = 2 / (1 - 0.999) - 1
    length = longest - 2 * t * 0.999**t / (1 - 0.999**t)
    corrected = m / (1 - 0.9**t)
    if length <= 5:
        return theta - ETA * corrected
    r = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    return theta - ETA * corrected * r * math.sqrt(1 - 0.999**t) / (math.sqrt(v) + 1e-8)


def amsgrad(theta, g, memory, t):
    m, v = moments(g, memory)
    top = memory["top"] = max(memory.get("top", 0.0), v)
    return theta - ETA * (m / (1 - 0.9**t)) / (math.sqrt(top / (1 - 0.999**t)) + 1e-8)


def rprop(theta, g, memory, t):
    size, last = memory.get("size", ETA), memory.get("g", 0.0)
    if last * g > 0:
        size = min(size * 1.2, 50.0)
    elif last * g < 0:
        size, g = max(size * 0.5, 1e-6), 0.0
    memory["size"], memory["g"] = size, g
    return theta - (math.copysign(size, g) if g else 0.0)


def lion(theta, g, memory, t):
    m = memory.get("m", 0.0)
    update = math.copysign(1.0, 0.9 * m + 0.1 * g)
    memory["m"] = 0.99 * m + 0.01 * g
    return theta - ETA * (update + 0.01 * theta)


CASES = [
    (optim.SGD(ETA), sgd),
    (optim.SGD(ETA, momentum=0.9, dampening=0.2, weight_decay=0.01), sgd_momentum),
    (optim.SGD(ETA, momentum=0.9, nesterov=True), sgd_nesterov),
    (optim.Momentum(ETA, 0.9), momentum),
    (optim.Nesterov(ETA, 0.9), nesterov),
    (optim.AdaGrad(ETA), adagrad),
    (optim.AdaGrad(ETA, epsilon=0.0), adagrad_of_the_lectures),
    (optim.AdaDelta(), adadelta),
    (optim.RMSProp(ETA), rmsprop),
    (optim.RMSProp(ETA, momentum=0.5, centered=True), rmsprop_centered),
    (optim.Adam(ETA), adam),
    (optim.AdamW(ETA), adamw),
    (optim.Adamax(ETA), adamax),
    (optim.NAdam(ETA), nadam),
    (optim.RAdam(ETA, betas=(0.9, 0.6)), radam),
    (optim.AMSGrad(ETA), amsgrad),
    (optim.Rprop(ETA), rprop),
    (optim.Lion(ETA, betas=(0.9, 0.99), weight_decay=0.01), lion),
]


@pytest.mark.parametrize(("optimizer", "rule"), CASES, ids=[rule.__name__ for _, rule in CASES])
def test_three_steps(optimizer, rule):
    np.testing.assert_allclose(replay(optimizer), by_hand(rule), rtol=1e-13)


def test_radam_becomes_adaptive():
    optimizer = optim.RAdam(ETA)
    parameters = {"w": variable(np.array([0.7]))}
    theta, memory = 0.7, {}
    for t, g in enumerate([0.2] * 5 + [0.3, -0.1, 0.25], start=1):
        optimizer.update(parameters, {"w": asarray(np.array([g]))})
        theta = radam_adaptive(theta, g, memory, t)
        np.testing.assert_allclose(parameters["w"].numpy(), theta, rtol=1e-13)


def test_lamb_scales_each_layer():
    optimizer = optim.LAMB(ETA, weight_decay=0.1)
    parameters = {"w": variable(np.array(START)), "zero": variable(np.zeros(2))}
    theta = {"w": np.array(START), "zero": np.zeros(2)}
    m = {name: np.zeros(2) for name in theta}
    v = {name: np.zeros(2) for name in theta}
    for t, gradient in enumerate(GRADIENTS, start=1):
        g = np.array(gradient)
        optimizer.update(parameters, {"w": asarray(g), "zero": asarray(-g)})
        for name, sign in (("w", 1), ("zero", -1)):
            m[name] = 0.9 * m[name] + 0.1 * sign * g
            v[name] = 0.999 * v[name] + 0.001 * g * g
            r = (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-6)
            u = r + 0.1 * theta[name]
            size = math.hypot(*theta[name])
            ratio = size / math.hypot(*u) if size else 1.0
            theta[name] = theta[name] - ETA * ratio * u
            np.testing.assert_allclose(parameters[name].numpy(), theta[name], rtol=1e-13)


def test_every_optimizer_is_replayed():
    replayed = {type(optimizer) for optimizer, _ in CASES} | {optim.LAMB}
    known = {
        x
        for x in map(optim.__dict__.get, optim.__all__)
        if isinstance(x, type) and issubclass(x, optim.Optimizer) and x is not optim.Optimizer
    }
    assert known == replayed


def test_the_lectures_defaults_of_adam():
    adam = optim.Adam()
    assert (adam.learning_rate, adam.beta1, adam.beta2, adam.epsilon) == (0.001, 0.9, 0.999, 1e-8)


def test_adagrad_without_epsilon_leaves_untouched_elements_alone():
    parameters = {"w": variable(np.array([1.0, 2.0]))}
    optim.AdaGrad(0.5, epsilon=0.0).update(parameters, {"w": asarray(np.array([0.0, -3.0]))})
    np.testing.assert_array_equal(parameters["w"].numpy(), [1.0, 2.5])


def test_the_first_step_of_adagrad_is_the_rate():
    # η / √g² · g = η sign(g), whatever the gradient
    parameters = {"w": variable(np.array([1.0, 2.0]))}
    optim.AdaGrad(0.1, epsilon=0.0).update(parameters, {"w": asarray(np.array([1e-3, -70.0]))})
    np.testing.assert_allclose(parameters["w"].numpy(), [0.9, 2.1], rtol=1e-15)


def test_the_delta_rule():
    # ½ ‖Wx + b − t‖²: W ← W − ε (Wx + b − t) xᵀ, b ← b − ε (Wx + b − t)
    from chainrule.autodiff import grad

    rng = np.random.default_rng(3)
    weight, bias = rng.normal(size=(2, 3)), rng.normal(size=2)
    x, t = rng.normal(size=3), rng.normal(size=2)
    parameters = {"W": variable(weight), "b": variable(bias)}
    error = grad(lambda p: 0.5 * ((p["W"] @ x + p["b"] - t) ** 2).sum())
    optim.SGD(0.3).update(parameters, error(parameters))
    delta = weight @ x + bias - t
    np.testing.assert_allclose(parameters["W"].numpy(), weight - 0.3 * np.outer(delta, x))
    np.testing.assert_allclose(parameters["b"].numpy(), bias - 0.3 * delta)
