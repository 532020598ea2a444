"""L-BFGS: its recursion against the dense formula, its line search, and what it solves."""

import numpy as np
import pytest

from chainrule import optim
from chainrule.array import variable
from chainrule.autodiff import value_and_grad
from chainrule.errors import ArgumentError, NonFiniteError, StateError, TracedValueError
from chainrule.optim.line_search import Point, StrongWolfe, cubic_minimum
from chainrule.program import compile


def rosenbrock(p):
    x = p["x"]
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


@pytest.mark.parametrize("size", [2, 10])
def test_rosenbrock(size):
    start = np.tile([-1.2, 1.0], size // 2)
    p = {"x": variable(start)}
    outcome = optim.LBFGS().minimize(rosenbrock, p)
    np.testing.assert_allclose(p["x"].numpy(), np.ones(size), atol=1e-6)
    assert outcome.converged
    assert outcome.loss < 1e-12
    assert outcome.n_evaluations < 200


def test_a_quadratic_in_float32():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20, 6)).astype(np.float32)
    b = rng.normal(size=20).astype(np.float32)
    p = {"x": variable(np.zeros(6, np.float32))}
    optim.LBFGS(tolerance_gradient=1e-5).minimize(lambda p: ((a @ p["x"] - b) ** 2).mean(), p)
    np.testing.assert_allclose(p["x"].numpy(), np.linalg.lstsq(a, b)[0], atol=1e-3)
    assert p["x"].dtype == np.float32


def test_the_two_loop_recursion_is_the_bfgs_inverse():
    rng = np.random.default_rng(1)
    optimizer = optim.LBFGS()
    pairs = []
    for _ in range(4):
        s = rng.normal(size=5)
        y = s * rng.uniform(0.5, 2.0, size=5)
        optimizer.remember(s, y)
        pairs.append((s, y))
    s, y = pairs[-1]
    inverse = np.eye(5) * (s @ y) / (y @ y)
    for s, y in pairs:
        # H ← (I − ρ s yᵀ) H (I − ρ y sᵀ) + ρ s sᵀ
        rho = 1 / (y @ s)
        left = np.eye(5) - rho * np.outer(s, y)
        inverse = left @ inverse @ left.T + rho * np.outer(s, s)
    g = rng.normal(size=5)
    np.testing.assert_allclose(optimizer.direction(g), -inverse @ g, rtol=1e-12)


def test_pairs_of_negative_curvature_are_left_out_and_old_ones_dropped():
    optimizer = optim.LBFGS(history_size=2)
    s = np.array([1.0, 2.0])
    optimizer.remember(s, -s)
    assert optimizer.state_dict()["history"] == []
    for factor in (1.0, 2.0, 3.0):
        optimizer.remember(s, factor * s)
    kept = [pair["y"].numpy()[0] for pair in optimizer.state_dict()["history"]]
    assert kept == [2.0, 3.0]


LINES = {
    "parabola": (lambda a: (a - 3) ** 2, lambda a: 2 * (a - 3)),
    "far away": (lambda a: (a / 50 - 3) ** 2, lambda a: 2 * (a / 50 - 3) / 50),
    "wavy": (
        lambda a: np.sin(3 * a) - 2 * a + 0.3 * a * a,
        lambda a: 3 * np.cos(3 * a) - 2 + 0.6 * a,
    ),
    "wall": (
        lambda a: -a - np.log(1 - a) * 0.1 if a < 1 else np.inf,
        lambda a: -1 + 0.1 / (1 - a) if a < 1 else np.nan,
    ),
}  # fmt: skip


@pytest.mark.parametrize("trial", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("name", LINES)
def test_the_line_search_fulfils_strong_wolfe(name, trial):
    value, slope = LINES[name]
    sign = -1.0 if slope(0.0) > 0 else 1.0

    def evaluate(a):
        return Point(a, float(value(sign * a)), float(sign * slope(sign * a)), np.zeros(0))

    start = evaluate(0.0)
    found = StrongWolfe().search(evaluate, start, trial, 25)
    assert found.value <= start.value + 1e-4 * found.length * start.slope
    assert abs(found.slope) <= 0.9 * abs(start.slope)


def test_the_cubic_through_two_points():
    def point(a):
        return Point(a, (a - 2) ** 2 * (a + 1), 3 * a * a - 6 * a, np.zeros(0))

    assert cubic_minimum(point(1.0), point(3.0)) == pytest.approx(2.0)
    assert cubic_minimum(point(3.0), point(1.0)) == pytest.approx(2.0)


def test_a_saved_optimizer_goes_on_alike():
    closure = value_and_grad(rosenbrock)
    p, optimizer = {"x": variable(np.array([-1.2, 1.0]))}, optim.LBFGS(max_iterations=5)
    optimizer.step(p, closure)
    state, kept = optimizer.state_dict(), dict(p)
    size = len(state["history"])
    optimizer.step(p, closure)
    assert len(state["history"]) == size
    resumed = optim.LBFGS(max_iterations=5)
    resumed.load_state_dict(state)
    resumed.step(kept, closure)
    np.testing.assert_array_equal(kept["x"].numpy(), p["x"].numpy())


def test_a_module_and_a_compiled_loss():
    from chainrule import nn, ops
    from chainrule import random as cr_random

    cr_random.seed(2)
    net = nn.Linear(3, 1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 3)).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32) + 0.25
    closure = compile(lambda m: value_and_grad(lambda m: ops.mean((m(x) - y) ** 2))(m))
    outcome = optim.LBFGS().step(net, closure)
    assert outcome.loss < 1e-6
    np.testing.assert_allclose(net.bias.numpy(), [0.25], atol=1e-3)


def test_what_it_refuses():
    p = {"x": variable(np.array([-1.2, 1.0]))}
    optimizer = optim.LBFGS()
    with pytest.raises(ArgumentError, match=r"optimizer\.step"):
        optimizer.update(p, {})
    with pytest.raises(NonFiniteError, match="can not begin"):
        optimizer.minimize(lambda p: (p["x"] * np.inf).sum(), p)
    with pytest.raises(TracedValueError, match="compiled function"):
        compile(lambda p: optimizer.step(p, value_and_grad(rosenbrock)).loss)(p)
    optimizer.minimize(rosenbrock, p)
    with pytest.raises(StateError, match="other parameters"):
        optimizer.minimize(lambda p: (p["x"] ** 2).sum(), {"x": variable(np.zeros(3))})
    optimizer.forget()
    optimizer.minimize(lambda p: (p["x"] ** 2).sum(), {"x": variable(np.ones(3))})
    with pytest.raises(StateError, match="saved by Adam"):
        optimizer.load_state_dict(optim.Adam().state_dict())
    for wrong in ({"learning_rate": 0.0}, {"max_iterations": 0}, {"history_size": 2.5}):
        with pytest.raises(ArgumentError):
            optim.LBFGS(**wrong)
