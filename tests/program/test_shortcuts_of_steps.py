"""Calls that write state take a short way too, and leave what the long way leaves."""

import gc
import threading
import weakref

import numpy as np
import pytest
from small_training import everything, make, train

import chainrule as cr
from chainrule import nn, optim
from chainrule.program import reuse

pytestmark = pytest.mark.skipif(
    cr.compile(lambda x: x).engine != "compiler", reason="the interpreter takes the long way"
)
RNG = np.random.default_rng(5)
X = RNG.normal(size=(6, 5)).astype("f")
Y = RNG.integers(0, 2, 6)


SHORT = cr.compile(train)
LONG = cr.compile(train)
LONG._shortcut = lambda *_: None


@pytest.fixture
def counted(monkeypatch):
    """How many calls took the short way."""
    taken = []
    original = reuse.Shortcut.run

    def run(self, arguments):
        found = original(self, arguments)
        if found is not None:
            taken.append(self)
        return found

    monkeypatch.setattr(reuse.Shortcut, "run", run)
    return taken


def steps(step, change=None, **settings):
    """Losses of six steps, with a change in the middle, and all state they leave."""
    model, optimizer = make(**settings)
    losses = []
    for number in range(6):
        if number == 3 and change is not None:
            change(model, optimizer)
        losses.append(float(step(model, optimizer, X, Y)))
    return losses, everything(model, optimizer)


def other_rate(model, optimizer):
    optimizer.learning_rate = 0.3


def other_weight(model, optimizer):
    model.first.weight = model.first.weight * 2


def other_moment(model, optimizer):
    slots = optimizer.state["first.weight"]
    slots["m" if "m" in slots else next(iter(slots))] = cr.ones((4, 5))


def reloaded(model, optimizer):
    halved = {k: v / 2 for k, v in model.state_dict().items() if v.ndim}
    model.load_state_dict(halved, strict=False)


def evaluation(model, optimizer):
    model.eval()


def less_dropped(model, optimizer):
    model.drop.p = 0.1


def many_steps(model, optimizer):
    cr.run_steps(train, [model, optimizer], [X, Y], np.arange(6)[None])


def reseeded(model, optimizer):
    cr.random.seed(9)


CHANGES = [
    None,
    other_rate,
    other_weight,
    other_moment,
    reloaded,
    evaluation,
    less_dropped,
    many_steps,
    reseeded,
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_is_left_as_by_the_long_way(change, counted):
    losses, state = steps(SHORT, change)
    expected, left = steps(LONG, change)
    assert losses == expected
    assert state.keys() == left.keys()
    for name in state:
        np.testing.assert_array_equal(state[name], left[name], err_msg=name)
    assert len(counted) >= 3


def test_schedules_go_on(counted):
    rate = optim.schedules.Cosine(0.1, 6)
    losses, _ = steps(SHORT, learning_rate=rate)
    assert losses == steps(LONG, learning_rate=rate)[0]
    assert len(counted) >= 4


def test_what_is_held_never_changes():
    model, optimizer = make()
    SHORT(model, optimizer, X, Y)
    weight, loss = model.first.weight, SHORT(model, optimizer, X, Y)
    held = [model.first.weight, optimizer.state["first.weight"], optimizer.step, weight, loss]
    held[1] = next(iter(held[1].values()))
    copies = [np.array(x) for x in held]
    for _ in range(3):
        SHORT(model, optimizer, X, Y)
    for x, copy in zip(held, copies, strict=True):
        np.testing.assert_array_equal(x.numpy(), copy)
    assert not np.array_equal(model.first.weight.numpy(), copies[0])


def test_tied_parameters_stay_tied(counted):
    def step(model, x):
        gradients = cr.grad(lambda m: (m[1](m[0](x)) ** 2).sum())(model)
        model.assign(
            {name: model[0].weight - 0.01 * g for name, g in gradients.items() if g.ndim > 1}
        )

    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    model[1].weight = model[0].weight
    f = cr.compile(step)
    for _ in range(3):
        f(model, X)
        assert model[1].weight is model[0].weight
    assert len(counted) == 1
    model[1].weight = cr.asarray(model[0].weight.numpy() * 2)
    f(model, X)
    assert f.n_compilations == 2


def test_containers_are_taken_apart_each_time(counted):
    def step(state, pair, factor, name):
        state["total"] = state["total"] + factor * pair[0].sum()
        return state["total"] * 1.0, {name: (pair[0] + 1, pair[1] * 2)}

    f = cr.compile(step)
    state, expected = {"total": cr.asarray(0.0)}, 0.0
    pair = (cr.asarray(X), cr.asarray(X))
    for number, factor in enumerate((0.5, 0.5, 2.0)):
        total, made = f(state, pair, factor, "made")
        expected += factor * float(np.asarray(pair[0]).sum())
        np.testing.assert_allclose(float(total), expected, rtol=1e-4)
        np.testing.assert_allclose(float(state["total"]), expected, rtol=1e-4)
        pair = made["made"]
        assert len(counted) == max(0, number - 1)
    f({"total": cr.asarray(1.0)}, pair, 1.0, "made")
    assert len(counted) == 2
    f(state, (pair[0], pair[0]), 1.0, "made")  # tied
    f(state, pair, 1.0, "other")
    assert len(counted) == 2
    assert f.n_compilations == 3


def test_an_argument_tied_to_state_in_a_container(counted):
    f = cr.compile(lambda state, x: x + state["a"])
    state, x = {"a": cr.asarray(X)}, cr.asarray(X + 1)
    for _ in range(3):
        np.testing.assert_array_equal(f(state, x).numpy(), X + (X + 1))
    np.testing.assert_array_equal(f(state, state["a"]).numpy(), 2 * X)
    assert len(counted) == 1


def test_storing_that_fails_half_way():
    class Picky(nn.Module):
        def __init__(self):
            self.a = nn.Parameter(cr.asarray(X))
            self.b = nn.Parameter(cr.asarray(X))

        def __tree_assign__(self, name, value):
            if name == "b" and refusing:
                raise KeyboardInterrupt
            super().__tree_assign__(name, value)

    def step(model):
        model.a, model.b = model.a + 1, model.b * 2

    refusing, model, f = [], Picky(), cr.compile(step)
    for _ in range(3):
        f(model)
    refusing.append(True)
    with pytest.raises(KeyboardInterrupt):
        f(model)
    refusing.clear()
    gc.collect()
    a, b = model.a.numpy().copy(), model.b.numpy().copy()
    np.testing.assert_array_equal(b, X * 8)
    for number in range(1, 4):
        f(model)
        np.testing.assert_array_equal(model.a.numpy(), a + number)
        np.testing.assert_array_equal(model.b.numpy(), b * 2**number)


def test_a_model_is_let_go():
    model, optimizer = make()
    for _ in range(2):
        SHORT(model, optimizer, X, Y)
    references = [weakref.ref(model), weakref.ref(optimizer), weakref.ref(model.first.weight)]
    del model, optimizer
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


def test_threads_with_models_of_their_own():
    expected = steps(LONG)[0]
    found = []

    def work(model, optimizer):
        found.append([float(PLAIN(model, optimizer, X, Y)) for _ in range(20)])

    models = [make() for _ in range(4)]
    for model, _ in models:
        model.drop.p = 0.0
    threads = [threading.Thread(target=work, args=pair) for pair in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(expected) == 6
    assert found == [found[0]] * 4


PLAIN = cr.compile(train)


def test_one_model_in_several_threads():
    """Steps get lost, since nothing orders them; nothing else may happen."""
    model, optimizer = make()
    PLAIN(model, optimizer, X, Y)

    def work():
        for _ in range(30):
            assert np.isfinite(float(PLAIN(model, optimizer, X, Y)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 < int(optimizer.step) <= 91
