"""``run_steps`` on state that it left itself takes a short way to where the long one leads."""

import gc
import weakref

import numpy as np
import pytest
from small_training import Net, everything, make
from small_training import train as plain_train

import chainrule as cr
from chainrule import nn, optim
from chainrule.program import repetition

pytestmark = pytest.mark.skipif(
    cr.compile(lambda x: x).engine != "compiler", reason="the interpreter takes the long way"
)
RNG = np.random.default_rng(5)
X = RNG.normal(size=(40, 5)).astype("f")
Y = RNG.integers(0, 2, 40)
ORDER = RNG.permutation(40)[:36].reshape(6, 6)
train = cr.compile(plain_train)


@pytest.fixture
def found(monkeypatch):
    """One for each call: whether it took the short way."""
    taken = []
    original = repetition.Repetitions.find

    def find(self, *arguments):
        known = original(self, *arguments)
        taken.append(known is not None)
        return known

    monkeypatch.setattr(repetition.Repetitions, "find", find)
    return taken


def calls(change=None, parts=3, **settings):
    """Losses of three calls, with a change before the last, and all state they leave."""
    state = make(**settings)
    losses = []
    for number, rows in enumerate(np.split(ORDER, parts)):
        if number == parts - 1 and change is not None:
            change(*state)
        losses += [*cr.run_steps(train, state, [X, Y], rows)]
    return losses, everything(*state)


def equal(ours, expected):
    np.testing.assert_array_equal(ours[0], expected[0])
    assert ours[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        np.testing.assert_array_equal(ours[1][name], value, err_msg=name)


def test_calls_after_the_first_are_short_and_the_bits_are_those_of_one_call(found):
    whole = calls(parts=1)
    found.clear()
    equal(calls(), whole)
    assert found == [False, True, True]


CHANGES = {
    "weight": lambda m, o: setattr(m, "shift", cr.asarray(np.array([0.5, -1.0], "f"))),
    "all weights": lambda m, o: m.load_state_dict(Net().state_dict()),
    "learning rate": lambda m, o: setattr(o, "learning_rate", 0.5),
    "frozen": lambda m, o: m.first.freeze(),
    "without dropout": lambda m, o: m.eval(),
    "dropout": lambda m, o: setattr(m.drop, "p", 0.6),
    "layer": lambda m, o: setattr(m, "norm", nn.Identity()),
    "optimizer's state": lambda m, o: o.state["first.weight"].update(m=cr.ones((4, 5))),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_between_calls_is_seen(name, found, monkeypatch):
    ours = calls(CHANGES[name])
    assert found == [False, True, False]
    monkeypatch.setattr(repetition.Repetitions, "find", lambda *_: None)
    equal(ours, calls(CHANGES[name]))


def test_schedules_and_seeds_go_on(found, monkeypatch):
    settings = {"learning_rate": optim.Exponential(0.1, 0.7)}
    ours = calls(lambda *_: cr.random.seed(7), **settings)
    assert found == [False, True, True]
    monkeypatch.setattr(repetition.Repetitions, "find", lambda *_: None)
    equal(ours, calls(lambda *_: cr.random.seed(7), **settings))


def test_batches_of_two_sizes_take_turns(found):
    state = make()
    for rows in (ORDER, ORDER[:, :4], ORDER, ORDER[:, :4], ORDER.astype(np.int32)):
        cr.run_steps(train, state, [X, Y], rows)
    assert found == [False, False, True, True, True]


def test_an_array_that_somebody_holds_stays_and_a_model_that_nobody_holds_goes(found):
    state = make()
    cr.run_steps(train, state, [X, Y], ORDER)
    held, before = state[0].first.weight, state[0].first.weight.numpy().copy()
    cr.run_steps(train, state, [X, Y], ORDER)
    assert found == [False, True]
    np.testing.assert_array_equal(held.numpy(), before)
    gone = [weakref.ref(x) for x in [*state, state[0].first.weight]]
    del state
    gc.collect()
    assert [x() for x in gone] == [None] * 3


def test_a_loss_that_is_not_finite_leaves_what_the_long_way_leaves(found):
    x = X.copy()
    x[ORDER[4, 2]] = np.inf
    state, other = make(), make()
    cr.run_steps(train, state, [X, Y], ORDER[:2])
    with pytest.raises(cr.errors.NonFiniteError) as error:
        cr.run_steps(train, state, [x, Y], ORDER[2:])
    assert error.value.step == 2
    rest = cr.run_steps(train, state, [X, Y], ORDER[4:])
    assert found == [False, True, True]
    cr.random.seed(0)
    other = make()
    expected = cr.run_steps(train, other, [X, Y], ORDER)
    np.testing.assert_array_equal(rest, expected[4:])
    equal(([], everything(*state)), ([], everything(*other)))
