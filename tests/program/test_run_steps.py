"""``run_steps``: many steps a call, and what happens when one fails."""

import numpy as np
import pytest

from chainrule import ops
from chainrule.array import asarray
from chainrule.errors import ArgumentError, DataError, IndexRangeError, NonFiniteError
from chainrule.program import compile, run_steps


def regression_step(state, x, y):
    from chainrule.autodiff import value_and_grad

    def loss(w):
        return ((x @ w - y) ** 2).mean()

    value, gradient = value_and_grad(loss)(state["w"])
    state["w"] = state["w"] - state["rate"] * gradient
    return value, state["w"].sum()


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    y = (x @ np.array([1.0, -2.0, 0.5], np.float32)).astype(np.float32)
    order = rng.permutation(40).reshape(8, 5)
    return x, y, order


def fresh_state():
    return {"w": asarray(np.zeros(3, np.float32)), "rate": 0.1}


def test_equals_a_loop_of_calls(problem):
    x, y, order = problem
    together, apart = fresh_state(), fresh_state()
    losses, sums = run_steps(regression_step, [together], [x, y], order)
    step = compile(regression_step)
    expected = [step(apart, x[rows], y[rows]) for rows in order]
    np.testing.assert_array_equal(losses, [a.item() for a, _ in expected])
    np.testing.assert_array_equal(sums, [b.item() for _, b in expected])
    np.testing.assert_array_equal(together["w"].numpy(), apart["w"].numpy())
    assert losses.shape == (8,)


def test_cutting_a_stretch_changes_nothing(problem):
    x, y, order = problem
    whole, cut = fresh_state(), fresh_state()
    run_steps(regression_step, [whole], [x, y], order)
    for part in (order[:3], order[3:4], order[4:]):
        run_steps(regression_step, [cut], [x, y], part)
    np.testing.assert_array_equal(whole["w"].numpy(), cut["w"].numpy())


def test_a_last_partial_batch_is_a_second_signature(problem):
    x, y, order = problem
    step = compile(regression_step)
    state = fresh_state()
    run_steps(step, [state], [x, y], order)
    run_steps(step, [state], [x, y], order[:1, :2])
    run_steps(step, [state], [x, y], order)
    assert step.n_compilations == 2


class Rated:
    """State whose rate follows a schedule."""

    def __init__(self):
        self.w = asarray(10.0)
        self.rate = 0.0
        self.done = 0

    def __tree_children__(self):
        return [("w", self.w), ("rate", self.rate)]

    def __tree_assign__(self, name, value):
        setattr(self, name, value)

    def __tree_static__(self):
        return None

    def __step_scalars__(self, n_steps):
        return {"rate": 1.0 / (1 + np.arange(n_steps))}


def test_schedules_become_a_vector_of_rates():
    def step(state, x):
        state.w = state.w - state.rate * x.sum()
        return state.w

    state = Rated()
    values = run_steps(step, [state], [np.ones(3, np.float32)], np.array([[0], [1], [2]]))
    np.testing.assert_allclose(values, [9, 8.5, 8.5 - 1 / 3], rtol=1e-6)


def test_a_failing_step_harms_nothing():
    def step(state, x):
        state["w"] = state["w"] + 1.0
        return ops.log(x.sum()) + state["w"] * 0

    data = np.array([1.0, 2.0, -1.0, 3.0], np.float32)
    state = {"w": asarray(0.0)}
    with pytest.raises(NonFiniteError) as caught:
        run_steps(step, [state], [data], np.arange(4).reshape(4, 1))
    assert caught.value.step == 2
    message = str(caught.value)
    assert "op log gave nan" in message
    assert "test_run_steps.py" in message
    assert state["w"].item() == 2, "the two good steps stay done, the third changed nothing"


def test_a_bad_input_is_named():
    data = np.array([[1.0, 2.0], [np.nan, 3.0]], np.float32)
    with pytest.raises(NonFiniteError, match=r"input 0 holds nan at \[0, 0\]"):
        run_steps(lambda x: x.sum(), [], [data], [[1]])


def test_an_interrupt_leaves_whole_steps(problem):
    x, y, order = problem

    class Interrupting(np.ndarray):
        reads = 0

        def __getitem__(self, key):
            Interrupting.reads += 1
            if Interrupting.reads == 5:
                raise KeyboardInterrupt
            return np.asarray(self)[key]

    interrupted, reference = fresh_state(), fresh_state()
    data = [x.view(Interrupting), y]
    with pytest.raises(KeyboardInterrupt):
        run_steps(regression_step, [interrupted], data, order, engine="interpreter")
    run_steps(regression_step, [reference], [x, y], order[:3], engine="interpreter")
    np.testing.assert_array_equal(interrupted["w"].numpy(), reference["w"].numpy())


def test_an_interrupt_between_native_stretches_leaves_whole_steps(problem, monkeypatch):
    pytest.importorskip("llvmlite")
    from chainrule.program.compiler import native
    from chainrule.program.compiler.machine import MachineCode

    x, y, order = problem
    run, calls = MachineCode.run, []

    def interrupted_run(self, pointers, steps):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(steps)
        return run(self, pointers, steps)

    interrupted, reference = fresh_state(), fresh_state()
    with monkeypatch.context() as patch:
        patch.setattr(native, "CHUNK_SECONDS", 0.0)
        patch.setattr(MachineCode, "run", interrupted_run)
        with pytest.raises(KeyboardInterrupt):
            run_steps(regression_step, [interrupted], [x, y], order)
    run_steps(regression_step, [reference], [x, y], order[: sum(calls)])
    np.testing.assert_array_equal(interrupted["w"].numpy(), reference["w"].numpy())


@pytest.mark.parametrize(
    ("data", "order", "error"),
    [
        ([np.zeros(3, "f")], [0, 1], ArgumentError),
        ([np.zeros(3, "f")], [[0.5]], ArgumentError),
        ([np.zeros(3, "f")], [[3]], IndexRangeError),
        ([np.zeros(3, "f")], [[-1]], IndexRangeError),
        ([np.zeros(3, "f"), np.zeros(2, "f")], [[0]], DataError),
        ([np.zeros(3, "f")], np.zeros((0, 2), int), ArgumentError),
    ],
)
def test_wrong_data_and_orders_are_refused(data, order, error):
    with pytest.raises(error):
        run_steps(lambda *batch: batch[0].sum(), [], data, order)
