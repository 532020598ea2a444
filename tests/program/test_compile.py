"""``compile``: signatures, state, ties, effects, ownership, errors."""

import gc
import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.array import Array, asarray, leaf, variable
from chainrule.autodiff import grad, value_and_grad
from chainrule.errors import (
    ArgumentError,
    ChainruleError,
    StateError,
    TeachingWarning,
    TracedValueError,
)
from chainrule.program import compile


class Holder:
    """A small stateful container: two parameters and a setting."""

    def __init__(self, **leaves):
        self.mode = "train"
        self.leaves = {
            name: leaf(np.asarray(value, np.float32), tracked=True, name=name, owned=True)
            for name, value in leaves.items()
        }

    def __tree_children__(self):
        return list(self.leaves.items())

    def __tree_assign__(self, name, value):
        self.leaves[name] = value

    def __tree_static__(self):
        return self.mode

    def __tree_trainable__(self, name):
        return True


def test_a_compiled_function_equals_the_function():
    @compile
    def f(x, y):
        return {"sum": x + y, "parts": (x * 2, y.sum())}

    x, y = asarray([1.0, 2.0]), asarray([3.0, 5.0])
    result = f(x, y)
    assert result["sum"].tolist() == [4, 7]
    assert result["parts"][0].tolist() == [2, 4]
    assert result["parts"][1].item() == 8


def test_one_signature_is_traced_once():
    calls = []

    @compile
    def f(x, scale):
        calls.append(1)
        return x * scale

    for scale in (1.0, 2.0, 0.5):  # floats are traced scalars
        assert f(asarray([2.0]), scale).item() == 2 * scale
    assert len(calls) == f.n_compilations == 1
    f(asarray([2.0, 3.0]), 1.0)
    assert f.n_compilations == 2


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_traced_scalar_takes_the_dtype_it_meets(dtype):
    f = compile(lambda x, rate: x - rate * x * (1 - rate**2))
    x = asarray(np.array([1.0, 2.0], dtype))
    assert f(x, 0.1).dtype == dtype
    exact = x.numpy().astype(np.float64) * (1 - 0.1 * 0.99)
    np.testing.assert_allclose(f(x, 0.1).numpy(), exact, rtol=4 * np.finfo(dtype).eps)


def test_ints_and_strings_belong_to_the_signature():
    f = compile(lambda x, n, how: x * n if how == "times" else x + n)
    x = asarray(3.0)
    assert [f(x, 2, "times").item(), f(x, 3, "times").item(), f(x, 3, "plus").item()] == [6, 9, 6]
    assert f.n_compilations == 3


def test_state_is_read_and_written_back():
    @compile
    def step(model, x):
        loss, gradients = value_and_grad(lambda m: ((m.leaves["w"] * x - 1.0) ** 2).sum())(model)
        model.leaves["w"] = model.leaves["w"] - 0.1 * gradients["w"]
        return loss

    model = Holder(w=[2.0, 3.0])
    kept = model.leaves["w"]
    x = asarray([1.0, 0.5])
    assert step(model, x).item() == pytest.approx(1 + 0.25)
    np.testing.assert_allclose(model.leaves["w"].numpy(), [2 - 0.2, 3 - 0.05], rtol=1e-6)
    assert kept.tolist() == [2, 3], "an Array that is held never changes"
    for _ in range(3):
        step(model, x)
    assert step.n_compilations == 1
    assert model.leaves["w"].node.tracked, "a parameter stays a variable"
    assert model.leaves["w"].node.op is None


def test_dicts_and_lists_are_state_too():
    @compile
    def count(state):
        state["n"] = state["n"] + 1
        state["history"][0] = state["n"] * 10.0
        return state["n"]

    state = {"n": asarray(0.0), "history": [asarray(0.0)]}
    assert [count(state).item() for _ in range(3)] == [1, 2, 3]
    assert state["history"][0].item() == 30


def test_a_static_setting_compiles_again():
    f = compile(lambda m: m.leaves["w"] * (2 if m.mode == "train" else 1))
    model = Holder(w=3.0)
    assert f(model).item() == 6
    model.mode = "eval"
    assert f(model).item() == 3
    assert f.n_compilations == 2


def test_tied_leaves_are_one_slot_and_stay_tied():
    @compile
    def halve(model):
        new = model.leaves["a"] * 0.5
        model.leaves["a"] = new
        model.leaves["b"] = new
        return new

    model = Holder(a=[4.0], b=[0.0])
    model.leaves["b"] = model.leaves["a"]
    halve(model)
    assert model.leaves["a"] is model.leaves["b"]
    assert model.leaves["b"].item() == 2

    @compile
    def break_tie(model):
        model.leaves["a"] = model.leaves["a"] * 0.5
        model.leaves["b"] = model.leaves["b"] * 3.0

    with pytest.raises(StateError, match="tied"):
        break_tie(model)
    assert model.leaves["a"].item() == 2, "nothing changes when tracing fails"


def test_containers_are_put_back_when_the_function_fails():
    @compile
    def broken(model):
        model.leaves["w"] = model.leaves["w"] + 1
        raise RuntimeError("on purpose")

    model = Holder(w=1.0)
    before = model.leaves["w"]
    with pytest.raises(RuntimeError, match="on purpose"):
        broken(model)
    assert model.leaves["w"] is before


def test_a_module_caught_in_a_closure_is_an_error_that_says_to_pass_it():
    model = Holder(weight=[1.0])
    f = compile(lambda x: x * model.leaves["weight"])
    with pytest.raises(StateError, match=r"closure: weight") as caught:
        f(asarray([2.0]))
    assert "pass the Module as an argument" in str(caught.value)
    assert "test_compile.py" in str(caught.value)


def test_constants_from_outside_are_folded():
    table = asarray(np.arange(4.0, dtype=np.float32)) * 2.0
    f = compile(lambda x: x + table[1] * ops.ones((2,)))
    assert f(asarray([1.0, 2.0])).tolist() == [3, 4]
    (program,) = f.programs.values()
    assert program.n_nodes == 1, program


def test_asking_for_a_value_names_the_line_and_the_way_out():
    @compile
    def f(x):
        return x * 2 if x.sum() > 0 else x

    with pytest.raises(TracedValueError) as caught:
        f(asarray([1.0]))
    assert "cr.where" in str(caught.value)
    assert "test_compile.py" in str(caught.value)


def test_a_compiled_function_inside_a_trace_is_inlined():
    inner = compile(lambda x: x * x)
    outer = compile(lambda x: inner(x) + 1)
    assert outer(asarray(3.0)).item() == 10
    assert inner.n_compilations == 0
    assert grad(inner)(3.0).item() == 6


def test_adding_entries_to_a_container_is_an_error():
    @compile
    def grow(state):
        state["b"] = state["a"] * 2

    state = {"a": asarray(1.0)}
    with pytest.raises(StateError, match="added or removed entries"):
        grow(state)


def test_state_must_keep_shape_and_dtype():
    @compile
    def widen(state):
        state["a"] = ops.stack([state["a"], state["a"]])

    with pytest.raises(StateError, match="changed its shape"):
        widen({"a": asarray(1.0)})


def test_results_never_alias_an_array_of_the_caller():
    f = compile(lambda x: (x, x[1:]))
    mine = np.array([1.0, 2.0, 3.0], np.float32)
    whole, tail = f(mine)
    mine[:] = -1
    assert whole.tolist() == [1, 2, 3]
    assert tail.tolist() == [2, 3]


def test_results_have_no_history():
    w = variable(2.0)
    y = compile(lambda x: x * 3)(w)
    with pytest.raises(ChainruleError, match="history"):
        cr.gradients(y, w)


def test_many_signatures_warn_once():
    f = compile(lambda x: x + 1)
    for n in range(1, 9):
        f(asarray(np.zeros(n, np.float32)))
    with pytest.warns(TeachingWarning, match="signatures"):
        f(asarray(np.zeros(9, np.float32)))
    f(asarray(np.zeros(10, np.float32)))  # warnings are errors in tests


def test_unknown_engines_are_refused():
    with pytest.raises(ArgumentError, match="interpreter"):
        compile(lambda x: x, engine="quantum")


def test_printing_a_program_shows_its_ops():
    f = compile(lambda x: cr.tanh(x) * 2)
    f(asarray([1.0]))
    (program,) = f.programs.values()
    assert "tanh" in repr(program)
    assert "writes" in repr(program)


def test_a_random_draw_is_an_effect_applied_once():
    cr.random.seed(3)
    state = cr.random.ambient()
    f = compile(lambda x: x + cr.random.uniform(cr.random.layer_key(), (2,)))
    x = asarray([0.0, 0.0])
    first, second = f(x).tolist(), f(x).tolist()
    assert first != second
    assert f.n_compilations == 1
    assert int(state.step) == 2
    cr.random.seed(3)
    assert f(x).tolist() == first


def test_a_function_without_draws_leaves_the_random_state_alone():
    cr.random.seed(3)
    compile(lambda x: x + 1)(asarray(1.0))
    assert int(cr.random.ambient().step) == 0


def test_repeated_runs_stay_in_flat_memory():
    @compile
    def step(state, x):
        state["w"] = state["w"] * 0.999 + x
        return state["w"].sum()

    state = {"w": asarray(np.ones(1000, np.float32))}
    x = asarray(np.full(1000, 1e-3, np.float32))
    step(state, x)
    gc.collect()
    tracemalloc.start()
    base = tracemalloc.get_traced_memory()[0]
    for _ in range(300):
        step(state, x)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - base
    tracemalloc.stop()
    assert grown < 300_000, "300 runs that each kept 4 kB would be 1.2 MB"
    assert isinstance(state["w"], Array)


def test_tuples_inside_of_containers_are_put_back():
    f = cr.compile(lambda state: state["pairs"][0][0] + state["pair"][1])
    pair = cr.asarray(1.0), cr.asarray(2.0)
    state = {"pair": pair, "pairs": [pair, (pair,)]}
    for _ in range(3):
        assert float(f(state)) == 3
        assert state["pair"] is pair
        assert state["pairs"][0] is pair
        assert state["pairs"][1][0] is pair
