"""What all optimizers share: state, groups, traces, clipping, saving, and the errors."""

import copy

import numpy as np
import pytest

from chainrule import ops, optim
from chainrule import random as cr_random
from chainrule.array import asarray, variable
from chainrule.autodiff import grad, value_and_grad
from chainrule.errors import ArgumentError, DtypeError, ShapeError, StateError, TeachingWarning
from chainrule.program import compile, run_steps

OPTIMIZERS = {
    "SGD": lambda **k: optim.SGD(0.05, **k),
    "SGD momentum": lambda **k: optim.SGD(0.05, 0.9, 0.1, 0.01, **k),
    "Momentum": lambda **k: optim.Momentum(0.02, **k),
    "Nesterov": lambda **k: optim.Nesterov(0.02, **k),
    "AdaGrad": lambda **k: optim.AdaGrad(0.1, 0.01, **k),
    "AdaDelta": lambda **k: optim.AdaDelta(**k),
    "RMSProp": lambda **k: optim.RMSProp(momentum=0.5, centered=True, **k),
    "Adam": lambda **k: optim.Adam(0.02, weight_decay=0.01, **k),
    "AdamW": lambda **k: optim.AdamW(0.02, **k),
    "Adamax": lambda **k: optim.Adamax(0.02, **k),
    "NAdam": lambda **k: optim.NAdam(0.02, **k),
    "RAdam": lambda **k: optim.RAdam(0.02, **k),
    "AMSGrad": lambda **k: optim.AMSGrad(0.02, **k),
    "Rprop": lambda **k: optim.Rprop(**k),
    "Lion": lambda **k: optim.Lion(0.01, weight_decay=0.1, **k),
    "LAMB": lambda **k: optim.LAMB(0.02, **k),
}
RNG = np.random.default_rng(5)
INPUTS = RNG.normal(size=(24, 3)).astype(np.float32)
TARGETS = RNG.normal(size=(24, 2)).astype(np.float32)
ORDER = RNG.integers(0, 24, size=(7, 6))
START = {"w": RNG.normal(size=(3, 2)), "b": RNG.normal(size=2)}


def parameters(dtype=np.float32):
    return {name: variable(x.astype(dtype)) for name, x in START.items()}


def loss(p, x, y):
    return ((x @ p["w"] + p["b"] - y) ** 2).mean()


def step(p, optimizer, x, y):
    value, gradients = value_and_grad(lambda q: loss(q, x, y))(p)
    optimizer.update(p, gradients)
    return value


def values(p):
    return {name: x.numpy() for name, x in p.items()}


def assert_same_bits(first, second):
    assert first.keys() == second.keys()
    for name, x in first.items():
        np.testing.assert_array_equal(np.asarray(x), np.asarray(second[name]), err_msg=name)


def assert_close(first, second):
    assert first.keys() == second.keys()
    for name, x in first.items():
        np.testing.assert_allclose(
            np.asarray(x), np.asarray(second[name]), rtol=2e-5, atol=2e-6, err_msg=name
        )


def rows(number):
    return asarray(INPUTS[ORDER[number]]), asarray(TARGETS[ORDER[number]])


# --- one rule, whichever way it runs ----------------------------------------------------------


def run_one_way(name, how, engine):
    """Train at once, by a compiled step or in a stretch; parameters and state at the end."""
    p, optimizer = parameters(), OPTIMIZERS[name](max_norm=1.0)
    optimizer.initialise(p)
    if how == "stretch":
        run_steps(compile(step, engine=engine), [p, optimizer], [INPUTS, TARGETS], ORDER)
    else:
        run = compile(step, engine=engine) if how == "compiled" else step
        for number in range(len(ORDER)):
            run(p, optimizer, *rows(number))
    assert int(optimizer.step) == len(ORDER)
    return values(p), optimizer.state_dict()["state"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_at_once_interpreted_and_in_stretches_give_the_same_bits(name):
    expected, expected_state = run_one_way(name, "at once", "interpreter")
    for how in ("compiled", "stretch"):
        p, state = run_one_way(name, how, "interpreter")
        assert_same_bits(p, expected)
        for path in state:
            assert_same_bits(state[path], expected_state[path])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_machine_code_agrees_within_rounding(name):
    expected, expected_state = run_one_way(name, "at once", "interpreter")
    for how in ("compiled", "stretch"):
        p, state = run_one_way(name, how, None)
        assert_close(p, expected)
        for path in state:
            assert_close(state[path], expected_state[path])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_loss_falls_and_types_stay(name):
    p, optimizer = parameters(), OPTIMIZERS[name]()
    first = loss(p, INPUTS, TARGETS).item()
    for _ in range(60):
        optimizer.update(p, grad(lambda q: loss(q, INPUTS, TARGETS))(p))
    assert loss(p, INPUTS, TARGETS).item() < first
    for slots in optimizer.state.values():
        assert all(x.dtype == np.float32 for x in slots.values())
    assert all(x.dtype == np.float32 for x in p.values())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_16_bit_parameters(name, dtype):
    # ε = 1e-8 is 0 in float16, and squares of small gradients vanish: the state is float32
    p = {"w": ops.astype(asarray(np.array([1.0, -2.0, 0.5], np.float32)), dtype)}
    wide = {"w": ops.astype(p["w"], "float32")}
    narrow_one, wide_one = OPTIMIZERS[name](), OPTIMIZERS[name]()
    gradient = ops.astype(asarray(np.array([1e-4, -3e-3, 0.0], np.float32)), dtype)
    for _ in range(3):
        narrow_one.update(p, {"w": gradient})
        wide_one.update(wide, {"w": ops.astype(gradient, "float32")})
        # rounded to 16 bits after each step
        wide["w"] = ops.astype(ops.astype(wide["w"], dtype), "float32")
    assert str(p["w"].dtype) == dtype
    assert all(x.dtype == np.float32 for x in narrow_one.state["w"].values())
    np.testing.assert_array_equal(ops.astype(p["w"], "float32").numpy(), wide["w"].numpy())
    assert np.isfinite(wide["w"].numpy()).all()


def test_twice_the_same_run_gives_the_same_bits():
    found = []
    for _ in range(2):
        p, optimizer = parameters(), optim.Adam(0.1, max_norm=1.0)
        optimizer.initialise(p)
        run_steps(compile(step), [p, optimizer], [INPUTS, TARGETS], ORDER)
        found.append(values(p))
    assert_same_bits(*found)


def test_changing_numbers_compiles_nothing_again():
    p, optimizer = parameters(), optim.SGD(0.1, 0.9, weight_decay=0.01, max_norm=5.0)
    optimizer.initialise(p)
    run = compile(step)
    run(p, optimizer, *rows(0))
    before = values(p)["w"]
    optimizer.learning_rate, optimizer.momentum = 0.0, 0.5
    optimizer.weight_decay, optimizer.max_norm = 0.02, 1.0
    run(p, optimizer, *rows(1))
    np.testing.assert_array_equal(values(p)["w"], before)
    assert run.n_compilations == 1
    optimizer.weight_decay = 0.0
    run(p, optimizer, *rows(2))
    assert run.n_compilations == 2


def test_a_momentum_turned_on_later_begins_at_zero():
    p, optimizer = parameters(), optim.SGD(0.1)
    optimizer.initialise(p)
    run = compile(step)
    run(p, optimizer, *rows(0))
    optimizer.momentum = 0.9
    optimizer.initialise(p)
    run(p, optimizer, *rows(1))
    assert set(optimizer.state["w"]) == {"momentum_buffer"}


def test_schedules_run_inside_stretches():
    rates = optim.Warmup(2, then=optim.Linear(0.1, 0.01, 4))
    p, optimizer = parameters(), optim.SGD(rates, max_value=0.1)
    optimizer.initialise(p)
    run_steps(compile(step), [p, optimizer], [INPUTS, TARGETS], ORDER[:3])
    run_steps(compile(step), [p, optimizer], [INPUTS, TARGETS], ORDER[3:])
    expected = parameters()
    for number in range(len(ORDER)):
        gradients = grad(lambda q, n=number: loss(q, *rows(n)))(expected)
        rate = rates(number)
        expected = {
            name: variable(x - rate * ops.clip(gradients[name], -0.1, 0.1))
            for name, x in expected.items()
        }
    assert_close(values(p), values(expected))
    assert optimizer.learning_rate == rates(7)


# --- groups -----------------------------------------------------------------------------------


def test_groups():
    gradients = {"w": asarray(START["w"] * 0 + 0.5), "b": asarray(np.array([0.5, -0.5]))}
    p = parameters(np.float64)
    optimizer = optim.SGD(
        0.1, weight_decay=0.2, groups=[optim.group("b", weight_decay=0.0, learning_rate=0.01)]
    )
    optimizer.update(p, gradients)
    np.testing.assert_allclose(p["w"].numpy(), START["w"] - 0.1 * (0.5 + 0.2 * START["w"]))
    np.testing.assert_allclose(p["b"].numpy(), START["b"] - 0.01 * np.array([0.5, -0.5]))


def test_the_later_of_two_groups_holds_for_what_it_names():
    p = {"a.bias": variable(np.array([1.0])), "a.weight": variable(np.array([1.0]))}
    optimizer = optim.SGD(
        0.1,
        groups=[
            optim.group("a.*", learning_rate=0.01, momentum=0.5),
            optim.group("*.bias", learning_rate=optim.Constant(1.0)),
        ],
    )
    for _ in range(2):
        optimizer.update(p, {name: asarray(np.array([1.0])) for name in p})
    np.testing.assert_allclose(p["a.weight"].numpy(), 1 - 0.01 * (1 + 1.5))
    np.testing.assert_allclose(p["a.bias"].numpy(), 1 - 1.0 * (1 + 1.5))


def test_betas_of_a_group():
    optimizer = optim.Adam(groups=[optim.group("b", betas=(0.5, 0.6))])
    assert optimizer.groups[0].values == {"beta1": 0.5, "beta2": 0.6}


def test_a_pattern_that_matches_nothing_warns():
    optimizer = optim.SGD(0.1, groups=[optim.group("*.bais", weight_decay=0.1)])
    with pytest.warns(TeachingWarning, match=r"\*\.bais.*matches no parameter; there are w, b"):
        optimizer.initialise(parameters())


# --- Modules ----------------------------------------------------------------------------------


@pytest.fixture
def net():
    from chainrule import nn

    class Net(nn.Module):
        def __init__(self):
            self.first = nn.Linear(3, 3)
            self.second = nn.Linear(3, 3)
            self.last = nn.Linear(3, 2)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.last(ops.tanh(self.second(ops.tanh(self.first(x)))))

    cr_random.seed(0)
    return Net()


def net_step(net, optimizer, x, y):
    value, gradients = value_and_grad(lambda m: ((m(x) - y) ** 2).mean())(net)
    optimizer.update(net, gradients)
    return value


def test_a_program_creates_state_for_its_module(net):
    optimizer = optim.Adam(0.05)
    losses = run_steps(
        compile(net_step), [net, optimizer], [INPUTS, TARGETS], np.tile(ORDER, (10, 1))
    )
    assert losses[-7:].mean() < losses[:7].mean()
    assert set(optimizer.state) == {name for name, _ in net.named_parameters()}


def test_ties_stay_ties(net):
    optimizer = optim.Adam(0.05)
    x, y = rows(0)
    net_step(net, optimizer, x, y)
    assert net.first.weight.node is net.second.weight.node
    compile(net_step)(net, optimizer, x, y)
    assert net.first.weight.node is net.second.weight.node
    assert "second.weight" not in optimizer.state
    assert net.first.weight.node.tracked


def test_frozen_parameters_rest(net):
    net.last.freeze()
    before = net.last.weight.numpy().copy()
    optimizer = optim.SGD(0.1, 0.9)
    x, y = rows(0)
    every = {name: asarray(np.ones(p.shape, np.float32)) for name, p in net.named_parameters()}
    optimizer.update(net, every)
    net_step(net, optimizer, x, y)
    np.testing.assert_array_equal(net.last.weight.numpy(), before)
    assert not any(path.startswith("last") for path in optimizer.state)


def test_a_frozen_place_follows_the_one_it_is_tied_to(net):
    net.first.freeze()
    optimizer = optim.SGD(0.1)
    net_step(net, optimizer, *rows(0))
    compile(net_step)(net, optimizer, *rows(1))
    assert net.first.weight.node is net.second.weight.node
    assert set(optimizer.state) == {"second.weight", "second.bias", "last.weight", "last.bias"}


def test_a_parameter_unfrozen_later_counts_its_own_steps(net):
    # bias correction belongs to the parameter's own first steps
    net.last.freeze()
    optimizer = optim.Adam(0.01)
    x, y = rows(0)
    run = compile(net_step)
    for _ in range(20):
        run(net, optimizer, x, y)
    net.last.unfreeze()
    before = net.last.bias.numpy().copy()
    run(net, optimizer, x, y)
    moved = np.abs(net.last.bias.numpy() - before)
    np.testing.assert_allclose(moved, 0.01, rtol=1e-4)


def test_several_modules_need_to_be_told(net):
    other = copy.deepcopy(net)

    def two(first, second, optimizer, x, y):
        return net_step(first, optimizer, x, y)

    with pytest.raises(StateError, match=r"which of several Modules.*\n.*\n.*initialise"):
        compile(two)(net, other, optim.SGD(0.1), *rows(0))
    optimizer = optim.SGD(0.1)
    optimizer.initialise(net)
    compile(two)(net, other, optimizer, *rows(0))


# --- saving -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_saved_optimizer_goes_on_with_the_same_bits(name):
    p, optimizer = parameters(), OPTIMIZERS[name](groups=[optim.group("b", learning_rate=0.03)])
    for number in range(3):
        step(p, optimizer, *rows(number))
    state, kept = optimizer.state_dict(), dict(p)
    frozen = copy.deepcopy(
        {k: {n: x.numpy().copy() for n, x in s.items()} for k, s in state["state"].items()}
    )
    for number in range(3, 6):
        step(p, optimizer, *rows(number))
    for path, slots in frozen.items():
        assert_same_bits(slots, state["state"][path])
    assert int(state["step"]) == 3
    resumed = OPTIMIZERS[name](groups=[optim.group("b", learning_rate=0.5)])
    # as a checkpoint gives it back: NumPy arrays
    resumed.load_state_dict(
        {
            **state,
            "step": state["step"].numpy(),
            "state": {k: {n: x.numpy() for n, x in s.items()} for k, s in state["state"].items()},
        }
    )
    for number in range(3, 6):
        step(kept, resumed, *rows(number))
    assert_same_bits(values(kept), values(p))


def test_repr_shows_what_holds_now():
    optimizer = optim.SGD(
        optim.Constant(0.1), 0.9, nesterov=True, groups=[optim.group("b", momentum=0.5)], max_norm=1
    )
    assert repr(optimizer) == (
        "SGD(learning_rate=Constant(value=0.1), momentum=0.9, dampening=0.0, weight_decay=0.0, "
        "nesterov=True, max_norm=1.0, groups=[group('b', momentum=0.5)])"
    )


def test_states_of_another_optimizer_are_refused():
    adam = optim.Adam()
    adam.initialise(parameters())
    state = adam.state_dict()
    with pytest.raises(StateError, match="saved by Adam"):
        optim.AdamW().load_state_dict(state)
    with pytest.raises(StateError, match=r"groups\.0\.beta1"):
        optim.Adam(groups=[optim.group("b", beta1=0.5)]).load_state_dict(state)
    with pytest.raises(StateError, match="learning_rate"):
        optim.Adam(optim.Constant(0.1)).load_state_dict(state)
    with pytest.raises(StateError, match="without schedules"):
        adam.load_state_dict({k: v for k, v in state.items() if k != "schedules"})
    with pytest.raises(StateError, match=r"does not fit the parameter 'w'"):
        adam.update({"w": variable([1.0])}, {"w": asarray([1.0])})


def test_copies_are_independent():
    p, optimizer = parameters(), optim.Adam(0.1)
    step(p, optimizer, *rows(0))
    other = copy.deepcopy(optimizer)
    other.learning_rate = 0.2
    step(dict(p), other, *rows(1))
    assert (optimizer.learning_rate, int(optimizer.step), int(other.step)) == (0.1, 1, 2)


# --- clipping ---------------------------------------------------------------------------------


def test_clipping_helpers():
    given = {"a": asarray(np.array([3.0, -0.5])), "b": [asarray(np.array([4.0]))]}
    clipped = optim.clip_by_value(given, 1.0)
    np.testing.assert_array_equal(clipped["a"].numpy(), [1.0, -0.5])
    assert optim.global_norm(given).item() == pytest.approx(np.sqrt(25.25))
    scaled, norm = optim.clip_by_global_norm(given, 1.0)
    assert norm.item() == pytest.approx(np.sqrt(25.25))
    assert optim.global_norm(scaled).item() == pytest.approx(1.0, rel=1e-5)
    same, _ = optim.clip_by_global_norm(given, 100.0)
    np.testing.assert_array_equal(same["b"][0].numpy(), [4.0])
    for wrong in (0.0, -1.0, np.nan):
        with pytest.raises(ArgumentError):
            optim.clip_by_global_norm(given, wrong)
        with pytest.raises(ArgumentError):
            optim.clip_by_value(given, wrong)
    with pytest.raises(ArgumentError):
        optim.global_norm({})


def test_norms_of_16_bit_gradients_do_not_overflow():
    given = {"a": ops.astype(asarray(np.array([300.0, 400.0], np.float32)), "float16")}
    clipped, norm = optim.clip_by_global_norm(given, 5.0)
    assert norm.item() == 500.0
    np.testing.assert_allclose(clipped["a"].numpy(), [3.0, 4.0], rtol=1e-3)
    assert clipped["a"].dtype == np.float16


def test_clipping_in_the_constructor():
    p = {"w": variable(np.zeros(2)), "b": variable(np.zeros(1))}
    optimizer = optim.SGD(1.0, max_norm=1.0, max_value=4.0)
    optimizer.update(p, {"w": asarray(np.array([3.0, 0.0])), "b": asarray(np.array([70.0]))})
    np.testing.assert_allclose(p["w"].numpy(), [-0.6, 0.0], rtol=1e-6)
    np.testing.assert_allclose(p["b"].numpy(), [-0.8], rtol=1e-6)


# --- nested containers ------------------------------------------------------------------------


def test_nested_dicts_and_lists():
    p = {"layers": [{"w": variable([1.0])}, {"w": variable([2.0])}]}
    gradients = {"layers": [{"w": asarray([0.5])}, {"w": asarray([-0.5])}]}
    optimizer = optim.SGD(1.0, groups=[optim.group("layers.1.*", learning_rate=0.1)])
    optimizer.update(p, gradients)
    assert p["layers"][0]["w"].item() == 0.5
    assert p["layers"][1]["w"].item() == pytest.approx(2.05)


def test_differentiating_through_an_update():
    # one step of SGD: θ' = θ − η 2θ, loss θ'², derivative by the start 2 (1 − 2η)² θ
    def after(theta):
        p = {"w": theta}
        optim.SGD(0.1).update(p, {"w": 2 * theta})
        return p["w"] ** 2

    assert grad(after)(3.0).item() == pytest.approx(2 * 0.8**2 * 3, rel=1e-6)


# --- errors -----------------------------------------------------------------------------------


GOOD = {"w": np.ones((3, 2)), "b": np.ones(2)}


@pytest.mark.parametrize(
    ("gradients", "error", "words"),
    [
        ({"w": GOOD["w"]}, StateError, "missing: b"),
        ({**GOOD, "c": np.ones(1)}, StateError, "belonging to no parameter: c"),
        ({**GOOD, "b": np.ones((2, 1))}, ShapeError, r"'b' has another shape"),
        ({**GOOD, "b": np.ones(2, int)}, DtypeError, "'b' holds int64"),
    ],
)
def test_gradients_that_do_not_fit(gradients, error, words):
    p, optimizer = parameters(), optim.SGD(0.1)
    before = values(p)
    with pytest.raises(error, match=words) as caught:
        optimizer.update(p, gradients)
    assert "test_optimizer.py" in str(caught.value)
    assert_same_bits(values(p), before)
    assert int(optimizer.step) == 0


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (asarray([1.0]), ArgumentError),
        ((asarray([1.0]),), ArgumentError),
        ({"n": asarray([1, 2])}, DtypeError),
        ({"rate": 0.1}, DtypeError),
    ],
)
def test_parameters_that_can_not_be_updated(given, error):
    with pytest.raises(error):
        optim.SGD(0.1).initialise(given)


def test_an_optimizer_in_a_closure_is_refused(net):
    optimizer = optim.SGD(0.1)
    with pytest.raises(StateError, match="without being one of its arguments"):
        compile(lambda m, x, y: net_step(m, optimizer, x, y))(net, *rows(0))
    assert optimizer.step.is_concrete


@pytest.mark.parametrize("momentum", [0.0, 0.9])  # without momentum there are no slots to create
def test_a_compiled_function_over_a_dict_needs_state_first(momentum):
    with pytest.raises(StateError, match=r"optimizer\.initialise"):
        compile(step)(parameters(), optim.SGD(0.1, momentum), *rows(0))


def test_short_names_are_answered():
    with pytest.raises(TypeError, match=r"Adam: lr= is spelled learning_rate= here"):
        optim.Adam(lr=0.1)
    with pytest.raises(TypeError, match=r"eps= is spelled epsilon="):
        optim.RMSProp(eps=0.1)
    with pytest.raises(TypeError, match="learning_rate"):
        optim.group("b", lr=0.1)
    optimizer = optim.Adam()
    with pytest.raises(TypeError, match="learning_rate"):
        optimizer.lr = 0.1
    with pytest.raises(TypeError, match="max_iterations"):
        optim.LBFGS(max_iter=3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.SGD(-0.1),
        lambda: optim.SGD("0.1"),
        lambda: optim.SGD(True),
        lambda: optim.SGD(np.nan),
        lambda: optim.SGD(0.1, momentum=-0.1),
        lambda: optim.SGD(0.1, dampening=1.5),
        lambda: optim.SGD(0.1, nesterov=True),
        lambda: optim.SGD(0.1, 0.9, 0.1, nesterov=True),
        lambda: optim.Momentum(0.1, 1.0),
        lambda: optim.Adam(betas=(0.9, 1.0)),
        lambda: optim.Adam(betas=0.9),
        lambda: optim.Adam(epsilon=-1e-8),
        lambda: optim.AdaGrad(initial_accumulator=-1.0),
        lambda: optim.AdaDelta(rho=1.1),
        lambda: optim.Rprop(etas=(1.2, 0.5)),
        lambda: optim.Rprop(step_sizes=(0.0, 1.0)),
        lambda: optim.Rprop(optim.Constant(0.1)),
        lambda: optim.SGD(0.1, max_norm=0.0),
        lambda: optim.SGD(0.1, max_value=-1.0),
        lambda: optim.SGD(0.1, groups=[optim.group("b", beta1=0.1)]),
        lambda: optim.SGD(0.1, groups=[optim.group("b", momentum=-1.0)]),
        lambda: optim.group("b"),
        lambda: optim.group(3, momentum=0.1),
        lambda: setattr(optim.SGD(0.1), "learning_rate", -1.0),
        lambda: setattr(optim.SGD(0.1), "max_norm", 0.0),
    ],
)
def test_wrong_settings_are_refused(make):
    with pytest.raises(ArgumentError):
        make()


def test_the_first_step_of_rprop_is_fixed_once_it_has_begun():
    optimizer = optim.Rprop(0.1)
    optimizer.learning_rate = 0.2
    p = {"w": variable(np.array([1.0]))}
    optimizer.update(p, {"w": asarray(np.array([3.0]))})
    assert p["w"].item() == 0.8
    with pytest.raises(StateError, match="it has begun"):
        optimizer.learning_rate = 0.3
    with pytest.raises(AttributeError):
        _ = optimizer.beta1


def test_many_steps_at_once_keep_no_history():
    p, optimizer = parameters(), optim.Adam(0.01)
    for number in range(5):
        step(p, optimizer, *rows(number))
    held = [*p.values(), optimizer.step, *(x for s in optimizer.state.values() for x in s.values())]
    assert all(x.node.op is None and not x.node.inputs for x in held)
